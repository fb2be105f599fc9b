"""Annotated recordings as the gateway would have seen them: its own chain and features at annotated R peaks.

Beat classes after ANSI/AAMI EC57. Records 102, 104, 107 and 217 are paced and left out of beat work. A patient is not
a record: 201 and 202 of MIT-BIH are one person.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np
import structlog
import wfdb
from numpy.typing import NDArray

from vitalwire_cloud.train.simulated_ectopy import Strip, with_ectopy
from vitalwire_edge.inference import features
from vitalwire_edge.inference.features import CONTEXT
from vitalwire_edge.signal.beats import AFTER, BEFORE, WINDOW, RunningReference, beat_window
from vitalwire_edge.signal.chain import BeatWindow
from vitalwire_edge.signal.filters import LOOK_AHEAD, MonitorFilter
from vitalwire_edge.signal.resample import ResamplerBank

CACHE_VERSION: Final = 4
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
_SWAPPED: Final = frozenset({"114"})
"""Records whose second channel is the lead that others have first."""
_TO_UV: Final = {"mV": 1000.0, "V": 1e6, "uV": 1.0, "µV": 1.0}
_NO_ECG: Final = re.compile("resp|pleth|ppg|pulse|abp|art|cvp|pap|icp|co2|eeg|eog|emg", re.IGNORECASE)
"""Beginnings of what channels are called that are no ECG, whatever their unit."""

DRAWS: Final = 2
"""How often ectopy is simulated in each lead that is learned from."""

_log = structlog.get_logger()


class NoRecordError(ValueError):
    """A folder holds nothing to learn from."""


class TrainingDataError(ValueError):
    """Too little to learn from, or a checkpoint of something else."""


@dataclass(frozen=True, slots=True)
class Patient:
    """The beats of one lead of a record that can be scored, in order of time.

    Attributes:
        record: name; patient: whose it is.
        digest: SHA-256 of the signal file.
        lead: 0 the record's first lead, which protocols judge on; others serve training only.
        draw: 0 as recorded; with another number a strip that simulated ectopy was written into, for a head alone.
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
    lead: int = 0
    draw: int = 0

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


@dataclass(frozen=True, slots=True)
class Lead:
    """A lead of a WFDB record with the record's `atr` annotations.

    Attributes:
        channel: its place in the file.
        ecg_uv: (n,); missing samples are NaN.
        digest: SHA-256 of the signal file.

    """

    channel: int
    fs_hz: float
    ecg_uv: NDArray[np.float32]
    digest: str
    annotation: wfdb.Annotation


def read_lead(path: Path, lead: int, *, seconds: float | None = None) -> Lead:
    """Read a lead of a record (path without suffix): 0 is its first channel that is an ECG.

    With `seconds` only its beginning. Raises `NoRecordError`, which names the record, also where a file of it is
    missing or damaged.
    """
    try:
        header = wfdb.rdheader(str(path))
        channel = _channel(path, header, lead)
        end = header.sig_len if seconds is None else min(header.sig_len, round(seconds * header.fs))
        record = wfdb.rdrecord(str(path), channels=[channel], sampto=end)
        annotation = wfdb.rdann(str(path), "atr")
        signals = (path.parent / header.file_name[channel]).read_bytes()
    except NoRecordError:
        raise
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise NoRecordError(
            f"record {path} cannot be read: {error}; fetch it again, or name the others with --records"
        ) from error
    if not len(annotation.sample):
        raise NoRecordError(
            f"record {path} has an empty .atr: fetch it again, or name the others with --records"
        )
    return Lead(
        channel=channel,
        fs_hz=float(record.fs),
        ecg_uv=(record.p_signal[:, 0] * _TO_UV[record.units[0]]).astype(np.float32),
        digest=hashlib.sha256(signals).hexdigest(),
        annotation=annotation,
    )


def first_lead(record: str) -> int:
    """The lead that protocols judge on: the second of a record whose leads are known to be swapped."""
    return int(record in _SWAPPED)


def _channel(path: Path, header: wfdb.Record, lead: int) -> int:
    units, names = list(header.units or []), list(header.sig_name or [])
    leads = _ecg_channels(header)
    if lead < len(leads):
        return leads[lead]
    told = ", ".join(f"{name} in {unit!r}" for name, unit in zip(names, units, strict=True)) or "no signal"
    raise NoRecordError(f"record {path} has no ECG lead {lead + 1}: {told}; known are {', '.join(_TO_UV)}")


def _ecg_channels(header: wfdb.Record) -> list[int]:
    pairs = zip(header.sig_name or [], header.units or [], strict=True)
    return [k for k, (name, unit) in enumerate(pairs) if unit in _TO_UV and not _NO_ECG.match(str(name))]


