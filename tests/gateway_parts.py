"""What tests of the gateway put around it: a wearable on a socket, a cuttable cable, brokers, a cloud that commits."""

import selectors
import shutil
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion

from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.frames import Frame, Goodbye, Hello, Payload, Wave, WaveChannel, encode
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    BeatsMessage,
    Command,
    Committed,
    DeviceBirth,
    DeviceDeath,
    GatewayBirth,
    GatewayDeath,
    Skip,
    StreamCommit,
    VitalsMessage,
    WaveBlock,
    decode_data,
    decode_json,
    encode_committed,
    encode_json,
    seal,
)
from vitalwire_edge.wire.topics import gateway_topic, parse

KEY = bytes(range(32))
FS_HZ = 250
SITE = "ward"
GATEWAY = "gw1"


def wait_for(condition: Callable[[], object], timeout_s: float = 15.0, what: str = "it") -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"{what} did not happen within {timeout_s} s")
        time.sleep(0.02)


def ecg(first: int, count: int, *, rate_per_min: float = 75.0) -> NDArray[np.int16]:
    """Counts of 2.5 uV of a plain ECG at 250 Hz."""
    t = (first + np.arange(count)) / FS_HZ
    phase = (t * rate_per_min / 60) % 1.0
    uv = 1000 * np.exp(-0.5 * ((phase - 0.5) / 0.014) ** 2) + 150 * np.exp(-0.5 * ((phase - 0.8) / 0.05) ** 2)
    return np.round((uv + 8 * np.sin(2 * np.pi * 7 * t)) / 2.5).astype(np.int16)


class FrameMaker:
    """Frames of one simulated device, with its own sequence and clock."""

    def __init__(self, device: str = "chest-1", *, boot: int = 1, code: Code = Code.ECG_UNSPECIFIED) -> None:
        self.hello_payload = Hello(device, boot, (WaveChannel(code, FS_HZ * 1000, 2.5),))
        self.sequence = 0
        self.sample = 0
        self.clock_us = 0

    def frame(self, payload: Payload) -> Frame:
        frame = Frame(self.sequence, self.clock_us, payload)
        self.sequence += 1
        return frame

    def hello(self) -> Frame:
        return self.frame(self.hello_payload)

    def wave(self, count: int = 50, *, lead_off: bool = False) -> Frame:
        samples = ecg(self.sample, count)
        payload = Wave(0, self.sample, samples, lead_off)
        self.skip(count)
        return self.frame(payload)

    def skip(self, count: int) -> None:
        self.sample += count
        self.clock_us = self.sample * 1_000_000 // FS_HZ

    def goodbye(self) -> Frame:
        return self.frame(Goodbye())


