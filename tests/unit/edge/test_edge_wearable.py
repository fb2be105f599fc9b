"""One wearable's pipeline, from frames to what is handed to the spool."""

from math import nan

import msgspec
import numpy as np
import pytest
from gateway_parts import FS_HZ, FrameMaker, ecg

from vitalwire_edge.alarms import AlarmConfig
from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.config import TelemetryConfig
from vitalwire_edge.wearable.device import Wearable
from vitalwire_edge.wearable.expected import ExpectedWearables
from vitalwire_edge.wearable.reorder import Timed
from vitalwire_edge.wearable.surroundings import Surroundings
from vitalwire_edge.wire.blocks import unpack
from vitalwire_edge.wire.codes import Code, ValueStatus
from vitalwire_edge.wire.frames import Frame, Reading, Status, Vitals, Wave
from vitalwire_edge.wire.messages import AlarmMessage, DeviceBirth, DeviceDeath, Flag

NS = 1_000_000_000
START = 5_000 * NS


class Bed:
    """A wearable in front of its pipeline; frames arrive 3 ms after they were made."""

    def __init__(self, *, open_alarms=(), trusted=True, **telemetry):
        self.now_ns = START
        self.entries = []
        self.changes = []
        self.clock = GatewayClock(
            trust_system=trusted,
            read_offset=lambda: self.offset,
            read_synchronised=lambda: False,
            read_mono=lambda: self.now_ns,
        )
        self.wearable = Wearable(
            "chest-1",
            Surroundings(
                clock=self.clock,
                telemetry=TelemetryConfig(**telemetry),
                alarms=AlarmConfig(),
                session=lambda: "s",
                put=self.entries.append,
                on_alarm=lambda _device, change: self.changes.append(change),
            ),
            open_alarms,
        )
        self.maker = FrameMaker()
        self.since_us = 0

    offset = 1_790_000_000 * NS

    def timed(self, frame):
        self.now_ns = max(self.now_ns, START + frame.device_us * 1000 + 3_000_000)
        return Timed(START + frame.device_us * 1000 + 3_000_000, frame)

    def hello(self):
        self.wearable.greet(self.timed(self.maker.hello()))

    def take(self, frame):
        self.wearable.take(self.timed(frame))

    def seconds(self, count, *, per_frame=50, **options):
        for _ in range(count * FS_HZ // per_frame):
            self.take(self.maker.wave(per_frame, **options))
            self.wearable.tick(self.now_ns)

    def of(self, stream):
        return [entry.message for entry in self.entries if entry.stream == stream]

    def samples(self):
        return [
            (b.first_sample + i, int(v))
            for b in self.of("ecg")
            for i, v in enumerate(unpack(b.codec, b.data, b.count))
        ]


def test_every_sample_arrives_once_with_its_time():
    bed = Bed()
    bed.hello()
    bed.seconds(10)
    bed.wearable.flush()
    assert bed.samples() == list(enumerate(ecg(0, 2500).tolist()))
    blocks = bed.of("ecg")
    assert [b.count for b in blocks] == [250] * 10
    starts = np.array([b.start_ns for b in blocks])
    assert np.abs(np.diff(starts) - NS).max() < NS // FS_HZ // 4
    assert starts[0] == pytest.approx(bed.offset + START + 3_000_000, abs=2_000_000)
    assert sum(e.samples for e in bed.entries if e.stream == "ecg") == 2500
    assert {e.code for e in bed.entries if e.stream == "ecg"} == {Code.ECG_UNSPECIFIED}


def test_what_was_buffered_before_connecting_is_timed_by_its_newest_frame():
    bed = Bed()
    hello = bed.maker.hello()
    frames = [bed.maker.wave(50) for _ in range(100)]
    at = START + 20 * NS + 3_000_000
    for frame in (hello, *frames):
        bed.wearable.greet(Timed(at, frame)) if frame is hello else bed.wearable.take(Timed(at, frame))
    assert bed.entries == []
    bed.now_ns = at + NS
    bed.wearable.tick(bed.now_ns)
    bed.seconds(2)
    bed.wearable.flush()
    assert bed.samples() == list(enumerate(ecg(0, 5500).tolist()))
    blocks = bed.of("ecg")
    assert np.abs(np.diff([b.start_ns for b in blocks]) - NS).max() < NS // FS_HZ // 4
    assert blocks[0].start_ns == pytest.approx(bed.offset + START + 3_000_000, abs=2_000_000)
    assert bed.wearable.losses() == {}


def test_beats_and_a_derived_heart_rate():
    bed = Bed()
    bed.hello()
    bed.seconds(20)
    beats = [beat for message in bed.of("beat") for beat in message.beats]
    assert len(beats) >= 18
    intervals = np.diff([beat.r_ns for beat in beats]) / 1e9
    assert np.median(intervals) == pytest.approx(0.8, abs=0.01)
    rates = [v for message in bed.of("vitals") for v in message.values]
    assert {v.code for v in rates} == {Code.HEART_RATE}
    assert rates[-1].value == pytest.approx(75, abs=2)


def test_a_device_that_tells_its_heart_rate_is_not_corrected():
    bed = Bed()
    bed.hello()
    bed.take(bed.maker.frame(Vitals((Reading(Code.HEART_RATE, 61.0),))))
    bed.seconds(15)
    assert [v.value for message in bed.of("vitals") for v in message.values] == [61.0]
    birth = bed.wearable.lifecycle
    assert isinstance(birth, DeviceBirth)
    assert {channel.code for channel in birth.channels} == {Code.ECG_UNSPECIFIED, Code.HEART_RATE}


def test_gaps_and_lead_off_cut_blocks_and_are_not_filled():
    bed = Bed()
    bed.hello()
    bed.seconds(2)
    bed.take(bed.maker.wave(50))
    bed.maker.skip(500)
    bed.take(bed.maker.wave(50))
    bed.take(bed.maker.wave(50, lead_off=True))
    bed.take(bed.maker.wave(50))
    bed.wearable.flush()
    blocks = bed.of("ecg")
    assert [(b.first_sample, b.count, bool(b.flags & Flag.LEAD_OFF)) for b in blocks[2:]] == [
        (500, 50, False),
        (1050, 50, False),
        (1100, 50, True),
        (1150, 50, False),
    ]
    assert blocks[3].start_ns - blocks[2].start_ns == pytest.approx(550 * NS // FS_HZ, abs=NS // FS_HZ)


def test_nan_and_impossible_numbers_carry_no_value_and_are_counted():
    bed = Bed()
    bed.hello()
    bed.take(
        bed.maker.frame(
            Vitals((Reading(Code.SPO2, nan), Reading(Code.TEMPERATURE, 400.0), Reading(Code.ECG_I, 1.0)))
        )
    )
    bed.wearable.flush()
    (message,) = bed.of("vitals")
    assert [(v.code, v.value, v.status) for v in message.values] == [
        (Code.SPO2, None, ValueStatus.INVALID),
        (Code.TEMPERATURE, None, ValueStatus.INVALID),
    ]
    assert bed.wearable.losses()["impossible_value"] == 3
    bed.take(bed.maker.frame(Status(200, -60, 0)))
    assert bed.wearable.losses()["impossible_value"] == 4
    bed.take(bed.maker.frame(Status(80, -60, 0)))
    assert bed.wearable.status(bed.now_ns).battery_percent == 80


def test_repeats_swaps_and_late_frames():
    bed = Bed()
    bed.hello()
    frames = [bed.maker.wave(50) for _ in range(20)]
    order = [0, 2, 1, 1, 3, 5, 4, 6, 6, *range(7, 20), 3]
    for i in order:
        bed.take(frames[i])
    bed.wearable.flush()
    assert bed.samples() == list(enumerate(ecg(0, 1000).tolist()))
    assert bed.wearable.losses() == {"duplicate": 3}


def test_an_impossible_device_clock_or_counter_costs_that_frame_only():
    bed = Bed()
    bed.hello()
    bed.seconds(2)
    good = bed.maker.wave(50)
    bed.wearable.take(Timed(bed.now_ns, Frame(good.sequence, good.device_us + 10**13, good.payload)))
    odd = bed.maker.wave(50)
    bed.take(Frame(odd.sequence, odd.device_us, Wave(0, 2**63, odd.payload.samples)))
    odd = bed.maker.wave(50)
    bed.take(Frame(odd.sequence, odd.device_us, Wave(7, odd.payload.first_sample, odd.payload.samples)))
    bed.seconds(2)
    bed.wearable.flush()
    losses = bed.wearable.losses()
    assert losses == {"clock_impossible": 1, "impossible_counter": 1, "unusable_channel": 1}
    assert {n for n, _ in bed.samples()} == set(range(500)) | set(range(650, 1150))


def test_a_reboot_begins_anew_and_the_times_go_on():
    bed = Bed()
    bed.hello()
    bed.seconds(3)
    last = bed.of("ecg")[-1].start_ns
    ended = bed.now_ns
    bed.maker = FrameMaker(boot=2)
    hello = bed.maker.hello()
    bed.wearable.greet(Timed(ended + 2 * NS, hello))
    for _ in range(10):
        frame = bed.maker.wave(50)
        bed.wearable.take(Timed(ended + 2 * NS + frame.device_us * 1000, frame))
    bed.wearable.flush()
    after = bed.of("ecg")[3:]
    assert {b.device_boot for b in after} == {2}
    assert after[0].first_sample == 0
    assert after[0].start_ns - last == pytest.approx(3 * NS, abs=50_000_000)


def test_a_reconnect_of_the_same_boot_goes_on_without_a_seam():
    bed = Bed()
    bed.hello()
    bed.seconds(2)
    bed.wearable.leave("closed")
    assert isinstance(bed.wearable.lifecycle, DeviceDeath)
    bed.hello()
    assert isinstance(bed.wearable.lifecycle, DeviceBirth)
    bed.seconds(2)
    bed.wearable.flush()
    assert bed.samples() == list(enumerate(ecg(0, 1000).tolist()))


def test_goodbye_silence_and_return():
    bed = Bed()
    bed.hello()
    bed.seconds(2)
    bed.now_ns += 11 * NS
    bed.wearable.tick(bed.now_ns)
    assert bed.wearable.lifecycle.reason == "silent"
    bed.maker.skip(11 * FS_HZ)
    bed.take(bed.maker.wave(50))
    assert isinstance(bed.wearable.lifecycle, DeviceBirth)
    bed.take(bed.maker.goodbye())
    assert bed.wearable.lifecycle.reason == "goodbye"
    raised = len(bed.changes)
    bed.now_ns += 3600 * NS
    bed.wearable.tick(bed.now_ns)
    assert len(bed.changes) == raised


def test_a_goodbye_ends_what_is_open_and_what_comes_back_alarms_anew():
    bed = Bed()
    bed.hello()
    bed.seconds(3)
    bed.now_ns += 11 * NS
    bed.wearable.tick(bed.now_ns)
    assert [c.phase for c in bed.changes if c.kind == "device_silent"] == ["raised"]
    bed.maker.skip(11 * FS_HZ)
    bed.take(bed.maker.frame(Status(battery_percent=5, rssi_dbm=-60, dropped=0)))
    open_kinds = {c.kind for c in bed.changes if c.phase == "raised"} - {
        c.kind for c in bed.changes if c.phase == "cleared"
    }
    assert "battery_low" in open_kinds
    bed.take(bed.maker.goodbye())
    ended = [c for c in bed.changes if c.phase == "cleared" and "said goodbye" in c.text]
    assert {c.kind for c in ended} == open_kinds
    assert not bed.wearable.expected
    assert [e.open_alarm[1] for e in bed.entries if e.open_alarm and e.open_alarm[0] == "battery_low"][
        -1
    ] is None
    bed.hello()
    bed.take(bed.maker.frame(Status(battery_percent=5, rssi_dbm=-60, dropped=0)))
    assert bed.changes[-1].kind == "battery_low"
    assert bed.changes[-1].phase == "raised"
    assert bed.changes[-1].alarm_id != ended[-1].alarm_id


def test_a_wearable_that_does_not_come_back_after_a_restart_alarms():
    bed = Bed()
    bed.wearable.expect()
    for _ in range(9):
        bed.now_ns += NS
        bed.wearable.tick(bed.now_ns)
    assert bed.changes == []
    for _ in range(3):
        bed.now_ns += NS
        bed.wearable.tick(bed.now_ns)
    assert [(c.kind, c.phase) for c in bed.changes] == [("device_silent", "raised")]
    assert [m.kind for m in bed.of("alarm")] == ["device_silent"]


def test_who_is_there_is_kept_over_a_restart(tmp_path):
    path = tmp_path / "wearables.json"
    assert ExpectedWearables(path).load() == ()
    expected = ExpectedWearables(path)
    expected.keep(["chest-2", "chest-1"])
    written = path.stat().st_mtime_ns
    expected.keep(["chest-1", "chest-2"])
    assert path.stat().st_mtime_ns == written
    assert ExpectedWearables(path).load() == ("chest-1", "chest-2")
    for damage in (b"", b"[]", b'{"format":9,"devices":["a"]}', b'{"devices":["a/b"]}', b"\xff"):
        path.write_bytes(damage)
        assert ExpectedWearables(path).load() == ()
    lost = ExpectedWearables(tmp_path / "no folder" / "wearables.json")
    lost.keep(["chest-1"])
    lost.keep(["chest-1"])


def test_asystole_is_raised_persisted_and_survives_a_restart():
    bed = Bed()
    bed.hello()
    bed.seconds(15)
    for _ in range(60):
        flat = bed.maker.wave(50)
        bed.take(
            Frame(flat.sequence, flat.device_us, Wave(0, flat.payload.first_sample, np.zeros(50, np.int16)))
        )
    raised = [c for c in bed.changes if c.kind == "asystole"]
    assert [c.phase for c in raised] == ["raised"]
    entry = next(e for e in bed.entries if e.stream == "alarm" and e.message.kind == "asystole")
    assert isinstance(entry.message, AlarmMessage)
    kind, kept = entry.open_alarm
    assert kind == "asystole"
    change = msgspec.msgpack.decode(kept, type=type(raised[0]))
    assert change == raised[0]
    assert abs(change.at_ns - (bed.offset + bed.now_ns)) < 15 * NS
    # The gateway restarts: the same condition is not raised again, and its end clears the alarm under its own id.
    after = Bed(open_alarms=[change])
    after.now_ns = bed.now_ns + 2 * NS
    after.maker.skip(20 * FS_HZ)
    after.hello()
    after.seconds(20)
    assert [(c.alarm_id, c.phase) for c in after.changes if c.kind == "asystole"] == [
        (change.alarm_id, "cleared")
    ]
    cleared = next(e for e in after.entries if e.stream == "alarm" and e.message.kind == "asystole")
    assert cleared.open_alarm == ("asystole", None)


def test_a_step_of_the_wall_clock_moves_times_but_raises_nothing():
    bed = Bed()
    bed.hello()
    bed.seconds(15)
    before = bed.of("ecg")[-1].start_ns
    bed.offset += 3600 * NS
    bed.clock.poll()
    bed.seconds(15)
    assert bed.clock.steps == 1
    assert bed.of("ecg")[15].start_ns - before == pytest.approx(3601 * NS, abs=10_000_000)
    assert bed.changes == []


def test_without_a_synchronised_clock_everything_says_so():
    bed = Bed(trusted=False)
    bed.hello()
    bed.seconds(5)
    bed.take(bed.maker.frame(Vitals((Reading(Code.SPO2, 97.0),))))
    assert {entry.stream for entry in bed.entries} >= {"ecg", "vitals"}
    assert all(entry.message.flags & Flag.UNSYNCHRONISED for entry in bed.entries)
    assert all(entry.message.anchor.mono_ns == entry.mono_ns for entry in bed.entries)


@pytest.mark.parametrize(
    ("code", "rate_mhz"), [(Code.PLETH, 1), (Code.PLETH, 4_000_000_000), (Code.SPO2, 100_000)]
)
def test_a_channel_nobody_can_store_is_dropped_and_counted(code, rate_mhz):
    bed = Bed()
    hello = bed.maker.hello_payload
    channel = type(hello.channels[0])(code, rate_mhz, 1.0)
    bed.wearable.greet(bed.timed(bed.maker.frame(type(hello)("chest-1", 1, (channel, *hello.channels)))))
    frame = bed.maker.wave(50)
    bed.take(frame)
    bed.wearable.flush()
    assert bed.entries == []
    assert bed.wearable.losses() == {"unusable_channel": 1}
    assert [c.code for c in bed.wearable.lifecycle.channels] == [Code.ECG_UNSPECIFIED]


def test_a_rate_the_chain_cannot_analyse_is_still_recorded():
    bed = Bed()
    hello = bed.maker.hello_payload
    channel = type(hello.channels[0])(Code.PLETH, 50_000, 1.0)
    bed.wearable.greet(bed.timed(bed.maker.frame(type(hello)("chest-1", 1, (channel,)))))
    for n in range(20):
        frame = Frame(bed.maker.sequence, (n + 1) * 200_000, Wave(0, n * 10, np.arange(10, dtype=np.int16)))
        bed.maker.sequence += 1
        bed.take(frame)
    bed.wearable.flush()
    assert sum(b.count for b in bed.of("ecg")) == 200
    assert bed.of("beat") == []


def test_a_hello_that_is_said_again_is_no_news():
    bed = Bed()
    bed.hello()
    bed.seconds(2)
    born = bed.wearable.lifecycle
    bed.hello()
    assert bed.wearable.lifecycle is born
    bed.wearable.leave("closed")
    bed.hello()
    assert isinstance(bed.wearable.lifecycle, DeviceBirth)
    assert bed.wearable.lifecycle is not born
