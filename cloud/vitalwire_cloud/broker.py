"""`vitalwire broker run`: the embedded MQTT 5 broker, for one machine.

It has no access rules and keeps nothing over a restart. Neither costs data: a spool lets go of a message only when
ingest says that the store has it. Anything beyond one machine wants a broker with TLS and access rules (deploy/).
"""

import ipaddress
import logging
import socket
import tempfile
import threading
from pathlib import Path
from typing import Final

import structlog
import typer
from iotcore import IotCoreBroker

from vitalwire_edge.process import logs
from vitalwire_edge.process.shutdown import stop_on_signals
from vitalwire_edge.wire.messages import MAX_MESSAGE_BYTES

log = structlog.get_logger()

app = typer.Typer(no_args_is_help=True, help="The embedded MQTT 5 broker, for one machine.")

_TOPIC_AND_PROPERTIES_BYTES: Final = 4 * 1024
_START_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.05
_WRONG_USE: Final = 2

_CONFIGURATION: Final = """\
id = 0

[router]
id = 0
max_connections = {connections}
max_outgoing_packet_count = 200
# Small log segments: what nobody has fetched after 8 MiB a filter comes back from the gateways' spools.
max_segment_size = 1048576
max_segment_count = 8

[v5.1]
name = "mqtt5"
listen = "{listen}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 10000
max_payload_size = {payload}
max_inflight_count = 200
dynamic_filters = true
"""


class BrokerError(Exception):
    """The broker cannot run as asked; the message says why and what to do."""


class EmbeddedBroker:
    """The broker on a thread of this process, so that it can never outlive it.

    `port` 0 takes a free one; the one in use is `port`. Raises `BrokerError` when the port is taken or the broker does
    not come up.
    """

    def __init__(self, host: str, port: int, *, connections: int = 1024) -> None:
        self.host = host
        self.port = _free_port(host, port)
        # The broker reports every packet as an error through `logging`; its real failures end its thread.
        logging.getLogger("rumqttd").setLevel(logging.CRITICAL + 1)
        listen = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        with tempfile.TemporaryDirectory(prefix="vitalwire-broker-") as folder:
            path = Path(folder) / "rumqttd.toml"
            path.write_text(
                _CONFIGURATION.format(
                    listen=listen,
                    connections=connections,
                    payload=MAX_MESSAGE_BYTES + _TOPIC_AND_PROPERTIES_BYTES,
                ),
                encoding="utf-8",
            )
            self._native = IotCoreBroker(config_path=str(path))
            self._thread = threading.Thread(target=self._serve, name="broker", daemon=True)
            self._failure: Exception | None = None
            self._thread.start()
            self._wait_until_it_answers()

    @property
    def failure(self) -> str | None:
        """Why the broker ended, or None while it runs."""
        if self._thread.is_alive():
            return None
        return f"the broker on {self.host}:{self.port} ended: {self._failure or 'no reason given'}"

    def _serve(self) -> None:
        try:
            self._native.run_forever()
        except Exception as error:  # noqa: BLE001 - a native library; the reason goes to whoever asks
            self._failure = error

    def _wait_until_it_answers(self) -> None:
        patience = threading.Event()
        for _ in range(round(_START_TIMEOUT_S / _POLL_S)):
            if self.failure is not None:
                raise BrokerError(self.failure)
            try:
                socket.create_connection((self.host, self.port), timeout=1.0).close()
            except OSError:
                patience.wait(_POLL_S)
            else:
                return
        raise BrokerError(
            f"the broker did not answer on {self.host}:{self.port} within {_START_TIMEOUT_S:g} s"
        )


def _free_port(host: str, port: int) -> int:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise BrokerError(
            f"port {port} on {host} cannot be used ({error.strerror}): "
            f"stop what holds it (ss -ltnp 'sport = :{port}' shows it) or choose another with --port"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether `host` can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@app.callback()
def _group() -> None:
    """Keep `run` a sub-command although it is the only one."""


@app.command(
    epilog="Example: vitalwire broker run --port 1884    A second broker beside the one on 1883.",
)
def run(
    *,
    host: str = typer.Option("127.0.0.1", help="Address to listen on."),
    port: int = typer.Option(1883, min=0, max=65535, help="Port; 0 takes a free one and logs it."),
    insecure_expose: bool = typer.Option(
        False,
        "--insecure-expose",
        help="Allow an address that other machines can reach: anybody may then connect.",
    ),
    log_level: str = typer.Option("info", help="debug, info, warning or error."),
) -> None:
    """Run the embedded broker until Ctrl-C or SIGTERM."""
    logs.setup("broker", level=_level(log_level))
    if not is_loopback(host) and not insecure_expose:
        typer.echo(
            f"vitalwire broker: {host} can be reached from other machines and this broker lets anybody in; "
            "listen on 127.0.0.1, use a broker with access rules, or say --insecure-expose",
            err=True,
        )
        raise typer.Exit(_WRONG_USE)
    stop = stop_on_signals()
    try:
        broker = EmbeddedBroker("127.0.0.1" if host == "localhost" else host, port)
    except BrokerError as error:
        typer.echo(f"vitalwire broker: {error}", err=True)
        raise typer.Exit(1) from error
    log.info("broker_listening", host=broker.host, port=broker.port)
    while not stop.wait(0.5):
        if broker.failure is not None:
            typer.echo(f"vitalwire broker: {broker.failure}", err=True)
            raise typer.Exit(1)
    log.info("broker_stopped")


def _level(text: str) -> logs.Level:
    match text:
        case "debug" | "info" | "warning" | "error":
            return text
    raise typer.BadParameter(f"{text!r} is not debug, info, warning or error", param_hint="--log-level")
