"""Annotations of waves as the QT Database has them: `(`, a wave's symbol, `)`.

Laguna, Mark, Goldberg & Moody, "A database for evaluation of algorithms for measurement of QT and other waveform
intervals in the ECG", Computers in Cardiology 24:673, 1997. `q1c` and `q2c` are by hand, `pu`, `pu0` and `pu1` by
program. P is `p`, a QRS complex any beat symbol, T is `t`; a `(` belongs to the wave after it, a `)` to the one before.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import wfdb
from numpy.typing import NDArray

from vitalwire_cloud.evaluation.records import BEATS
from vitalwire_edge.signal.delineation import MARKS

SUFFIXES: Final = ("q1c", "q2c", "pu0", "pu1", "pu")
"""By hand before by program."""

_TO_UV: Final = {"mV": 1000.0, "V": 1e6, "uV": 1.0, "µV": 1.0}
_NEAR_S: Final = 0.6


@dataclass(frozen=True, slots=True)
class WaveRecord:
    """A recording with marked waves.

    Attributes:
        ecg_uv: (channels, n) samples.
        marks_s: (b, 7) as in `delineation.MARKS`, NaN where nothing is marked.
        r_s: (b,) the QRS marks.
        all_r_s: every beat that the record's other annotators know, for the intervals around the marked ones.

    """

    name: str
    annotator: str
    fs_hz: float
    ecg_uv: NDArray[np.float32]
    r_s: NDArray[np.float64]
    marks_s: NDArray[np.float64]
    all_r_s: NDArray[np.float64]


def wave_records(folder: Path) -> list[tuple[Path, str]]:
    """Records of a folder (without suffix) that have marked waves, with the annotator to use."""
    found = []
    for header in sorted(folder.glob("*.hea")):
        suffix = next((s for s in SUFFIXES if header.with_suffix(f".{s}").is_file()), None)
        if suffix is not None:
            found.append((header.with_suffix(""), suffix))
    return found


def read_waves(path: Path, annotator: str) -> WaveRecord:
    """Read a record and its marked waves."""
    record = wfdb.rdrecord(str(path))
    fs_hz = float(record.fs)
    scale = np.array([_TO_UV.get(unit, 1000.0) for unit in record.units])
    note = wfdb.rdann(str(path), annotator)
    at = np.asarray(note.sample) / fs_hz
    r_s, marks_s = _waves(at, list(note.symbol))
    others = [r_s]
    for other in ("atr", "ari", "qrs"):
        if path.with_suffix(f".{other}").is_file():
            beats = wfdb.rdann(str(path), other)
            others = [np.asarray(beats.sample)[np.isin(beats.symbol, sorted(BEATS))] / fs_hz]
            break
    return WaveRecord(
        name=path.name,
        annotator=annotator,
        fs_hz=fs_hz,
        ecg_uv=(record.p_signal * scale).T.astype(np.float32),
        r_s=r_s,
        marks_s=marks_s,
        all_r_s=np.unique(np.concatenate(others)),
    )


def _waves(at: NDArray[np.float64], symbols: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """R peaks (b,) and marks (b, 7) from annotations in order of time."""
    waves: list[tuple[str, float, float, float]] = []
    for k, symbol in enumerate(symbols):
        kind = {"p": "p", "t": "t"}.get(symbol, "qrs" if symbol in BEATS else "")
        if kind:
            start = at[k - 1] if k > 0 and symbols[k - 1] == "(" else np.nan
            end = at[k + 1] if k + 1 < len(symbols) and symbols[k + 1] == ")" else np.nan
            waves.append((kind, start, at[k], end))
    r_s, rows = [], []
    for k, (kind, start, peak, end) in enumerate(waves):
        if kind != "qrs":
            continue
        row = dict.fromkeys(MARKS, np.nan) | {"qrs_on": start, "qrs_off": end}
        if k > 0 and waves[k - 1][0] == "p" and peak - waves[k - 1][2] < _NEAR_S:
            row |= dict(zip(("p_on", "p_peak", "p_off"), waves[k - 1][1:], strict=True))
        if k + 1 < len(waves) and waves[k + 1][0] == "t" and waves[k + 1][2] - peak < _NEAR_S:
            row |= {"t_peak": waves[k + 1][2], "t_off": waves[k + 1][3]}
        r_s.append(peak)
        rows.append([row[name] for name in MARKS])
    return np.asarray(r_s), np.asarray(rows).reshape(-1, len(MARKS))
