"""How commands name a service: its data folder, its configuration file, single settings."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from vitalwire_cloud.config import ENV_PREFIX, CloudConfig
from vitalwire_edge.process import config as layers

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the service's data.", metavar="DIR")
]
Config = Annotated[Path | None, typer.Option(help="TOML file.", metavar="FILE")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="One setting, e.g. store.backend=influxdb; may be repeated.", metavar="KEY=VALUE"
    ),
]


def chosen(config: Path | None, settings: list[str] | None, data_dir: Path | None) -> CloudConfig:
    """The service's configuration, as `run` would see it. Raises `ConfigError`."""
    flags = layers.pairs_of(settings or []) | {"data_dir": text(data_dir)}
    return layers.load(CloudConfig, path=config, env_prefix=ENV_PREFIX, flags=flags)


def text(path: Path | None) -> str | None:
    """A path as a flag has it."""
    return None if path is None else str(path)


def fail(error: Exception) -> NoReturn:
    """Say what went wrong and end with 1."""
    typer.echo(f"vitalwire: {error}", err=True)
    raise typer.Exit(1) from error
