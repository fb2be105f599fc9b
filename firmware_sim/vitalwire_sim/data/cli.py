"""`vitalwire data`: get recordings, see what is in them, turn them into other formats."""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from vitalwire_edge.recordings.recording import RecordingError
from vitalwire_sim.data.convert import convert as convert_recording
from vitalwire_sim.data.download import DownloadError
from vitalwire_sim.data.fetch import Entry, entries, select
from vitalwire_sim.data.fetch import fetch as fetch_files
from vitalwire_sim.data.info import FolderInfo, describe
from vitalwire_sim.data.registry import DATABASES, Database

_FAILED: Final = 1
_WRONG_USE: Final = 2

app = typer.Typer(
    no_args_is_help=True,
    help="Recordings: fetch public databases, describe and convert files.",
    epilog="Example: vitalwire data fetch mitdb --to recordings",
)


@app.command(epilog="Example: vitalwire data fetch mitdb --to recordings --record 100 --record 101")
def fetch(
    database: Annotated[
        str | None, typer.Argument(help="Name of a database; without one, list them.")
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder that gets a folder named as the database.")] = Path(
        "recordings"
    ),
    url: Annotated[str | None, typer.Option(help="Get it from this folder instead (a mirror).")] = None,
    record: Annotated[list[str] | None, typer.Option(help="Only this record; may be given often.")] = None,
) -> None:
    """Download a database, or go on where a download broke off. Every file is checked against its SHA-256."""
    if database is None:
        _list_databases()
        return
    known = DATABASES.get(database)
    if known is None and url is None:
        typer.echo(
            f"vitalwire data fetch: unknown database {database!r}: use one of {', '.join(DATABASES)}, or give --url",
            err=True,
        )
        raise typer.Exit(_WRONG_USE)
    console = Console(stderr=True)
    _introduce(console, known)
    try:
        address = url or (known.url if known is not None else "")
        chosen = select(entries(address), record or ())
        with _progress(console) as progress:
            done = fetch_files(address, chosen, to / database, progress=_Bars(progress, len(chosen)).tell)
    except (DownloadError, OSError) as error:
        typer.echo(f"vitalwire data fetch: {error}", err=True)
        raise typer.Exit(_FAILED) from error
    typer.echo(
        f"{to / database}: {done.files} files ({done.new} new), {done.bytes_on_disk / 1e6:.1f} MB, verified"
    )


@app.command(epilog="Example: vitalwire data info recordings/mitdb --json")
def info(
    path: Annotated[Path, typer.Argument(help="A recording, or a folder of them.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show records, leads, rates, lengths, annotations and, where known, the licence."""
    try:
        found = describe(path)
    except RecordingError as error:
        typer.echo(f"vitalwire data info: {error}", err=True)
        raise typer.Exit(_WRONG_USE) from error
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _show(found)


@app.command(epilog="Example: vitalwire data convert recordings/mitdb/100.hea 100 --format edf --fs 250")
def convert(
    source: Annotated[Path, typer.Argument(help="A WFDB header (.hea), EDF or CSV file.")],
    target: Annotated[Path, typer.Argument(help="Name to write to, without suffix.")],
    form: Annotated[Literal["wfdb", "edf", "csv"], typer.Option("--format", help="What to write.")],
    channel: Annotated[list[str] | None, typer.Option(help="Only this channel; may be given often.")] = None,
    fs: Annotated[float | None, typer.Option(min=20, max=10_000, help="Resample to this rate in Hz.")] = None,
    resample: Annotated[
        Literal["polyphase", "causal"],
        typer.Option(help="Zero-phase, or as the gateway does it (to 250 Hz)."),
    ] = "polyphase",
) -> None:
    """Write a recording in another format, with its beats, at its own or another rate."""
    try:
        done = convert_recording(
            source, target, form, channels=tuple(channel or ()), fs_hz=fs, method=resample
        )
    except (RecordingError, OSError) as error:
        typer.echo(f"vitalwire data convert: {error}", err=True)
        raise typer.Exit(_FAILED) from error
    typer.echo(f"{', '.join(done.files)}: {', '.join(done.leads)} at {done.fs_hz:g} Hz")
    if done.left_out:
        typer.echo(f"left out, no voltage: {', '.join(done.left_out)}", err=True)


def _list_databases() -> None:
    table = Table("name", "what", "licence", "cite")
    for database in DATABASES.values():
        table.add_row(database.name, database.title, database.licence, database.citation)
    Console().print(table)


def _introduce(console: Console, database: Database | None) -> None:
    if database is None:
        console.print(
            "not a database that vitalwire knows: see its own licence before you use it", highlight=False
        )
        return
    for line in (database.title, f"licence: {database.licence}", f"cite: {database.citation}"):
        console.print(line, highlight=False)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[now]}"),
        TimeElapsedColumn(),
        console=console,
    )


class _Bars:
    """One bar over all files, with what the present one is doing."""

    def __init__(self, progress: Progress, files: int) -> None:
        self._progress = progress
        self._task = progress.add_task("files", total=files, now="")
        self._seen: set[Entry] = set()

    def tell(self, entry: Entry, have: int, total: int | None) -> None:
        """Show that `have` of `total` bytes of `entry` are there."""
        self._seen.add(entry)
        size = f"{have / 1e6:.1f}" + (f" of {total / 1e6:.1f}" if total is not None else "")
        self._progress.update(self._task, completed=len(self._seen), now=f"{entry.path} {size} MB")


def _show(found: FolderInfo) -> None:
    table = Table("record", "format", "length", "channels", "annotations", title=found.path)
    for record in found.records:
        channels = ", ".join(f"{c.name} [{c.unit}] {c.fs_hz:g} Hz" for c in record.channels)
        if record.segments > 1:
            channels = f"{record.segments} segments"
        marks = "; ".join(
            f"{name}: " + " ".join(f"{symbol} {count}" for symbol, count in list(counts.items())[:6])
            for name, counts in record.annotations.items()
        )
        length = "" if record.duration_s is None else f"{record.duration_s:,.1f} s"
        table.add_row(
            escape(record.name), record.format, length, escape(record.problem or channels), escape(marks)
        )
    console = Console()
    console.print(table)
    console.print(f"licence: {found.licence or 'unknown: ask where it came from'}", highlight=False)
    if found.citation:
        console.print(f"cite: {found.citation}", highlight=False)
