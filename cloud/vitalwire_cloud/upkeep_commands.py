"""`vitalwire cloud export|erase|retention`: what leaves a store, and what is deleted from it."""

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from vitalwire_cloud import retention
from vitalwire_cloud.alerts.ledger import AlarmLedger
from vitalwire_cloud.choosing import Config, DataDir, Settings, chosen, fail
from vitalwire_cloud.handing_out import hand_out
from vitalwire_cloud.orders import OrderError, new_patient
from vitalwire_cloud.store.interface import Store, StoreError
from vitalwire_cloud.store.opening import open_reader, open_store
from vitalwire_edge.process.config import ConfigError

_GATEWAY_KEEPS_NS: Final = 72 * 3600 * 1_000_000_000
"""How old what a gateway knows of a patient may be: as old as its spool lets anything be, by default."""

_Device = Annotated[str, typer.Option("--device", help="Whose data.")]
_From = Annotated[str, typer.Option("--from", help="First moment, with its zone.", metavar="TIME")]
_To = Annotated[str, typer.Option("--to", help="First moment that is not meant any more.", metavar="TIME")]


def mount(app: typer.Typer) -> None:
    """Add the commands to those of the service."""
    app.command(
        "export",
        epilog="Example: vitalwire cloud export --data-dir ./data --device w-1"
        " --from 2026-11-22T08:00:00Z --to 2026-11-22T09:00:00Z --out ./w-1",
    )(export)
    app.command(
        "erase",
        epilog="Example: vitalwire cloud erase --data-dir ./data --device w-1 --from 2026-11-22T08:00:00Z"
        " --to 2026-11-22T09:00:00Z --by 'Dr. X' --reason 'patient asked' --yes",
    )(erase)
    app.command(
        "retention",
        epilog="Example: vitalwire cloud retention --data-dir ./data --set retention.waveform_days=30",
    )(expire)


def export(
    *,
    device: _Device,
    start: _From,
    end: _To,
    out: Annotated[Path, typer.Option(help="Folder to write, empty or new.", metavar="DIR")],
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Write everything of a device in a span of time into files (WFDB, CSV, JSON lines) with a manifest."""
    start_ns, end_ns = _span(start, end)
    service = chosen(config, settings, data_dir)
    try:
        reader = open_reader(service)
        try:
            manifest = hand_out(reader, device, start_ns, end_ns, out)
        finally:
            reader.close()
    except StoreError as error:
        fail(error)
    rows = sum(file.rows for file in manifest.files)
    typer.echo(f"{len(manifest.files)} files, {rows} samples and lines in {out}; manifest.json names them")


def erase(
    *,
    device: _Device,
    start: _From,
    end: _To,
    by: Annotated[str, typer.Option(help="Who asks for it; kept in the record.", metavar="NAME")],
    reason: Annotated[str, typer.Option(help="Why; kept in the record.", metavar="TEXT")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, nothing is deleted.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Delete everything of a device in a span of time for good: samples, numbers, beats, scores, alarms.

    Where the span reaches into the last three days, the device's gateway forgets the patient's baseline, too.
    The embedded store takes one process: stop the service first. A record of who, why and how much stays.
    """
    start_ns, end_ns = _span(start, end)
    if not yes:
        typer.echo(
            f"vitalwire cloud: this deletes data of {device} for good: say --yes, nothing was done", err=True
        )
        raise typer.Exit(2)
    service = chosen(config, settings, data_dir)
    try:
        store = open_store(service)
        try:
            erasure = store.erase(device, start_ns, end_ns, by=by, reason=reason)
            told = _tell_gateways(store, service.data, device, end_ns)
            desk = AlarmLedger(service.desk_url)
            try:
                with desk.transaction() as connection:
                    at_desk = desk.forget(connection, device, start_ns, end_ns)
            finally:
                desk.close()
        finally:
            store.close()
    except (StoreError, OrderError) as error:
        fail(error)
    said = {**erasure.removed, "alarms_at_desk": at_desk, "gateways_told": told}
    typer.echo(msgspec.json.encode(said).decode())


def expire(*, data_dir: DataDir = None, config: Config = None, settings: Settings = None) -> None:
    """Delete now what `[retention]` no longer keeps. A running service does this by itself."""
    service = chosen(config, settings, data_dir)
    if not retention.limits(service.retention, 0):
        typer.echo("vitalwire cloud: everything is kept for good: set e.g. retention.waveform_days", err=True)
        raise typer.Exit(2)
    try:
        store = open_store(service)
        try:
            removed = retention.expire(store, service.retention, time.time_ns())
        finally:
            store.close()
    except StoreError as error:
        fail(error)
    typer.echo(msgspec.json.encode(removed).decode())


def _tell_gateways(store: Store, data_dir: Path, device: str, end_ns: int) -> int:
    """Have the gateways of `device` forget its patient, where what was erased may be what they know him by."""
    if end_ns < time.time_ns() - _GATEWAY_KEEPS_NS:
        return 0
    places = {(known.site, known.gateway) for known in store.devices() if known.device == device}
    for site, gateway in places:
        new_patient(data_dir, site, gateway, device)
    return len(places)


def _span(start: str, end: str) -> tuple[int, int]:
    first, last = _moment("--from", start), _moment("--to", end)
    if first >= last:
        raise ConfigError(f"--from {start} is not before --to {end}")
    return first, last


def _moment(option: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text!r}: write it as 2026-11-22T08:00:00Z") from error
    if moment.tzinfo is None:
        raise ConfigError(f"{option} {text!r} names no zone: write Z, or e.g. +01:00, behind it")
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
