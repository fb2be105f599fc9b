"""What leaves of the waveform: all, what surrounds alarms, or what is asked for; nothing of it is lost unseen."""

import pytest
from gateway_parts import FS_HZ
from test_edge_wearable import Bed

from vitalwire_edge.config import EdgeConfig, TelemetryConfig, check
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.report import device_reports
from vitalwire_edge.wearable.channel import PackedBlock
from vitalwire_edge.wearable.policy import Held, WavePolicy
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.frames import Status, WaveChannel

NS = 1_000_000_000
CHANNEL = WaveChannel(Code.ECG_II, 250_000, 5.0)


def samples(bed):
    return sum(entry.samples for entry in bed.entries if entry.stream == "ecg")


def low_battery(bed, percent=5):
    bed.take(bed.maker.frame(Status(percent, -60, 0)))


def test_all_of_it_by_default():
    bed = Bed()
    bed.hello()
    bed.seconds(5)
    bed.wearable.flush()
    assert samples(bed) == 5 * FS_HZ
    assert bed.wearable.withheld == 0


def test_around_an_event_and_only_then():
    bed = Bed(waveform="events", waveform_before_s=3.0, waveform_after_s=4.0)
    bed.hello()
    bed.seconds(10)
    assert samples(bed) == 0
    assert bed.of("beat"), "beats leave all the same"
    assert bed.of("vitals"), "and numbers"
    low_battery(bed)
    assert [alarm.kind for alarm in bed.of("alarm")] == ["battery_low"]
    before = samples(bed)
    assert before == pytest.approx(3 * FS_HZ, abs=FS_HZ)
    bed.seconds(10)
    around = samples(bed)
    assert around - before == pytest.approx(4 * FS_HZ, abs=FS_HZ)
    low_battery(bed)
    bed.seconds(5)
    assert samples(bed) == around, "an alarm that stays open opens nothing again"
    bed.wearable.flush()
    assert samples(bed) + bed.wearable.withheld == bed.maker.sample == 25 * FS_HZ
    assert bed.wearable.losses() == {}
    starts = [entry.message.first_sample for entry in bed.entries if entry.stream == "ecg"]
    assert starts == sorted(starts)
    order = [entry.stream for entry in bed.entries if entry.stream in ("alarm", "ecg")]
    assert order[0] == "alarm", "the alarm goes first"


def test_an_alarm_below_the_configured_priority_opens_nothing():
    bed = Bed(waveform="events", waveform_priority="high")
    bed.hello()
    bed.seconds(5)
    low_battery(bed)
    bed.seconds(5)
    assert bed.of("alarm")
    assert samples(bed) == 0


def test_on_demand_what_waits_and_what_comes():
    bed = Bed(waveform="demand", waveform_before_s=2.0)
    bed.hello()
    bed.seconds(8)
    low_battery(bed)
    assert samples(bed) == 0, "an alarm is no demand"
    bed.wearable.demand(3.0)
    assert samples(bed) == pytest.approx(2 * FS_HZ, abs=FS_HZ)
    bed.seconds(8)
    bed.wearable.flush()
    assert samples(bed) == pytest.approx(5 * FS_HZ, abs=FS_HZ)
    assert samples(bed) + bed.wearable.withheld == 16 * FS_HZ


def block(second):
    return Held(CHANNEL, 1, PackedBlock(second * NS, second * 250, 250, False, 0, b""))


def policy(**settings):
    return WavePolicy(TelemetryConfig(waveform="events", **settings))


def test_worse_opens_again_and_better_does_not():
    gate = policy(waveform_before_s=5, waveform_after_s=5)
    for second in range(3):
        assert gate.offer(block(second)) == ()
    assert len(gate.alarm("news2", "raised", "medium", 3 * NS)) == 3
    for second in range(3, 20):
        gate.offer(block(second))
    assert gate.alarm("news2", "updated", "low", 20 * NS) == ()
    assert gate.alarm("news2", "updated", "high", 20 * NS)
    gate.alarm("news2", "cleared", "high", 30 * NS)
    gate.offer(block(40))
    assert gate.alarm("news2", "raised", "low", 41 * NS)


def test_memory_is_bounded_whatever_the_clock_says():
    gate = policy(waveform_before_s=600)
    for _ in range(10_000):
        gate.offer(block(7))
    assert len(gate._ring) == 2048
    assert gate.withheld == 10_000 * 250
    assert gate.given_up == (10_000 - 2048) * 250


def test_the_report_tells_withheld_from_lost():
    (report,) = device_reports([], {"chest-1": {}}, {}, {"chest-1": 500}).values()
    assert (report.withheld, report.dropped, report.evicted) == (500, {}, {})


@pytest.mark.parametrize("key", ["waveform_before_s", "waveform_after_s"])
def test_how_much_may_wait_is_bounded(key):
    with pytest.raises(ConfigError, match=key):
        check(EdgeConfig(key_file="k", telemetry=TelemetryConfig(**{key: 601})))
