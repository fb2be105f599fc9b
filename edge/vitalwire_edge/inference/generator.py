"""Beats and rhythm strips from a generator: made signals, never recorded ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.signal.beats import BEFORE, WINDOW

CLASSES: Final = ("N", "S", "V", "F")
NOISE: Final = 16
_RESPIRATION_HZ: Final = 0.25


class BeatSource(Protocol):
    """A model file ready to run: noise (1, NOISE), one-hot class (1, 4), reference (1, WINDOW) to a beat."""

    def __call__(self, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """One inference."""


class RhythmError(ValueError):
    """A rhythm that is not known."""


@dataclass(frozen=True, slots=True)
class Strip:
    """A synthetic strip: `ecg` in the patient's scale, R peaks (n,) in samples, and their class letters."""

    ecg: NDArray[np.float32]
    peaks: NDArray[np.int64]
    label: NDArray[np.str_]


def intervals(
    rhythm: str, *, seconds: float, rate_bpm: float, rng: np.random.Generator
) -> list[tuple[float, str]]:
    """R times in seconds with classes: `sinus` (with respiratory arrhythmia), `pvc` (with pauses) or `af`."""
    if rhythm not in {"sinus", "pvc", "af"}:
        raise RhythmError(f"rhythm {rhythm!r}: use sinus, pvc or af")
    mean_s, at, found = 60.0 / rate_bpm, 0.4, list[tuple[float, str]]()
    pause = False
    while at < seconds:
        early = rhythm == "pvc" and not pause and len(found) > 1 and rng.random() < 0.12
        if early:
            at -= 0.35 * mean_s
        found.append((at, "V" if early else "N"))
        pause = early
        if rhythm == "af":
            at += max(0.3, mean_s * float(rng.gamma(20.0, 1 / 20.0)))
        else:
            swing = 1 + 0.04 * np.sin(2 * np.pi * _RESPIRATION_HZ * at) + 0.01 * rng.standard_normal()
            at += mean_s * float(swing) * (1.35 if early else 1.0)
    return found


def strip(
    source: BeatSource,
    reference: NDArray[np.float32],
    *,
    rhythm: str,
    seconds: float,
    fs_hz: float,
    rate_bpm: float = 72.0,
    seed: int = 0,
) -> Strip:
    """A strip of beats in the style of `reference` (WINDOW,) at the rate of beat windows, `fs_hz`.

    Beats fade into each other where their windows overlap. Raises `RhythmError`.
    """
    rng = np.random.default_rng(seed)
    timed = intervals(rhythm, seconds=seconds, rate_bpm=rate_bpm, rng=rng)
    total = round(seconds * fs_hz)
    timed = [(at, name) for at, name in timed if round(at * fs_hz) < total]
    ecg, weight = np.zeros(total + 2 * WINDOW), np.zeros(total + 2 * WINDOW)
    fade = np.hanning(WINDOW + 2)[1:-1]
    for at, name in timed:
        kind = np.zeros((1, len(CLASSES)), dtype=np.float32)
        kind[0, CLASSES.index(name)] = 1
        noise = rng.standard_normal((1, NOISE)).astype(np.float32)
        beat = source([noise, kind, reference[None]])[0][0]
        start = round(at * fs_hz) - BEFORE + WINDOW
        ecg[start : start + WINDOW] += beat * fade
        weight[start : start + WINDOW] += fade
    joined = ecg / np.maximum(weight, 0.05)
    peaks = np.array([round(at * fs_hz) for at, _ in timed], dtype=np.int64)
    return Strip(joined[WINDOW : WINDOW + total].astype(np.float32), peaks, np.array([n for _, n in timed]))
