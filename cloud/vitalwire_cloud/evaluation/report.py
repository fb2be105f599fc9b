"""What every protocol leaves: figures with peers and bar, tables, curves and strips; printed, as JSON and as a page."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, NoReturn

import msgspec
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

Metrics = dict[str, float]

LABELLED: Final = "labelled_"
"""Before the name of a figure of a score that labels of other patients had a part in: never in the figure itself."""
AT_MOST: Final = frozenset(
    (
        *("d_auc", "bytes", "p50_us", "p99_us", "decision_ms_max", "worst_budget_ratio"),
        *("news2_errors", "reaction_s_p99", "false_per_24h", "disc_over_ceiling", "near_share", "mia_auc"),
        *(
            f"{of}{mark}_sd"
            for of in ("", "marked_")
            for mark in ("p_on", "p_off", "qrs_on", "qrs_off", "t_off")
        ),
    )
)
"""Figures of which less is better."""
_LARGE: Final = 10_000


def _in_a_folder(path: Path | None) -> Path | None:
    """Told before a protocol runs for minutes, not after."""
    if path is not None and not path.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent} to write {path.name} to")
    return path


Data = Annotated[
    Path,
    typer.Option("--data", help="WFDB folder with annotations.", metavar="DIR", exists=True, file_okay=False),
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json", help="Write the figures there.", metavar="FILE", dir_okay=False, callback=_in_a_folder
    ),
]
Cache = Annotated[Path | None, typer.Option("--cache", help="Keep prepared records there.", metavar="DIR")]
Seed = Annotated[int, typer.Option("--seed", help="Of everything drawn at random.")]
Epochs = Annotated[int, typer.Option("--epochs", min=1, help="Passes of training.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Score a signed model, or `shipped`, and train nothing.",
        metavar="PATH|shipped",
        show_default="trained here, by patient",
    ),
]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A protocol's JSON. `metrics` is flat; `peers` are others' metrics on the same data or as published."""

    protocol: str
    model: str
    data: str
    records: list[str]
    seed: int
    metrics: Metrics
    peers: dict[str, Metrics]
    bar: Metrics
    passed: bool


@dataclass(frozen=True, slots=True)
class Grid:
    """A table beside the main one."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """What a ROC and a precision-recall curve are drawn from: (n,) whether abnormal, (n,) score."""

    name: str
    abnormal: NDArray[np.bool_]
    score: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Strip:
    """A piece of ECG in microvolts, with marks in samples from its start, drawn as a worst case."""

    title: str
    ecg_uv: NDArray[np.float32]
    fs_hz: float
    marks: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A protocol that has run."""

    report: Report
    notes: tuple[str, ...] = ()
    tables: tuple[Grid, ...] = ()
    curves: tuple[Curve, ...] = ()
    strips: tuple[Strip, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)


def meets(metrics: Metrics, bar: Metrics) -> bool:
    """Whether every figure of the bar is there and reached."""
    return all(name in metrics and reaches(name, metrics[name], limit) for name, limit in bar.items())


def reaches(name: str, value: float, limit: float) -> bool:
    """Whether one figure reaches its bar."""
    return value <= limit if name in AT_MOST else value >= limit


def columns(report: Report) -> dict[str, Metrics]:
    """A report as a table by column, the first of which names the rows; what labels taught stands in one of its own."""
    apart = {
        name: name.removeprefix(LABELLED)
        for name in report.metrics
        if name.startswith(LABELLED) and name.removeprefix(LABELLED) in report.metrics
    }
    ours = {name: value for name, value in report.metrics.items() if name not in apart}
    labelled = {row: report.metrics[name] for name, row in apart.items()}
    found = {"ours": ours, "with labels": labelled, "bar": report.bar}
    return {name: column for name, column in found.items() if column or name == "ours"} | report.peers


def verdict(report: Report) -> str:
    """Whether the bar is reached, where there is one."""
    if not report.bar:
        return "no bar"
    return "passed" if report.passed else "bar not reached"


def encoded(report: Report) -> bytes:
    """A report's JSON. A figure that is none (of nothing) is left out, so that all that is there is a number."""
    kept = msgspec.structs.replace(
        report,
        metrics=_numbers(report.metrics),
        peers={name: _numbers(column) for name, column in report.peers.items()},
    )
    return msgspec.json.format(msgspec.json.encode(kept), indent=1)


def _numbers(figures: Metrics) -> Metrics:
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def say(outcome: Outcome, path: Path | None) -> None:
    """Print an outcome, and write its JSON. Ends the command with 2 where the file cannot be written."""
    report = outcome.report
    console = Console(width=None if sys.stdout.isatty() else 160)
    every = columns(report)
    table = Table("", *every, title=f"{report.protocol} on {len(report.records)} records of {report.data}")
    for name in every["ours"]:
        table.add_row(name, *(figure(column, name) for column in every.values()))
    console.print(table)
    for grid in outcome.tables:
        extra = Table(*grid.columns, title=grid.title)
        for row in grid.rows:
            extra.add_row(*row)
        console.print(extra)
    typer.echo(f"model: {report.model}")
    typer.echo(f"records: {' '.join(report.records)}")
    for note in outcome.notes:
        typer.echo(note)
    typer.echo(verdict(report))
    if path is not None:
        try:
            path.write_bytes(encoded(report))
        except OSError as error:
            wrong(f"{path}: {error.strerror}")


def figure(column: Metrics, name: str) -> str:
    """One cell."""
    return shown(column[name]) if name in column else ""


def shown(value: float) -> str:
    """A figure to read: four digits, of large ones all before the point."""
    return f"{value:,.0f}" if abs(value) >= _LARGE else f"{value:.4g}"


def wrong(message: str) -> NoReturn:
    """End the command: it was used wrongly."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


Advance = Callable[[str], None]
"""Tells that one more step of a run is done, by its name."""


def silent(_text: str) -> None:
    """An `Advance` that says nothing."""


@contextmanager
def progress(title: str) -> Iterator[Callable[[int], Advance]]:
    """A progress bar on standard error; the block says how many steps there are and is given their `Advance`."""
    with many() as of:
        yield of(title)


@contextmanager
def many() -> Iterator[Callable[[str], Callable[[int], Advance]]]:
    """Several progress bars, by title."""
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*shown, console=Console(stderr=True), transient=True) as bar:

        def of(title: str) -> Callable[[int], Advance]:
            def start(total: int) -> Advance:
                task = bar.add_task(title, total=total)
                return lambda text: bar.update(task, advance=1, description=f"{title}: {text}")

            return start

        yield of
