"""A whole site of real processes on this machine, with every handle that a storm needs."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import paho.mqtt.client as paho
from hearts import Heart
from memory_watch import MemoryWatch, gauge
from paho.mqtt.enums import CallbackAPIVersion
from shuffled_cable import ShuffledCable
from warm_process import Process, WarmProcess

SITE = "ward"
GATEWAY = "gw1"
_FLUSH_S = 0.5
_START_S = 150.0
"""A machine that does much else, and compiles what was never compiled on it."""


class StormError(AssertionError):
    """The site did not come to rest, or did not keep what it was given."""


def until(condition: Callable[[], object], what: str, timeout_s: float) -> None:
    """Wait for a condition. Raises `StormError`."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise StormError(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(0.05)


_ports = itertools.count()


def own_port() -> int:
    """A port that nobody listens on, of this process's own share and below those that the system hands out.

    A killed server's port must not be given to some connection before it is started again.
    """
    first = 10_000 + os.getpid() % 100 * 200
    while True:
        port = first + next(_ports) % 200
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


class Echo:
    """A client that hears everything and says it all again, in another order: duplicates and late arrivals."""

    def __init__(self, port: int) -> None:
        self._heard: list[tuple[str, bytes]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(f"v1/{SITE}/{GATEWAY}/+/+", qos=1)
        self._client.on_message = self._hear
        self._client.reconnect_delay_set(0.2, 0.5)
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def _hear(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if len(self._heard) < 2000 and not message.topic.endswith(("birth", "death")):
            self._heard.append((message.topic, bytes(message.payload)))

    def repeat(self) -> None:
        """Say everything again, the last first."""
        heard, self._heard = self._heard, []
        for topic, payload in reversed(heard):
            self._client.publish(topic, payload, qos=1)

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


class Site:
    """Broker, cloud, a gateway behind a cable, and wearables; a second gateway of that name if a storm brings it."""

    def __init__(
        self,
        folder: Path,
        broker: str,
        *,
        wearables: int = 3,
        seed: int = 0,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.data = folder / "cloud"
        self._settings = settings or {}
        self._gateway_ports: list[int] = []
        (folder / "keys").mkdir(parents=True)
        self._key = folder / "keys" / f"{GATEWAY}.key"
        self._key.write_text("ab" * 32)
        self._broker_port, self.web_port = own_port(), own_port()
        self.broker = _broker(broker, self._broker_port, folder)
        self.cloud = WarmProcess(
            "cloud",
            [
                "cloud", "run", "--broker", f"127.0.0.1:{self._broker_port}", "--data-dir", str(self.data),
                "--web", f"127.0.0.1:{self.web_port}", "--keys-dir", str(folder / "keys"), "--set", f"site={SITE}",
            ],
            folder,
        )  # fmt: skip
        self.cable = ShuffledCable(self._broker_port, seed=seed)
        self.gateway, listen, self._health = self._gateway("gateway")
        self.twin: WarmProcess | None = None
        self.hearts = [Heart(f"chest-{number}", listen) for number in range(1, wearables + 1)]
        self._listen = listen
        self.watch = MemoryWatch({"gateway": self._health, "cloud": self.web_port})

    @property
    def processes(self) -> list[Process]:
        """Everything that runs, in the order of starting."""
        return [self.broker, self.cloud, self.gateway, *([] if self.twin is None else [self.twin])]

    def __enter__(self) -> Self:
        """Start everything; the hearts beat when this returns."""
        self.broker.start()
        until(lambda: _answers(self._broker_port), "the broker's answer", 20)
        self.cloud.start()
        self.gateway.start()
        try:
            until(
                lambda: self.ready(self.web_port) and self.ready(self._health),
                "the site's readiness",
                _START_S,
            )
        except StormError:
            self._kill()
            raise
        self.watch.begin(self.processes)
        self.echo = Echo(self._broker_port)
        for heart in self.hearts:
            heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """End what still runs."""
        self.watch.end()
        self.echo.close()
        self._kill()

    def _kill(self) -> None:
        for process in self.processes:
            process.signal(signal.SIGCONT)
            process.kill()
        self.cable.close()

    def ready(self, port: int) -> bool:
        """Whether the process that answers probes there is ready."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def bring_twin(self) -> None:
        """A second gateway of the same name and key, with a spool and a wearable of its own. It stays."""
        if self.twin is None:
            self.twin, listen, _ = self._gateway("twin")
            self.twin.start()
            heart = Heart("twin-1", listen)
            heart.start()
            self.hearts.append(heart)

    def crowd(self, count: int, life_s: float) -> None:
        """So many wearables more, for a while."""
        first = len(self.hearts) + 1
        for number in range(first, first + count):
            heart = Heart(f"crowd-{number}", self._listen, life_s=life_s)
            heart.start()
            self.hearts.append(heart)

    @property
    def cpu_s(self) -> float:
        """Processor time of all lives that ended."""
        return sum(process.cpu_s for process in self.processes)

    def settle(self, timeout_s: float = 60.0) -> None:
        """Let everything arrive: wearables end, the spools empty, everybody stops in good order."""
        self.cable.shuffling = False
        self.cable.mend()
        for process in self.processes:
            process.signal(signal.SIGCONT)
            process.free_disk()
            process.revive()
        for process in (self.gateway, self.cloud):
            process.step_clock(0)
        until(lambda: self.ready(self.web_port) and self.ready(self._health), "the site's recovery", _START_S)
        for heart in self.hearts:
            heart.swapping = False
            heart.end()
        until(lambda: self._connected() == 0, "every goodbye's arrival", 30)
        # What a goodbye completes is analysed and committed within a few ticks.
        time.sleep(_FLUSH_S)
        try:
            until(lambda: self._spool_rows() == 0, "an empty spool", timeout_s)
        except StormError as error:
            said = "\n".join(process.said() for process in self.processes)
            raise StormError(f"{error}: {self._spool_rows()} rows\n{said}") from error
        for process in reversed(self.processes[1:]):
            if process.stop() != 0:
                raise StormError(f"{process.name} did not end in good order:\n{process.said()}")
        self.broker.measure()

    def lock_store(self, seconds: float) -> threading.Thread:
        """Keep the store from writing for a while."""

        def hold() -> None:
            with contextlib.suppress(sqlite3.OperationalError):
                connection = sqlite3.connect(self.data / "store.sqlite", timeout=0.5, isolation_level=None)
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(seconds)
                connection.execute("ROLLBACK")
                connection.close()

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        return thread

    @property
    def spools(self) -> list[Path]:
        """The spools of the gateways."""
        return [self.folder / f"{name}.sqlite" for name in ("gateway", *(["twin"] if self.twin else []))]

    def _gateway(self, name: str) -> tuple[WarmProcess, int, int]:
        """A gateway of that spool; its process, where wearables connect, and where probes answer."""
        listen, health = own_port(), own_port()
        self._gateway_ports.append(health)
        settings = {
            "key_file": str(self._key),
            "clock.trust_system": "true",
            "telemetry.simulated": "true",
            "mqtt.retry_first_s": "0.1",
            "mqtt.retry_max_s": "0.5",
            "mqtt.keepalive_s": "2",
            "mqtt.resend_after_s": "2",
            **self._settings,
        }
        command = [
            "edge", "run", "--site", SITE, "--gateway", GATEWAY,
            "--broker", f"127.0.0.1:{self.cable.port}", "--listen", f"127.0.0.1:{listen}",
            "--spool", str(self.folder / f"{name}.sqlite"), "--health-port", str(health),
            *(part for key, value in settings.items() for part in ("--set", f"{key}={value}")),
        ]  # fmt: skip
        return WarmProcess(name, command, self.folder), listen, health

    def _connected(self) -> float:
        """Wearables that the gateways still hear."""
        return sum(gauge(port, "vitalwire_edge_wearables_connected") or 0.0 for port in self._gateway_ports)

    def _spool_rows(self) -> int:
        """Rows in the spools, read from the files themselves."""
        total = 0
        for spool in self.spools:
            with closing(sqlite3.connect(f"file:{spool}?mode=ro", uri=True, timeout=5)) as connection:
                (rows,) = connection.execute("SELECT count(*) FROM rows").fetchone()
                total += int(rows)
        return total


def _broker(kind: str, port: int, folder: Path) -> Process:
    if kind == "embedded":
        return WarmProcess("broker", ["broker", "run", "--port", str(port)], folder)
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert program, "mosquitto is not installed: run scripts/servers.sh"
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "user root"]
    if kind == "mosquitto":
        lines.append("persistence false")
    else:
        lines += ["persistence true", "autosave_interval 1", f"persistence_location {folder}/"]
    configuration = folder / "mosquitto.conf"
    configuration.write_text("\n".join(lines) + "\n")
    return Process("broker", [program, "-c", str(configuration)], folder)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
