"""The `vitalwire` command. It mounts the sub-commands whose extra is installed; the others are not offered."""

import importlib.metadata
import sys

import typer

from vitalwire_edge.process.compiled import find_room
from vitalwire_edge.process.config import ConfigError

_GROUP = "vitalwire.commands"
_WRONG_USE = 2
_OWN_PACKAGES = frozenset({"vitalwire_edge", "vitalwire_cloud", "vitalwire_sim"})


def build(wanted: str | None = None) -> tuple[typer.Typer, dict[str, str]]:
    """The command with everything that can be imported, and per command left out the module it lacks.

    With `wanted` only that sub-command is imported, so a gateway never loads the cloud's parts.
    """
    app = typer.Typer(
        name="vitalwire",
        help="Edge-to-cloud telemetry for remote patient monitoring. Not a certified medical device.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        epilog="Example: vitalwire demo    Start everything on this machine and open the live page.",
    )
    app.callback(invoke_without_command=True)(_main)
    missing: dict[str, str] = {}
    entries = sorted(importlib.metadata.entry_points(group=_GROUP), key=lambda e: e.name)
    if wanted in {entry.name for entry in entries}:
        entries = [entry for entry in entries if entry.name == wanted]
    for entry in entries:
        try:
            command = entry.load()
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] in _OWN_PACKAGES:
                raise
            missing[entry.name] = error.name
        else:
            app.add_typer(command, name=entry.name)
    return app, missing


def _main(*, version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        typer.echo(importlib.metadata.version("vitalwire"))
        raise typer.Exit


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 failed, 2 wrong use or configuration."""
    find_room()
    wanted = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), None)
    app, missing = build(wanted)
    if wanted in missing:
        extra = {
            "authority": "cloud",
            "broker": "cloud",
            "gateway": "edge",
            "model": "cloud",
            "patient": "cloud",
            "release": "cloud",
            "demo": "sim",
            "data": "sim",
            "generate": "edge",
        }.get(wanted, wanted)
        typer.echo(f"vitalwire {wanted}: needs {missing[wanted]!r}, install vitalwire[{extra}]", err=True)
        raise SystemExit(_WRONG_USE)
    try:
        app()
    except ConfigError as error:
        typer.echo(f"vitalwire: {error}", err=True)
        raise SystemExit(_WRONG_USE) from error
