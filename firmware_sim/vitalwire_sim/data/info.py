"""What a file or a folder of recordings holds."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import edfio
import msgspec
import wfdb

from vitalwire_edge.recordings.csv import describe_csv
from vitalwire_edge.recordings.recording import RecordingError
from vitalwire_sim.data.registry import DATABASES

SUFFIXES: Final = frozenset({".hea", ".edf", ".csv"})
_ANNOTATORS: Final = frozenset({".atr", ".ari", ".qrs", ".ecg", ".gqrsh", ".gqrsl", ".sqrs"})


class ChannelInfo(msgspec.Struct, frozen=True):
    """One channel of a record."""

    name: str
    unit: str
    fs_hz: float


class RecordInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One record. `annotations` counts the symbols of each annotator; `problem` says why the rest is empty."""

    name: str
    path: str
    format: str
    duration_s: float | None = None
    channels: tuple[ChannelInfo, ...] = ()
    annotations: dict[str, dict[str, int]] = {}
    segments: int = 1
    problem: str | None = None


class FolderInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder with its records and, where known, its licence."""

    path: str
    records: tuple[RecordInfo, ...]
    licence: str | None = None
    citation: str | None = None


def describe(path: Path) -> FolderInfo:
    """What is at `path` (a file, a WFDB record without suffix, or a folder). Raises `RecordingError`."""
    files = sorted(_files(path))
    if not files:
        raise RecordingError(f"{path}: no .hea, .edf or .csv here; give a recording, or a folder of them")
    folder = path if path.is_dir() else path.parent
    known = DATABASES.get(folder.resolve().name)
    licence = known.licence if known is not None else _licence_file(folder)
    citation = known.citation if known is not None else None
    return FolderInfo(
        path=str(path), records=tuple(_record(file) for file in files), licence=licence, citation=citation
    )


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for file in path.rglob("*"):
            if file.suffix.lower() in SUFFIXES and file.is_file():
                yield file
    elif path.is_file() and path.suffix.lower() in SUFFIXES:
        yield path
    elif path.with_name(f"{path.name}.hea").is_file():
        yield path.with_name(f"{path.name}.hea")


def _record(file: Path) -> RecordInfo:
    try:
        match file.suffix.lower():
            case ".hea":
                return _wfdb(file)
            case ".edf":
                return _edf(file)
            case _:
                return _csv(file)
    except (OSError, ValueError, IndexError, KeyError, TypeError, csv.Error) as error:
        # One bad file must not hide what else is in the folder.
        return RecordInfo(name=file.stem, path=str(file), format=file.suffix[1:].upper(), problem=str(error))


def _wfdb(file: Path) -> RecordInfo:
    record = str(file.with_suffix(""))
    head = wfdb.rdheader(record)
    annotations = {}
    for beside in sorted(file.parent.glob(f"{file.stem}.*")):
        if beside.suffix in _ANNOTATORS:
            marks = wfdb.rdann(record, beside.suffix[1:])
            annotations[beside.suffix[1:]] = dict(Counter(marks.symbol).most_common())
    duration_s = None if not head.sig_len else head.sig_len / head.fs
    if isinstance(head, wfdb.MultiRecord):
        names = tuple(name for name in head.seg_name if name != "~")
        return RecordInfo(
            name=file.stem,
            path=str(file),
            format="WFDB",
            duration_s=duration_s,
            segments=len(names),
            annotations=annotations,
        )
    per_frame = head.samps_per_frame or [1] * head.n_sig
    channels = tuple(
        ChannelInfo(name, unit, float(head.fs) * each)
        for name, unit, each in zip(head.sig_name or [], head.units or [], per_frame, strict=False)
    )
    named = {name for name in head.file_name or [] if name != "~"}
    missing = sorted(name for name in named if not (file.parent / name).is_file())
    return RecordInfo(
        name=file.stem,
        path=str(file),
        format="WFDB",
        duration_s=duration_s,
        channels=channels,
        annotations=annotations,
        problem=f"signal file missing: {', '.join(missing)}" if missing else None,
    )


def _edf(file: Path) -> RecordInfo:
    edf = edfio.read_edf(file)
    channels = tuple(
        ChannelInfo(s.label, s.physical_dimension, float(s.sampling_frequency)) for s in edf.signals
    )
    texts = Counter(annotation.text for annotation in edf.annotations)
    return RecordInfo(
        name=file.stem,
        path=str(file),
        format="EDF",
        duration_s=float(edf.duration),
        channels=channels,
        annotations={"edf": dict(texts.most_common())} if texts else {},
    )


def _csv(file: Path) -> RecordInfo:
    fs_hz, channels, rows = describe_csv(file)
    return RecordInfo(
        name=file.stem,
        path=str(file),
        format="CSV",
        duration_s=rows / fs_hz,
        channels=tuple(ChannelInfo(name, unit, fs_hz) for name, unit in channels),
    )


def _licence_file(folder: Path) -> str | None:
    for name in ("LICENSE.txt", "LICENSE"):
        file = folder / name
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            return next((line.strip() for line in lines if line.strip()), None)
    return None
