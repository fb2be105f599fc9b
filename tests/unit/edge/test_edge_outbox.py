"""What goes out, in which order, and with which time."""

import time

import pytest

from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.link.outbox import Outbox, payload_of
from vitalwire_edge.spool.file import SpoolFile
from vitalwire_edge.spool.reader import SpoolReader
from vitalwire_edge.spool.rows import Entry
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    Anchor,
    BeatMark,
    BeatsMessage,
    Flag,
    StreamCommit,
    VitalsMessage,
    VitalValue,
    WaveBlock,
    decode_data,
    decode_json,
)

NS = 1_000_000_000
OFFSET = 1_790_000_000 * NS
COMMON = {"session": "", "seq": 0}


class World:
    def __init__(self, tmp_path, **options):
        self.now_ns = 5_000 * NS
        self.offset = OFFSET
        self.synchronised = True
        self.clock = GatewayClock(
            read_offset=lambda: self.offset,
            read_synchronised=lambda: self.synchronised,
            read_mono=lambda: self.now_ns,
        )
        self.file = SpoolFile(tmp_path / "spool.sqlite", self.clock.boot)
        self.reader = SpoolReader(tmp_path / "spool.sqlite")
        limits = {"unconfirmed_max": 100, "resend_after_s": 10.0, "backlog_rows_s": 1000.0, **options}
        self.outbox = Outbox(self.reader, self.file.session, self.clock, **limits)

    def add(self, stream, *, mono_ns=None, synchronised=True, offset_ns=OFFSET):
        mono_ns = self.now_ns if mono_ns is None else mono_ns
        utc_ns = mono_ns + offset_ns
        common = {
            **COMMON,
            "flags": 0 if synchronised else int(Flag.UNSYNCHRONISED),
            "anchor": None if synchronised else Anchor(self.clock.boot, mono_ns),
        }
        message = {
            "ecg": lambda: WaveBlock(
                **common,
                code=131328,
                device_boot=0,
                first_sample=0,
                start_ns=utc_ns,
                rate_mhz=250_000,
                scale=1.0,
                count=2,
                codec=0,
                data=b"1234",
            ),
            "vitals": lambda: VitalsMessage(**common, time_ns=utc_ns, values=(VitalValue(147842, 60.0, 0),)),
            "beat": lambda: BeatsMessage(**common, beats=(BeatMark(utc_ns, None, 1.0, 90.0, 1.0, False),)),
            "alarm": lambda: AlarmMessage(
                **common,
                alarm_id="a",
                kind="asystole",
                priority="high",
                category="physiological",
                phase="raised",
                onset_ns=utc_ns,
                at_ns=utc_ns,
                text="t",
                rule="r",
            ),
        }[stream]()
        self.file.append([Entry("d", stream, message, mono_ns, offset_ns, synchronised)])

    def send(self, room=1000, *, backlog=True):
        return [
            (
                o.stream,
                decode_json(o.payload, AlarmMessage) if o.stream == "alarm" else decode_data(o.payload),
            )
            for o in self.outbox.next(self.now_ns, room, backlog=backlog)
        ]


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.reader.close()
    world.file.close()


def names(sent):
    return [(stream, getattr(message, "seq", None)) for stream, message in sent]


def test_alarms_then_live_then_backlog(world):
    world.add("ecg")
    world.add("vitals")
    world.outbox.restart()
    world.add("ecg")
    world.add("beat")
    world.add("alarm")
    assert names(world.send(backlog=False)) == [("alarm", 0), ("ecg", 1), ("beat", 0)]
    world.now_ns += NS
    assert names(world.send()) == [("ecg", 0), ("vitals", 0)]
    assert world.send() == []


def test_what_waits_for_the_clock_lets_alarms_by_and_loses_nothing(world):
    for stream in ("ecg", "alarm", "vitals"):
        world.add(stream)
    held = list(world.outbox.next(world.now_ns, 1000, backlog=True, hold=True))
    assert [outgoing.stream for outgoing in held] == ["alarm"]
    assert names(world.send()) == [("ecg", 0), ("vitals", 0)]


def test_room_is_respected_and_nothing_is_skipped_by_it(world):
    for _ in range(10):
        world.add("ecg")
    got = [names(world.send(room=3)) for _ in range(5)]
    assert [len(g) for g in got] == [3, 3, 3, 1, 0]
    assert [seq for g in got for _, seq in g] == list(range(10))


