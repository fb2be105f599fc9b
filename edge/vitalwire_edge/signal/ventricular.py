"""Ventricular fibrillation and flutter: features of a few seconds of filtered ECG, and a detector over them.

The features come from the literature and so do their thresholds, see each function; Amann, Tratnig & Unterkofler
(BioMed. Eng. OnLine 4:60, 2005) compare them, Li, Rajagopalan & Clifford (IEEE TBME 61(6):1607, 2014) rank them.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from vitalwire_edge.signal.resample import ANALYSIS_HZ

Windows = NDArray[np.float64]

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

_BAND: Final = signal.butter(2, (1.0, 30.0), "bandpass", fs=ANALYSIS_HZ, output="sos")
_TAPER_S: Final = 0.25
_SEGMENT: Final = 3 * ANALYSIS_HZ
_CROSSING_LEVEL: Final = 0.2


def band_limited(ecg_uv: NDArray[np.float32]) -> Windows:
    """Keep 1-30 Hz of (windows, samples), zero phase within each window, as the compared methods all do first."""
    x = ecg_uv.astype(np.float64)
    x -= x.mean(axis=-1, keepdims=True)
    return np.asarray(signal.sosfiltfilt(_BAND, x, axis=-1), dtype=np.float64)


def threshold_crossing(x: Windows) -> NDArray[np.float64]:
    """Share of samples beyond a fifth of the maximum, over 3 s segments stepped by 1 s (TCSC).

    Arafat, Chowdhury & Hasan, "A simple time domain algorithm for the detection of ventricular fibrillation in
    electrocardiogram", Signal Image Video Process. 5:1, 2011: above 0.48 is fibrillation.
    """
    n = _SEGMENT
    ramp = round(_TAPER_S * ANALYSIS_HZ)
    taper = np.ones(n)
    taper[:ramp] = 0.5 * (1 - np.cos(np.pi * np.arange(ramp) / ramp))
    taper[-ramp:] = taper[:ramp][::-1]
    shares = []
    for start in range(0, x.shape[-1] - n + 1, ANALYSIS_HZ):
        magnitude = np.abs(x[..., start : start + n] * taper)
        peak = magnitude.max(axis=-1, keepdims=True)
        shares.append((magnitude > _CROSSING_LEVEL * np.maximum(peak, 1e-9)).mean(axis=-1))
    return np.asarray(np.mean(shares, axis=0))


def leakage(x: Windows) -> NDArray[np.float64]:
    """What a filter at the signal's own mean period lets through: 0 for a sine, 1 for spikes (VF filter).

    Kuo & Dillman, "Computer detection of ventricular fibrillation", Computers in Cardiology 5:347, 1978; threshold
    0.625 after Jekova (Physiol. Meas. 21:429, 2000) and Amann et al. 2005.
    """
    rows = x.reshape(-1, x.shape[-1])
    out = np.ones(rows.shape[0])
    steps = np.abs(np.diff(rows, axis=-1)).sum(axis=-1)
    sums = np.abs(rows[:, 1:]).sum(axis=-1)
    for i, row in enumerate(rows):
        if steps[i] <= 0:
            continue
        half = int(np.pi * sums[i] / steps[i] + 0.5)
        if 0 < half < row.size // 2:
            late, early = row[half:], row[:-half]
            out[i] = np.abs(late + early).sum() / (np.abs(late) + np.abs(early)).sum()
    return out.reshape(x.shape[:-1])


def slope_kurtosis(x: Windows) -> NDArray[np.float64]:
    """Kurtosis of the slope: 1.5 for a sine, 3 for Gaussian noise, far above for the brief steep slopes of QRS.

    Kurtosis of the signal itself is among the features of Li et al. 2014; the slope's tells QRS complexes apart even on
    a wandering baseline, and white noise brings it nearer to 3, so noise does not hide a fibrillation.
    """
    slope = np.diff(x, axis=-1)
    square = (slope * slope).mean(axis=-1)
    return np.asarray((slope**4).mean(axis=-1) / np.maximum(square * square, 1e-18))


def dominant_hz(x: Windows) -> NDArray[np.float64]:
    """Frequency of the largest spectral peak, resolved to 0.12 Hz."""
    n = 2048
    power = np.abs(np.fft.rfft(x * np.hanning(x.shape[-1]), n=n, axis=-1))
    return np.asarray(power.argmax(axis=-1) * (ANALYSIS_HZ / n))


def periodicity(x: Windows) -> NDArray[np.float64]:
    """Largest correlation of a window with itself 0.24 to 0.7 s later: near 1 for beats that are all alike."""
    n = x.shape[-1]
    lags = np.arange(round(0.24 * ANALYSIS_HZ), round(0.7 * ANALYSIS_HZ))
    power = np.abs(np.fft.rfft(x, n=2 * n, axis=-1)) ** 2
    product = np.fft.irfft(power, n=2 * n, axis=-1)[..., lags]
    squares = np.cumsum(x * x, axis=-1)
    early, late = squares[..., n - lags - 1], squares[..., -1:] - squares[..., lags - 1]
    return np.asarray((product / np.maximum(np.sqrt(early * late), 1e-9)).max(axis=-1))


@dataclass(frozen=True, slots=True)
class VentricularWindow:
    """The features of the last `WINDOW_S` seconds, and whether they say fibrillation or flutter."""

    crossing: float
    leakage: float
    slope_kurtosis: float
    dominant_hz: float
    periodicity: float
    amplitude_uv: float

    @property
    def fibrillating(self) -> bool:
        """No QRS-like slopes, near a narrow-band oscillation, most of the time away from the baseline."""
        return (
            self.leakage < MAX_LEAKAGE
            and self.slope_kurtosis < MAX_SLOPE_KURTOSIS
            and self.crossing > MIN_CROSSING
            and MIN_HZ <= self.dominant_hz <= MAX_HZ
            and self.amplitude_uv >= MIN_AMPLITUDE_UV
        )


def ventricular_features(ecg_uv: NDArray[np.float32]) -> list[VentricularWindow]:
    """Return the features of finite (windows, samples) filtered ECG at 250 Hz, each row at least 3 s long."""
    x = band_limited(ecg_uv)
    columns = (
        threshold_crossing(x),
        leakage(x),
        slope_kurtosis(x),
        dominant_hz(x),
        periodicity(x),
        np.ptp(x, axis=-1),
    )
    return [VentricularWindow(*(float(v) for v in row)) for row in zip(*columns, strict=True)]


class VentricularDetector:
    """Judges the last `WINDOW_S` seconds, once a second. Causal: a window ends with the second just given."""

    def __init__(self) -> None:
        self._seconds: deque[NDArray[np.float32]] = deque(maxlen=WINDOW_S)

    def push(self, ecg_uv: NDArray[np.float32]) -> VentricularWindow | None:
        """Take (250,) filtered samples; None until `WINDOW_S` seconds without a missing (NaN) sample are there."""
        if not np.isfinite(ecg_uv).all():
            self._seconds.clear()
            return None
        self._seconds.append(ecg_uv)
        if len(self._seconds) < WINDOW_S:
            return None
        return ventricular_features(np.concatenate(self._seconds)[None, :])[0]
