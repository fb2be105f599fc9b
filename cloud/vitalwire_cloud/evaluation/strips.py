"""Whether made strips keep time and sound like the patient's: intervals, their variability, and the spectrum."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch

from vitalwire_cloud.evaluation.records import read
from vitalwire_cloud.evaluation.report import Metrics
from vitalwire_cloud.train.dataset import Patient
from vitalwire_edge.inference.generator import BeatGenerator, Style
from vitalwire_edge.signal.filters import MonitorFilter
from vitalwire_edge.signal.resample import ANALYSIS_HZ, ResamplerBank
from vitalwire_edge.synthesis.rhythm import plan
from vitalwire_edge.synthesis.strip import compose

STRIP_S: Final = 60.0
_EARLY_S: Final = 300.0
_BAND: Final = (1.0, 40.0)
_MAX_RR_S: Final = 2.5


def strip_metrics(
    folder: Path, patient: Patient, generator: BeatGenerator, styles: Sequence[Style], *, seed: int
) -> Metrics:
    """A made strip and the real first five minutes against the rest of the record.

    `rr_off` is the mean interval's error as a share of it; `sdnn_ratio` and `rmssd_ratio` are of made over real
    normal-to-normal intervals, medians over windows of a minute; `spectrum_db` is the root mean square difference of
    the log spectra from 1 to 40 Hz, each of its own power, and `spectrum_db_ceiling` that of the first five minutes.
    """
    rng = np.random.default_rng(seed)
    late = _normal_intervals(patient, patient.late)
    early = _normal_intervals(patient, ~patient.late)
    if min(late.size, early.size) < 30:
        return {}
    planned = plan("sinus", seconds=STRIP_S, rate_bpm=float(np.clip(60 / np.median(early), 30, 180)), rng=rng)
    style = styles[len(styles) // 2]
    made = compose(generator, style, planned, seconds=STRIP_S, rng=rng, name=patient.record)
    intervals = np.diff([beat.sample for beat in made.beats]) / made.fs_hz
    real = read(folder / patient.record)
    ecg = _filtered(real.ecg_uv, real.fs_hz)
    cut = round(_EARLY_S * ANALYSIS_HZ)
    late_spectrum = _spectrum(ecg[cut:])
    return {
        "rr_off": abs(float(np.median(intervals)) / float(np.median(late)) - 1),
        "sdnn_ratio": _sdnn(intervals) / _windowed(late, _sdnn),
        "rmssd_ratio": _rmssd(intervals) / _windowed(late, _rmssd),
        "spectrum_db": _distance(_spectrum(_filtered(made.uv.astype(np.float32), made.fs_hz)), late_spectrum),
        "spectrum_db_ceiling": _distance(_spectrum(ecg[:cut]), late_spectrum),
    }


def _normal_intervals(patient: Patient, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Seconds between normal beats that follow each other."""
    rr = np.diff(patient.sample) / patient.fs_hz
    normal = patient.normal[1:] & patient.normal[:-1] & chosen[1:] & chosen[:-1]
    found: NDArray[np.float64] = rr[normal & (rr < _MAX_RR_S)]
    return found


def _windowed(rr: NDArray[np.float64], figure: Callable[[NDArray[np.float64]], float]) -> float:
    """Median of a figure over windows of about a minute."""
    size = max(10, int(STRIP_S / float(rr.mean())))
    cuts = range(0, max(1, rr.size - size + 1), size)
    return max(float(np.median([figure(rr[k : k + size]) for k in cuts])), 1e-4)


def _sdnn(rr: NDArray[np.float64]) -> float:
    return float(rr.std())


def _rmssd(rr: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(np.diff(rr)).mean()))


def _filtered(ecg_uv: NDArray[np.float32], fs_hz: float) -> NDArray[np.float32]:
    """As the gateway's monitor shows it, at 250 Hz; missing samples are 0."""
    raw = ResamplerBank(1, fs_hz=fs_hz).push(np.nan_to_num(ecg_uv)[None].astype(np.float32))[0]
    filtered: NDArray[np.float32] = np.nan_to_num(MonitorFilter().push(np.nan_to_num(raw)))
    return filtered


def _spectrum(ecg: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log power in dB from 1 to 40 Hz, of a power of 1 in all."""
    hz, power = welch(ecg.astype(np.float64), ANALYSIS_HZ, nperseg=1024)
    inside = power[(hz >= _BAND[0]) & (hz <= _BAND[1])]
    level: NDArray[np.float64] = 10 * np.log10(inside / inside.sum() + 1e-9)
    return level


def _distance(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(x - y).mean()))
