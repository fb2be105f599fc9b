"""`vitalwire release`: the software of the gateways over the air."""

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from vitalwire_cloud.registry.ledger import RegistryError
from vitalwire_cloud.registry.releases import card_of, open_releases, publish_release
from vitalwire_cloud.registry.rollout import progress
from vitalwire_edge.inference.keys import KeyFileError, Signer
from vitalwire_edge.wire.topics import TopicError, identifier

app = typer.Typer(no_args_is_help=True, help="Releases of the gateways' software: publish, list, show, halt.")

_DataDir = Annotated[
    Path, typer.Option("--data-dir", help="Folder of the cloud service's data.", metavar="DIR")
]
_Json = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


@app.command(
    epilog="Example: vitalwire release publish dist/vitalwire-0.2.0-py3-none-any.whl --key software.key "
    "--data-dir ./data --to ward/gw-a"
)
def publish(
    wheel: Annotated[Path, typer.Argument(help="The wheel, as `python -m build --wheel` leaves it.")],
    *,
    data_dir: _DataDir,
    key: Annotated[
        Path,
        typer.Option(
            "--key",
            help="Signing key, made by `model keys delegate --purpose software`.",
            metavar="FILE",
        ),
    ],
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to", help="Gateways that get it first; without, the rollout chooses.", metavar="SITE/GW"
        ),
    ] = None,
) -> None:
    """Sign a wheel and offer it to the first gateways; when they confirmed it, every gateway is offered it."""
    first = tuple(_gateway(name) for name in to or ())
    try:
        content, signer = wheel.read_bytes(), Signer.read(key)
        with closing(open_releases(data_dir)) as ledger:
            release = publish_release(ledger, content, signer, now_ns=time.time_ns(), first=first)
            software = card_of(ledger, release).software
    except OSError as error:
        _fail(f"{wheel}: {error.strerror}")
    except (RegistryError, KeyFileError) as error:
        _fail(error)
    typer.echo(f"release {release.version} (vitalwire {software}) is on offer to the first gateways")


@app.command("list", epilog="Example: vitalwire release list --data-dir ./data")
def list_releases(*, data_dir: _DataDir, as_json: _Json = False) -> None:
    """Every release, the newest first, and how many gateways run it."""
    try:
        with closing(open_releases(data_dir)) as ledger:
            gateways = ledger.gateways()
            found = [
                {
                    "version": release.version,
                    "software": card_of(ledger, release).software,
                    "stage": release.stage,
                    "why": release.why,
                    "gateways": sum(g.running_sha256 == release.manifest_sha256 for g in gateways),
                }
                for release in ledger.models()
            ]
    except RegistryError as error:
        _fail(error)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    for each in found:
        because = f" ({each['why']})" if each["why"] else ""
        typer.echo(
            f"release {each['version']} (vitalwire {each['software']}): {each['stage']}, "
            f"runs on {each['gateways']} of {len(gateways)} gateways{because}"
        )


@app.command(epilog="Example: vitalwire release show 2 --data-dir ./data")
def show(
    version: Annotated[int, typer.Argument(help="Number of the release.")], *, data_dir: _DataDir
) -> None:
    """What each gateway said of a release."""
    try:
        with closing(open_releases(data_dir)) as ledger:
            release = ledger.model(version)
            reports = ledger.reports(release.sha256)
            software = card_of(ledger, release).software
    except RegistryError as error:
        _fail(error)
    typer.echo(f"release {version} (vitalwire {software}): {release.stage}, {release.size} bytes")
    for each in reports:
        report = each.report
        reason = f": {report.reason}, {report.detail}" if report.reason else ""
        typer.echo(f"  {each.site}/{each.gateway} {report.state}{reason}")
    made = progress(reports)
    typer.echo(f"  confirmed by {len(made.running)}, refused by {len(made.refused)}")


@app.command(epilog="Example: vitalwire release halt 2 --data-dir ./data --why 'too slow'")
def halt(
    version: Annotated[int, typer.Argument(help="Number of the release.")],
    *,
    data_dir: _DataDir,
    why: Annotated[str, typer.Option(help="Kept with the release.")] = "stopped by the operator",
) -> None:
    """Offer a release to nobody any more. Gateways that run it keep it: publish a higher one to replace it."""
    try:
        with closing(open_releases(data_dir)) as ledger:
            ledger.model(version)
            ledger.set_stage(version, "halted", why)
    except RegistryError as error:
        _fail(error)
    typer.echo(f"release {version} is halted")


def _gateway(name: str) -> tuple[str, str]:
    site, _, gateway = name.partition("/")
    try:
        return identifier(site, "site"), identifier(gateway, "gateway")
    except TopicError as error:
        raise typer.BadParameter(
            f"{name!r}: write it as SITE/GATEWAY ({error})", param_hint="--to"
        ) from error


def _fail(error: Exception | str) -> NoReturn:
    typer.echo(f"vitalwire release: {error}", err=True)
    raise typer.Exit(1)
