"""Signal quality of one lead, second by second.

The index is the weakest of three fuzzy memberships, as in Zhao & Zhang (Front. Physiol. 9:727, 2018), over the last
seconds of signal:

- share of the 5-40 Hz power that lies in 5-15 Hz (pSQI; Li, Mark & Clifford, Physiol. Meas. 29:15, 2008; Clifford et
  al., Physiol. Meas. 33:1419, 2012): muscle noise lies above;
- how far QRS peaks stand above the detector's noise level, in place of Li's agreement of two detectors;
- whether a heart can beat at the intervals found, see `interval_credible`. Electrode motion makes waves as high and as
  wide as a QRS, so they pass both terms above; but they fall anywhere between two beats, soon too close to one. So
  Orphanidou et al. (IEEE JBHI 19:832, 2015) ask first whether a row of beats is feasible; their limits (180/min, the
  longest interval 2.2 times the shortest) call a premature beat noise, so these here are about what none does.

What is no part of it, and why:

- How like the patient's reference the beats are (Orphanidou's second step): that calls a run of ectopic beats noise,
  exactly where a model shall score. Without it 99 of 100 abnormal beats can be scored on MIT-BIH's DS1 in place of 89.
- How much of the power is not baseline (basSQI, 0-1 Hz, Li et al.): the filters of detector and models take wander
  out, so it kept models from beats that are detected well. A lead at the amplifier's rail is seen as that.
- A second detector in another band (Li's bSQI): where this one takes electrode motion for a beat, so do the others.
  What they tell apart costs as many ventricular beats (figures: `docs/measured.md`).

Flat, clipped, missing and lead-off seconds have quality 0. The index gates model scores; lethal-rhythm rules ignore it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import nan
from statistics import median
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.signal.resample import ANALYSIS_HZ

CONTEXT_S: Final = 4
"""Seconds that power and intervals of one second look back on, itself included."""

ANALYSABLE: Final = 0.5
"""Quality from which a second may be scored by models."""

FLAT_UV: Final = 15.0
"""Peak to peak below this for a whole second is no ECG: a tenth of the smallest QRS of IEC 60601-2-27 (0.15 mV)."""

CLIP_RUN: Final = 12
"""Analysis samples (48 ms) that stay at the very same extreme value: an amplifier at its rail."""

_USUAL_S: Final = 0.50
"""From here on nothing speaks against an interval."""

CLIP_MIN_UV: Final = 1500.0
_CLIP_TOLERANCE_UV: Final = 0.5


@dataclass(frozen=True, slots=True)
class SecondFacts:
    """What one second of raw signal says by itself."""

    flat: bool
    saturated: bool
    rms_uv: float


def second_facts(
    raw_uv: NDArray[np.float32], ecg_uv: NDArray[np.float32], full_scale_uv: float | None
) -> SecondFacts:
    """Judge one second of raw and of filtered samples, both finite.

    Without a known full scale, clipping is a run of `CLIP_RUN` samples at the second's own extreme, beyond 1.5 mV.
    """
    full = np.float32(nan if full_scale_uv is None else 0.98 * full_scale_uv)
    return SecondFacts(*_facts(raw_uv, ecg_uv, full))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _facts(
    raw_uv: NDArray[np.float32], ecg_uv: NDArray[np.float32], full_uv: np.float32
) -> tuple[bool, bool, float]:
    low, high = raw_uv.min(), raw_uv.max()
    flat = bool(np.float64(high) - np.float64(low) < FLAT_UV)
    saturated = False
    if not np.isnan(full_uv):
        saturated = (np.abs(raw_uv) >= full_uv).sum() >= CLIP_RUN
    elif not flat:
        for extreme in (low, high):
            if abs(extreme) >= CLIP_MIN_UV:
                saturated |= _longest_run(raw_uv, extreme) >= CLIP_RUN
    square = 0.0
    for i in range(ecg_uv.size):
        square += np.float64(ecg_uv[i]) ** 2
    return flat, saturated, np.sqrt(square / ecg_uv.size)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _longest_run(x: NDArray[np.float32], level: np.float32) -> int:
    """Return how many samples in a row stay at a level."""
    longest, run = 0, 0
    for i in range(x.size):
        run = run + 1 if abs(x[i] - level) <= _CLIP_TOLERANCE_UV else 0
        longest = max(longest, run)
    return longest


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def missing_until(x: NDArray[np.float32]) -> int:
    """Return the index after the last sample that is missing: 0 where every one is there."""
    for i in range(x.size, 0, -1):
        if not np.isfinite(x[i - 1]):
            return i
    return 0


@cache
def _hann(n: int) -> NDArray[np.float64]:
    return np.hanning(n)


def qrs_power_share(raw_uv: NDArray[np.float32]) -> float:
    """Return pSQI of raw samples at 250 Hz: power 5-15 over 5-40 Hz, 0 where there is none."""
    spectrum = np.fft.rfft(_windowed(raw_uv, _hann(raw_uv.size)))
    share: float = _share(spectrum, *_band_edges(raw_uv.size))
    return share


@cache
def _band_edges(n: int) -> tuple[int, int, int]:
    """Return the first bin at 5 Hz, and the first ones above 15 and above 40 Hz, of n samples' spectrum."""
    hz = np.fft.rfftfreq(n, 1 / ANALYSIS_HZ)
    return int((hz < 5).sum()), int((hz <= 15).sum()), int((hz <= 40).sum())


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _windowed(x: NDArray[np.float32], window: NDArray[np.float64]) -> NDArray[np.float64]:
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return (x - total / x.size) * window


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _share(spectrum: NDArray[np.complex128], at_5: int, above_15: int, above_40: int) -> float:
    narrow, wide = 0.0, 0.0
    for i in range(at_5, above_40):
        power = spectrum[i].real ** 2 + spectrum[i].imag ** 2
        wide += power
        if i < above_15:
            narrow += power
    return narrow / wide if wide > 0 else 0.0


