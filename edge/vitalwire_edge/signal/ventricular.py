"""Ventricular fibrillation and flutter: features of a few seconds of filtered ECG, and a detector over them.

The features come from the literature and so do their thresholds, see each function; Amann, Tratnig & Unterkofler
(BioMed. Eng. OnLine 4:60, 2005) compare them, Li, Rajagopalan & Clifford (IEEE TBME 61(6):1607, 2014) rank them.
"""

from collections import deque
from dataclasses import dataclass
from functools import cache
from math import nan
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import signal

from vitalwire_edge.signal.quality import missing_until
from vitalwire_edge.signal.resample import ANALYSIS_HZ

Samples = NDArray[np.float64]

WINDOW_S: Final = 5
"""Window length; Li et al. 2014 found 5 s enough, and it leaves time to confirm within the 10 s of IEC 60601-2-27."""

MAX_LEAKAGE: Final = 0.625
MAX_SLOPE_KURTOSIS: Final = 6.5
"""Between simulated fibrillation in electrode and muscle noise (95 % below 6) and organised rhythms (95 % above 6.5,
paced and sinus rhythm under 0 dB of noise included); no recorded fibrillation was used to place it."""

MIN_CROSSING: Final = 0.36
"""Below the 0.48 of the TCSC paper, which decides alone and on 8 s: here three other features have to agree."""

MIN_HZ: Final = 2.4
MAX_HZ: Final = 10.0
"""Fibrillation and flutter: 150/min to 10 Hz (Clayton et al. 1990s: 3-9 Hz; flutter from 150/min)."""

MIN_AMPLITUDE_UV: Final = 100.0
"""Peak to peak over the window; below is asystole or noise (fine fibrillation ends where asystole begins: 0.1 mV)."""

_SECTIONS: Final = signal.butter(2, (1.0, 30.0), "bandpass", fs=ANALYSIS_HZ, output="sos")
_AT_REST: Final = signal.sosfilt_zi(_SECTIONS)
_MIRRORED: Final = 15
"""Samples by which a window is continued at both ends, odd, before it is filtered (as `scipy.signal.sosfiltfilt`)."""
_SEGMENT: Final = 3 * ANALYSIS_HZ
_CROSSING_LEVEL: Final = 0.2
_SHORTEST_LAG: Final = round(0.24 * ANALYSIS_HZ)
_LONGEST_LAG: Final = round(0.7 * ANALYSIS_HZ)
_SPECTRUM: Final = 2048


def _tapered() -> Samples:
    """Weights of a 3 s segment whose first and last quarter of a second are cosines."""
    ramp = round(0.25 * ANALYSIS_HZ)
    taper = np.ones(_SEGMENT)
    taper[:ramp] = 0.5 * (1 - np.cos(np.pi * np.arange(ramp) / ramp))
    taper[-ramp:] = taper[:ramp][::-1]
    return taper


_TAPER: Final = _tapered()


@cache
def _hann(n: int) -> Samples:
    return np.hanning(n)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _filter(x: Samples, sections: Samples, at_rest: Samples) -> None:
    """Run the two sections over x in place, begun as if x[0] had been there for ever."""
    # Both sections in one pass: neither waits for the other's last sample, so the processor works on both at once.
    b0, b1, b2, _, a1, a2 = sections[0]
    c0, c1, c2, _, d1, d2 = sections[1]
    z0, z1 = at_rest[0] * x[0]
    w0, w1 = at_rest[1] * x[0]
    for i in range(x.size):
        value = x[i]
        between = b0 * value + z0
        z0 = b1 * value - a1 * between + z1
        z1 = b2 * value - a2 * between
        out = c0 * between + w0
        w0 = c1 * between - d1 * out + w1
        w1 = c2 * between - d2 * out
        x[i] = out


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _band_limited(raw: NDArray[np.float32], sections: Samples, at_rest: Samples, mirrored: int) -> Samples:
    """Keep 1-30 Hz of (n,) samples, zero phase, as the compared methods all do first."""
    n = raw.size
    mean = 0.0
    for i in range(n):
        mean += raw[i]
    mean /= n
    x = np.empty(n + 2 * mirrored)
    for i in range(n):
        x[mirrored + i] = raw[i] - mean
    for i in range(mirrored):
        x[i] = 2 * x[mirrored] - x[2 * mirrored - i]
        x[n + mirrored + i] = 2 * x[n + mirrored - 1] - x[n + mirrored - 2 - i]
    _filter(x, sections, at_rest)
    back = x[::-1].copy()
    _filter(back, sections, at_rest)
    return back[::-1][mirrored : mirrored + n].copy()


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def threshold_crossing(x: Samples, taper: Samples, step: int, level: float) -> float:
    """Share of samples beyond a fifth of the maximum, over 3 s segments stepped by 1 s (TCSC).

    Arafat, Chowdhury & Hasan, "A simple time domain algorithm for the detection of ventricular fibrillation in
    electrocardiogram", Signal Image Video Process. 5:1, 2011: above 0.48 is fibrillation.
    """
    n = taper.size
    share, segments = 0.0, 0
    for start in range(0, x.size - n + 1, step):
        peak = 1e-9
        for i in range(n):
            peak = max(peak, abs(x[start + i] * taper[i]))
        beyond = 0
        for i in range(n):
            beyond += abs(x[start + i] * taper[i]) > level * peak
        share += beyond / n
        segments += 1
    return share / segments


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def leakage(x: Samples) -> float:
    """What a filter at the signal's own mean period lets through: 0 for a sine, 1 for spikes (VF filter).

    Kuo & Dillman, "Computer detection of ventricular fibrillation", Computers in Cardiology 5:347, 1978; threshold
    0.625 after Jekova (Physiol. Meas. 21:429, 2000) and Amann et al. 2005.
    """
    steps, total = 0.0, 0.0
    for i in range(1, x.size):
        steps += abs(x[i] - x[i - 1])
        total += abs(x[i])
    if steps <= 0:
        return 1.0
    half = int(np.pi * total / steps + 0.5)
    if not 0 < half < x.size // 2:
        return 1.0
    through, whole = 0.0, 0.0
    for i in range(half, x.size):
        through += abs(x[i] + x[i - half])
        whole += abs(x[i]) + abs(x[i - half])
    return through / whole


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def slope_kurtosis(x: Samples) -> float:
    """Kurtosis of the slope: 1.5 for a sine, 3 for Gaussian noise, far above for the brief steep slopes of QRS.

    Kurtosis of the signal itself is among the features of Li et al. 2014; the slope's tells QRS complexes apart even on
    a wandering baseline, and white noise brings it nearer to 3, so noise does not hide a fibrillation.
    """
    square, fourth = 0.0, 0.0
    for i in range(1, x.size):
        slope = (x[i] - x[i - 1]) ** 2
        square += slope
        fourth += slope * slope
    n = x.size - 1
    return fourth / n / max((square / n) ** 2, 1e-18)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _features(x: Samples, taper: Samples, step: int, level: float) -> tuple[float, float, float, float]:
    return threshold_crossing(x, taper, step, level), leakage(x), slope_kurtosis(x), x.max() - x.min()


