"""QRS detectors that ours is measured beside, as far as they are installed; all of them see the whole recording."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Detector = Callable[[NDArray[np.float32], float], NDArray[np.float64]]
"""R peaks in samples of an ECG in microvolts at a rate."""


def sleepecg(ecg_uv: NDArray[np.float32], fs_hz: float) -> NDArray[np.float64]:
    """Sleepecg's Pan-Tompkins."""
    module: Any = importlib.import_module("sleepecg")
    return np.asarray(module.detect_heartbeats(ecg_uv.astype(np.float64) / 1000, fs_hz), dtype=np.float64)


def neurokit2(ecg_uv: NDArray[np.float32], fs_hz: float) -> NDArray[np.float64]:
    """NeuroKit2's Pan-Tompkins with its own cleaning."""
    nk: Any = importlib.import_module("neurokit2")
    rate = round(fs_hz)
    clean = nk.ecg_clean(ecg_uv.astype(np.float64) / 1000, sampling_rate=rate, method="pantompkins1985")
    _, info = nk.ecg_peaks(clean, sampling_rate=rate, method="pantompkins1985")
    return np.asarray(info["ECG_R_Peaks"], dtype=np.float64)


def xqrs(ecg_uv: NDArray[np.float32], fs_hz: float) -> NDArray[np.float64]:
    """XQRS of the wfdb package."""
    from wfdb.processing import xqrs_detect  # noqa: PLC0415

    return np.asarray(xqrs_detect(ecg_uv.astype(np.float64) / 1000, fs_hz, verbose=False), dtype=np.float64)


def gqrs(ecg_uv: NDArray[np.float32], fs_hz: float) -> NDArray[np.float64]:
    """GQRS of the wfdb package, fed 5 uV steps."""
    from wfdb.processing import gqrs_detect  # noqa: PLC0415

    digital = np.round(ecg_uv / 5.0).astype(np.int64)
    return np.asarray(gqrs_detect(d_sig=digital, fs=fs_hz, adc_gain=200, adc_zero=0), dtype=np.float64)


PEERS: Final[dict[str, tuple[str, Detector]]] = {
    "gqrs": ("wfdb", gqrs),
    "neurokit2": ("neurokit2", neurokit2),
    "xqrs": ("wfdb", xqrs),
    "sleepecg": ("sleepecg", sleepecg),
}
"""Name: the package that holds it, and the detector."""


def installed() -> dict[str, Detector]:
    """The peers that can be run here."""
    return {name: run for name, (package, run) in PEERS.items() if importlib.util.find_spec(package)}


def missing() -> dict[str, str]:
    """Peers that cannot be run here, with the package they are in."""
    return {name: package for name, (package, _) in PEERS.items() if not importlib.util.find_spec(package)}
