"""Wearables on real sockets: any cut, any damage; one that misbehaves harms no other."""

import socket
import threading
import time

import numpy as np
import pytest
from gateway_parts import FrameMaker, WearableSocket, ecg, wait_for

from vitalwire_edge.alarms import AlarmConfig
from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.config import TelemetryConfig
from vitalwire_edge.sources.inbox import Inbox, SourceError
from vitalwire_edge.sources.tcp import TcpSource
from vitalwire_edge.wearable.device import Wearable
from vitalwire_edge.wearable.doorkeeper import Doorkeeper
from vitalwire_edge.wearable.surroundings import Surroundings
from vitalwire_edge.wire.blocks import unpack
from vitalwire_edge.wire.frames import Frame, encode


class Ward:
    """A TCP source with a doorkeeper on a thread, spooling into a list."""

    def __init__(self, **options):
        self.inbox = Inbox(options.pop("capacity", 1024))
        self.source = TcpSource("127.0.0.1", 0, self.inbox, **options)
        self.entries = []
        around = Surroundings(
            clock=GatewayClock(trust_system=True),
            telemetry=TelemetryConfig(),
            alarms=AlarmConfig(),
            session=lambda: "s",
            put=self.entries.append,
            on_alarm=lambda _device, _change: None,
        )
        self.door = Doorkeeper(lambda name: Wearable(name, around))
        self.stop = threading.Event()
        self.paused = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.source.start()
        self.thread.start()

    def run(self):
        while not self.stop.is_set():
            if self.paused.is_set():
                self.stop.wait(0.01)
                continue
            for event in self.inbox.take(0.02):
                self.door.handle(event)
            self.door.tick(time.monotonic_ns())

    def connect(self):
        return WearableSocket(self.source.address)

    def samples(self, device):
        return [
            (b.message.first_sample + i, int(v))
            for b in self.entries
            if b.stream == "ecg" and b.device == device
            for i, v in enumerate(unpack(b.message.codec, b.message.data, b.message.count))
        ]

    def losses(self, device):
        return self.door.wearables[device].losses()

    def close(self):
        self.stop.set()
        self.thread.join()
        self.source.stop()


@pytest.fixture
def ward_with():
    made = []

    def make(**options):
        made.append(Ward(**options))
        return made[-1]

    yield make
    for ward in made:
        ward.close()


def test_bytes_cut_anywhere_with_garbage_repeats_swaps_and_damage(ward_with):
    ward = ward_with()
    rng = np.random.default_rng(3)
    maker = FrameMaker()
    wearable = ward.connect()
    wearable.send(maker.hello())
    frames = [maker.wave(50) for _ in range(100)]
    pieces = []
    order = list(range(100))
    order[10], order[11] = order[11], order[10]
    for i in order:
        data = encode(frames[i])
        if i == 40:
            pieces.append(data[:20] + bytes([data[20] ^ 0xFF]) + data[21:])
            continue
        pieces.append(data)
        if i % 7 == 0:
            pieces.append(rng.bytes(int(rng.integers(1, 40))))
        if i % 13 == 0:
            pieces.append(data)
    stream = b"".join(pieces)
    at = 0
    while at < len(stream):
        size = int(rng.integers(1, 300))
        wearable.socket.sendall(stream[at : at + size])
        at += size
    wearable.send(maker.goodbye())
    wait_for(lambda: len(ward.samples("chest-1")) == 4950, what="all samples")
    expected = [(n, v) for n, v in enumerate(ecg(0, 5000).tolist()) if not 2000 <= n < 2050]
    assert ward.samples("chest-1") == expected
    losses = ward.losses("chest-1")
    assert losses["bad_crc"] >= 1
    assert losses["garbage_bytes"] > 0
    assert losses["missing_frames"] == 1
    assert losses["duplicate"] == 8
    wearable.close()


