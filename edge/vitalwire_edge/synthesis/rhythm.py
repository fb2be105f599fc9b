"""When beats come, and of which class: sinus rhythm with its ectopic beats, and atrial fibrillation.

Sinus intervals swing with breathing and with the blood pressure's slow wave: a spectrum of two Gaussians at 0.25 and
0.1 Hz with random phases, after McSharry et al., "A dynamical model for generating synthetic electrocardiogram
signals", IEEE TBME 50(3):289-294, 2003. In atrial fibrillation the atria call at random and the node answers the first
call after a refractory time that itself varies, after Corino et al., "An atrioventricular node model for analysis of
the ventricular response during atrial fibrillation", IEEE TBME 58(12):3386-3395, 2011, here with one pathway.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.inference.generator import CLASSES

RHYTHMS: Final[dict[str, str]] = {
    "sinus": "(N",
    "pac": "(N",
    "pvc": "(N",
    "bigeminy": "(B",
    "trigeminy": "(T",
    "vt": "(VT",
    "af": "(AFIB",
}
"""Rhythms by name, with the MIT-BIH name of each."""

SHARES: Final[dict[str, dict[str, float]]] = {"pac": {"S": 0.1}, "pvc": {"V": 0.1}}
"""Ectopic beats where `shares` says nothing."""

RATE_BPM: Final = (30.0, 180.0)
_LOW: Final = (0.1, 0.01)
_HIGH: Final = (0.25, 0.01)
_LOW_TO_HIGH: Final = 0.5
_HRV: Final = 0.045
"""Standard deviation of the intervals as a share of their mean."""

_TABLE_HZ: Final = 4.0
_MIN_RR_S: Final = 0.26
_SHORTEST_RUN: Final = 4
_PATTERN: Final = {"bigeminy": 2, "trigeminy": 3}
_COUPLING: Final = {"S": (0.62, 0.82), "V": (0.52, 0.72), "F": (0.84, 0.95)}
"""How early an ectopic beat comes, as a share of the sinus interval."""

_AF_REFRACTORY: Final = (0.55, 0.95)
"""Of the mean interval; the rest of it is waiting for the next call."""


class RhythmError(ValueError):
    """A rhythm or a mix of classes that cannot be made."""


@dataclass(frozen=True, slots=True)
class PlannedBeat:
    """A beat to come: R peak in seconds, and EC57 class."""

    at_s: float
    label: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Beats in order, and from which second on which rhythm (as in MIT-BIH) lasts."""

    beats: tuple[PlannedBeat, ...]
    rhythms: tuple[tuple[float, str], ...]


def plan(
    rhythm: str,
    *,
    seconds: float,
    rate_bpm: float,
    rng: np.random.Generator,
    shares: Mapping[str, float] | None = None,
) -> Plan:
    """Plan the beats of `seconds`. `shares` of the classes overrule what ectopy the rhythm brings along.

    Raises `RhythmError`.
    """
    if rhythm not in RHYTHMS:
        raise RhythmError(f"rhythm {rhythm!r}: use one of {', '.join(RHYTHMS)}")
    if not RATE_BPM[0] <= rate_bpm <= RATE_BPM[1]:
        raise RhythmError(f"rate {rate_bpm:g} /min: use {RATE_BPM[0]:g} to {RATE_BPM[1]:g}")
    ectopic = checked_shares(shares if shares is not None else SHARES.get(rhythm, {}))
    mean_s = 60.0 / rate_bpm
    start = (0.0, RHYTHMS[rhythm])
    if rhythm == "af":
        return Plan(tuple(_fibrillating(seconds, mean_s, ectopic, rng)), (start,))
    table = _swing(seconds + 10.0, rng)
    if rhythm == "vt":
        return _with_tachycardia(seconds, mean_s, ectopic, table, rng)
    beats = _sinus(0.0, seconds, mean_s, ectopic, table, rng, every=_PATTERN.get(rhythm))
    return Plan(tuple(beats), (start,))


