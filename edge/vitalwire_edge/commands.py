"""`vitalwire edge run`: the gateway agent as a process."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import structlog
import typer
from prometheus_client import REGISTRY

from vitalwire_edge import source_commands, status
from vitalwire_edge.agent import Agent
from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.config import EdgeConfig, check
from vitalwire_edge.inference import trend
from vitalwire_edge.ota.config import OtaConfig
from vitalwire_edge.ota.gateway import GatewayModels
from vitalwire_edge.process import config as layers
from vitalwire_edge.process import logs
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.health import HealthServer
from vitalwire_edge.process.notify import supervised
from vitalwire_edge.process.shutdown import stop_on_signals
from vitalwire_edge.report import EdgeCollector
from vitalwire_edge.software.gateway import RESTART_EXIT
from vitalwire_edge.software.preflight import step_back
from vitalwire_edge.sources.inbox import SourceError
from vitalwire_edge.spool.rows import SpoolError
from vitalwire_edge.wearable import warming

log = structlog.get_logger()

app = typer.Typer(no_args_is_help=True, help="The gateway: wearables in, sealed and durable telemetry out.")

_FAILED = 1
_WRONG_USE = 2
_LEVELS: dict[str, logs.Level] = {"debug": "debug", "info": "info", "warning": "warning", "error": "error"}


app.command()(source_commands.sources)
app.command()(source_commands.scan)


@app.command(
    epilog=(
        "Examples: vitalwire edge run --set key_file=gw1.key --set clock.trust_system=true    "
        "vitalwire edge run --config edge.toml --broker broker.example:8883 --set mqtt.tls.enabled=true"
    ),
)
def run(
    *,
    config: Annotated[Path | None, typer.Option(help="TOML file; environment and flags override it.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, e.g. spool.max_bytes=1000000000.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Site name, part of every topic.")] = None,
    gateway: Annotated[str | None, typer.Option(help="Name of this gateway, part of every topic.")] = None,
    broker: Annotated[str | None, typer.Option(help="MQTT 5 broker as host:port.")] = None,
    listen: Annotated[
        str | None, typer.Option(help="Where wearables connect, as host:port; port 0 takes a free one.")
    ] = None,
    spool: Annotated[Path | None, typer.Option(help="The spool file.")] = None,
    health_port: Annotated[
        int | None, typer.Option(help="Port of /healthz, /readyz and /metrics; 0 takes a free one.")
    ] = None,
    counters: Annotated[
        Path | None, typer.Option(help="Write what was accepted, dropped and sent here every second.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            help="Replay this recording (WFDB, EDF or CSV); marks all of this gateway as simulated."
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="The device name of the replay.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the gateway until Ctrl-C or SIGTERM."""
    if log_level not in _LEVELS:
        raise typer.BadParameter(
            f"{log_level!r} is not one of {', '.join(_LEVELS)}", param_hint="--log-level"
        )
    flags = layers.pairs_of(setting or []) | {
        "site": site,
        "gateway": gateway,
        "spool.path": None if spool is None else str(spool),
        "health.port": health_port,
        **_address("--broker", "mqtt", broker),
        **_address("--listen", "sources.tcp", listen),
        **source_commands.replay_flags(file, device),
    }
    settings = layers.load(EdgeConfig, path=config, env_prefix="VITALWIRE_EDGE", flags=flags)
    check(settings)
    logs.setup(f"edge {settings.gateway}", level=_LEVELS[log_level])
    stop = stop_on_signals()
    try:
        with ExitStack() as stack:
            agent = Agent(settings, counters_path=counters)
            collector = EdgeCollector(agent)
            REGISTRY.register(collector)
            stack.callback(REGISTRY.unregister, collector)
            if settings.health.enabled:
                health = settings.health
                try:
                    server = HealthServer(
                        health.host,
                        health.port,
                        ready=agent.ready,
                        live=agent.live,
                        pages=status.pages(agent.status),
                    )
                except OSError as error:
                    raise SourceError(
                        f"cannot answer probes on {health.host}:{health.port} ({error.strerror}): "
                        "choose another port with --health-port, or 0 for a free one"
                    ) from error
                stack.enter_context(server)
                log.info("health_listening", host=server.address[0], port=server.address[1])
            agent.start()
            stack.enter_context(supervised(agent.live))
            agent.run(stop)
    except (SourceError, SpoolError, OSError) as error:
        typer.echo(f"vitalwire edge: {error}", err=True)
        raise typer.Exit(_FAILED) from error
    if agent.software.restart.is_set():
        raise typer.Exit(RESTART_EXIT)


@app.command(hidden=True)
def prepare() -> None:
    """Import and compile what `run` needs, as a new release does before its first start."""
    step_back()
    warming.warm()
    trend.warm()
    with tempfile.TemporaryDirectory() as folder:
        # A model at work is what compiles and what fails last; this one is gone with the folder.
        clock = GatewayClock()
        models = GatewayModels(OtaConfig(folder=folder), now=clock.now, wake=lambda: None)
        models.start()
        models.stop()


def _address(flag: str, section: str, text: str | None) -> dict[str, object]:
    """Settings of `host:port` given by `flag`. Raises `ConfigError`."""
    if text is None:
        return {}
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{flag} {text!r}: write it as host:port, e.g. 127.0.0.1:1883")
    return {f"{section}.host": host.strip("[]"), f"{section}.port": int(port)}
