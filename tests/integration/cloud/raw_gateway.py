"""A gateway reduced to what the cloud sees of it: it publishes, keeps what is not confirmed, and sends it again."""

import queue
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from vitalwire_edge.wire.blocks import pack
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    BeatMark,
    BeatsMessage,
    ChannelInfo,
    ClockState,
    Command,
    DeviceBirth,
    GatewayBirth,
    GatewayDeath,
    GatewayStatus,
    VitalsMessage,
    VitalValue,
    WaveBlock,
    decode_committed,
    decode_json,
    encode_data,
    encode_json,
    unseal,
)
from vitalwire_edge.wire.topics import device_topic, gateway_topic

SITE = "ward-3"
FS_HZ = 250
SECOND_NS = 1_000_000_000
SAMPLES = 250


def ecg(seconds: int, seed: int = 1) -> list[np.ndarray]:
    """Blocks of 1 s that look like a waveform to a codec."""
    rng = np.random.default_rng(seed)
    wave = 400 * np.sin(np.arange(seconds * SAMPLES) / 9.0) + rng.normal(0, 8, seconds * SAMPLES)
    return list(wave.astype(np.int16).reshape(seconds, SAMPLES))


class RawGateway:
    """One gateway with one device, under the topics and with the session it is given."""

    def __init__(
        self,
        port: int,
        key: bytes,
        *,
        name: str = "gw-1",
        device: str = "w-1",
        session: str = "s-1",
        site: str = SITE,
        certificates: Path | None = None,
    ) -> None:
        self.name = name
        self.device = device
        self.session = session
        self.site = site
        self.key = key
        self.unconfirmed: dict[tuple[str, int], bytes] = {}
        self.commands: queue.Queue[Command] = queue.Queue()
        self.told = 0
        self.many_tellers = False
        self.start_ns = time.time_ns() - 60 * SECOND_NS
        self._low_water: dict[str, int] = {}
        self._changed = threading.Condition()
        self._up = threading.Event()
        self._next: dict[str, int] = {}
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"raw-{name}", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.max_inflight_messages_set(100)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._up.set()
        self._client.on_message = self._on_message
        self._client.will_set(
            gateway_topic(site, name, "death"),
            encode_json(GatewayDeath(session=session, expected=False)),
            qos=1,
        )
        if certificates is not None:
            own = [str(certificates / f"{name}.{part}") for part in ("crt", "key")]
            self._client.tls_set(str(certificates / "ca.crt"), *own)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port, keepalive=10)
        self._client.loop_start()
        assert self._up.wait(10), "the broker did not take the raw gateway"

    def _on_connect(self, client, *_):
        client.subscribe(
            [
                (gateway_topic(self.site, self.name, "committed"), 1),
                (gateway_topic(self.site, self.name, "cmd"), 1),
            ]
        )

    def _on_message(self, _client, _data, message):
        payload = unseal(self.key, message.topic, message.payload)
        if message.topic.endswith("/cmd"):
            self.commands.put(decode_json(payload, Command))
            return
        with self._changed:
            self.told += 1
            for commit in decode_committed(payload).streams:
                if commit.session != self.session:
                    continue
                before = self._low_water.get(commit.stream, 0)
                assert commit.low_water >= before or self.many_tellers, "the low-water mark went back"
                self._low_water[commit.stream] = max(commit.low_water, before)
                for key in [key for key in self.unconfirmed if key[0] == commit.stream]:
                    if key[1] < commit.low_water or any(a <= key[1] <= b for a, b in commit.ranges):
                        del self.unconfirmed[key]
            self._changed.notify_all()

    def publish(self, topic: str, payload: bytes, *, wait: bool = False) -> None:
        info = self._client.publish(topic, payload, qos=1)
        if wait:
            info.wait_for_publish(10)

    def birth(self, *, device: bool = True) -> None:
        now_ns = time.time_ns()
        clock = ClockState(boot="b", synchronised=True, offset_ns=0)
        self.publish(
            gateway_topic(self.site, self.name, "birth"),
            encode_json(
                GatewayBirth(
                    session=self.session, at_ns=now_ns, software="test", clock=clock, devices=(self.device,)
                )
            ),
        )
        if device:
            channels = (ChannelInfo(code=Code.ECG_I, name="I", unit="uV", rate_mhz=FS_HZ * 1000, scale=2.5),)
            self.publish(
                device_topic(self.site, self.name, self.device, "birth"),
                encode_json(
                    DeviceBirth(
                        session=self.session, at_ns=now_ns, device_boot=0, simulated=True, channels=channels
                    )
                ),
            )

    def status(self) -> None:
        clock = ClockState(boot="b", synchronised=True, offset_ns=0)
        self.publish(
            gateway_topic(self.site, self.name, "status"),
            encode_json(
                GatewayStatus(
                    session=self.session,
                    at_ns=time.time_ns(),
                    clock=clock,
                    spool_rows=len(self.unconfirmed),
                    spool_bytes=0,
                    unconfirmed=len(self.unconfirmed),
                    counters={},
                    devices=(),
                )
            ),
        )

    def take(self, stream: str) -> int:
        seq = self._next.get(stream, 0)
        self._next[stream] = seq + 1
        return seq

    def block(self, samples: np.ndarray, **changes) -> WaveBlock:
        seq = self.take("ecg")
        codec, data = pack(samples)
        fields = {
            "session": self.session,
            "seq": seq,
            "flags": 0,
            "code": int(Code.ECG_I),
            "device_boot": 0,
            "first_sample": seq * SAMPLES,
            "start_ns": self.start_ns + seq * SECOND_NS,
            "rate_mhz": FS_HZ * 1000,
            "scale": 2.5,
            "count": samples.size,
            "codec": int(codec),
            "data": data,
        }
        return WaveBlock(**{**fields, **changes})

    def send_blocks(self, blocks: Iterable[np.ndarray], *, wait: bool = False) -> None:
        for samples in blocks:
            block = self.block(samples)
            self.keep("ecg", block.seq, encode_data(block))
        for key in sorted(self.pending()):
            self.send(key, wait=wait)

    def send_vitals(self, value: float = 72.0) -> None:
        seq = self.take("vitals")
        message = VitalsMessage(
            session=self.session,
            seq=seq,
            flags=0,
            time_ns=self.start_ns + seq * SECOND_NS,
            values=(VitalValue(int(Code.HEART_RATE), value),),
        )
        self.keep("vitals", seq, encode_data(message))
        self.send(("vitals", seq))

    def send_beat(self) -> None:
        seq = self.take("beat")
        mark = BeatMark(self.start_ns + seq * SECOND_NS, 1000.0 if seq else None, 900.0, 90.0, 0.9, False)
        message = BeatsMessage(session=self.session, seq=seq, flags=0, beats=(mark,))
        self.keep("beat", seq, encode_data(message))
        self.send(("beat", seq))

    def send_alarm(self, alarm_id: str, phase: str, **changes) -> None:
        seq = self.take("alarm")
        now_ns = time.time_ns()
        fields = {
            "session": self.session,
            "seq": seq,
            "flags": 0,
            "alarm_id": alarm_id,
            "kind": "asystole",
            "priority": "high",
            "category": "physiological",
            "phase": phase,
            "onset_ns": now_ns - SECOND_NS,
            "at_ns": now_ns,
            "text": "No beat for 4 s",
            "rule": "asystole",
        }
        self.keep("alarm", seq, encode_json(AlarmMessage(**{**fields, **changes})))
        self.send(("alarm", seq))

    def keep(self, stream: str, seq: int, payload: bytes) -> None:
        with self._changed:
            self.unconfirmed[stream, seq] = payload

    def pending(self) -> dict[tuple[str, int], bytes]:
        with self._changed:
            return dict(self.unconfirmed)

    def send(self, key: tuple[str, int], *, wait: bool = False) -> None:
        payload = self.pending().get(key)
        if payload is not None:
            self.publish(device_topic(self.site, self.name, self.device, key[0]), payload, wait=wait)

    def resend(self) -> None:
        for key in sorted(self.pending()):
            self.send(key)

    def low_water(self, stream: str) -> int:
        with self._changed:
            return self._low_water.get(stream, 0)

    def all_confirmed(self, timeout_s: float, *, resend_every_s: float | None = None) -> bool:
        deadline = time.monotonic() + timeout_s
        again = time.monotonic() + (resend_every_s or timeout_s)
        while time.monotonic() < deadline:
            with self._changed:
                if not self.unconfirmed:
                    return True
                self._changed.wait(0.1)
            if time.monotonic() >= again:
                self.resend()
                again = time.monotonic() + (resend_every_s or timeout_s)
        return False

    def drop_connection(self) -> None:
        """As if the link was cut: no goodbye, so that the broker says the last will."""
        self._client.loop_stop()
        self._client._sock_close()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
