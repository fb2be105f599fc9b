"""`vitalwire authority ...`: a private authority for gateways, from the first invitation to the last revocation."""

import datetime as dt
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from vitalwire_cloud.enrolment.authority import AUTHORITY_DAYS, GATEWAY_DAYS, Authority
from vitalwire_edge.enrolment.formats import EnrolmentError, Request, content_of, fingerprint, read_file
from vitalwire_edge.inference.keys import KeyFileError, Trust, write_secret
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.durable import write_durably

app = typer.Typer(
    no_args_is_help=True,
    help="Who may be a gateway: invite, accept requests, revoke; certificates for broker and cloud.",
)

_SERVICE_DAYS = 825
_RELOAD = "systemctl reload mosquitto (SIGHUP)"

_Folder = Annotated[Path, typer.Option("--authority", help="Folder of the authority.", metavar="DIR")]
_Keys = Annotated[Path, typer.Option("--keys-dir", help="The cloud's folder of gateway keys.", metavar="DIR")]
_Gateway = Annotated[str, typer.Argument(help="The gateway, as SITE/GATEWAY.", metavar="SITE/GATEWAY")]
_FOLDER = Path("/etc/vitalwire/authority")
_KEYS = Path("/var/lib/vitalwire-cloud/keys")


class _Service(Enum):
    BROKER = "broker"
    CLOUD = "cloud"


@app.command(epilog="Example: vitalwire authority init ./authority")
def init(
    folder: Annotated[Path, typer.Argument(help="New folder for the authority.", metavar="DIR")] = _FOLDER,
    *,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="How long it lives.")] = AUTHORITY_DAYS,
) -> None:
    """Make a private authority. Back its folder up: without its key no gateway can be enrolled or renewed."""
    try:
        authority = Authority.create(folder, _KEYS, now=_now(), days=days)
    except EnrolmentError as error:
        _fail(error)
    typer.echo(f"authority: {folder}")
    typer.echo(f"fingerprint: {fingerprint(authority.certificate)}")


@app.command(
    epilog="Examples: vitalwire authority certificate broker --host broker.example --out /etc/mosquitto/certs    "
    "vitalwire authority certificate cloud --out /etc/vitalwire/cloud"
)
def certificate(
    service: Annotated[_Service, typer.Argument(help="Who it is for.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for certificate and key.", metavar="DIR")],
    host: Annotated[
        list[str] | None, typer.Option(help="Name or address that clients use; may be repeated.")
    ] = None,
    folder: _Folder = _FOLDER,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="How long it is valid.")] = _SERVICE_DAYS,
) -> None:
    """Make key and certificate of the broker or the cloud service."""
    try:
        files = Authority(folder, _KEYS).service(service.value, host or (), out, now=_now(), days=days)
    except EnrolmentError as error:
        _fail(error)
    for file in files:
        typer.echo(str(file))


@app.command(
    epilog="Example: vitalwire authority invite ward-3/gw-a --broker broker.example:8883 --out gw-a.invitation.json"
)
def invite(
    gateway: _Gateway,
    *,
    broker: Annotated[str, typer.Option(help="The broker as gateways reach it, host:port.")],
    out: Annotated[Path, typer.Option(help="The invitation.", metavar="FILE")],
    hours: Annotated[float, typer.Option(min=0.01, max=8760, help="How long it is good.")] = 72.0,
    models_trust: Annotated[
        Path | None, typer.Option(help="Trust file for models (trust.json).", metavar="FILE")
    ] = None,
    replace: Annotated[
        bool, typer.Option(help="For a gateway that is enrolled and has lost its keys.")
    ] = False,
    folder: _Folder = _FOLDER,
) -> None:
    """Invite one machine, once, to be this gateway. The file is secret until it has been used."""
    site, name = _split(gateway)
    try:
        trust = None if models_trust is None else Trust.read(models_trust).to_json().decode()
        if out.exists():
            raise EnrolmentError(f"{out} exists and is not replaced: choose another --out")
        authority = Authority(folder, _KEYS)
        invitation = authority.invite(
            site, name, broker=_address(broker), now=_now(), hours=hours, models_trust=trust, replace=replace
        )
        write_secret(out, content_of(invitation))
    except (EnrolmentError, KeyFileError) as error:
        _fail(error)
    until = dt.datetime.fromtimestamp(invitation.expires_ns / 1e9, dt.UTC)
    typer.echo(f"invitation of {gateway}, good once until {until:%Y-%m-%d %H:%M} UTC: {out}")
    typer.echo(f"fingerprint to compare on the gateway: {fingerprint(authority.certificate)}")


