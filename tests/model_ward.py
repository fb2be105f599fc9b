"""Model parts on a real broker: gateways that score all the time, and the desk that updates them.

Run as a program it is one gateway in a process of its own, for tests that kill it.
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import tiny_model as tiny
from model_gateway import HOST, QUICK, X, build
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from vitalwire_edge.clock.gateway_clock import Stamp
from vitalwire_edge.inference.keys import Trust
from vitalwire_edge.ota.config import OtaConfig
from vitalwire_edge.ota.keeper import ModelKeeper
from vitalwire_edge.ota.slot import ModelSlot
from vitalwire_edge.ota.updater import Updater
from vitalwire_edge.wire.messages import MAX_MESSAGE_BYTES, MessageError, seal, unseal
from vitalwire_edge.wire.topics import gateway_topic

SITE = "ward"
BEAT_S = 0.004


class Bus:
    """A client of the broker; `largest` is the largest payload it published."""

    def __init__(
        self,
        port: int,
        name: str,
        filters: list[str],
        heard: Callable[[str, bytes], None],
        up: Callable[[], None],
    ) -> None:
        self.largest = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        properties = Properties(PacketTypes.CONNECT)
        properties.MaximumPacketSize = MAX_MESSAGE_BYTES + 4096

        def on_connect(client, *_: Any) -> None:
            client.subscribe([(each, SubscribeOptions(qos=1)) for each in filters])

        self._client.on_connect = on_connect
        self._client.on_subscribe = lambda *_: up()
        self._client.on_message = lambda _c, _d, message: heard(message.topic, bytes(message.payload))
        self._client.connect_async("127.0.0.1", port, clean_start=True, properties=properties)
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        properties = Properties(PacketTypes.PUBLISH)
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        self.largest = max(self.largest, len(payload))
        return self._client.publish(topic, payload, qos=1, properties=properties).rc == paho.MQTT_ERR_SUCCESS

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class LiveGateway:
    """Scores a beat every few milliseconds whatever happens, and keeps count of which version scored it.

    With `sick` versions the scorer raises an error on every beat of theirs.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        name: str,
        key: bytes,
        trust: Trust,
        shipped: bytes,
        *,
        journal: Path | None = None,
        sick: frozenset[int] = frozenset(),
    ) -> None:
        self.versions: Counter[int | None] = Counter()
        self.sick = sick
        self.slot: ModelSlot = ModelSlot()
        config = OtaConfig(folder=str(folder), probation=QUICK, retry_first_s=0.3, retry_max_s=1.0)
        self.keeper = ModelKeeper(
            config,
            trust=trust,
            slot=self.slot,
            load=tiny.load,
            build=build,
            now=lambda: Stamp(time.monotonic_ns(), time.time_ns(), synchronised=True),
            shipped=(shipped,),
            host=HOST,
        )
        self._key = key
        self._down, self._up = (gateway_topic(SITE, name, verb) for verb in ("model", "model-state"))
        self._stop = threading.Event()
        self._journal = None if journal is None else journal.open("a", buffering=1)
        self.updater = Updater(config, self.keeper, wake=self._say)
        self._bus: Bus | None = None
        self.updater.start()
        self._scorer = threading.Thread(target=self._score, daemon=True)
        self._scorer.start()
        self._bus = Bus(port, f"gw-{name}", [self._down], self._hear, self.updater.connected)

    def close(self) -> None:
        self._stop.set()
        self._scorer.join(5)
        self.updater.stop()
        assert self._bus is not None
        self._bus.close()
        if self._journal is not None:
            self._journal.close()

    @property
    def version(self) -> int | None:
        return None if self.slot.loaded is None else self.slot.loaded.version

    def _hear(self, topic: str, sealed: bytes) -> None:
        try:
            self.updater.receive(unseal(self._key, topic, sealed))
        except MessageError:
            self.updater.counters["sealed_rejected"] += 1

    def _say(self) -> None:
        if self._bus is not None:
            for payload in self.updater.take():
                self._bus.publish(self._up, seal(self._key, self._up, payload))

    def _score(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            version = self._beat()
            self.versions[version] += 1
            if self._journal is not None:
                self._journal.write(f"{version}\n")
            due += BEAT_S
            self._stop.wait(max(0.0, due - time.monotonic()))

    def _beat(self) -> int | None:
        version = None
        try:
            with self.slot.lease() as loaded:
                if loaded is not None:
                    version = loaded.version
                    if version in self.sick:
                        raise ArithmeticError(f"version {version} is sick")
                    scored = round(float(loaded.model([X])[0][0, 0])) - 2
                    assert scored == version or scored < version, "a rollback scores as an older one"
        except ArithmeticError:
            self.versions[-1] += 1
        return version


def main() -> None:
    """One gateway, told by a JSON file, until it is killed."""
    told = json.loads(Path(sys.argv[1]).read_text())
    LiveGateway(
        Path(told["folder"]),
        told["port"],
        told["name"],
        bytes.fromhex(told["key"]),
        Trust.read(Path(told["trust"])),
        Path(told["shipped"]).read_bytes(),
        journal=Path(told["journal"]),
    )
    threading.Event().wait()


if __name__ == "__main__":
    main()
