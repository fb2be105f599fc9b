"""`vitalwire gateway ...`: become a gateway of a site, renew the certificate, show it."""

import datetime as dt
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from cryptography import x509

from vitalwire_edge.clock.gateway_clock import kernel_synchronised
from vitalwire_edge.enrolment.formats import (
    Answer,
    EnrolmentError,
    Invitation,
    Request,
    content_of,
    fingerprint,
    name_in,
    read_certificate,
    read_file,
)
from vitalwire_edge.enrolment.identity import Identity
from vitalwire_edge.process.durable import write_durably

app = typer.Typer(no_args_is_help=True, help="Who this gateway is: enroll, install, renew, show.")

_Folder = Annotated[
    Path, typer.Option(help="Where this gateway's keys and certificate are kept.", metavar="DIR")
]
_Out = Annotated[Path, typer.Option(help="The request, to be carried to the authority.", metavar="FILE")]
_IDENTITY = Path("/var/lib/vitalwire-edge/identity")


@app.command(
    epilog="Example: vitalwire gateway enroll gw-a.invitation.json --out gw-a.request.json    "
    "Then carry the request to the authority: vitalwire authority accept gw-a.request.json",
)
def enroll(
    invitation: Annotated[Path, typer.Argument(help="File made by `vitalwire authority invite`.")],
    *,
    out: _Out = Path("request.json"),
    folder: _Folder = _IDENTITY,
    fingerprint_is: Annotated[
        str | None, typer.Option("--fingerprint", help="What the authority's operator read out.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Give up the identity that is in the folder.")] = False,
) -> None:
    """Make keys on this gateway and ask for a certificate. The private keys stay here."""
    try:
        invited = read_file(invitation, Invitation, "invitation")
        shown = fingerprint(read_certificate(invited.authority, "the authority in the invitation"))
        if fingerprint_is is not None and _digits(fingerprint_is) != _digits(shown):
            raise EnrolmentError(
                f"the invitation's authority has the fingerprint {shown}, which is not the one you gave: "
                "do not use this invitation"
            )
        request = Identity(folder).enroll(invited, now=_now(), replace=replace)
        _put(out, request)
    except EnrolmentError as error:
        _fail(error)
    typer.echo(f"authority: {shown}")
    typer.echo(f"request of {invited.site}/{invited.gateway}: {out}")


@app.command(
    epilog="Example: vitalwire gateway install gw-a.answer.json --write-config /etc/vitalwire/edge.toml"
)
def install(
    answer: Annotated[Path, typer.Argument(help="File made by `vitalwire authority accept`.")],
    *,
    folder: _Folder = _IDENTITY,
    write_config: Annotated[
        Path | None, typer.Option(help="Write the settings into this new file.", metavar="FILE")
    ] = None,
) -> None:
    """Check the authority's answer and put the certificate to work; print the settings that use it."""
    identity = Identity(folder)
    try:
        was_enrolled = identity.enrolled
        installed = identity.install(read_file(answer, Answer, "answer"), now=_now())
        certificate = installed.certificate
        typer.echo(f"installed: {name_in(certificate)}, valid to {certificate.not_valid_after_utc:%Y-%m-%d}")
        if write_config is not None:
            _write_config(write_config, identity.settings())
            typer.echo(f"settings: {write_config}")
        elif not installed.rekeyed:
            typer.echo("a running gateway takes it by itself within seconds, without losing data")
        else:
            typer.echo("set in the gateway's configuration:\n")
            typer.echo(identity.settings())
        if was_enrolled and installed.rekeyed:
            typer.echo("restart the gateway: its message key is a new one")
    except EnrolmentError as error:
        _fail(error)


@app.command(epilog="Example: vitalwire gateway renew --out gw-a.request.json")
def renew(*, out: _Out = Path("request.json"), folder: _Folder = _IDENTITY) -> None:
    """Make a new key and ask for a new certificate, before the one at work ends; that one stays at work."""
    identity = Identity(folder)
    try:
        _put(out, identity.renew())
        certificate = identity.certificate()
    except EnrolmentError as error:
        _fail(error)
    typer.echo(f"renewal of {name_in(certificate)}: {out}")


@app.command(epilog="Example: vitalwire gateway show --json")
def show(
    *,
    folder: _Folder = _IDENTITY,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Who this gateway is and until when."""
    identity = Identity(folder)
    try:
        facts, certificate = identity.facts(), identity.certificate()
    except EnrolmentError as error:
        _fail(error)
    expires = certificate.not_valid_after_utc
    left = (expires - dt.datetime.now(dt.UTC)).total_seconds() / 86_400
    if as_json:
        said = {
            "site": facts.site,
            "gateway": facts.gateway,
            "broker": f"{facts.broker_host}:{facts.broker_port}",
            "serial": _serial(certificate),
            "expires": expires.isoformat(),
            "days_left": round(left, 1),
            "clock_synchronised": kernel_synchronised(),
        }
        typer.echo(msgspec.json.encode(said).decode())
        return
    typer.echo(f"{facts.site}/{facts.gateway} at {facts.broker_host}:{facts.broker_port}")
    typer.echo(f"certificate {_serial(certificate)}, valid to {expires:%Y-%m-%d}, {left:.0f} days left")


def _now() -> dt.datetime | None:
    """Now, or None where the clock may be wrong: then nothing is refused for its dates."""
    return dt.datetime.now(dt.UTC) if kernel_synchronised() else None


def _put(path: Path, request: Request) -> None:
    try:
        write_durably(path, content_of(request))
    except OSError as error:
        raise EnrolmentError(f"{path} cannot be written: {error.strerror}") from error


def _write_config(path: Path, settings: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(settings)
    except FileExistsError as error:
        raise EnrolmentError(f"{path} exists and is not replaced; set in it:\n\n{settings}") from error
    except OSError as error:
        raise EnrolmentError(f"{path} cannot be written: {error.strerror}") from error


def _serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def _digits(text: str) -> str:
    return "".join(text.replace(":", " ").split()).lower()


def _fail(error: Exception) -> NoReturn:
    typer.echo(f"vitalwire gateway: {error}", err=True)
    raise typer.Exit(1) from error