def checked_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares of the ectopic classes. Raises `RhythmError` for an unknown class or for more than every second beat."""
    unknown = sorted(set(shares) - set(CLASSES))
    if unknown:
        raise RhythmError(f"class {', '.join(unknown)}: use {', '.join(CLASSES)}")
    found = {name: float(share) for name, share in shares.items() if name != "N" and share}
    total = sum(found.values())
    if min(found.values(), default=0.0) < 0 or total > 0.5 or ("N" in shares and shares["N"] < 0):
        raise RhythmError(
            f"classes other than N make up {total:g} of the beats: use shares from 0, at most 0.5 together"
        )
    if "N" in shares and abs(shares["N"] + total - 1.0) > 1e-6:
        raise RhythmError(f"the shares of the classes add up to {shares['N'] + total:g}: make it 1")
    return found


def _swing(seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Deviations of the sinus interval over time, with a standard deviation of 1, at `_TABLE_HZ`."""
    count = 1 << int(np.ceil(np.log2(max(256.0, seconds * _TABLE_HZ))))
    hz = np.fft.rfftfreq(count, 1 / _TABLE_HZ)
    power = sum(
        weight / width * np.exp(-0.5 * np.square((hz - centre) / width))
        for (centre, width), weight in ((_LOW, _LOW_TO_HIGH), (_HIGH, 1.0))
    )
    phase = rng.uniform(0, 2 * np.pi, hz.size)
    series: NDArray[np.float64] = np.fft.irfft(np.sqrt(power) * np.exp(1j * phase), count)
    scaled: NDArray[np.float64] = series / series.std()
    return scaled


def _sinus(
    first_s: float,
    end_s: float,
    mean_s: float,
    ectopic: Mapping[str, float],
    table: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    every: int | None = None,
) -> list[PlannedBeat]:
    """Sinus beats from `first_s`, ectopic ones between them; `every` n-th beat is ventricular.

    A ventricular beat leaves the sinus node alone, whose next call is lost: a full compensatory pause. A
    supraventricular one resets it: the pause is hardly longer than an interval.
    """
    names = list(ectopic)
    # An ectopic beat never follows another, so the chance after each sinus beat is higher than the share.
    chances = [share / (1.0 - sum(ectopic.values())) for share in ectopic.values()]
    at_s, since, beats = first_s + 0.45 * mean_s, 0, list[PlannedBeat]()
    while at_s < end_s:
        beats.append(PlannedBeat(at_s, "N"))
        since += 1
        swing = table[min(int(at_s * _TABLE_HZ), table.size - 1)]
        rr_s = max(_MIN_RR_S, mean_s * (1 + _HRV * swing + 0.006 * rng.standard_normal()))
        name = _ectopic(names, chances, rng) if every is None else ("V" if since % (every - 1) == 0 else None)
        if name is None:
            at_s += rr_s
            continue
        low, high = _COUPLING[name]
        early_s = max(_MIN_RR_S, rr_s * rng.uniform(low, high))
        if at_s + early_s < end_s:
            beats.append(PlannedBeat(at_s + early_s, name))
        at_s += early_s + rr_s * rng.uniform(1.0, 1.1) if name == "S" else 2 * rr_s
    return beats


def _ectopic(names: list[str], chances: list[float], rng: np.random.Generator) -> str | None:
    drawn = rng.random()
    for name, chance in zip(names, np.cumsum(chances), strict=True):
        if drawn < chance:
            return name
    return None


def _fibrillating(
    seconds: float, mean_s: float, ectopic: Mapping[str, float], rng: np.random.Generator
) -> list[PlannedBeat]:
    names, chances = list(ectopic), list(ectopic.values())
    low, high = (share * mean_s for share in _AF_REFRACTORY)
    wait_s = mean_s - 0.5 * (low + high)
    at_s, beats = 0.4 * mean_s, list[PlannedBeat]()
    while at_s < seconds:
        previous = beats[-1].label if beats else "N"
        beats.append(PlannedBeat(at_s, (previous == "N" and _ectopic(names, chances, rng)) or "N"))
        at_s += max(_MIN_RR_S, rng.uniform(low, high) + rng.exponential(wait_s))
    return beats


def _with_tachycardia(
    seconds: float,
    mean_s: float,
    ectopic: Mapping[str, float],
    table: NDArray[np.float64],
    rng: np.random.Generator,
) -> Plan:
    """Sinus rhythm with runs of ventricular tachycardia, about a third of the time."""
    beats, rhythms, at_s = list[PlannedBeat](), [(0.0, "(N")], 0.0
    while at_s < seconds:
        calm_s = rng.uniform(0.2, 0.4) * min(seconds, 30.0)
        run_s = 60.0 / rng.uniform(140.0, 190.0)
        count = min(int(rng.integers(5, 20)), int((seconds - at_s - calm_s - 3 * mean_s) / run_s))
        if count < _SHORTEST_RUN:
            calm_s = seconds - at_s
        beats += _sinus(at_s, at_s + calm_s, mean_s, ectopic, table, rng)
        at_s += calm_s
        if count < _SHORTEST_RUN:
            break
        at_s = beats[-1].at_s + 0.6 * mean_s
        rhythms.append((at_s, "(VT"))
        for _ in range(count):
            beats.append(PlannedBeat(at_s, "V"))
            at_s += run_s * (1 + 0.02 * rng.standard_normal())
        # The node is heard again after a pause.
        at_s += 0.4 * mean_s
        rhythms.append((at_s, "(N"))
    return Plan(tuple(beats), tuple(rhythms))
