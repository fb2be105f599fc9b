"""Delineators in one shape: ours, and NeuroKit2's where it is installed."""

import importlib
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.signal.chain import EcgChain
from vitalwire_edge.signal.delineation import MARKS, delineate, rows
from vitalwire_edge.signal.resample import ANALYSIS_HZ

Floats = NDArray[np.float64]

_AFTER_S: Final = 2.0
_NAMES: Final = {
    "p_on": "ECG_P_Onsets",
    "p_peak": "ECG_P_Peaks",
    "p_off": "ECG_P_Offsets",
    "qrs_on": "ECG_R_Onsets",
    "qrs_off": "ECG_R_Offsets",
    "t_peak": "ECG_T_Peaks",
    "t_off": "ECG_T_Offsets",
}


@dataclass(frozen=True, slots=True)
class Marked:
    """(n, 7) marks in seconds, NaN where there is none, and how long the delineation alone took."""

    s: Floats
    spent_s: float


Delineator = Callable[[NDArray[np.float32], float, Floats], Marked]
"""Marks of beats whose R peaks are given, of an ECG in microvolts at a rate."""


def filtered(ecg_uv: NDArray[np.float32], fs_hz: float) -> NDArray[np.float32]:
    """What the gateway's chain makes of a lead: 0.5-40 Hz at 250 Hz, from its first sample on."""
    after = np.full(round(_AFTER_S * fs_hz), ecg_uv[-1], dtype=np.float32)
    out = EcgChain(fs_hz=fs_hz).push(0, np.concatenate((ecg_uv.astype(np.float32), after)))
    return np.concatenate([second.ecg_uv for second in out.seconds])


def beats_of(
    ecg_uv: NDArray[np.float32], fs_hz: float, r_s: Floats
) -> tuple[NDArray[np.float32], NDArray[np.int64], Floats, Floats]:
    """Rows of the beats at r_s, their R peaks at 250 Hz, and the intervals before and after each."""
    index = np.rint(r_s * ANALYSIS_HZ).astype(np.int64)
    rr_s = np.diff(r_s)
    return (
        rows(filtered(ecg_uv, fs_hz), index),
        index,
        np.append(np.nan, rr_s),
        np.append(rr_s, np.nan),
    )


def ours(ecg_uv: NDArray[np.float32], fs_hz: float, r_s: Floats) -> Marked:
    """Ours, beat by beat."""
    cut, index, before_s, after_s = beats_of(ecg_uv, fs_hz, r_s)
    began = time.perf_counter()
    found = delineate(cut, before_s, after_s)
    spent_s = time.perf_counter() - began
    return Marked(found.ms / 1000 + index[:, None] / ANALYSIS_HZ, spent_s)


def neurokit2(ecg_uv: NDArray[np.float32], fs_hz: float, r_s: Floats) -> Marked:
    """NeuroKit2's discrete wavelet method, on its own cleaned ECG; it sees the whole recording."""
    nk: Any = importlib.import_module("neurokit2")
    rate = round(fs_hz)
    clean = nk.ecg_clean(ecg_uv.astype(np.float64) / 1000, sampling_rate=rate)
    peaks = np.rint(r_s * fs_hz).astype(np.int64)
    began = time.perf_counter()
    _, waves = nk.ecg_delineate(clean, peaks, sampling_rate=rate, method="dwt")
    spent_s = time.perf_counter() - began
    found = np.full((r_s.size, len(MARKS)), np.nan)
    for column, name in enumerate(MARKS):
        values = np.asarray(waves[_NAMES[name]], dtype=np.float64)[: r_s.size]
        found[: values.size, column] = values / fs_hz
    return Marked(found, spent_s)


def peers() -> dict[str, Delineator]:
    """The others that can be run here."""
    return {"neurokit2 dwt": neurokit2} if importlib.util.find_spec("neurokit2") else {}
