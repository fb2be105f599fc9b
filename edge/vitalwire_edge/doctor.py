"""`vitalwire doctor`: is this machine fit to run what is installed on it?"""

import importlib.metadata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.findings import Finding, Subject

_GROUP = "vitalwire.checks"
_MARKS = {"ok": "ok", "warning": "! ", "problem": "X "}

app = typer.Typer(
    help="Check clock, disk, broker, TLS, model and store of this machine.",
    epilog="Example: vitalwire doctor --broker localhost:1883 --data-dir /var/lib/vitalwire",
)


@app.callback(invoke_without_command=True)
def doctor(
    broker: Annotated[str | None, typer.Option(help="Connect to this MQTT broker (host:port).")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="Certificate authority of the broker.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="This gateway's own certificate.")] = None,
    spool: Annotated[Path | None, typer.Option(help="Spool file of the gateway.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Data folder of the cloud service.")] = None,
    edge_config: Annotated[
        Path | None, typer.Option(help="TOML file of the gateway, for its sources.")
    ] = None,
    cloud_config: Annotated[Path | None, typer.Option(help="TOML file of the cloud service.")] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print findings as JSON.")] = False,
) -> None:
    """Print one line per finding; exit 1 when one of them is a problem."""
    subject = Subject(
        broker=_address(broker) if broker else None,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        spool=spool,
        data_dir=data_dir,
        edge_config=edge_config,
        cloud_config=cloud_config,
    )
    findings = list(examine(subject))
    verdicts = Counter(finding.verdict for finding in findings)
    if json:
        typer.echo(msgspec.json.encode(findings).decode())
    else:
        for finding in findings:
            typer.echo(f"{_MARKS[finding.verdict]} {finding.check:<8} {finding.detail}")
            if finding.fix:
                typer.echo(f"            -> {finding.fix}")
        typer.echo(f"{verdicts['ok']} ok, {verdicts['warning']} warnings, {verdicts['problem']} problems")
    raise typer.Exit(1 if verdicts["problem"] else 0)


def examine(subject: Subject) -> Iterator[Finding]:
    """Findings of every part that is installed."""
    for entry in sorted(importlib.metadata.entry_points(group=_GROUP), key=lambda e: e.name):
        try:
            check = entry.load()
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("vitalwire"):
                raise
            yield Finding(entry.name, "ok", f"not installed here (needs {error.name})")
        else:
            yield from check(subject)


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit():
        raise ConfigError(f"--broker {text!r}: write it as host:port, e.g. localhost:1883")
    return host, int(port)
