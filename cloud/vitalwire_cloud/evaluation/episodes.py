"""Simulated lethal rhythms in plain arithmetic, each after a stretch of a recording's own sinus rhythm.

Ventricular fibrillation is noise in a narrow band (coarse, fine) or a nearly regular oscillation (flutter, from 210/min
on: the rules call a slower one a tachycardia). Ventricular tachycardia is a patient's own ventricular beat, repeated.
Asystole is a flat line or the amplifier's noise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.evaluation.records import Recorded
from vitalwire_cloud.evaluation.rhythm_truth import VF, VT

LEAD_IN_S: Final = 60
EPISODE_S: Final = 30
NOISES: Final = (("em", 12.0), ("em", 6.0), ("ma", 12.0), ("ma", 6.0))
_FIBRILLATION: Final = ("coarse", "fine", "flutter")
_VT_BEATS: Final = 8


@dataclass(frozen=True, slots=True)
class Episode:
    """A simulated episode: its ECG with the lead-in before it, and the alarm that it must raise.

    Attributes:
        title: what it is, with its noise and the record of its lead-in.
        wanted: kinds of alarm of which one must be raised.

    """

    title: str
    wanted: tuple[str, ...]
    ecg_uv: NDArray[np.float64]
    fs_hz: float


def episodes(
    found: Sequence[Recorded],
    noises: Mapping[str, NDArray[np.float64]],
    *,
    seed: int,
    repeats: int,
) -> Iterator[Episode]:
    """Every kind of episode, without noise and (but for asystole) with each kind of it, `repeats` times."""
    rng = np.random.default_rng(seed)
    calm = [(record, span) for record in found if (span := _calm(record)) is not None]
    ectopic = [(record, beat) for record in found if (beat := _ventricular_beat(record)) is not None]
    under: list[tuple[str, float] | None] = [None, *(each for each in NOISES if each[0] in noises)]
    for _ in range(repeats if calm else 0):
        for kind in (*_FIBRILLATION, "tachycardia"):
            for noise in under:
                record, span = calm[int(rng.integers(len(calm)))]
                fs_hz = record.fs_hz
                if kind == "tachycardia":
                    if not ectopic:
                        continue
                    source, beat = ectopic[int(rng.integers(len(ectopic)))]
                    fs_hz = source.fs_hz
                    record, span = next(((r, s) for r, s in calm if r.fs_hz == fs_hz), (record, span))
                    episode = _tachycardia(rng, beat, fs_hz)
                else:
                    episode = _fibrillation(rng, kind, fs_hz)
                if noise is not None:
                    episode = _with_noise(rng, episode, noises[noise[0]], noise[1])
                text = "no noise" if noise is None else f"{noise[0]} {noise[1]:.0f} dB"
                wanted = (VT, VF) if kind == "tachycardia" else (VF,)
                yield _episode(rng, record, span, episode, f"{kind}, {text}", wanted)
        for kind in ("flat", "low noise"):
            record, span = calm[int(rng.integers(len(calm)))]
            noise_uv = 0.0 if kind == "flat" else 15.0
            episode = rng.normal(0, 1, round(EPISODE_S * record.fs_hz)) * noise_uv
            yield _episode(rng, record, span, episode, f"asystole, {kind}", ("asystole",))


def _episode(
    rng: np.random.Generator,
    record: Recorded,
    span: tuple[int, int],
    episode: NDArray[np.float64],
    text: str,
    wanted: tuple[str, ...],
) -> Episode:
    length = round(LEAD_IN_S * record.fs_hz)
    start = int(rng.integers(span[0], span[1] - length + 1))
    before = record.ecg_uv[start : start + length].astype(np.float64)
    title = f"{text}, after record {record.name} at {start / record.fs_hz:.0f} s"
    return Episode(title, wanted, np.concatenate((before, before[-1] + episode)), record.fs_hz)


def _calm(record: Recorded) -> tuple[int, int] | None:
    """The longest stretch of normal beats, if it is long enough for a lead-in."""
    at, symbol = record.sample[record.is_beat], record.symbol[record.is_beat]
    breaks = np.flatnonzero(~np.isin(symbol, ["N", "L", "R"]))
    edges = np.concatenate(([0], at[breaks], [record.ecg_uv.size]))
    longest = int(np.argmax(np.diff(edges)))
    start, end = int(edges[longest]) + round(record.fs_hz), int(edges[longest + 1]) - round(record.fs_hz)
    return (start, end) if end - start > LEAD_IN_S * record.fs_hz else None


def _ventricular_beat(record: Recorded) -> NDArray[np.float64] | None:
    """The median of a record's ventricular beats, 280 ms to each side of R; None with fewer than eight."""
    half = round(0.28 * record.fs_hz)
    at = [int(a) for a in record.sample[record.symbol == "V"] if half <= a < record.ecg_uv.size - half]
    if len(at) < _VT_BEATS:
        return None
    beats = np.stack([record.ecg_uv[a - half : a + half] for a in at]).astype(np.float64)
    middle = np.median(beats - np.median(beats, axis=1, keepdims=True), axis=0)
    faded: NDArray[np.float64] = middle * np.hanning(middle.size) ** 0.25
    return faded


def _tachycardia(rng: np.random.Generator, beat: NDArray[np.float64], fs_hz: float) -> NDArray[np.float64]:
    """Ventricular tachycardia of 140 to 220/min, nearly regular."""
    x = rng.normal(0, 10, round(EPISODE_S * fs_hz))
    rr_s = 60 / rng.uniform(140, 220)
    at_s = rr_s
    while at_s < EPISODE_S:
        start = round(at_s * fs_hz) - beat.size // 2
        lo, hi = max(0, start), min(x.size, start + beat.size)
        x[lo:hi] += beat[lo - start : hi - start]
        at_s += rr_s * (1 + rng.normal(0, 0.02))
    return x


def _fibrillation(rng: np.random.Generator, kind: str, fs_hz: float) -> NDArray[np.float64]:
    centre, width, rms = {
        "coarse": (rng.uniform(3.5, 6), rng.uniform(0.6, 1.5), rng.uniform(200, 600)),
        "fine": (rng.uniform(4.5, 7.5), rng.uniform(1, 2), rng.uniform(70, 180)),
        "flutter": (rng.uniform(3.5, 5.5), 0.15, rng.uniform(350, 900)),
    }[kind]
    n = round(EPISODE_S * fs_hz)
    hz = np.fft.rfftfreq(n, 1 / fs_hz)
    x = np.fft.irfft(np.exp(-0.5 * ((hz - centre) / width) ** 2 + 2j * np.pi * rng.random(hz.size)), n)
    wave: NDArray[np.float64] = x * rms / x.std() + rng.normal(0, 10, n)
    return wave


def _with_noise(
    rng: np.random.Generator, x: NDArray[np.float64], noise_uv: NDArray[np.float64], db: float
) -> NDArray[np.float64]:
    """Add a stretch of noise at a ratio of powers."""
    offset = int(rng.integers(0, noise_uv.size - x.size))
    part = noise_uv[offset : offset + x.size] - noise_uv[offset : offset + x.size].mean()
    noisy: NDArray[np.float64] = x + part * np.sqrt(x.var() / part.var() / 10 ** (db / 10))
    return noisy
