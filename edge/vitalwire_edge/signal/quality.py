"""Signal quality of one lead, second by second.

The index is the weakest of three fuzzy memberships, as in Zhao & Zhang (Front. Physiol. 9:727, 2018), over the last
seconds of signal:

- share of the 5-40 Hz power that lies in 5-15 Hz (pSQI) and share of the power that is not baseline, 0-1 Hz (basSQI),
  both from Li, Mark & Clifford (Physiol. Meas. 29:15, 2008) and Clifford et al. (Physiol. Meas. 33:1419, 2012);
- how far QRS peaks stand above the detector's noise level, in place of Li's agreement of two detectors.

How like the patient's reference the beats are (Orphanidou et al., IEEE JBHI 19:832, 2015) is no part of it: that calls
a run of ectopic beats noise, exactly where a model shall score. Without it 99 of 100 abnormal beats can be scored on
MIT-BIH's DS1 in place of 89; under electrode motion noise at 6 dB 90 of 100 beats are, in place of 87.

Flat, clipped, missing and lead-off seconds have quality 0. The index gates model scores; lethal-rhythm rules ignore it.
"""

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
"""Seconds of signal that the spectral terms of one second look back on, itself included."""

ANALYSABLE: Final = 0.5
"""Quality from which a second may be scored by models."""

FLAT_UV: Final = 15.0
"""Peak to peak below this for a whole second is no ECG: a tenth of the smallest QRS of IEC 60601-2-27 (0.15 mV)."""

CLIP_RUN: Final = 12
"""Analysis samples (48 ms) that stay at the very same extreme value: an amplifier at its rail."""

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


def band_shares(raw_uv: NDArray[np.float32]) -> tuple[float, float]:
    """Return (pSQI, basSQI) of raw samples at 250 Hz: power 5-15 over 5-40 Hz, and 1 minus power 0-1 over 0-40 Hz.

    The mean is removed first, since an electrode offset is not noise.
    """
    spectrum = np.fft.rfft(_windowed(raw_uv, _hann(raw_uv.size)))
    shares: tuple[float, float] = _shares(spectrum, *_band_edges(raw_uv.size))
    return shares


@cache
def _band_edges(n: int) -> tuple[int, int, int, int]:
    """Return the first bins at 1 and at 5 Hz, and the first ones above 15 and above 40 Hz, of n samples' spectrum."""
    hz = np.fft.rfftfreq(n, 1 / ANALYSIS_HZ)
    return int((hz < 1).sum()), int((hz < 5).sum()), int((hz <= 15).sum()), int((hz <= 40).sum())


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _windowed(x: NDArray[np.float32], window: NDArray[np.float64]) -> NDArray[np.float64]:
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return (x - total / x.size) * window


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _shares(
    spectrum: NDArray[np.complex128], at_1: int, at_5: int, above_15: int, above_40: int
) -> tuple[float, float]:
    power = np.empty(above_40)
    for i in range(above_40):
        power[i] = spectrum[i].real ** 2 + spectrum[i].imag ** 2
    wide, total = power[at_5:].sum(), power.sum()
    if total <= 0 or wide <= 0:
        return 0.0, 0.0
    return power[at_5:above_15].sum() / wide, 1 - power[:at_1].sum() / total


def _ramp(value: float, zero_at: float, one_at: float) -> float:
    return min(1.0, max(0.0, (value - zero_at) / (one_at - zero_at)))


def quality_index(raw_uv: NDArray[np.float32], *, noise_ratios: list[float], since_beat_s: float) -> float:
    """Return the signal quality 0..1.

    Args:
        raw_uv: the last `CONTEXT_S` seconds of raw samples (fewer after a gap), finite, at 250 Hz.
        noise_ratios: detector noise level over QRS level for the beats of the last seconds.
        since_beat_s: seconds since the last beat; without any beat the rhythm terms cannot vouch for the signal.

    """
    p_share, base_share = band_shares(raw_uv)
    terms = [_ramp(p_share, 0.15, 0.4), _ramp(base_share, 0.2, 0.7)]
    if noise_ratios and since_beat_s <= CONTEXT_S:
        terms.append(_ramp(median(noise_ratios), 0.75, 0.35))
    else:
        terms.append(0.5)
    return min(terms)