def _ramp(value: float, zero_at: float, one_at: float) -> float:
    return min(1.0, max(0.0, (value - zero_at) / (one_at - zero_at)))


def interval_credible(interval_s: float, noise_ratio: float) -> float:
    """Return 0..1, how credible it is that a heart made both beats of an interval; 1 from 0.5 s on.

    Two activations of the ventricles are no closer than their refractory period lets them: half at 0.24 s (250/min).
    2 of 1,000 intervals of MIT-BIH are shorter, 4 of 5 of those beside a false beat. Up to 0.42 s (143/min), where
    one beat follows on the other's T wave, both have to stand out clearly: half where noise is 0.52 of the QRS, as at
    `Beat.quality` 0.8. Premature beats and fast rhythms do; what electrode motion or muscle adds seldom does. Any
    second limit from 0.34 to 0.42 s kept the same ventricular beats, and the later the fewer false ones.

    Args:
        interval_s: between two neighbouring beats.
        noise_ratio: detector noise level over QRS level, of the worse beat of the two.

    """
    if interval_s >= _USUAL_S:
        return 1.0
    usual, clear = _ramp(interval_s, 0.34, _USUAL_S), _ramp(noise_ratio, 0.64, 0.40)
    return min(_ramp(interval_s, 0.20, 0.28), max(usual, clear))


def quality_index(
    raw_uv: NDArray[np.float32], *, noise_ratios: Sequence[float], intervals: Sequence[float]
) -> float:
    """Return the signal quality 0..1.

    Args:
        raw_uv: the last `CONTEXT_S` seconds of raw samples (fewer after a gap), finite, at 250 Hz.
        noise_ratios: detector noise level over QRS level for the beats of the last seconds.
        intervals: `interval_credible` of those that end in a beat of the last `CONTEXT_S` seconds. Without any
            the rhythm cannot vouch for the signal.

    """
    index = _ramp(qrs_power_share(raw_uv), 0.15, 0.4)
    if not intervals:
        return min(index, 0.5)
    return min(index, _ramp(median(noise_ratios), 0.75, 0.35), *intervals)
