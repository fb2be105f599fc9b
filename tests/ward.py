"""A ward for tests of the web: real store, desk, hub and HTTP server, fed in the order in which ingest does it."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import msgspec
import numpy as np
import uvicorn
from numpy.typing import NDArray

from vitalwire_cloud.alerts.alarm import Alarm
from vitalwire_cloud.alerts.desk import AlarmDesk
from vitalwire_cloud.config import AlertsConfig
from vitalwire_cloud.live import (
    AlarmEvent,
    BeatsEvent,
    LinkEvent,
    LiveHub,
    ScoresEvent,
    VitalsEvent,
    WaveEvent,
)
from vitalwire_cloud.metadata.register import PatientRegister
from vitalwire_cloud.orders import OrderBook
from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.interface import Item, StoredBeat, VitalPoint
from vitalwire_cloud.waveform import DemandDesk
from vitalwire_cloud.web import create_app
from vitalwire_edge.wire.blocks import pack
from vitalwire_edge.wire.codes import LEADS, VITALS, Code, ValueStatus
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    BeatEvidence,
    BeatMark,
    BeatsMessage,
    Category,
    ChannelInfo,
    DeviceBirth,
    Flag,
    Priority,
    ScoreMark,
    ScoresMessage,
    VitalsMessage,
    VitalValue,
    WaveBlock,
)
from vitalwire_edge.wire.topics import Stream
from vitalwire_sim.physiology.body import Body
from vitalwire_sim.physiology.patient import Patient
from vitalwire_sim.script import Script

SITE = "ward-3"
SESSION = "s1"
MODEL = "5a" * 32
FS_HZ = 250
SCALE_UV = 2.5
SECOND_NS = 1_000_000_000


@dataclass
class About:
    """What the service says about itself; tests change the probes."""

    site: str = SITE
    version: str = "0.1.0"
    not_ready: str | None = None
    not_live: str | None = None

    def ready(self) -> str | None:
        return self.not_ready

    def live(self) -> str | None:
        return self.not_live


class Bed:
    """One simulated wearable whose messages are stored and published as they would be after ingest."""

    def __init__(
        self, ward: "Ward", device: str, gateway: str, patient: Patient, script: Script, lead: Code
    ) -> None:
        self.device = device
        self.gateway = gateway
        self.lead = lead
        self.rail = False
        self._ward = ward
        self._body = Body(patient, script, fs_hz=FS_HZ, seed=sum(device.encode()))
        self._seq = 0
        self._sample = 0
        self._last_beat_ns: int | None = None
        self.seconds = 0
        ward.store.register(SITE, gateway, device, self._birth())

    def _birth(self) -> DeviceBirth:
        waves = (ChannelInfo(int(self.lead), LEADS[self.lead], "uV", rate_mhz=FS_HZ * 1000, scale=SCALE_UV),)
        numbers = tuple(ChannelInfo(int(code), q.name, q.unit, loinc=q.loinc) for code, q in VITALS.items())
        return DeviceBirth(
            session=SESSION, at_ns=time.time_ns(), device_boot=1, simulated=True, channels=waves + numbers
        )

    def read(self) -> NDArray[np.int16]:
        """The next second of samples; beats and numbers of that second are kept for `second`."""
        strip = self._body.read(FS_HZ)
        self.beats = [(beat.sample - strip.first_sample, beat.symbol) for beat in strip.beats]
        uv = np.full(FS_HZ, 80_000.0) if self.rail else strip.uv
        return np.clip(np.rint(uv / SCALE_UV), -32768, 32767).astype(np.int16)

    def wave(self, samples: NDArray[np.int16], start_ns: int, *, flags: int = 0) -> None:
        """Store one block and, as ingest does after it was stored, publish it."""
        self.deliver(self.block(samples, start_ns, flags=flags), samples)

    def block(self, samples: NDArray[np.int16], start_ns: int, *, flags: int = 0) -> WaveBlock:
        """The next block of the device."""
        codec, data = pack(samples)
        block = WaveBlock(
            session=SESSION,
            seq=self.next_seq(),
            flags=flags,
            code=int(self.lead),
            device_boot=1,
            first_sample=self._sample,
            start_ns=start_ns,
            rate_mhz=FS_HZ * 1000,
            scale=SCALE_UV,
            count=samples.size,
            codec=codec,
            data=data,
        )
        self._sample += samples.size
        return block

    def deliver(self, block: WaveBlock, samples: NDArray[np.int16]) -> None:
        """Store and publish a block, now or later."""
        self.store("ecg", block)
        event = WaveEvent(
            self.device, block.code, block.start_ns, float(FS_HZ), SCALE_UV, samples, block.flags
        )
        self._ward.hub.publish([event])

    def skip(self, seconds: int) -> None:
        """Lose samples: the device counted them, nobody has them."""
        for _ in range(seconds):
            self.read()
            self.seconds += 1
        self._sample += seconds * FS_HZ

    def numbers(self, at_ns: int, **wrong: float | None) -> None:
        """Store and publish the numbers of this second."""
        said = self._body.numbers(max(self.seconds - 1, 0))
        values = {
            Code.HEART_RATE: said.hr_bpm,
            Code.SPO2: said.spo2_percent,
            Code.RESPIRATION_RATE: said.respiration_per_min,
            Code.TEMPERATURE: said.temperature_c,
        }
        if self.seconds % 30 == 1:
            values |= {
                Code.SYSTOLIC: said.systolic_mmhg,
                Code.DIASTOLIC: said.diastolic_mmhg,
                Code.MEAN_PRESSURE: said.mean_mmhg,
            }
        values |= {Code[name]: value for name, value in wrong.items()}
        points = tuple(
            VitalPoint(at_ns, int(code), None, ValueStatus.SENSOR_OFF)
            if value is None or np.isnan(value)
            else VitalPoint(at_ns, int(code), float(value), ValueStatus.OK)
            for code, value in values.items()
        )
        message = VitalsMessage(
            session=SESSION,
            seq=self.next_seq(),
            flags=0,
            time_ns=at_ns,
            values=tuple(VitalValue(p.code, p.value, p.status) for p in points),
        )
        self.store("vitals", message)
        self._ward.hub.publish([VitalsEvent(self.device, points)])

    def second(self, start_ns: int, *, flags: int = 0) -> NDArray[np.int16]:
        """One whole second: waveform, beats, numbers."""
        samples = self.read()
        self.seconds += 1
        self.wave(samples, start_ns, flags=flags)
        beats = tuple(
            self._beat(start_ns + at * SECOND_NS // FS_HZ, symbol)
            for at, symbol in self.beats
            if symbol in "NVA"
        )
        if beats and not flags & Flag.LEAD_OFF:
            marks = tuple(
                BeatMark(b.r_ns, b.rr_ms, b.amplitude_uv, b.width_ms, b.quality, b.wide) for b in beats
            )
            self.store("beat", BeatsMessage(session=SESSION, seq=self.next_seq(), flags=0, beats=marks))
            self._ward.hub.publish([BeatsEvent(self.device, beats)])
        self.numbers(start_ns + SECOND_NS)
        return samples

    def _beat(self, r_ns: int, symbol: str) -> StoredBeat:
        rr_ms = None if self._last_beat_ns is None else (r_ns - self._last_beat_ns) / 1e6
        self._last_beat_ns = r_ns
        return StoredBeat(r_ns, rr_ms, 1000.0, 90.0, 0.95, symbol == "V")

    def scores(self, *scores: float | None, at_ns: int | None = None, threshold: float = 4.0) -> None:
        """Scores of the last beats, half a second apart, the newest at `at_ns`."""
        at_ns = time.time_ns() if at_ns is None else at_ns
        times = [at_ns - (len(scores) - 1 - k) * SECOND_NS // 2 for k in range(len(scores))]
        marks = tuple(
            ScoreMark(r_ns, None) if score is None else ScoreMark(r_ns, score, score / 2, score / 3, 0.4)
            for r_ns, score in zip(times, scores, strict=True)
        )
        message = ScoresMessage(
            session=SESSION,
            seq=self.next_seq(),
            flags=0,
            model=MODEL,
            version=3,
            threshold=threshold,
            scores=marks,
        )
        self.store("score", message)
        stored = self._ward.store.scores(self.device, times[0], at_ns + 1)
        self._ward.hub.publish([ScoresEvent(self.device, tuple(stored))])

    def link(
        self, state: Literal["online", "offline"], *, battery: int | None = None, quality: float | None = None
    ) -> None:
        """Publish the link of this wearable."""
        self._ward.hub.publish(
            [LinkEvent(self.gateway, self.device, state, time.time_ns(), battery, quality)]
        )

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def store(
        self, stream: Stream, message: WaveBlock | VitalsMessage | BeatsMessage | ScoresMessage | AlarmMessage
    ) -> None:
        """Write one message as ingest would."""
        item = Item(self.gateway, self.device, stream, SESSION, message.seq, message, time.time_ns())
        written = self._ward.store.write([item], [])
        assert written.stored == [item]


class Ward:
    """Beds around one store, one hub, one desk and one web application."""

    def __init__(self, folder: Path) -> None:
        self.store = EmbeddedStore(folder)
        self.hub = LiveHub()
        self.desk = AlarmDesk(
            store=self.store,
            url=f"sqlite:///{folder / 'desk.sqlite'}",
            config=AlertsConfig(gateway_silent_s=3600),
            on_change=lambda alarms: self.hub.publish([AlarmEvent(alarm) for alarm in alarms]),
        )
        self.desk.start()
        self._messages: dict[str, AlarmMessage] = {}
        self.about = About()
        self.demands: DemandDesk | None = None
        self.patients: PatientRegister | None = None
        self.orders: OrderBook | None = None
        self.beds: dict[str, Bed] = {}
        self.start_ns = 0

    def bed(
        self,
        device: str = "chest-1",
        gateway: str = "gw-a",
        patient: Patient | None = None,
        script: Script | None = None,
        lead: Code = Code.ECG_II,
    ) -> Bed:
        self.beds[device] = Bed(self, device, gateway, patient or Patient(), script or Script(), lead)
        return self.beds[device]

    def app(self, token: str | None = None):
        return create_app(
            store=self.store,
            desk=self.desk,
            hub=self.hub,
            info=self.about,
            demands=self.demands,
            patients=self.patients,
            orders=self.orders,
            token=token,
        )

    def alarm(
        self,
        device: str,
        kind: str,
        priority: Priority,
        text: str,
        *,
        category: Category = "physiological",
        at_ns: int | None = None,
        value: float | None = None,
        limit: float | None = None,
        notes: tuple[str, ...] = (),
        evidence: BeatEvidence | None = None,
    ) -> Alarm:
        """Raise an alarm on the device's gateway and wait until the desk has it."""
        at_ns = time.time_ns() if at_ns is None else at_ns
        message = AlarmMessage(
            session=SESSION,
            seq=self.beds[device].next_seq(),
            flags=0,
            alarm_id=f"{device}-{kind}-{at_ns}",
            kind=kind,
            priority=priority,
            category=category,
            phase="raised",
            onset_ns=max(at_ns - 3 * SECOND_NS, 0),
            at_ns=at_ns,
            text=text,
            rule="test",
            value=value,
            limit=limit,
            notes=notes,
            evidence=evidence,
        )
        self._messages[message.alarm_id] = message
        return self._said(device, message, lambda alarm: alarm is not None)

    def end(self, alarm: Alarm) -> Alarm:
        """End the condition of an alarm."""
        assert alarm.device is not None
        raised = self._messages[alarm.alarm_id]
        ended = msgspec.structs.replace(
            raised, seq=self.beds[alarm.device].next_seq(), phase="cleared", at_ns=raised.at_ns + 1
        )
        return self._said(alarm.device, ended, lambda now: now is not None and now.cleared_ns is not None)

    def _said(self, device: str, message: AlarmMessage, done: Callable[[Alarm | None], bool]) -> Alarm:
        bed = self.beds[device]
        bed.store("alarm", message)
        self.desk.wake()
        deadline = time.monotonic() + 10
        while not done(alarm := self.desk.get(message.alarm_id)):
            assert time.monotonic() < deadline, f"the desk did not take {message.alarm_id}"
            threading.Event().wait(0.01)
        assert alarm is not None
        return alarm

    def close(self) -> None:
        self.desk.close()
        self.store.close()


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # Who connects while the server goes is not asked to leave; here the process lives on and finds the socket.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


