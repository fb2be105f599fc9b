"""Annotated recordings as the gateway would have seen them: its own chain and features at annotated R peaks.

Beat classes after ANSI/AAMI EC57. Records 102, 104, 107 and 217 are paced and left out of beat work. A patient is not
a record: 201 and 202 of MIT-BIH are one person.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import structlog
import wfdb
from numpy.typing import NDArray

from vitalwire_edge.inference import features
from vitalwire_edge.signal.beats import AFTER, BEFORE, RunningReference, beat_window
from vitalwire_edge.signal.chain import BeatWindow
from vitalwire_edge.signal.filters import LOOK_AHEAD, MonitorFilter
from vitalwire_edge.signal.resample import ResamplerBank

CACHE_VERSION: Final = 1
PACED: Final = frozenset({"102", "104", "107", "217"})

DS1: Final = (
    *("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122"),
    *("124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230"),
)
"""The training half of de Chazal et al., IEEE TBME 51(7), 2004."""

_CLASSES: Final = {
    symbol: name
    for name, symbols in {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}.items()
    for symbol in symbols
}
_SAME_PATIENT: Final = {"202": "201"}
_SECOND_CHANNEL: Final = frozenset({"114"})

_log = structlog.get_logger()


class NoRecordError(ValueError):
    """A folder holds nothing to learn from."""


class TrainingDataError(ValueError):
    """Too little to learn from, or a checkpoint of something else."""


@dataclass(frozen=True, slots=True)
class Patient:
    """The beats of one record that can be scored, in order of time.

    Attributes:
        record: name; patient: whose it is.
        digest: SHA-256 of the signal file.
        fs_hz: rate of `sample`.
        sample: (n,) R peaks.
        beat, reference: (n, WINDOW) in the patient's scale.
        context: (n, 18).
        label: (n,) EC57 class letters.
        unscored: class letters of the annotated beats that have no input.

    """

    record: str
    patient: str
    digest: str
    fs_hz: float
    sample: NDArray[np.int64]
    beat: NDArray[np.float32]
    reference: NDArray[np.float32]
    context: NDArray[np.float32]
    label: NDArray[np.str_]
    unscored: NDArray[np.str_]

    @property
    def normal(self) -> NDArray[np.bool_]:
        """Which beats are of class N."""
        chosen: NDArray[np.bool_] = self.label == "N"
        return chosen

    @property
    def late(self) -> NDArray[np.bool_]:
        """Which beats come after the first five minutes, those of personalisation."""
        chosen: NDArray[np.bool_] = self.sample >= 300 * self.fs_hz
        return chosen


def patient_of(record: str) -> str:
    """Whose record it is, for names of MIT-BIH records; any other name stands for itself."""
    return _SAME_PATIENT.get(record, record)


def windows_at(
    samples_uv: NDArray[np.float32], *, fs_hz: float, peaks: Sequence[int] | NDArray[np.int64]
) -> list[BeatWindow]:
    """Beat windows with their references at given R peaks, as `EcgChain` gives them at those it detects."""
    bank = ResamplerBank(1, fs_hz=fs_hz)
    tail = np.full((1, int(fs_hz)), np.nan, dtype=np.float32)
    raw = bank.push(np.concatenate((samples_uv[None].astype(np.float32), tail), axis=1))[0]
    ecg = MonitorFilter().push(raw)[LOOK_AHEAD:]
    reference = RunningReference()
    found: list[BeatWindow] = []
    for peak in peaks:
        index = round(int(peak) * bank.plan.up / bank.plan.down)
        window = beat_window(ecg[max(0, index - BEFORE) : index + AFTER], min(index, BEFORE))
        if window is not None:
            found.append(BeatWindow(int(peak), window, reference.current))
            reference.add(window)
    return found


def load_record(path: Path) -> Patient:
    """Read a WFDB record (path without suffix) with its `atr` annotations."""
    record = wfdb.rdrecord(str(path))
    annotation = wfdb.rdann(str(path), "atr")
    channel = 1 if path.name in _SECOND_CHANNEL else 0
    ecg_uv = (record.p_signal[:, channel] * 1000.0).astype(np.float32)
    fs_hz = float(record.fs)
    label_of = {
        int(at): _CLASSES[symbol]
        for at, symbol in zip(annotation.sample, annotation.symbol, strict=True)
        if symbol in _CLASSES
    }
    peaks = sorted(label_of)
    found = list(features.inputs(windows_at(ecg_uv, fs_hz=fs_hz, peaks=peaks), fs_hz=fs_hz))
    scored = {each.sample for each in found}
    return Patient(
        record=path.name,
        patient=patient_of(path.name),
        digest=hashlib.sha256(path.with_suffix(".dat").read_bytes()).hexdigest(),
        fs_hz=fs_hz,
        sample=np.array([each.sample for each in found], dtype=np.int64),
        beat=np.stack([each.beat for each in found]),
        reference=np.stack([each.reference for each in found]),
        context=np.stack([each.context for each in found]),
        label=np.array([label_of[each.sample] for each in found]),
        unscored=np.array([label_of[at] for at in peaks if at not in scored], dtype="<U1"),
    )


def load_folder(folder: Path, *, cache: Path | None = None, names: Iterable[str] = ()) -> list[Patient]:
    """Every non-paced annotated record of a folder (or those named), from the cache where it is current.

    Raises `NoRecordError` where there is none.
    """
    wanted = set(names)
    found = sorted(path.with_suffix("") for path in folder.glob("*.atr"))
    paths = [p for p in found if p.name not in PACED and (not wanted or p.name in wanted)]
    if not paths:
        raise NoRecordError(f"no annotated record in {folder}: give a WFDB folder such as mitdb/")
    return [_cached(path, cache) for path in paths]


def _cached(path: Path, cache: Path | None) -> Patient:
    if cache is None:
        return load_record(path)
    kept = cache / f"{path.name}.{CACHE_VERSION}.{features.VERSION}.npz"
    if kept.is_file() and kept.stat().st_mtime > path.with_suffix(".dat").stat().st_mtime:
        with np.load(kept, allow_pickle=False) as stored:
            values = {field.name: stored[field.name] for field in fields(Patient)}
        return Patient(**{k: v.item() if v.ndim == 0 else v for k, v in values.items()})
    patient = load_record(path)
    cache.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(f".{os.getpid()}.part.npz")
    np.savez(
        part, allow_pickle=False, **{f.name: np.asarray(getattr(patient, f.name)) for f in fields(Patient)}
    )
    part.replace(kept)
    _log.info("record prepared", record=path.name, beats=patient.sample.size)
    return patient
