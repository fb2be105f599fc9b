"""Vital signs hour by hour: PhysioNet/CinC 2012 stays, and the monitor's own numbers of MIMIC-IV Waveform.

A cell is the median of an hour (of five minutes for a monitor's numbers), NaN where nothing was measured.
"""

import csv
import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.models.vitals_vae import SIGNS
from vitalwire_cloud.train.dataset import NoRecordError

STAY_HOURS: Final = 48
ARCHIVE: Final = "set-a.tar.xz"
_OUTCOMES: Final = "Outcomes-a.txt"
_SIGN_OF: Final = {
    "HR": 0,
    "RespRate": 1,
    "SaO2": 2,
    "SysABP": 3,
    "NISysABP": 3,
    "DiasABP": 4,
    "NIDiasABP": 4,
    "Temp": 5,
    "GCS": 6,
}
_PLAUSIBLE: Final = ((20, 250), (3, 70), (50, 100), (30, 280), (10, 180), (30, 43), (3, 15))
_MONITOR: Final = {"HR [bpm]": 0, "RR [rpm]": 1, "SpO2 [%]": 2, "NBPs [mmHg]": 3, "NBPd [mmHg]": 4}
_TICKS_PER_S: Final = 999.56
_STEP_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Stays:
    """(n, hours, signs) cells, whether each stay ended in death, and the SHA-256 of where they came from."""

    cells: NDArray[np.float32]
    died: NDArray[np.bool_]
    digest: str


def read_stays(folder: Path) -> Stays:
    """The stays of `cinc2012/set-a.tar.xz`. Raises `NoRecordError`."""
    path = folder / ARCHIVE
    if not path.is_file():
        raise NoRecordError(f"no {ARCHIVE} in {folder}: give the folder that holds cinc2012/")
    cells: dict[int, NDArray[np.float32]] = {}
    died: dict[int, bool] = {}
    with tarfile.open(path) as archive:
        for name, text in _texts(archive):
            if name == _OUTCOMES:
                rows = csv.DictReader(io.StringIO(text))
                died = {int(row["RecordID"]): row["In-hospital_death"] == "1" for row in rows}
            elif name.removesuffix(".txt").isdigit():
                cells[int(name.removesuffix(".txt"))] = _stay(text)
    known = sorted(set(cells) & set(died))
    return Stays(
        np.stack([cells[stay] for stay in known]),
        np.array([died[stay] for stay in known]),
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _texts(archive: tarfile.TarFile) -> Iterator[tuple[str, str]]:
    for member in archive:
        file = archive.extractfile(member) if member.isfile() else None
        if file is not None:
            yield Path(member.name).name, file.read().decode()


def _stay(text: str) -> NDArray[np.float32]:
    found: dict[tuple[int, int], list[float]] = {}
    for line in text.splitlines()[1:]:
        when, name, value = line.split(",")
        sign = _SIGN_OF.get(name)
        hour = int(when[:2])
        if sign is None or hour >= STAY_HOURS:
            continue
        low, high = _PLAUSIBLE[sign]
        if low <= float(value) <= high:
            found.setdefault((hour, sign), []).append(float(value))
    cells = np.full((STAY_HOURS, len(SIGNS)), np.nan, dtype=np.float32)
    for at, values in found.items():
        cells[at] = np.median(values)
    return cells


def read_monitor(folder: Path) -> NDArray[np.float32] | None:
    """(steps, signs) five-minute medians of a `*n.csv.gz` below `mimic4wdb/`; None where there is none."""
    path = next(iter(sorted(folder.glob("*/*n.csv.gz"))), None)
    if path is None:
        return None
    found: dict[tuple[int, int], list[float]] = {}
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            step = int(float(row["time"]) / _TICKS_PER_S / _STEP_S)
            for name, sign in _MONITOR.items():
                text = row.get(name)
                if text and _PLAUSIBLE[sign][0] <= float(text) <= _PLAUSIBLE[sign][1]:
                    found.setdefault((step, sign), []).append(float(text))
    if not found:
        return None
    cells = np.full((max(step for step, _ in found) + 1, len(SIGNS)), np.nan, dtype=np.float32)
    for at, values in found.items():
        cells[at] = np.median(values)
    return cells