class Served:
    """The application behind a real server on a free port; `stop` and `start` keep the port."""

    def __init__(self, ward: Ward, token: str | None = None) -> None:
        self._ward = ward
        self._token = token
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._ward.app(self._token),
            log_config=None,
            access_log=False,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=5,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="web", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 15
        while not self._server.started:
            assert time.monotonic() < deadline, "the web server did not start"
            assert self._thread.is_alive(), "the web server ended"
            threading.Event().wait(0.02)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive()


@contextmanager
def served(ward: Ward, token: str | None = None) -> Iterator[Served]:
    server = Served(ward, token)
    try:
        yield server
    finally:
        server.stop()


class Feed:
    """Feeds beds in real time from a thread: every second the block of the second before, as a gateway would."""

    def __init__(self, beds: list[Bed], *, past_s: int) -> None:
        self._beds = beds
        self._stop = threading.Event()
        self.paused: set[str] = set()
        self.held: dict[str, list[tuple[WaveBlock, NDArray[np.int16]]]] = {}
        self.flags: dict[str, int] = {}
        self._start_ns = time.time_ns() // SECOND_NS * SECOND_NS - past_s * SECOND_NS
        self._second = 0
        for _ in range(past_s):
            self._one()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def _one(self) -> None:
        start_ns = self._start_ns + self._second * SECOND_NS
        self._second += 1
        for bed in self._beds:
            if bed.device in self.paused:
                bed.skip(1)
            elif bed.device in self.held:
                samples = bed.read()
                bed.seconds += 1
                block = bed.block(samples, start_ns, flags=Flag.HISTORY)
                self.held[bed.device].append((block, samples))
            else:
                bed.second(start_ns, flags=self.flags.get(bed.device, 0))

    def release(self, device: str) -> None:
        """Deliver what was held back, flagged as history."""
        bed = next(bed for bed in self._beds if bed.device == device)
        for block, samples in self.held.pop(device):
            bed.deliver(block, samples)

    def _run(self) -> None:
        while True:
            due_ns = self._start_ns + (self._second + 1) * SECOND_NS
            if self._stop.wait(max(0.0, (due_ns - time.time_ns()) / SECOND_NS)):
                return
            self._one()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)


@dataclass
class Scene:
    """A served ward whose beds are fed."""

    ward: Ward
    server: Served
    feed: Feed
