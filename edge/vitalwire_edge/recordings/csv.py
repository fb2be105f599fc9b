"""CSV files: one row a sample, a header row, a time column in seconds or a rate in the first row.

Lines before the header that begin with `#` are comments. Units stand in the header after the name, in brackets or
behind an underscore: `II [mV]`, `ecg_uv`; without one a column is taken as mV, the unit of most exports. An empty
cell, or one that is no number, is a sample that was not recorded. Beats and rhythms stand in a file beside it,
`NAME.beats.tsv`.
"""

import csv
import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np

from vitalwire_edge.recordings.leads import choose, microvolts_per
from vitalwire_edge.recordings.recording import (
    RHYTHM_SYMBOL,
    Floats,
    Recording,
    RecordingError,
    RhythmMark,
    TrueBeat,
)

COMMENT: Final = "#"
BEATS_SUFFIX: Final = ".beats.tsv"
_TIME: Final = re.compile(r"(?:time|t|seconds?|s)(?:[ _]*[\[(]?(s|sec|seconds|ms)[\])]?)?", re.IGNORECASE)
_RATE: Final = re.compile(
    r"(?:sampling[ _]?)?(?:freq(?:uency)?|rate|fs)(?:[ _]*[\[(]?hz[\])]?)?", re.IGNORECASE
)
_UNIT: Final = re.compile(
    r"(?P<name>.+?)\s*(?:[\[(](?P<unit>[^\])]+)[\])]|_(?P<suffix>[unm]?v))", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Layout:
    comments: int
    fs_hz: float
    columns: tuple[tuple[int, str, str], ...]
    """Index, name and unit of each signal."""


def read_csv(path: Path, channel: str | None) -> Recording:
    """One column of `path`. Raises `RecordingError`."""
    source = f"CSV file {path}"
    try:
        layout = _layout(path, source)
        index, name, unit = layout.columns[
            choose([name for _, name, _ in layout.columns], channel, source=source)
        ]
        uv = _column(path, index, layout.comments) * microvolts_per(unit, source=source, channel=name)
        beats, rhythms = _annotations(path.with_name(f"{path.stem}{BEATS_SUFFIX}"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{source}: {error}") from error
    return Recording(name=path.stem, lead=name, fs_hz=layout.fs_hz, uv=uv, beats=beats, rhythms=rhythms)


def describe_csv(path: Path) -> tuple[float, tuple[tuple[str, str], ...], int]:
    """Rate in Hz, (name, unit) of each signal, and rows of `path`. Raises `RecordingError` or `OSError`."""
    layout = _layout(path, f"CSV file {path}")
    with path.open("rb") as file:
        rows = sum(1 for line in file if line.strip()) - 1 - layout.comments
    return layout.fs_hz, tuple((name, unit) for _, name, unit in layout.columns), rows


def _layout(path: Path, source: str) -> _Layout:
    with path.open(encoding="utf-8-sig", newline="") as file:
        comments, head = 0, next(file, "")
        while head.startswith(COMMENT):
            comments, head = comments + 1, next(file, "")
        rows = csv.reader(chain((head,), file))
        header = [cell.strip() for cell in next(rows, [])]
        first = next(rows, [])
    if not first or not header:
        raise RecordingError(f"{source}: holds no header row and samples")
    fs_hz, skip = _rate(path, header, first, comments, source)
    columns = tuple((i, *_named(cell)) for i, cell in enumerate(header) if i not in skip)
    if not columns:
        raise RecordingError(f"{source}: holds no column but the time")
    return _Layout(comments, fs_hz, columns)


def _rate(
    path: Path, header: list[str], first: list[str], comments: int, source: str
) -> tuple[float, set[int]]:
    """Rate in Hz and the columns that are no signal."""
    times = [i for i, cell in enumerate(header) if _TIME.fullmatch(cell)]
    rates = [i for i, cell in enumerate(header) if _RATE.fullmatch(cell)]
    skip = {*times, *rates}
    if rates:
        try:
            return float(first[rates[0]]), skip
        except (ValueError, IndexError) as error:
            raise RecordingError(f"{source}: column {header[rates[0]]!r} must say the rate in Hz") from error
    if not times:
        raise RecordingError(f"{source}: needs a column time_s, or fs_hz with the rate in its first row")
    time_s = _column(path, times[0], comments) * (1e-3 if "ms" in header[times[0]].casefold() else 1.0)
    steps = np.diff(time_s)
    if steps.size == 0 or not np.isfinite(steps).all() or not (steps > 0).all():
        raise RecordingError(f"{source}: column {header[times[0]]!r} must rise from row to row")
    step_s = float(time_s[-1] - time_s[0]) / steps.size
    if float(np.abs(steps - step_s).max()) > 0.5 * step_s:
        raise RecordingError(f"{source}: samples are not evenly spaced; resample them to one rate first")
    return round(1 / step_s, 4), skip


def _named(cell: str) -> tuple[str, str]:
    """Name and unit of a header cell."""
    found = _UNIT.fullmatch(cell)
    if found is None:
        return cell, "mV"
    return found["name"], found["unit"] or found["suffix"]


def _column(path: Path, index: int, comments: int) -> Floats:
    values = np.genfromtxt(
        path, delimiter=",", skip_header=1 + comments, usecols=[index], encoding="utf-8-sig"
    )
    return np.atleast_1d(values).astype(np.float64).reshape(-1)


def _annotations(path: Path) -> tuple[tuple[TrueBeat, ...], tuple[RhythmMark, ...]]:
    if not path.is_file():
        return (), ()
    beats, rhythms = [], []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            try:
                sample, symbol = int(row["sample"]), row["symbol"]
            except (KeyError, TypeError, ValueError) as error:
                raise RecordingError(
                    f"{path}: a row {row} is no beat; columns are sample, symbol, rhythm"
                ) from error
            if symbol == RHYTHM_SYMBOL:
                rhythms.append(RhythmMark(sample, row.get("rhythm") or ""))
            else:
                beats.append(TrueBeat(sample, symbol))
    return tuple(beats), tuple(rhythms)
