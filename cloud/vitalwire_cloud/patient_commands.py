"""`vitalwire patient`: admit patients as pseudonyms, and say who wears which device."""

import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec
import typer

from vitalwire_cloud.choosing import Config, DataDir, Settings, chosen, fail
from vitalwire_cloud.config import CloudConfig
from vitalwire_cloud.metadata.entries import (
    Bedside,
    EntryError,
    SayConsciousness,
    SayOxygen,
    SaySpo2Scale,
    expiry_ns,
    said,
)
from vitalwire_cloud.metadata.register import PatientRegister, RegisterError, open_register
from vitalwire_cloud.moments import moment_ns
from vitalwire_cloud.orders import OrderError, new_patient, open_orders
from vitalwire_cloud.store.interface import StoreError
from vitalwire_cloud.store.opening import open_reader
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.wire.messages import Paced

app = typer.Typer(
    no_args_is_help=True, help="Patients as pseudonyms: admit, assign devices, transfer, standby, discharge."
)

_T = TypeVar("_T")
_NS: Final = 1_000_000_000

_By = Annotated[str, typer.Option("--by", help="Who does it; kept in the record.", metavar="NAME")]
_At = Annotated[
    str | None,
    typer.Option("--at", help="Since when, with its zone; now by default.", metavar="TIME"),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
_Device = Annotated[str, typer.Argument(help="The wearable.")]
_Patient = Annotated[str, typer.Argument(help="The pseudonym, as `admit` gave it.")]


@app.command(epilog="Example: vitalwire patient admit --by 'Dr. A' --paced no --data-dir ./data")
def admit(
    *,
    by: _By,
    paced: Annotated[Paced, typer.Option(help="Whether the patient has a pacemaker.")] = "unknown",
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """A new patient; prints the pseudonym. Whose it is stands in the hospital's own records, never here."""
    with _register(chosen(config, settings, data_dir)) as register:
        typer.echo(_done(lambda: register.admit(author=by, now_ns=time.time_ns(), paced=paced)).patient)


@app.command(
    epilog="Example: vitalwire patient assign chest-1 p-7k3qm9xw --by 'Dr. A' --data-dir ./data\n\n"
    "Example: vitalwire patient assign chest-1 p-7k3qm9xw --at 2026-11-22T08:00:00Z "
    "--until 2026-11-22T09:00:00Z --by 'Dr. A'"
)
def assign(
    device: _Device,
    patient: _Patient,
    *,
    by: _By,
    at: _At = None,
    until: Annotated[
        str | None,
        typer.Option("--until", help="It is over: only the time from --at until then.", metavar="TIME"),
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """The device is this patient's from now on, or from an earlier moment on; or was for a time nobody had it."""
    service = chosen(config, settings, data_dir)
    now_ns, at_ns = _times(at)
    end_ns = None if until is None else moment_ns("--until", until)
    with _register(service) as register:
        _done(
            lambda: register.assign(device, patient, start_ns=at_ns, end_ns=end_ns, author=by, now_ns=now_ns)
        )
    if end_ns is None:
        _begin_anew(service, device)


@app.command(epilog="Example: vitalwire patient transfer chest-1 p-2b8hn4cz --by 'Dr. A' --data-dir ./data")
def transfer(
    device: _Device,
    patient: _Patient,
    *,
    by: _By,
    at: _At = None,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """The device goes from the patient who has it to this one."""
    service = chosen(config, settings, data_dir)
    now_ns, at_ns = _times(at)
    with _register(service) as register:
        _done(lambda: register.transfer(device, patient, at_ns=at_ns, author=by, now_ns=now_ns))
    _begin_anew(service, device)


@app.command(epilog="Example: vitalwire patient standby chest-1 --by 'N. B' --data-dir ./data")
def standby(
    device: _Device,
    *,
    by: _By,
    at: _At = None,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """The device is nobody's until it is assigned again; what it sends is stored, and alarms as before."""
    service = chosen(config, settings, data_dir)
    now_ns, at_ns = _times(at)
    with _register(service) as register:
        _done(lambda: register.standby(device, at_ns=at_ns, author=by, now_ns=now_ns))
    _begin_anew(service, device)


@app.command(epilog="Example: vitalwire patient discharge p-7k3qm9xw --by 'Dr. A' --data-dir ./data")
def discharge(
    patient: _Patient,
    *,
    by: _By,
    at: _At = None,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """The patient leaves: every device that was theirs is nobody's from then on."""
    service = chosen(config, settings, data_dir)
    now_ns, at_ns = _times(at)
    with _register(service) as register:
        devices = _done(lambda: register.discharge(patient, at_ns=at_ns, author=by, now_ns=now_ns))
    for device in devices:
        _begin_anew(service, device)


@app.command(
    epilog="Example: vitalwire patient observe chest-1 --consciousness voice --oxygen yes --by 'N. B' --data-dir ./data"
    "\n\nExample: vitalwire patient observe chest-1 --spo2-scale 2 --hours 72 --by 'Dr. A'\n\n"
    "Example: vitalwire patient observe chest-1 --oxygen withdraw --by 'N. B'"
)
def observe(
    device: _Device,
    *,
    by: _By,
    consciousness: Annotated[
        SayConsciousness | None,
        typer.Option(help="ACVPU, as seen at the bedside; or withdraw what was said."),
    ] = None,
    oxygen: Annotated[SayOxygen | None, typer.Option(help="Whether it is given; or withdraw.")] = None,
    spo2_scale: Annotated[
        SaySpo2Scale | None, typer.Option(help="2 only as a clinician prescribed it; or withdraw.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help="When it was seen, with its zone; now by default.", metavar="TIME"),
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="For how long it counts; patients.entry_h by default.")
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Say what you see of the wearer: the gateway counts it in NEWS2 until it is too old or the wearable changes hands.

    The running service tells the gateway; `vitalwire patient bedside` shows whether it knows.
    """
    service = chosen(config, settings, data_dir)
    now_ns, seen_ns = _times(at)
    words = said(consciousness, oxygen, spo2_scale)
    try:
        expires_ns = expiry_ns(seen_ns, service.patients.entry_h if hours is None else hours)
    except EntryError as error:
        raise ConfigError(f"--hours: {error}") from error
    with _register(service) as register:
        if not any(each.device == device for each in _done(lambda: register.assignments(device=device))):
            fail(
                RegisterError(
                    f"no device {device}: nobody ever wore it; `vitalwire patient list` shows who wears what"
                )
            )
        found = _done(
            lambda: register.say(
                device, words, author=by, entered_ns=seen_ns, expires_ns=expires_ns, now_ns=now_ns
            )
        )
    _show_bedside(found, now_ns)


@app.command(epilog="Example: vitalwire patient bedside chest-1 --data-dir ./data")
def bedside(
    device: Annotated[str | None, typer.Argument(help="The wearable; all by default.")] = None,
    *,
    as_json: _AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Show what staff said last of whoever wears a device, and which gateways know."""
    service = chosen(config, settings, data_dir)
    with _register(service) as register:
        found = _done(lambda: register.bedsides(device))
    try:
        with closing(open_orders(service.data)) as book:
            words = [word for word in book.words() if device is None or word.device == device]
    except OrderError as error:
        fail(error)
    if as_json:
        typer.echo(msgspec.json.encode({"bedsides": found, "told": words}).decode())
        return
    now_ns = time.time_ns()
    for each in found:
        _show_bedside(each, now_ns)
    for word in words:
        state = "waits for the gateway" if word.done_ns is None else f"known since {_shown(word.done_ns)}"
        typer.echo(f"{word.site}/{word.gateway} {word.device}: {state}")


@app.command(epilog="Example: vitalwire patient paced p-7k3qm9xw yes --by 'Dr. A' --data-dir ./data")
def paced(
    patient: _Patient,
    flag: Annotated[
        Paced, typer.Argument(metavar="yes|no|unknown", help="Whether the patient has a pacemaker.")
    ],
    *,
    by: _By,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Say whether a patient has a pacemaker: yes and no win over the gateway's configuration of what is worn."""
    with _register(chosen(config, settings, data_dir)) as register:
        _done(lambda: register.set_paced(patient, flag, author=by, now_ns=time.time_ns()))


@app.command(name="list", epilog="Example: vitalwire patient list --data-dir ./data --json")
def list_(
    *,
    as_json: _AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Show who is here, and who wears or wore what."""
    with _register(chosen(config, settings, data_dir)) as register:
        patients, intervals = _done(register.patients), _done(register.assignments)
    if as_json:
        typer.echo(msgspec.json.encode({"patients": patients, "assignments": intervals}).decode())
        return
    for patient in patients:
        left = "" if patient.discharged_ns is None else f", discharged {_shown(patient.discharged_ns)}"
        typer.echo(f"{patient.patient}: paced {patient.paced}, admitted {_shown(patient.admitted_ns)}{left}")
        for each in intervals:
            if each.patient == patient.patient:
                until = "now" if each.end_ns is None else _shown(each.end_ns)
                typer.echo(f"  {each.device}: {_shown(each.start_ns)} to {until}")


@app.command(epilog="Example: vitalwire patient history --data-dir ./data")
def history(
    *,
    as_json: _AsJson = False,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Show who changed what, and when."""
    with _register(chosen(config, settings, data_dir)) as register:
        changes = _done(register.changes)
    if as_json:
        typer.echo(msgspec.json.encode(changes).decode())
        return
    for each in changes:
        typer.echo(
            f"{_shown(each.at_ns)} {each.author}: {each.action} {each.patient} {each.device or ''}".rstrip()
        )


def _register(service: CloudConfig) -> closing[PatientRegister]:
    return closing(_done(lambda: open_register(service.data, service.patients.url)))


def _done(do: Callable[[], _T]) -> _T:
    try:
        return do()
    except RegisterError as error:
        fail(error)


def _begin_anew(service: CloudConfig, device: str) -> None:
    """Have the gateways that know the device forget whoever wore it."""
    try:
        reader = open_reader(service)
        try:
            places = {(known.site, known.gateway) for known in reader.devices() if known.device == device}
        finally:
            reader.close()
        for site, gateway in sorted(places):
            new_patient(service.data, site, gateway, device)
            typer.echo(f"{site}/{gateway} is told to begin anew with {device}")
    except (StoreError, OrderError) as error:
        typer.echo(f"kept, but no gateway was told: say `vitalwire cloud new-patient` for {device}", err=True)
        fail(error)
    if not places:
        typer.echo(f"{device} has sent nothing yet: no gateway has anything to forget")


def _show_bedside(bedside: Bedside, now_ns: int) -> None:
    typer.echo(f"{bedside.device}: {bedside.patient}, paced {bedside.paced}")
    for each in bedside.entries:
        until = "too old since" if each.expires_ns <= now_ns else "counts until"
        typer.echo(
            f"  {each.what} {each.value}, seen {_shown(each.entered_ns)} by {each.author}, "
            f"{until} {_shown(each.expires_ns)}"
        )


def _times(at: str | None) -> tuple[int, int]:
    now_ns = time.time_ns()
    return now_ns, now_ns if at is None else moment_ns("--at", at)


def _shown(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // _NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
