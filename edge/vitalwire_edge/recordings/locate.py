"""From what a user names to a recording."""

import os
from pathlib import Path
from typing import Final

from vitalwire_edge.recordings.recording import Recording, RecordingError

TOY: Final = "toy"
DATA_VARIABLE: Final = "VITALWIRE_DATA"


def data_folder(given: Path | None) -> Path | None:
    """Folder of recordings: `given`, else what `VITALWIRE_DATA` names."""
    named = os.environ.get(DATA_VARIABLE)
    return given if given is not None else Path(named) if named else None


def open_recording(name: str, *, data: Path | None = None, channel: str | None = None) -> Recording:
    """Recording `name`: "toy", or a WFDB record, EDF or CSV file by its path, also below the folder `data`.

    `channel` chooses the lead; by default the first that looks like an ECG. Raises `RecordingError`.
    """
    path = None if name == TOY else find(name, data)
    try:
        return _read(path, channel)
    except ModuleNotFoundError as error:
        raise missing(error, name) from error


def missing(error: ModuleNotFoundError, what: str) -> RecordingError:
    """The error for a format whose package, which a gateway need not have, is not installed."""
    return RecordingError(f"{what} needs {error.name}: install vitalwire[recordings]")


def _read(path: Path | None, channel: str | None) -> Recording:
    # Readers are loaded when needed: a simulated device, of which there are many, needs none.
    if path is None:
        from vitalwire_edge.recordings.toy import toy  # noqa: PLC0415

        return toy()
    match path.suffix.lower():
        case ".edf":
            from vitalwire_edge.recordings.edf import read_edf  # noqa: PLC0415

            return read_edf(path, channel)
        case ".csv":
            from vitalwire_edge.recordings.csv import read_csv  # noqa: PLC0415

            return read_csv(path, channel)
        case _:
            from vitalwire_edge.recordings.wfdb import read_wfdb  # noqa: PLC0415

            return read_wfdb(path, channel)


def first_ecg(folder: Path) -> Path:
    """First recording below `folder`, by name, that holds an ECG. Raises `RecordingError` when there is none."""
    suffixes = {".hea", ".edf", ".csv"}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes):
        try:
            open_recording(str(path.absolute()))
        except RecordingError:
            continue
        return path.absolute()
    raise RecordingError(f"no ECG below {folder}: put a WFDB record (.hea), .edf or .csv file there")


def find(name: str, data: Path | None) -> Path:
    """File of `name` (the header of a WFDB record). Raises `RecordingError` that lists where it was looked for."""
    tried = []
    for base in [Path(), *([data] if data is not None else [])]:
        path = base / name
        for candidate in (path, path.with_name(f"{path.name}.hea"), path.with_suffix(".hea")):
            tried.append(str(candidate))
            if candidate.is_file() and candidate.suffix.lower() in {".hea", ".edf", ".csv"}:
                return candidate
    if data is not None and data.is_dir() and not Path(name).is_absolute():
        below = sorted(data.rglob(f"{name}.hea"))
        if len(below) == 1:
            return below[0]
    where = f"give --data or {DATA_VARIABLE}" if data is None else f"the data folder is {data}"
    raise RecordingError(
        f"no recording {name!r}: use {TOY!r}, or a WFDB record (.hea), .edf or .csv file; {where} "
        f"(looked for {', '.join(dict.fromkeys(tried))})"
    )
