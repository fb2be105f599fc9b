"""A whole site of real processes on this machine, with every handle that a storm needs."""

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from gateway_parts import FS_HZ, Cable, WearableSocket, ecg, free_port
from paho.mqtt.enums import CallbackAPIVersion

from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.frames import Frame, Goodbye, Hello, Payload, Status, Wave, WaveChannel

SITE = "ward"
GATEWAY = "gw1"
COMMAND = [sys.executable, "-m", "vitalwire_edge"]
WAVE_S = 0.2
WAVE_SAMPLES = 50
_STATUS_EVERY = 5
_BATTERY_PERCENT = 3


class StormError(AssertionError):
    """The site did not come to rest, or did not keep what it was given."""


def until(condition: Callable[[], object], what: str, timeout_s: float) -> None:
    """Wait for a condition. Raises `StormError`."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise StormError(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(0.05)


class Process:
    """One server or `vitalwire` process that is killed and started again."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self._command = command
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)

    @property
    def running(self) -> bool:
        """Whether it is there."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Signal it if it is there."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """As a power cut."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self, timeout_s: float = 30.0) -> int:
        """End it in good order; its exit code."""
        self.signal(signal.SIGTERM)
        assert self._process is not None
        return self._process.wait(timeout_s)

    def said(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


class Heart(threading.Thread):
    """A wearable: its counter alone determines its samples; they are kept while nobody listens, and then sent at once.

    `handed` counts the samples that a socket of the gateway's machine took.
    """

    def __init__(self, name: str, port: int) -> None:
        super().__init__(name=name, daemon=True)
        self._port = port
        self._hello = Hello(name, 1, (WaveChannel(Code.ECG_UNSPECIFIED, FS_HZ * 1000, 2.5),))
        self._sample = 0
        self._sequence = 0
        self._kept: list[tuple[int, Payload]] = []
        self._socket: WearableSocket | None = None
        self._ending = threading.Event()
        self._mute_until = 0.0
        self.handed = 0

    def mute(self, seconds: float) -> None:
        """Send nothing for a while, then everything at once."""
        self._mute_until = time.monotonic() + seconds

    def end(self) -> None:
        """Send the rest and a goodbye."""
        self._ending.set()
        self.join(30)

    def run(self) -> None:
        """Beat."""
        beat_s = time.monotonic()
        blocks = 0
        while not self._ending.is_set():
            self._keep(Wave(0, self._sample, ecg(self._sample, WAVE_SAMPLES)))
            self._sample += WAVE_SAMPLES
            if blocks % _STATUS_EVERY == 0:
                self._keep(Status(_BATTERY_PERCENT, -60, 0))
            blocks += 1
            self._send()
            beat_s += WAVE_S
            self._ending.wait(max(0.0, beat_s - time.monotonic()))
        self._mute_until = 0.0
        self._keep(Goodbye())
        with contextlib.suppress(StormError):
            until(self._send, "the goodbye", 20)
        if self._socket is not None:
            self._socket.close()

    def _keep(self, payload: Payload) -> None:
        self._kept.append((self._sample * 1_000_000 // FS_HZ, payload))

    def _say(self, clock_us: int, payload: Payload) -> None:
        """Frames are numbered as they are sent, as firmware does."""
        assert self._socket is not None
        self._socket.send(Frame(self._sequence, clock_us, payload))
        self._sequence += 1

    def _send(self) -> bool:
        if time.monotonic() < self._mute_until:
            return False
        try:
            if self._socket is None:
                self._socket = WearableSocket(("127.0.0.1", self._port))
                self._say(self._sample * 1_000_000 // FS_HZ, self._hello)
            while self._kept:
                _, payload = self._kept[0]
                self._say(*self._kept[0])
                self._kept.pop(0)
                if isinstance(payload, Wave):
                    self.handed += payload.samples.size
        except OSError:
            if self._socket is not None:
                self._socket.close()
            self._socket = None
            return False
        return True


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
    """Broker, cloud, one gateway behind a cable, and wearables."""

    def __init__(self, folder: Path, broker: str, wearables: int = 3) -> None:
        self.folder = folder
        self.data = folder / "cloud"
        self.counters = folder / "counters.json"
        (folder / "keys").mkdir(parents=True)
        key = folder / "keys" / f"{GATEWAY}.key"
        key.write_text("ab" * 32)
        broker_port, self._web = free_port(), free_port()
        self.broker = Process("broker", _broker(broker, broker_port, folder), folder)
        self.cloud = Process(
            "cloud",
            [
                *COMMAND, "cloud", "run", "--broker", f"127.0.0.1:{broker_port}", "--data-dir", str(self.data),
                "--web", f"127.0.0.1:{self._web}", "--keys-dir", str(folder / "keys"), "--set", f"site={SITE}",
            ],
            folder,
        )  # fmt: skip
        self.cable = Cable(broker_port)
        listen, self._health = free_port(), free_port()
        settings = {
            "key_file": str(key),
            "clock.trust_system": "true",
            "telemetry.simulated": "true",
            "mqtt.retry_first_s": "0.1",
            "mqtt.retry_max_s": "0.5",
            "mqtt.keepalive_s": "2",
            "mqtt.resend_after_s": "2",
        }
        self.gateway = Process(
            "gateway",
            [
                *COMMAND, "edge", "run", "--site", SITE, "--gateway", GATEWAY,
                "--broker", f"127.0.0.1:{self.cable.port}", "--listen", f"127.0.0.1:{listen}",
                "--spool", str(folder / "spool.sqlite"), "--health-port", str(self._health),
                "--counters", str(self.counters),
                *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
            ],
            folder,
        )  # fmt: skip
        self.hearts = [Heart(f"chest-{number}", listen) for number in range(1, wearables + 1)]
        self._broker_port = broker_port
        self._processes = (self.broker, self.cloud, self.gateway)

    def __enter__(self) -> Self:
        """Start everything; the hearts beat when this returns."""
        self.broker.start()
        until(lambda: _answers(self._broker_port), "the broker's answer", 20)
        self.cloud.start()
        self.gateway.start()
        until(lambda: self.ready(self._web) and self.ready(self._health), "the site's readiness", 60)
        self.echo = Echo(self._broker_port)
        for heart in self.hearts:
            heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """End what still runs."""
        self.echo.close()
        for process in self._processes:
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

    def settle(self, timeout_s: float = 60.0) -> None:
        """Let everything arrive: wearables end, the spool empties, everybody stops in good order."""
        self.cable.mend()
        self.cloud.signal(signal.SIGCONT)
        for process in self._processes:
            if not process.running:
                process.start()
        until(lambda: self.ready(self._web) and self.ready(self._health), "the site's recovery", 60)
        for heart in self.hearts:
            heart.end()
        try:
            until(lambda: self._spool_rows() == 0, "an empty spool", timeout_s)
        except StormError as error:
            raise StormError(
                f"{error}: {self.report()}\n{self.gateway.said()}\n{self.cloud.said()}"
            ) from error
        for process in (self.gateway, self.cloud):
            if process.stop() != 0:
                raise StormError(f"a process did not end in good order:\n{process.said()}")

    def report(self) -> dict[str, Any]:
        """What the gateway says it did since its last start."""
        try:
            found: dict[str, Any] = json.loads(self.counters.read_text())
        except (OSError, ValueError):
            return {}
        return found

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

    def _spool_rows(self) -> int:
        """Rows in the spool, read from the file itself."""
        connection = sqlite3.connect(f"file:{self.folder / 'spool.sqlite'}?mode=ro", uri=True, timeout=5)
        try:
            (rows,) = connection.execute("SELECT count(*) FROM rows").fetchone()
        finally:
            connection.close()
        return int(rows)


def _broker(kind: str, port: int, folder: Path) -> list[str]:
    if kind == "embedded":
        return [*COMMAND, "broker", "run", "--port", str(port)]
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert program, "mosquitto is not installed: run scripts/servers.sh"
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "user root"]
    if kind == "mosquitto":
        lines.append("persistence false")
    else:
        lines += ["persistence true", "autosave_interval 1", f"persistence_location {folder}/"]
    configuration = folder / "mosquitto.conf"
    configuration.write_text("\n".join(lines) + "\n")
    return [program, "-c", str(configuration)]


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