def test_frames_before_a_hello_belong_to_nobody(ward_with):
    ward = ward_with()
    maker = FrameMaker()
    wearable = ward.connect()
    wearable.send(maker.wave(), maker.wave())
    wait_for(lambda: ward.door.dropped["no_hello"] == 2)
    wearable.socket.sendall(b"GET / HTTP/1.1\r\n\r\n" * 50)
    wait_for(lambda: ward.door.dropped["garbage_bytes"] > 500)
    wearable.send(maker.hello(), maker.wave(250))
    wearable.close()
    wait_for(lambda: ward.samples("chest-1"))


def test_a_second_claim_to_a_name_is_refused_and_the_first_goes_on(ward_with):
    ward = ward_with()
    maker, rival = FrameMaker(), FrameMaker()
    first, second = ward.connect(), ward.connect()
    first.send(maker.hello())
    wait_for(lambda: "chest-1" in ward.door.wearables)
    second.send(rival.hello(), rival.wave(250))
    assert second.closed_by_gateway()
    assert ward.door.dropped["name_taken"] == 1
    first.send(*(maker.wave(50) for _ in range(5)))
    wait_for(lambda: len(ward.samples("chest-1")) == 250)
    first.close()
    second.close()
    wait_for(lambda: not ward.door.wearables["chest-1"].connected)
    third = ward.connect()
    third.send(maker.hello(), *(maker.wave(50) for _ in range(5)))
    wait_for(lambda: len(ward.samples("chest-1")) == 500)
    third.close()


@pytest.mark.parametrize("name", ["Chest 1", "-", "x/y"])
def test_a_name_that_may_not_stand_in_a_topic_is_refused(ward_with, name):
    ward = ward_with()
    wearable = ward.connect()
    wearable.send(FrameMaker(name).hello())
    assert wearable.closed_by_gateway()
    assert ward.door.dropped["bad_name"] == 1
    wearable.close()


def test_a_wearable_whose_pipeline_fails_loses_its_connection_and_no_other_does(ward_with):
    ward = ward_with()
    sound, broken = FrameMaker("sound"), FrameMaker("broken")
    one, two = ward.connect(), ward.connect()
    one.send(sound.hello())
    two.send(broken.hello())
    wait_for(lambda: len(ward.door.wearables) == 2)

    def fail(_timed):
        raise ZeroDivisionError

    ward.door.wearables["broken"]._use = fail
    two.send(broken.wave(), broken.wave())
    assert two.closed_by_gateway()
    one.send(*(sound.wave(50) for _ in range(5)))
    wait_for(lambda: len(ward.samples("sound")) == 250)
    assert ward.door.dropped["failures"] >= 1
    one.close()
    two.close()


def test_a_slow_agent_slows_the_wearable_instead_of_filling_memory(ward_with):
    ward = ward_with(capacity=4)
    maker = FrameMaker()
    wearable = ward.connect()
    wearable.send(maker.hello())
    wait_for(lambda: "chest-1" in ward.door.wearables)
    ward.paused.set()
    payload = b"".join(encode(Frame(n, 10**6 + n, maker.hello_payload)) for n in range(1, 2000)) * 40
    wearable.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        wearable.socket.sendall(payload)
    assert len(ward.inbox._events) <= 6
    ward.paused.clear()
    wearable.socket.settimeout(5)
    wearable.close()
    wait_for(lambda: not ward.door.wearables["chest-1"].connected)


def test_too_many_and_silent_connections_are_closed(ward_with):
    ward = ward_with(max_connections=2, idle_close_s=0.5)
    held = [ward.connect() for _ in range(2)]
    wait_for(lambda: len(ward.source._channels) == 2)
    extra = ward.connect()
    assert extra.closed_by_gateway()
    assert ward.source.refused == 1
    assert all(one.closed_by_gateway() for one in held)
    for one in (*held, extra):
        one.close()


def test_a_busy_port_is_named_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        source = TcpSource("127.0.0.1", port, Inbox())
        with pytest.raises(SourceError, match=rf"127.0.0.1:{port}.*--listen"):
            source.start()