def load_record(path: Path, lead: int = 0, draw: int = 0) -> Patient:
    """Read a lead of a WFDB record (path without suffix) with the record's `atr` annotations.

    With a `draw` simulated ectopy is written in, another one for each number. Raises `NoRecordError`.
    """
    first = first_lead(path.name)
    read = read_lead(path, 1 - lead if first else lead)
    annotation, ecg_uv, fs_hz, digest = read.annotation, read.ecg_uv, read.fs_hz, read.digest
    label_of = {
        int(at): _CLASSES[symbol]
        for at, symbol in zip(annotation.sample, annotation.symbol, strict=True)
        if symbol in _CLASSES
    }
    peaks = sorted(label_of)
    strip = Strip(ecg_uv, np.array(peaks, dtype=np.int64), np.array([label_of[at] for at in peaks]))
    if draw:
        strip = drawn(strip, fs_hz=fs_hz, digest=digest, lead=lead, draw=draw)
    whole = patient_of_strip(
        strip, fs_hz=fs_hz, record=path.name, patient=patient_of(path.name), digest=digest
    )
    return replace(whole, lead=lead, draw=draw)


def drawn(strip: Strip, *, fs_hz: float, digest: str, lead: int, draw: int) -> Strip:
    """A strip with simulated ectopy: of the same signal (`digest`), lead and number always the same."""
    return with_ectopy(strip, fs_hz=fs_hz, rng=np.random.default_rng([int(digest[:16], 16), lead, draw]))


def patient_of_strip(strip: Strip, *, fs_hz: float, record: str, patient: str, digest: str) -> Patient:
    """The beats of a strip at its R peaks that have model inputs."""
    found = list(features.inputs(windows_at(strip.ecg_uv, fs_hz=fs_hz, peaks=strip.peaks), fs_hz=fs_hz))
    label_of = dict(zip(strip.peaks.tolist(), strip.label.tolist(), strict=True))
    scored = {each.sample for each in found}
    return Patient(
        record=record,
        patient=patient,
        digest=digest,
        fs_hz=fs_hz,
        sample=np.array([each.sample for each in found], dtype=np.int64),
        beat=np.array([each.beat for each in found], dtype=np.float32).reshape(-1, WINDOW),
        reference=np.array([each.reference for each in found], dtype=np.float32).reshape(-1, WINDOW),
        context=np.array([each.context for each in found], dtype=np.float32).reshape(-1, len(CONTEXT)),
        label=np.array([label_of[each.sample] for each in found], dtype="<U1"),
        unscored=np.array([of for at, of in label_of.items() if at not in scored], dtype="<U1"),
    )


def as_recorded(patients: Iterable[Patient]) -> list[Patient]:
    """Those without simulated ectopy."""
    return [patient for patient in patients if patient.draw == 0]


def first_leads(patients: Iterable[Patient]) -> list[Patient]:
    """Those that protocols judge on."""
    return [patient for patient in patients if patient.lead == 0 and patient.draw == 0]


def load_folder(
    folder: Path, *, cache: Path | None = None, names: Iterable[str] = (), to_learn: bool = False
) -> list[Patient]:
    """Every non-paced annotated record of a folder (or those named), from the cache where it is current.

    Its first lead; `to_learn` from, the second one follows it, as a `Patient` of the same person (to a model that shall
    run on any wearable's lead, another view of the heart is worth another patient), and then `DRAWS` of either with
    simulated ectopy. Raises `NoRecordError` where there is no record.
    """
    wanted = set(names)
    found = sorted(path.with_suffix("") for path in folder.glob("*.atr"))
    known(wanted, found, folder)
    paths = [p for p in found if p.name not in PACED and (not wanted or p.name in wanted)]
    if not paths:
        raise NoRecordError(f"no annotated record in {folder}: give a WFDB folder such as mitdb/")
    draws = range(DRAWS + 1 if to_learn else 1)
    leads = [(0, 1) if to_learn and _has_second(path) else (0,) for path in paths]
    patients = [
        _cached(path, lead, draw, cache)
        for path, each in zip(paths, leads, strict=True)
        for draw in draws
        for lead in each
    ]
    if not any(patient.sample.size for patient in patients):
        raise NoRecordError(f"no annotated beat that can be scored in the {len(paths)} records of {folder}")
    return patients


def known(wanted: Collection[str], found: Iterable[Path], folder: Path) -> None:
    """Raises `NoRecordError` where a record that is wanted by name is not among those that were found."""
    absent = sorted(set(wanted) - {path.name for path in found})
    if absent:
        raise NoRecordError(f"no annotated record {', '.join(absent)} in {folder}: leave it out of --records")


def _has_second(path: Path) -> bool:
    try:
        return len(_ecg_channels(wfdb.rdheader(str(path)))) > 1
    except (OSError, ValueError):
        return False  # Reading its first lead says what is wrong with it.


def _cached(path: Path, lead: int, draw: int, cache: Path | None) -> Patient:
    if cache is None:
        return load_record(path, lead, draw)
    kept = cache / f"{path.name}.{lead}.{draw}.{CACHE_VERSION}.{features.VERSION}.npz"
    if kept.is_file() and kept.stat().st_mtime > path.with_suffix(".dat").stat().st_mtime:
        with np.load(kept, allow_pickle=False) as stored:
            values = {field.name: stored[field.name] for field in fields(Patient)}
        return Patient(**{k: v.item() if v.ndim == 0 else v for k, v in values.items()})
    patient = load_record(path, lead, draw)
    cache.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(f".{os.getpid()}.part.npz")
    np.savez(
        part, allow_pickle=False, **{f.name: np.asarray(getattr(patient, f.name)) for f in fields(Patient)}
    )
    part.replace(kept)
    _log.info("record prepared", record=path.name, lead=lead, draw=draw, beats=patient.sample.size)
    return patient