def test_what_is_not_committed_in_time_goes_again_as_history(world):
    world.add("ecg")
    world.add("ecg")
    assert len(world.send()) == 2
    world.outbox.confirmed((StreamCommit("d", "ecg", world.file.session, 1),))
    world.now_ns += 9 * NS
    assert world.send() == []
    world.now_ns += 2 * NS
    ((_, message),) = world.send()
    assert (message.seq, message.flags) == (1, Flag.HISTORY)
    assert world.outbox.resent == 1


def test_alarms_go_again_every_time_and_the_rest_ever_more_rarely(world):
    world.add("alarm")
    world.add("vitals")
    world.send()
    sent = {"alarm": [], "vitals": []}
    for second in range(1, 201):
        world.now_ns += NS
        for outgoing in world.outbox.next(world.now_ns, 100, backlog=True):
            sent[outgoing.stream].append(second)
    assert sent["alarm"] == list(range(10, 201, 10))
    assert sent["vitals"] == [10, 30, 70, 150]


def test_a_refused_message_waits_its_time(world):
    world.add("ecg")
    world.send()
    (row_id,) = world.outbox.under_way
    world.outbox.lost(row_id, world.now_ns + 30 * NS)
    world.now_ns += 29 * NS
    assert world.send() == []
    world.now_ns += 2 * NS
    assert len(world.send()) == 1


def test_commits_of_another_session_change_nothing(world):
    world.add("ecg")
    world.send()
    world.outbox.confirmed((StreamCommit("d", "ecg", "other", 5),))
    assert world.outbox.unconfirmed == 1
    world.outbox.confirmed((StreamCommit("d", "ecg", world.file.session, 0, ((0, 0),)),))
    assert world.outbox.unconfirmed == 0


def test_the_backlog_is_paced_and_leaves_room_for_live_data(tmp_path):
    world = World(tmp_path, unconfirmed_max=20, backlog_rows_s=10.0)
    for _ in range(100):
        world.add("ecg")
    world.outbox.restart()
    world.send()
    counts = []
    for _ in range(4):
        world.now_ns += NS // 2
        counts.append(len(world.send()))
    assert max(counts) <= 5
    assert world.outbox.unconfirmed == 15
    for _ in range(10):
        world.add("ecg")
    assert len(world.send()) == 5
    world.reader.close()
    world.file.close()


def test_live_data_that_could_not_keep_up_becomes_backlog(world):
    for _ in range(3):
        world.add("ecg")
    world.now_ns += 11 * NS
    assert world.send(backlog=False) == []
    world.add("ecg")
    assert names(world.send(backlog=False)) == [("ecg", 3)]
    world.now_ns += NS
    sent = world.send()
    assert [seq for _, seq in names(sent)] == [0, 1, 2]
    assert all(message.flags == Flag.HISTORY for _, message in sent)


@pytest.mark.parametrize("stream", ["ecg", "vitals", "beat", "alarm"])
def test_rows_of_an_unset_clock_are_mapped_once_it_is_set(world, stream):
    wrong = 5 * NS
    world.add(stream, synchronised=False, offset_ns=wrong)
    world.synchronised = False
    world.clock.poll()
    ((_, before),) = world.send()
    assert before.flags & Flag.UNSYNCHRONISED
    assert before.anchor == Anchor(world.clock.boot, world.now_ns)
    mono_ns = world.now_ns
    world.outbox.restart()
    world.synchronised = True
    world.now_ns += NS
    world.clock.poll()
    ((_, after),) = world.send()
    assert after.anchor is None
    assert not after.flags & Flag.UNSYNCHRONISED
    time_ns = {
        "ecg": lambda m: m.start_ns,
        "vitals": lambda m: m.time_ns,
        "beat": lambda m: m.beats[0].r_ns,
        "alarm": lambda m: m.onset_ns,
    }[stream](after)
    assert time_ns == mono_ns + OFFSET


def test_rows_of_another_boot_cannot_be_mapped(world):
    world.add("ecg", synchronised=False, offset_ns=0)
    row = world.reader.by_id(1)
    other = type(row)(
        row.id,
        row.device,
        row.stream,
        row.seq,
        "another",
        *(getattr(row, name) for name in ("mono_ns", "offset_ns", "synchronised", "payload")),
    )
    message = decode_data(payload_of(other, world.clock, time.monotonic_ns()))
    assert message.flags == Flag.UNSYNCHRONISED | Flag.HISTORY
    assert message.start_ns == world.now_ns
    assert message.anchor.boot == "another"
