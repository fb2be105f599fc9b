"""`vitalwire edge sources` and `vitalwire edge scan`."""

import asyncio
import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vitalwire_edge.config import EdgeConfig
from vitalwire_edge.process import config as layers
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.sources.config import SourcesConfig, check_sources
from vitalwire_edge.sources.inbox import SourceError

_FAILED = 1
_ANSWER_S = 5.0


class Configured(msgspec.Struct, frozen=True):
    """A source of the configuration; `state` is what the running gateway says of its kind, if it was asked."""

    kind: str
    where: str
    enabled: bool
    state: str


class _State(msgspec.Struct, frozen=True):
    kind: str
    where: str
    connected: int
    problem: str | None


class _Status(msgspec.Struct, frozen=True):
    sources: tuple[_State, ...]


def sources(
    *,
    config: Annotated[Path | None, typer.Option(help="TOML file of the gateway.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="One setting.")] = None,
    health: Annotated[
        str | None, typer.Option(help="host:port of a running gateway's probes, to ask how they stand.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List the configured sources and, where a gateway runs, their state.

    Example: vitalwire edge sources --config edge.toml --health 127.0.0.1:9464
    """
    settings = layers.load(
        EdgeConfig, path=config, env_prefix="VITALWIRE_EDGE", flags=layers.pairs_of(setting or [])
    )
    check_sources(settings.sources)
    asked = health or (f"{settings.health.host}:{settings.health.port}" if settings.health.port else None)
    try:
        running = {} if asked is None else {_key(s): s for s in _ask(asked).sources}
    except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
        if health is not None:
            typer.echo(f"vitalwire edge: no gateway answers at {health} ({error}); does it run?", err=True)
            raise typer.Exit(_FAILED) from error
        running, asked = {}, None
    found = [
        msgspec.structs.replace(one, state=_state(one, running.get(_key(one)), asked))
        for one in configured(settings.sources)
    ]
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    for one in found:
        typer.echo(f"{one.kind:<7} {one.where or '-':<32} {one.state}")


def scan(
    *,
    seconds: Annotated[float, typer.Option(min=0.1, max=120, help="How long to listen.")] = 5.0,
    adapter: Annotated[str | None, typer.Option(help="Adapter, e.g. hci0.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List Bluetooth LE peripherals in reach, with the services that this gateway reads. Connects none.

    Example: vitalwire edge scan --seconds 10
    """
    try:
        # Only here: bleak takes a while to load, and not every gateway has it.
        from vitalwire_edge.sources.ble import radio, scan as looking  # noqa: I001, PLC0415

        found = asyncio.run(looking.sightings(radio.Radio(adapter), seconds))
    except ModuleNotFoundError as error:
        typer.echo(f"vitalwire edge: scanning needs {error.name}: install vitalwire[edge]", err=True)
        raise typer.Exit(_FAILED) from error
    except SourceError as error:
        typer.echo(f"vitalwire edge: {error}", err=True)
        raise typer.Exit(_FAILED) from error
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    for one in found:
        services = ", ".join(one.services) or "nothing this gateway reads"
        typer.echo(f"{one.address}  {one.rssi_dbm:>4} dBm  {one.name or '(no name)':<24} {services}")
    typer.echo(f"{len(found)} in reach")


def configured(config: SourcesConfig) -> Iterator[Configured]:
    """Every source that `config` knows of."""
    yield Configured("tcp", f"{config.tcp.host}:{config.tcp.port}", config.tcp.enabled, "")
    if config.ble.devices:
        from vitalwire_edge.sources.ble.privacy import fingerprint  # noqa: PLC0415

        where = ", ".join(f"{p.device} ({fingerprint(p.address)})" for p in config.ble.devices)
        yield Configured("ble", where, config.ble.enabled, "")
    else:
        yield Configured("ble", "", config.ble.enabled, "")
    for port in config.serial.ports or ("",):
        where = f"{port} at {config.serial.baud} baud" if port else ""
        yield Configured("serial", where, config.serial.enabled, "")
    record = "" if config.file.record is None else Path(config.file.record).name
    yield Configured("file", record, config.file.enabled, "")


def replay_flags(file: str | None, device: str | None) -> dict[str, object]:
    """Settings of `--file` and `--device`. Raises `ConfigError` for a device without a file."""
    if file is None:
        if device is not None:
            raise ConfigError("--device names the wearable of a replay: give --file too")
        return {}
    return {
        "sources.file.enabled": True,
        "sources.file.record": file,
        "sources.file.device": device,
        "telemetry.simulated": True,
    }


def _state(one: Configured, running: _State | None, asked: str | None) -> str:
    if not one.enabled:
        return "off"
    if asked is None:
        return "on (no running gateway was asked: name one with --health host:port)"
    if running is None:
        return "on in this configuration, but the running gateway has no such source"
    return running.problem or f"works, {running.connected} connected"


def _key(one: Configured | _State) -> str:
    """There are many serial lines, and of everything else one; a port 0 is another one when it runs."""
    return one.where if one.kind == "serial" else one.kind


def _ask(address: str) -> _Status:
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        raise ConfigError(f"--health {address!r}: write it as host:port, e.g. 127.0.0.1:9464")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_ANSWER_S)
    try:
        connection.request("GET", "/status.json")
        return msgspec.json.decode(connection.getresponse().read(), type=_Status)
    finally:
        connection.close()
