"""`vitalwire cloud quarantine ...`: look at messages that could not be stored, try them again, throw them away."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Annotated, Any

import msgspec
import typer

from vitalwire_cloud.choosing import Config, DataDir, Settings, chosen, fail
from vitalwire_cloud.ingest.replay import every, one, replay
from vitalwire_cloud.store.interface import Quarantined, StoreCounts, StoreError, StoreReading
from vitalwire_cloud.store.opening import open_reader, open_store
from vitalwire_edge.process.config import ConfigError

app = typer.Typer(no_args_is_help=True, help="Messages that could not be stored.")

_Numbers = Annotated[list[int] | None, typer.Argument(help="Which, as `list` numbers them.", min=1)]
_Json = Annotated[bool, typer.Option("--json", help="Machine-readable, with payloads in base64.")]


class _GoneError(StoreError):
    """Nobody keeps that message."""


@app.command("list", epilog="Example: vitalwire cloud quarantine list --data-dir ./data --limit 20")
def show_newest(
    *,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
    limit: int = typer.Option(50, min=1, max=10_000, help="How many, newest first."),
    as_json: _Json = False,
) -> None:
    """Show what was set aside, and why, newest first."""
    try:
        with closing(open_reader(chosen(config, settings, data_dir))) as reader:
            found, counts = reader.quarantine(limit), reader.counts()
    except StoreError as error:
        fail(error)
    if as_json:
        _echo_json(found)
        return
    for message in found:
        typer.echo(_line(message))
    typer.echo(f"{len(found)} shown; {_totals(counts)}")


@app.command(epilog="Example: vitalwire cloud quarantine show 17 --data-dir ./data --json")
def show(
    number: Annotated[int, typer.Argument(help="Which, as `list` numbers it.", min=1)],
    *,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
    as_json: _Json = False,
) -> None:
    """Show one message with its bytes."""
    try:
        with closing(open_reader(chosen(config, settings, data_dir))) as reader:
            (found,) = _named(reader, [number])
    except StoreError as error:
        fail(error)
    if as_json:
        _echo_json(found)
        return
    typer.echo(_line(found))
    typer.echo(repr(found.payload))


@app.command(
    "replay",
    epilog="Examples: vitalwire cloud quarantine replay 17 18 --data-dir ./data;"
    " vitalwire cloud quarantine replay --all --data-dir ./data --json",
)
def try_again(
    numbers: _Numbers = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Everything, oldest first.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
    as_json: _Json = False,
) -> None:
    """Try messages again, through the same checks into the same store. Ends with 1 where one is still refused.

    What is stored now is set aside no longer, so doing this twice changes nothing. The embedded store takes one
    process at a time: stop the service first (gateways keep what comes meanwhile), or ask it over its API:
    POST /api/v1/quarantine/NUMBER/replay.
    """
    service = chosen(config, settings, data_dir)
    max_future_ns = round(service.ingest.max_future_s * 1e9)
    tally: Counter[str] = Counter()
    try:
        with closing(open_store(service)) as store:
            for outcome in replay(
                store, _wanted(store, numbers, everything=everything), max_future_ns=max_future_ns
            ):
                tally[outcome.what] += 1
                if as_json:
                    _echo_json(outcome)
                else:
                    why = "" if outcome.reason is None else f": {outcome.reason}"
                    typer.echo(f"{outcome.number} {outcome.topic} {outcome.what}{why}")
            counts = store.counts()
    except StoreError as error:
        fail(error)
    if not as_json:
        told = ", ".join(f"{count} {what}" for what, count in sorted(tally.items())) or "nothing to replay"
        typer.echo(f"{told}; {_totals(counts)}")
    if tally["refused"]:
        raise typer.Exit(1)


@app.command(epilog="Example: vitalwire cloud quarantine discard 17 --data-dir ./data --yes")
def discard(
    numbers: _Numbers = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this it is only said.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Throw messages away for good. What was confirmed of them stays confirmed: no gateway sends them again."""
    service = chosen(config, settings, data_dir)
    try:
        with closing(open_store(service)) as store:
            thrown = 0
            for message in _wanted(store, numbers, everything=everything):
                typer.echo(_line(message))
                thrown += store.discard(message.number) if yes else 0
            counts = store.counts()
    except StoreError as error:
        fail(error)
    typer.echo(f"{thrown} discarded{'' if yes else ' (add --yes)'}; {_totals(counts)}")


def _wanted(store: StoreReading, numbers: list[int] | None, *, everything: bool) -> Iterable[Quarantined]:
    if everything == bool(numbers):
        raise ConfigError("name messages by their numbers, or all of them with --all")
    return every(store) if everything else _named(store, numbers or [])


def _named(store: StoreReading, numbers: list[int]) -> Iterator[Quarantined]:
    for number in numbers:
        found = one(store, number)
        if found is None:
            raise _GoneError(f"nothing is set aside under {number}: see vitalwire cloud quarantine list")
        yield found


def _line(message: Quarantined) -> str:
    place = "" if message.seq is None else f" seq {message.seq}"
    size = len(message.payload)
    return f"{message.number} {message.received_ns} {message.topic}{place} ({size} bytes): {message.reason}"


def _totals(counts: StoreCounts) -> str:
    return (
        f"{counts.quarantine_held} kept, {counts.quarantine_replayed} replayed, {counts.quarantine_discarded} "
        f"discarded, {counts.quarantine_dropped} dropped to make room"
    )


def _echo_json(value: Any) -> None:
    typer.echo(msgspec.json.encode(value).decode())
