"""A gateway without a real-time clock: it boots in 1970 or yesterday, loses power, boots again, is told the time."""

import shutil
import threading
import time

import pytest
from gateway_parts import GATEWAY, KEY, SITE, CloudDouble, FrameMaker, wait_for

from vitalwire_cloud.broker import EmbeddedBroker
from vitalwire_edge.agent import Agent
from vitalwire_edge.clock import gateway_clock
from vitalwire_edge.config import EdgeConfig, MqttConfig, SpoolConfig, TelemetryConfig
from vitalwire_edge.sources.config import SourcesConfig, TcpConfig
from vitalwire_edge.sources.inbox import Arrived, Opened
from vitalwire_edge.wire.messages import Command, Flag

NS = 1_000_000_000
DEVICE = "chest-1"
SECONDS = 12


class Channel:
    label = "test"

    def close(self) -> None:
        pass


class Boot:
    """An agent on a machine whose wall clock is `wrong_ns` and not synchronised; `be_told` is what NTP does."""

    def __init__(self, folder, port, monkeypatch, *, name: str, wrong_ns: int, patience_s: float = 60.0):
        monkeypatch.setattr(gateway_clock, "boot_id", lambda: name)
        (folder / "key").write_text(KEY.hex())
        config = EdgeConfig(
            site=SITE,
            gateway=GATEWAY,
            key_file=str(folder / "key"),
            drain_s=0.1,
            mqtt=MqttConfig(port=port, retry_max_s=0.5, clock_patience_s=patience_s),
            spool=SpoolConfig(path=str(folder / "spool.sqlite"), pending_rows=100_000, commit_every_ms=20),
            sources=SourcesConfig(tcp=TcpConfig(port=0)),
            telemetry=TelemetryConfig(simulated=True),
        )
        self.agent = Agent(config)
        clock = self.agent.clock
        began_ns = time.monotonic_ns()
        clock._read_offset = lambda: wrong_ns - began_ns
        clock._read_synchronised = lambda: False
        clock.poll()
        assert not clock.synchronised
        self.agent.start()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.agent.run, args=(self._stop,))
        self.maker, self._channel = FrameMaker(DEVICE), Channel()
        self.first_ns = time.monotonic_ns() - SECONDS * NS
        self.agent.door.handle(Opened(self._channel))
        self._send(self.maker.hello())

    def _send(self, *frames) -> None:
        self.agent.door.handle(Arrived(self._channel, self.first_ns + self.maker.sample * 4_000_000, frames))

    def wear(self) -> int:
        """A stretch of ECG, spooled; returns its samples."""
        for _ in range(SECONDS * 5):
            self._send(self.maker.wave(50))
        self.agent.door.flush()
        wait_for(lambda: self.agent.spool.written, what="the spool")
        return self.maker.sample

    def run(self) -> None:
        self._thread.start()

    def be_told(self) -> None:
        clock = self.agent.clock
        clock._read_offset = gateway_clock.wall_offset_ns
        clock._read_synchronised = lambda: True
        wait_for(lambda: clock.synchronised, what="the right time")

    def end(self) -> None:
        self._stop.set()
        if not self._thread.is_alive():
            self._thread.start()
        self._thread.join(20)


@pytest.fixture(scope="module")
def port() -> int:
    return EmbeddedBroker("127.0.0.1", 0).port


def power_cut(boot: Boot, folder, after) -> None:
    """What the disk held at this moment is what the next boot finds."""
    after.mkdir()
    for path in folder.glob("spool.sqlite*"):
        if path.is_file():
            shutil.copy(path, after / path.name)
    boot.end()


@pytest.mark.parametrize("wrong_ns", [100 * NS, time.time_ns() - 86_400 * NS], ids=["1970", "yesterday"])
def test_every_sample_ends_at_its_time_where_that_can_be_known_and_is_marked_where_not(
    tmp_path, port, monkeypatch, wrong_ns
):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    first = Boot(before, 1, monkeypatch, name="boot-one", wrong_ns=wrong_ns)
    samples_lost_in_time = first.wear()
    power_cut(first, before, after)
    cloud = CloudDouble(port)
    second = Boot(after, port, monkeypatch, name="boot-two", wrong_ns=wrong_ns + 1000 * NS)
    try:
        samples_known = second.wear()
        second.run()
        wait_for(lambda: cloud.births, what="the link")
        # A command whose end lies long before the right time, and after the wrong one, is still heard.
        cloud.command(Command(command="rebirth", at_ns=1, expires_ns=2))
        wait_for(lambda: second.agent.link.counters["rebirths"], what="the command")
        assert cloud.samples(DEVICE) == 0, "data waits for the clock"
        second.be_told()
        wait_for(
            lambda: cloud.samples(DEVICE) == samples_lost_in_time + samples_known, 30, "every sample, once"
        )
        offset_ns = gateway_clock.wall_offset_ns()
    finally:
        second.end()
        cloud.close()
    known = [block for block in cloud.blocks(DEVICE) if not block.flags & Flag.UNSYNCHRONISED]
    marked = [block for block in cloud.blocks(DEVICE) if block.flags & Flag.UNSYNCHRONISED]
    assert sum(block.count for block in known) == samples_known
    assert sum(block.count for block in marked) == samples_lost_in_time
    for block in known:
        assert block.anchor is None
        right_ns = second.first_ns + block.first_sample * 4_000_000 + offset_ns
        assert abs(block.start_ns - right_ns) < 50_000_000
    assert {block.anchor.boot for block in marked} == {"boot-one"}
    for block in marked:
        assert abs(block.anchor.mono_ns - (first.first_ns + block.first_sample * 4_000_000)) < 50_000_000


def test_data_does_not_wait_for_ever_for_a_clock_that_nobody_sets(tmp_path, port, monkeypatch):
    cloud = CloudDouble(port)
    boot = Boot(tmp_path, port, monkeypatch, name="boot-one", wrong_ns=100 * NS, patience_s=0.5)
    try:
        samples = boot.wear()
        boot.run()
        wait_for(lambda: cloud.samples(DEVICE) == samples, what="every sample")
    finally:
        boot.end()
        cloud.close()
    assert all(block.flags & Flag.UNSYNCHRONISED for block in cloud.blocks(DEVICE))
    assert all(block.anchor.boot == "boot-one" for block in cloud.blocks(DEVICE))
