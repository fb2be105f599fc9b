"""`vitalwire dashboards ...`: Grafana dashboards as files, or pushed to a server."""

from pathlib import Path
from typing import Annotated

import typer

from vitalwire_cloud.config import read_secret
from vitalwire_cloud.dashboards import files
from vitalwire_cloud.dashboards.pushing import GrafanaError, Source
from vitalwire_cloud.dashboards.pushing import push as push_all

app = typer.Typer(no_args_is_help=True, help="Grafana dashboards on the InfluxDB store.")


@app.command(epilog="Example: vitalwire dashboards write ./dashboards")
def write(folder: Annotated[Path, typer.Argument(help="Where to.", metavar="DIR")]) -> None:
    """Write dashboards, data source and provisioning as files for Grafana to read."""
    try:
        written = files.write(folder)
    except OSError as error:
        typer.echo(f"vitalwire dashboards: {folder} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    for path in written:
        typer.echo(str(path))


@app.command(
    epilog="Example: vitalwire dashboards push --url https://grafana.example --token-file grafana.token"
    " --influx-url http://influxdb:8086 --influx-bucket vitalwire"
)
def push(
    *,
    url: Annotated[str, typer.Option(help="Grafana.")],
    token_file: Annotated[
        Path, typer.Option(help="File with the token of a service account.", metavar="FILE")
    ],
    influx_url: Annotated[str, typer.Option(help="InfluxDB as Grafana reaches it.")],
    influx_bucket: Annotated[str, typer.Option(help="Bucket, or database.")] = "vitalwire",
    influx_token_file: Annotated[
        Path | None, typer.Option(help="File with a token that may read the bucket.", metavar="FILE")
    ] = None,
) -> None:
    """Bring folder, data source and dashboards of a Grafana server to what this version says."""
    influx_token = "" if influx_token_file is None else read_secret(str(influx_token_file), "token file")
    token = read_secret(str(token_file), "token file")
    try:
        changes = push_all(url, token, Source(influx_url, influx_bucket, influx_token))
    except GrafanaError as error:
        typer.echo(f"vitalwire dashboards: {error}", err=True)
        raise typer.Exit(1) from error
    for uid, change in changes.items():
        typer.echo(f"{uid}: {change}")
