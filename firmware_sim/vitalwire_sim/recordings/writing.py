"""Writes leads of one recording as WFDB, EDF+ or CSV, with their beats."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import edfio
import numpy as np
import wfdb

from vitalwire_sim.physiology.patient import Floats
from vitalwire_sim.recordings.edf import END_MARK
from vitalwire_sim.recordings.recording import Recording, RecordingError

FORMATS: Final = ("wfdb", "edf", "csv")
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
    match form:
        case "wfdb":
            return _wfdb(target, leads, note)
        case "edf":
            return _edf(target, leads, note)
        case "csv":
            return _csv(target, leads)
    raise RecordingError(f"format {form!r}: use one of {', '.join(FORMATS)}")


def _wfdb(target: Path, leads: Sequence[Recording], note: str) -> list[Path]:
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
    if first.beats:
        samples = np.array([beat.sample for beat in first.beats])
        wfdb.wrann(
            name, "atr", samples, [beat.symbol for beat in first.beats], fs=first.fs_hz, write_dir=folder
        )
        written.append(target.with_name(f"{name}.atr"))
    return written


def _edf(target: Path, leads: Sequence[Recording], note: str) -> list[Path]:
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
    marks = [edfio.EdfAnnotation(beat.sample / rate, None, beat.symbol) for beat in first.beats]
    if padding:
        marks.append(edfio.EdfAnnotation(first.uv.size / rate, None, END_MARK))
    edf = edfio.Edf(
        signals,
        recording=edfio.Recording(additional=note.split()),
        data_record_duration=1,
        annotations=marks or None,
    )
    path = target.with_name(f"{target.name}.edf")
    edf.write(path)
    return [path]


def _edf_range(uv: Floats) -> tuple[float, float]:
    """Symmetric and of whole microvolts, since an EDF header has 8 characters for it."""
    limit = float(max(np.ceil(np.abs(uv).max()), 1))
    return -limit, limit


def _csv(target: Path, leads: Sequence[Recording]) -> list[Path]:
    first = leads[0]
    path = target.with_name(f"{target.name}.csv")
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["time_s", *[f"{lead.lead} [uV]" for lead in leads]])
        for index, values in enumerate(zip(*[lead.uv for lead in leads], strict=True)):
            cells = ["" if np.isnan(value) else f"{value:.2f}" for value in values]
            rows.writerow([f"{index / first.fs_hz:.6f}", *cells])
    if not first.beats:
        return [path]
    beats = target.with_name(f"{target.name}.beats.tsv")
    with beats.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(["sample", "symbol"])
        rows.writerows([beat.sample, beat.symbol] for beat in first.beats)
    return [path, beats]
