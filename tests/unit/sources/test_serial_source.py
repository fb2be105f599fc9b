"""A wearable on a serial line: the simulator's own frames over a real pseudo-terminal, unplugged and back."""

import os
import time
import tty
from contextlib import contextmanager

import numpy as np
import pytest

from vitalwire_edge.sources.config import SerialConfig
from vitalwire_edge.sources.inbox import Arrived, Closed, Inbox, Opened
from vitalwire_edge.sources.serial import SerialSource
from vitalwire_edge.wire.frames import Frame, FrameDecoder, Hello, Vitals, Wave, encode
from vitalwire_sim.physiology.body import Body
from vitalwire_sim.scenario import Device
from vitalwire_sim.script import Script
from vitalwire_sim.wearable import Wearable

FAST = {"retry_first_s": 0.02, "retry_max_s": 0.05}


class Line:
    """A pseudo-terminal under a name that stays when it is plugged in again."""

    def __init__(self, folder, name="ttyUSB0"):
        self.path = folder / name
        self.plug()

    def plug(self):
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.path.symlink_to(os.ttyname(self.slave))

    def unplug(self):
        self.path.unlink()
        os.close(self.master)
        os.close(self.slave)

    def send(self, data):
        os.write(self.master, data)


@contextmanager
def reading(*lines, capacity=1024):
    inbox = Inbox(capacity)
    config = SerialConfig(enabled=True, ports=tuple(str(line.path) for line in lines), **FAST)
    sources = [SerialSource(port, config, inbox) for port in config.ports]
    for source in sources:
        source.start()
    try:
        yield inbox, sources
    finally:
        for source in sources:
            source.stop()
            assert not source._thread.is_alive()


def gather(inbox, events, condition, timeout_s=5.0):
    until = time.monotonic() + timeout_s
    while not condition():
        events += inbox.take(0.02)
        assert time.monotonic() < until, events


def decoded(events):
    decoder = FrameDecoder()
    return [f for e in events if isinstance(e, Arrived) for f in decoder.feed(e.data)]


@pytest.fixture(scope="module")
def simulated():
    """Two seconds of a simulated wearable, as the bytes it sends."""
    device = Device(name="chest-1", gateway="gw1")
    script = Script(())
    body = Body(device.patient, script, fs_hz=250, seed=5)
    wearable = Wearable(device, script, body, body, fs_hz=250, seed=5)
    frames = [Frame(0, 0, wearable.hello(1))]
    for moment in wearable.moments(2.0):
        for said in moment.said:
            frames.append(Frame(len(frames), round(said.device_s * 1e6), said.payload))
    return frames


def test_the_simulators_frames_over_a_serial_line(tmp_path, simulated):
    line = Line(tmp_path)
    sent = b"".join(encode(frame) for frame in simulated)
    events = []
    with reading(line) as (inbox, (source,)):
        gather(inbox, events, lambda: any(isinstance(e, Opened) for e in events))
        assert source.problem() is None
        for start in range(0, len(sent), 300):
            line.send(sent[start : start + 300])
        gather(inbox, events, lambda: len(decoded(events)) == len(simulated))
        assert source.state().connected == 1
    got = decoded(events)
    assert isinstance(got[0].payload, Hello)
    assert got[0].payload.device == "chest-1"
    assert sum(isinstance(f.payload, Vitals) for f in got) == 2
    samples = np.concatenate([f.payload.samples for f in got if isinstance(f.payload, Wave)])
    wanted = np.concatenate([f.payload.samples for f in simulated if isinstance(f.payload, Wave)])
    np.testing.assert_array_equal(samples, wanted)
    events += inbox.take(0)
    assert [(type(e), e.reason) for e in events if isinstance(e, Closed)] == [(Closed, "gateway stopping")]


def test_an_unplugged_line_comes_back_and_harms_no_other(tmp_path, simulated):
    line, other = Line(tmp_path), Line(tmp_path, "ttyUSB1")
    hello = encode(simulated[0])
    events = []
    with reading(line, other) as (inbox, (source, neighbour)):
        gather(inbox, events, lambda: sum(isinstance(e, Opened) for e in events) == 2)
        line.unplug()
        gather(inbox, events, lambda: any(isinstance(e, Closed) for e in events))
        gather(inbox, events, lambda: source.problem() is not None)
        assert "ttyUSB0" in source.problem()
        assert "plugged in" in source.problem()
        assert neighbour.problem() is None
        other.send(hello)
        gather(inbox, events, lambda: decoded(events))
        line.plug()
        gather(inbox, events, lambda: sum(isinstance(e, Opened) for e in events) == 3)
        line.send(hello)
        gather(inbox, events, lambda: len(decoded(events)) == 2)
        assert source.problem() is None
        assert source.counters["opened"] == 2


def test_a_line_that_was_never_there_is_a_problem_and_not_an_end(tmp_path):
    inbox = Inbox()
    config = SerialConfig(enabled=True, ports=(str(tmp_path / "none"),), **FAST)
    source = SerialSource(config.ports[0], config, inbox)
    source.start()
    until = time.monotonic() + 5
    while source.counters["failures"] < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert "dialout" in source.problem()
    source.stop()
    assert inbox.take(0) == []


def test_a_channel_that_is_refused_is_opened_anew(tmp_path):
    events = []
    with reading(Line(tmp_path)) as (inbox, _):
        gather(inbox, events, lambda: events)
        events[0].channel.close()
        gather(inbox, events, lambda: sum(isinstance(e, Opened) for e in events) == 2)
    closed = [e for e in events if isinstance(e, Closed)]
    assert closed[0].reason == "refused by the gateway"


def test_a_slow_agent_leaves_the_bytes_on_the_line(tmp_path, simulated):
    line = Line(tmp_path)
    events = []
    with reading(line, capacity=1) as (inbox, _):
        until = time.monotonic() + 5
        while not inbox._events and time.monotonic() < until:
            time.sleep(0.01)
        line.send(encode(simulated[0]))
        time.sleep(0.1)
        assert len(inbox._events) == 1
        gather(inbox, events, lambda: decoded(events))
