"""`vitalwire cloud ...`: run the service, prove what is stored."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import structlog
import typer

from vitalwire_cloud import demand, order_commands, proof, quarantine_commands
from vitalwire_cloud.choosing import Config, DataDir, Settings, chosen, fail, text
from vitalwire_cloud.config import ENV_PREFIX, CloudConfig
from vitalwire_cloud.service import ServiceError, serve
from vitalwire_cloud.store.interface import StoreError
from vitalwire_cloud.store.opening import open_reader
from vitalwire_cloud.upkeep_commands import mount
from vitalwire_cloud.worker import work
from vitalwire_edge.process import config as layers
from vitalwire_edge.process import logs
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.shutdown import stop_on_signals

log = structlog.get_logger()

app = typer.Typer(no_args_is_help=True, help="The cloud service: ingest, store, alarm desk, web page.")
app.add_typer(quarantine_commands.app, name="quarantine")
mount(app)
app.command()(demand.waveform)
app.command("new-patient")(order_commands.new_patient)
app.command("orders")(order_commands.orders)


@app.command(
    epilog="Example: vitalwire cloud run --broker 127.0.0.1:1883 --data-dir ./data --web 127.0.0.1:8080",
)
def run(
    *,
    config: Config = None,
    settings: Settings = None,
    broker: Annotated[str | None, typer.Option(help="Broker to read from.", metavar="HOST:PORT")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for store and alarms.", metavar="DIR")] = None,
    web: Annotated[str | None, typer.Option(help="Where the page listens.", metavar="HOST:PORT")] = None,
    keys_dir: Annotated[
        Path | None, typer.Option(help="Folder with <gateway>.key files.", metavar="DIR")
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(help="all, or ingest for a further worker on a shared store.", metavar="ROLE"),
    ] = None,
) -> None:
    """Run the service until Ctrl-C or SIGTERM; what is queued is stored first."""
    flags = layers.pairs_of(settings or [])
    flags |= {"data_dir": text(data_dir), "keys_dir": text(keys_dir)}
    flags["role"] = role if role is not None else flags.get("role")
    flags |= _address("--broker", broker, "mqtt") | _address("--web", web, "web")
    loaded = layers.load(CloudConfig, path=config, env_prefix=ENV_PREFIX, flags=flags)
    logs.setup("cloud", level=loaded.log_level)
    stop = stop_on_signals()
    try:
        (work if loaded.role == "ingest" else serve)(loaded, stop)
    except (ServiceError, StoreError) as error:
        fail(error)


@app.command(epilog="Example: vitalwire cloud audit --data-dir ./data --json > audit.json")
def audit(
    *,
    data_dir: DataDir = None,
    config: Config = None,
    settings: Settings = None,
    as_json: bool = typer.Option(False, "--json", help="Machine-readable, with every alarm."),
    values: bool = typer.Option(False, "--values", help="With --json: the latency of every single message."),
) -> None:
    """Read the store back, decode every block and count. Works beside a running service and after a killed one."""
    try:
        service = chosen(config, settings, data_dir)
        reader = open_reader(service)
        try:
            found = proof.gather(reader, service.data / "desk.sqlite", with_values=values)
        finally:
            reader.close()
    except StoreError as error:
        fail(error)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    for stream in found.streams:
        late = stream.latency_ms
        typer.echo(
            f"{stream.gateway}/{stream.device} {stream.stream} {stream.code or ''}: {stream.messages} messages, "
            f"{stream.samples} samples, {stream.duplicated} stored twice, {stream.skipped} given up by the gateway, "
            f"latency p50 {late.p50:.0f} ms, p99 {late.p99:.0f} ms"
        )
    typer.echo(
        f"{len(found.alarms)} alarms, {found.conflicts} conflicts, {found.duplicates} duplicates dropped, "
        f"{found.quarantined} messages in quarantine"
    )


def _address(option: str, text: str | None, section: str) -> dict[str, Any]:
    if text is None:
        return {}
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdigit():
        raise ConfigError(f"{option} {text!r}: write it as HOST:PORT, e.g. 127.0.0.1:1883")
    return {f"{section}.host": host.strip("[]"), f"{section}.port": port}