@app.command(epilog="Example: vitalwire authority accept gw-a.request.json --out gw-a.answer.json")
def accept(
    request: Annotated[Path, typer.Argument(help="File made by `vitalwire gateway enroll` or `renew`.")],
    *,
    out: Annotated[Path, typer.Option(help="The answer, to be carried to the gateway.", metavar="FILE")],
    days: Annotated[
        int, typer.Option(min=1, max=825, help="How long the certificate is valid.")
    ] = GATEWAY_DAYS,
    folder: _Folder = _FOLDER,
    keys_dir: _Keys = _KEYS,
) -> None:
    """Check a gateway's request and give it a certificate; with an enrolment also its message key, sealed."""
    try:
        authority = Authority(folder, keys_dir)
        accepted = authority.accept(read_file(request, Request, "request"), now=_now(), days=days)
        write_durably(out, content_of(accepted.answer))
    except EnrolmentError as error:
        _fail(error)
    except OSError as error:
        _fail(EnrolmentError(f"{out} cannot be written: {error.strerror}"))
    until = accepted.certificate.not_valid_after_utc
    typer.echo(f"answer to {accepted.name}, certificate valid to {until:%Y-%m-%d}: {out}")
    if accepted.superseded:
        typer.echo(f"its older certificates are revoked: {_deploy(authority)}")


@app.command(epilog="Example: vitalwire authority revoke ward-3/gw-a")
def revoke(gateway: _Gateway, *, folder: _Folder = _FOLDER, keys_dir: _Keys = _KEYS) -> None:
    """End a gateway: its certificates, its invitations, and its key in the cloud, which drops what it still says."""
    site, name = _split(gateway)
    try:
        authority = Authority(folder, keys_dir)
        authority.revoke(site, name, now=_now())
    except EnrolmentError as error:
        _fail(error)
    typer.echo(f"revoked: {gateway}; the cloud drops its messages within seconds")
    typer.echo(_deploy(authority))
    typer.echo(
        "A reload keeps it from connecting again; a session that is open stays open until it ends. To end it now: "
        "systemctl restart mosquitto (gateways keep their data meanwhile)"
    )


@app.command("list", epilog="Example: vitalwire authority list --json")
def list_members(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    folder: _Folder = _FOLDER,
) -> None:
    """Every gateway: its state, and until when."""
    try:
        members = Authority(folder, _KEYS).members(now=_now())
    except EnrolmentError as error:
        _fail(error)
    if as_json:
        typer.echo(msgspec.json.encode(members).decode())
        return
    for member in members:
        when = (
            ""
            if member.state == "revoked"
            else f", until {member.expires[:10]} ({member.days_left:.0f} days)"
        )
        typer.echo(f"{member.name}: {member.state}{when}")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _deploy(authority: Authority) -> str:
    return f"copy {authority.revocations} to where mosquitto.conf names it (crlfile), then {_RELOAD}"


def _split(text: str) -> tuple[str, str]:
    site, separator, gateway = text.partition("/")
    if not separator or not site or not gateway:
        raise ConfigError(f"{text!r}: write it as SITE/GATEWAY, e.g. ward-3/gw-a")
    return site, gateway


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 < int(port) <= 65535:
        raise ConfigError(f"--broker {text!r}: write it as host:port, e.g. broker.example:8883")
    return host.strip("[]"), int(port)


def _fail(error: Exception) -> NoReturn:
    typer.echo(f"vitalwire authority: {error}", err=True)
    raise typer.Exit(1) from error