def dominant_hz(x: Samples) -> float:
    """Frequency of the largest spectral peak, resolved to 0.12 Hz."""
    spectrum = np.abs(np.fft.rfft(x * _hann(x.size), n=_SPECTRUM))
    return float(spectrum.argmax()) * ANALYSIS_HZ / _SPECTRUM


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def periodicity(x: Samples, shortest: int, longest: int) -> float:
    """Largest correlation of a window with itself 0.24 to 0.7 s later: near 1 for beats that are all alike."""
    largest = -1.0
    for lag in range(shortest, longest):
        product, early, late = 0.0, 0.0, 0.0
        for i in range(x.size - lag):
            product += x[i] * x[i + lag]
            early += x[i] * x[i]
            late += x[i + lag] * x[i + lag]
        largest = max(largest, product / max(np.sqrt(early * late), 1e-9))
    return largest


@dataclass(frozen=True, slots=True)
class VentricularWindow:
    """The features of the last `WINDOW_S` seconds, and whether they say fibrillation or flutter.

    `dominant_hz` and `periodicity` are NaN where the other features already say no.
    """

    crossing: float
    leakage: float
    slope_kurtosis: float
    amplitude_uv: float
    dominant_hz: float
    periodicity: float

    @property
    def fibrillating(self) -> bool:
        """No QRS-like slopes, near a narrow-band oscillation, most of the time away from the baseline."""
        return MIN_HZ <= self.dominant_hz <= MAX_HZ


def ventricular_features(ecg_uv: NDArray[np.float32]) -> VentricularWindow:
    """Return the features of finite (samples,) filtered ECG at 250 Hz, at least 3 s long."""
    x = _band_limited(np.ascontiguousarray(ecg_uv, dtype=np.float32), _SECTIONS, _AT_REST, _MIRRORED)
    crossing, leaking, kurtosis, amplitude_uv = _features(x, _TAPER, ANALYSIS_HZ, _CROSSING_LEVEL)
    suspect = (
        leaking < MAX_LEAKAGE
        and kurtosis < MAX_SLOPE_KURTOSIS
        and crossing > MIN_CROSSING
        and amplitude_uv >= MIN_AMPLITUDE_UV
    )
    return VentricularWindow(
        crossing,
        leaking,
        kurtosis,
        amplitude_uv,
        dominant_hz(x) if suspect else nan,
        periodicity(x, _SHORTEST_LAG, _LONGEST_LAG) if suspect else nan,
    )


class VentricularDetector:
    """Judges the last `WINDOW_S` seconds, once a second. Causal: a window ends with the second just given."""

    def __init__(self) -> None:
        self._seconds: deque[NDArray[np.float32]] = deque(maxlen=WINDOW_S)

    def push(self, ecg_uv: NDArray[np.float32]) -> VentricularWindow | None:
        """Take (250,) filtered samples; None until `WINDOW_S` seconds without a missing (NaN) sample are there."""
        if missing_until(ecg_uv):
            self._seconds.clear()
            return None
        self._seconds.append(ecg_uv)
        if len(self._seconds) < WINDOW_S:
            return None
        return ventricular_features(np.concatenate(self._seconds))
