"""Writes leads of one recording as WFDB, EDF+ or CSV, with their beats."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vitalwire_edge.recordings.csv import BEATS_SUFFIX, COMMENT
from vitalwire_edge.recordings.locate import missing
from vitalwire_edge.recordings.recording import END_MARK, RHYTHM_SYMBOL, Floats, Recording, RecordingError

FORMATS: Final = ("wfdb", "edf", "csv")
_EDF_NOTE: Final = 44
"""Characters for a note in an EDF header, after its date and names."""

_GAIN_PER_MV: Final = 400.0
"""2.5 uV a step, as the simulated wearable has; 16 bits then hold 80 mV."""


def write(target: Path, form: str, leads: Sequence[Recording], *, note: str) -> list[Path]:
    """Write `leads` (equal rate and length) below the name `target` (no suffix) as `form`; the files written.

    `note` is written into the file: say there whether the signal is synthetic. Raises `RecordingError`.
    """
    first = leads[0]
    if any(lead.fs_hz != first.fs_hz or lead.uv.size != first.uv.size for lead in leads):
        raise RecordingError(
            f"leads of {first.name} differ in rate or length; resample them to one rate with --fs"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        match form:
            case "wfdb":
                return _wfdb(target, leads, note)
            case "edf":
                return _edf(target, leads, note)
            case "csv":
                return _csv(target, leads, note)
    except ModuleNotFoundError as error:
        raise missing(error, f"format {form}") from error
    raise RecordingError(f"format {form!r}: use one of {', '.join(FORMATS)}")


def _wfdb(target: Path, leads: Sequence[Recording], note: str) -> list[Path]:
    import wfdb  # noqa: PLC0415 - a gateway need not have it

    name = target.name
    if not name.replace("-", "").replace("_", "").isalnum():
        raise RecordingError(f"WFDB record name {name!r}: use letters, digits, - and _")
    first, folder = leads[0], str(target.parent)
    wfdb.wrsamp(
        name,
        fs=first.fs_hz,
        units=["mV"] * len(leads),
        sig_name=[lead.lead for lead in leads],
        p_signal=np.column_stack([lead.uv for lead in leads]) / 1000,
        fmt=["16"] * len(leads),
        adc_gain=[_GAIN_PER_MV] * len(leads),
        baseline=[0] * len(leads),
        comments=[note],
        write_dir=folder,
    )
    written = [target.with_name(f"{name}.hea"), target.with_name(f"{name}.dat")]
    marks = _marks(first)
    if marks:
        samples, symbols, names = (list(column) for column in zip(*marks, strict=True))
        wfdb.wrann(name, "atr", np.array(samples), symbols, aux_note=names, fs=first.fs_hz, write_dir=folder)
        written.append(target.with_name(f"{name}.atr"))
    return written


def _edf(target: Path, leads: Sequence[Recording], note: str) -> list[Path]:
    import edfio  # noqa: PLC0415 - likewise

    first = leads[0]
    for lead in leads:
        if np.isnan(lead.uv).any():
            raise RecordingError(
                f"{first.name}, lead {lead.lead}: EDF cannot hold its gaps; write WFDB or CSV"
            )
    rate = round(first.fs_hz)
    if rate != first.fs_hz:
        raise RecordingError(
            f"{first.name}: EDF wants whole samples a second, not {first.fs_hz:g} Hz; give --fs {rate}"
        )
    padding = -first.uv.size % rate
    signals = [
        edfio.EdfSignal(
            np.pad(lead.uv, (0, padding), mode="edge"),
            rate,
            label=lead.lead[:16],
            physical_dimension="uV",
            physical_range=_edf_range(lead.uv),
        )
        for lead in leads
    ]
    marks = [
        edfio.EdfAnnotation(sample / rate, None, rhythm or symbol) for sample, symbol, rhythm in _marks(first)
    ]
    if note:
        marks.insert(0, edfio.EdfAnnotation(0, None, note))
    if padding:
        marks.append(edfio.EdfAnnotation(first.uv.size / rate, None, END_MARK))
    edf = edfio.Edf(
        signals,
        recording=edfio.Recording(additional=_header_words(note)),
        data_record_duration=1,
        annotations=marks or None,
    )
    path = target.with_name(f"{target.name}.edf")
    edf.write(path)
    return [path]


def _header_words(note: str) -> list[str]:
    """The first words of a note: as many as an EDF header has room for. The whole note is an annotation."""
    words, room = list[str](), _EDF_NOTE
    for word in note.encode("ascii", "replace").decode().split():
        room -= len(word) + 1
        if room < 0:
            break
        words.append(word)
    return words


def _edf_range(uv: Floats) -> tuple[float, float]:
    """Symmetric and of whole microvolts, since an EDF header has 8 characters for it."""
    limit = float(max(np.ceil(np.abs(uv).max()), 1))
    return -limit, limit


def _csv(target: Path, leads: Sequence[Recording], note: str) -> list[Path]:
    first = leads[0]
    path = target.with_name(f"{target.name}.csv")
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{COMMENT} {line}\n" for line in note.splitlines())
        rows = csv.writer(file)
        rows.writerow(["time_s", *[f"{lead.lead} [uV]" for lead in leads]])
        for index, values in enumerate(zip(*[lead.uv for lead in leads], strict=True)):
            cells = ["" if np.isnan(value) else f"{value:.2f}" for value in values]
            rows.writerow([f"{index / first.fs_hz:.6f}", *cells])
    marks = _marks(first)
    if not marks:
        return [path]
    beats = target.with_name(f"{target.name}{BEATS_SUFFIX}")
    with beats.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(["sample", "symbol", "rhythm"])
        rows.writerows(marks)
    return [path, beats]


def _marks(recording: Recording) -> list[tuple[int, str, str]]:
    """Sample, symbol and rhythm name of every annotation, in order; a rhythm stands before its first beat."""
    rhythms = [(mark.sample, RHYTHM_SYMBOL, mark.name) for mark in recording.rhythms]
    beats = [(beat.sample, beat.symbol, "") for beat in recording.beats]
    return sorted([*rhythms, *beats], key=lambda mark: mark[0])
