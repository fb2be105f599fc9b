"""`vitalwire cloud export|erase|retention`: what leaves a store, and what is deleted from it."""

import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from vitalwire_cloud import retention
from vitalwire_cloud.alerts.ledger import AlarmLedger
from vitalwire_cloud.choosing import Config, DataDir, Settings, chosen, fail
from vitalwire_cloud.config import CloudConfig
from vitalwire_cloud.handing_out import hand_out
from vitalwire_cloud.metadata.register import RegisterError, open_register
from vitalwire_cloud.moments import moment_ns
from vitalwire_cloud.orders import OrderError, new_patient
from vitalwire_cloud.store.interface import Store, StoreError
from vitalwire_cloud.store.opening import open_reader, open_store
from vitalwire_edge.process.config import ConfigError

_GATEWAY_KEEPS_NS: Final = 72 * 3600 * 1_000_000_000
"""How old what a gateway knows of a patient may be: as old as its spool lets anything be, by default."""

_Device = Annotated[str | None, typer.Option("--device", help="Whose data: all that a device sent.")]
_Patient = Annotated[
    str | None,
    typer.Option("--patient", help="Whose data: what devices sent while they were this patient's."),
]
_From = Annotated[str, typer.Option("--from", help="First moment, with its zone.", metavar="TIME")]
_To = Annotated[str, typer.Option("--to", help="First moment that is not meant any more.", metavar="TIME")]


def mount(app: typer.Typer) -> None:
    """Add the commands to those of the service."""
    app.command(
        "export",
        epilog="Example: vitalwire cloud export --data-dir ./data --device w-1"
        " --from 2026-11-22T08:00:00Z --to 2026-11-22T09:00:00Z --out ./w-1\n\n"
        "Example: vitalwire cloud export --data-dir ./data --patient p-7k3qm9xw"
        " --from 2026-11-22T08:00:00Z --to 2026-11-22T09:00:00Z --out ./patient",
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
    device: _Device = None,
    patient: _Patient = None,
    start: _From,
    end: _To,
    out: Annotated[Path, typer.Option(help="Folder to write, empty or new.", metavar="DIR")],
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Write everything of a device, or of a patient, in a span of time into files (WFDB, CSV, JSON lines).

    A manifest.json names the files; those of a patient lie in a folder for each interval in which a device was worn.
    """
    service = chosen(config, settings, data_dir)
    spans = _spans(service, device, patient, *_span(start, end))
    try:
        reader = open_reader(service)
        try:
            for number, (name, start_ns, end_ns) in enumerate(spans, 1):
                folder = out if patient is None else out / f"{number:02}-{name}"
                with closing(open_register(service.data, service.patients.url)) as register:
                    said = register.entries(name, start_ns, end_ns)
                manifest = hand_out(reader, name, start_ns, end_ns, folder, said=said)
                rows = sum(file.rows for file in manifest.files)
                typer.echo(
                    f"{len(manifest.files)} files, {rows} samples and lines in {folder}; manifest.json names them"
                )
        finally:
            reader.close()
    except (StoreError, RegisterError) as error:
        fail(error)


def erase(
    *,
    device: _Device = None,
    patient: _Patient = None,
    start: _From,
    end: _To,
    by: Annotated[str, typer.Option(help="Who asks for it; kept in the record.", metavar="NAME")],
    reason: Annotated[str, typer.Option(help="Why; kept in the record.", metavar="TEXT")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, nothing is deleted.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Delete everything of a device, or of a patient, in a span of time for good.

    Samples, numbers, beats, scores, alarms, what staff saw. Where the span reaches into the last three days, the
    device's gateway forgets the patient's baseline, too. The embedded store takes one process: stop the service first.
    A record of who, why and how much stays.
    """
    span = _span(start, end)
    if not yes:
        whose = device or patient
        typer.echo(
            f"vitalwire cloud: this deletes data of {whose} for good: say --yes, nothing was done", err=True
        )
        raise typer.Exit(2)
    service = chosen(config, settings, data_dir)
    spans = _spans(service, device, patient, *span)
    said: Counter[str] = Counter()
    try:
        store, desk = open_store(service), None
        try:
            desk = AlarmLedger(service.desk_url)
            for name, start_ns, end_ns in spans:
                said.update(store.erase(name, start_ns, end_ns, by=by, reason=reason).removed)
                said["gateways_told"] += _tell_gateways(store, service.data, name, end_ns)
                with closing(open_register(service.data, service.patients.url)) as register:
                    said["staff_entries"] += register.erase_entries(name, start_ns, end_ns)
                with desk.transaction() as connection:
                    said["alarms_at_desk"] += desk.forget(connection, name, start_ns, end_ns)
        finally:
            store.close()
            if desk is not None:
                desk.close()
    except (StoreError, OrderError, RegisterError) as error:
        fail(error)
    typer.echo(msgspec.json.encode(said).decode())


def expire(*, data_dir: DataDir = None, config: Config = None, settings: Settings = None) -> None:
    """Delete now what the section `retention` no longer keeps. A running service does this by itself."""
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


def _spans(
    service: CloudConfig, device: str | None, patient: str | None, start_ns: int, end_ns: int
) -> list[tuple[str, int, int]]:
    """Device, first moment and end of each stretch that is meant."""
    if (device is None) == (patient is None):
        raise ConfigError("give --device or --patient, one of them")
    if device is not None:
        return [(device, start_ns, end_ns)]
    try:
        with closing(open_register(service.data, service.patients.url)) as register:
            worn = register.assignments(patient=patient)
    except RegisterError as error:
        fail(error)
    spans = [
        (
            each.device,
            max(start_ns, each.start_ns),
            end_ns if each.end_ns is None else min(end_ns, each.end_ns),
        )
        for each in worn
        if each.meets(start_ns, end_ns)
    ]
    if not spans:
        fail(RegisterError(f"{patient} wore no device in that time"))
    return spans


def _span(start: str, end: str) -> tuple[int, int]:
    first, last = moment_ns("--from", start), moment_ns("--to", end)
    if first >= last:
        raise ConfigError(f"--from {start} is not before --to {end}")
    return first, last