class Cable:
    """A TCP relay to `port` that can be cut, made thin and mended.

    Cut means that nothing passes and nobody may connect; thin, that it is whole for a moment now and then.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._whole = threading.Event()
        self._whole.set()
        self._moments: tuple[float, float] | None = None
        self._stop = threading.Event()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._near: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        self._moments = None
        self._whole.clear()

    def thin(self, *, up_s: float, down_s: float) -> None:
        self._moments = up_s, down_s

    def mend(self) -> None:
        self._moments = None
        self._whole.set()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.is_set():
            moments = self._moments
            if moments is not None:
                up_s, down_s = moments
                whole = time.monotonic() % (up_s + down_s) < up_s
                self._whole.set() if whole else self._whole.clear()
            if not self._whole.is_set():
                for end in list(self._peers):
                    self._drop(end)
            self._tick()
            for key, _ in self._selector.select(0.02):
                end = key.fileobj
                assert isinstance(end, socket.socket)
                if end is self._listener:
                    self._accept()
                elif end in self._peers:
                    self._move(end)
        for end in list(self._peers):
            self._drop(end)
        self._listener.close()
        self._selector.close()

    def _tick(self) -> None:
        """Called in every round of the relay."""

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if not self._whole.is_set():
            near.close()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._target), 2)
        except OSError:
            near.close()
            return
        self._near.add(near)
        for one, other in ((near, far), (far, near)):
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _move(self, end: socket.socket) -> None:
        try:
            data = end.recv(65536)
            if not data:
                raise ConnectionResetError
            self._peers[end].sendall(data)
        except OSError:
            self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        other = self._peers.pop(end, None)
        if other is None:
            return
        self._peers.pop(other, None)
        for part in (end, other):
            self._near.discard(part)
            self._selector.unregister(part)
            part.close()


@contextmanager
def mosquitto(folder: Path, *, acl: str | None = None) -> Iterator[int]:
    """A real mosquitto on a free port; `acl` is the text of its access rules for anonymous clients."""
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    port = free_port()
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false", "user root"]
    if acl is not None:
        rules = folder / "acl"
        rules.write_text(acl)
        rules.chmod(0o600)
        lines.append(f"acl_file {rules}")
    configuration = folder / "mosquitto.conf"
    configuration.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port), what="mosquitto")
        yield port
    finally:
        process.terminate()
        process.wait(5)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


class CloudDouble:
    """The cloud's side of the wire: takes every message once, and says what it has committed, sealed with `key`."""

    def __init__(self, port: int, *, key: bytes = KEY, commit: bool = True) -> None:
        self.key = key
        self.commit = commit
        self.messages: dict[
            tuple[str, str], dict[int, WaveBlock | VitalsMessage | BeatsMessage | AlarmMessage]
        ]
        self.messages = defaultdict(dict)
        self.skips: list[tuple[str, str, Skip]] = []
        self.repeats = 0
        self.order: list[tuple[str, int, int]] = []
        self.births: list[GatewayBirth | DeviceBirth] = []
        self.deaths: list[GatewayDeath | DeviceDeath] = []
        self.statuses = 0
        self.session = ""
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._on_message
        ready = threading.Event()
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(f"v1/{SITE}/#", qos=1)
        assert ready.wait(5)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def samples(self, device: str) -> int:
        with self._lock:
            blocks = list(self.messages[device, "ecg"].values())
        return sum(block.count for block in blocks if isinstance(block, WaveBlock))

    def blocks(self, device: str) -> list[WaveBlock]:
        with self._lock:
            return [m for _, m in sorted(self.messages[device, "ecg"].items()) if isinstance(m, WaveBlock)]

    def alarms(self, device: str) -> list[AlarmMessage]:
        with self._lock:
            return [
                m for _, m in sorted(self.messages[device, "alarm"].items()) if isinstance(m, AlarmMessage)
            ]

    def tell(self) -> None:
        """Publish what is committed."""
        with self._lock:
            streams = tuple(
                self._commit_of(key)
                for key in sorted(self.messages.keys() | {(d, s) for d, s, _ in self.skips})
            )
        topic = gateway_topic(SITE, GATEWAY, "committed")
        payload = encode_committed(Committed(time.time_ns(), streams))
        self._client.publish(topic, seal(self.key, topic, payload), qos=1)

    def command(self, command: Command) -> None:
        topic = gateway_topic(SITE, GATEWAY, "cmd")
        self._client.publish(topic, seal(self.key, topic, encode_json(command)), qos=1)

    def _commit_of(self, key: tuple[str, str]) -> StreamCommit:
        device, stream = key
        held = sorted(self.messages[key])
        skipped = {n for d, s, skip in self.skips if (d, s) == key for n in range(skip.first, skip.last + 1)}
        have = sorted(set(held) | skipped)
        low = 0
        while low < len(have) and have[low] == low:
            low += 1
        ranges = tuple((seq, seq) for seq in have[low:])
        return StreamCommit(device, stream, self.session, low, ranges)  # type: ignore[arg-type]

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        topic = parse(message.topic)
        payload = bytes(message.payload)
        if topic.stream is None:
            self._notice(topic.device, topic.verb, payload)
            return
        assert topic.device is not None
        key = topic.device, topic.stream
        is_json = payload.startswith(b"{")
        decoded = decode_json(payload, AlarmMessage) if is_json else decode_data(payload)
        with self._lock:
            self.session = decoded.session
            if isinstance(decoded, Skip):
                self.skips.append((*key, decoded))
            else:
                self.repeats += decoded.seq in self.messages[key]
                self.messages[key].setdefault(decoded.seq, decoded)
                self.order.append((topic.stream, decoded.seq, decoded.flags))
        if self.commit:
            self.tell()

    def _notice(self, device: str | None, verb: str, payload: bytes) -> None:
        match device, verb:
            case None, "birth":
                self.births.append(decode_json(payload, GatewayBirth))
                if self.commit:
                    self.tell()
            case None, "death":
                self.deaths.append(decode_json(payload, GatewayDeath))
            case str(), "birth":
                self.births.append(decode_json(payload, DeviceBirth))
            case str(), "death":
                self.deaths.append(decode_json(payload, DeviceDeath))
            case None, "status":
                self.statuses += 1


class WearableSocket:
    """A wearable's TCP connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, 5)

    def send(self, *frames: Frame) -> None:
        self.socket.sendall(b"".join(encode(frame) for frame in frames))

    def close(self) -> None:
        self.socket.close()

    def closed_by_gateway(self) -> bool:
        self.socket.settimeout(5)
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
