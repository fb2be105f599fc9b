"""The score in a gateway's status message: of the wearer, of now, and within what a message may hold."""

import pytest
from test_edge_staff import HOUR, NS, OFFSET, Bedside, seen
from test_edge_wearable import Bed

from vitalwire_edge.wearable.score_turns import ScoreTurns
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.frames import Goodbye, Reading, Vitals
from vitalwire_edge.wire.messages import (
    MAX_MESSAGE_BYTES,
    ClockState,
    DeviceStatus,
    GatewayStatus,
    News2Status,
    StaffState,
    TooOld,
    decode_json,
    encode_json,
)


def test_the_status_tells_the_score_by_parameter_and_when_it_was_computed():
    bed = Bedside()
    assert bed.alarms.news2_status() is None
    now = bed.mono_ns + OFFSET
    old = seen(True, now - 13 * HOUR)
    bed.alarms.told(StaffState(consciousness=seen("voice", now), oxygen=old, spo2_scale=seen(2, now)), "no")
    bed.wait(10)
    told = bed.alarms.news2_status()
    well = dict.fromkeys(("respiration", "spo2", "systolic", "pulse", "temperature"), 0)
    assert told.points == well | {"consciousness": 3}
    assert (told.total, told.band, told.missing, told.scale) == (3, "low_medium", ("oxygen",), 2)
    assert told.too_old == (TooOld(what="oxygen", entered_ns=old.entered_ns),)
    assert 0 <= bed.mono_ns + OFFSET - told.at_ns <= 2 * NS


def test_the_time_of_a_score_follows_the_gateways_clock_and_stands_still_without_data():
    bed = Bedside()
    bed.wait(10)
    before = bed.alarms.news2_status().at_ns
    bed.offset_ns += HOUR
    bed.clock.poll()
    assert bed.alarms.news2_status().at_ns == before + HOUR
    bed.mono_ns += 90 * NS
    bed.alarms.clock(bed.mono_ns)
    assert bed.alarms.news2_status().at_ns == before + HOUR


def test_what_staff_said_anew_is_not_called_too_old():
    bed = Bedside()
    now = bed.mono_ns + OFFSET
    bed.alarms.told(StaffState(oxygen=seen(True, now - 13 * HOUR)), "no")
    bed.wait(10)
    assert [old.what for old in bed.alarms.news2_status().too_old] == ["oxygen"]
    bed.alarms.told(StaffState(oxygen=seen(True, bed.mono_ns + OFFSET)), "no")
    assert bed.alarms.news2_status().too_old == ()


def worn():
    """A wearable that sends numbers for some seconds."""
    bed = Bed()
    bed.hello()
    for _ in range(10):
        bed.seconds(1)
        bed.take(bed.maker.frame(Vitals((Reading(Code.SYSTOLIC, 95.0), Reading(Code.TEMPERATURE, 36.8)))))
    return bed


def test_a_wearable_that_is_away_and_a_new_wearer_have_no_score():
    bed = worn()
    told = bed.wearable.status(bed.now_ns).news2
    assert (told.total, told.points["systolic"], told.band) == (2, 2, "incomplete")
    assert {"oxygen", "consciousness", "respiration"} <= set(told.missing)
    bed.wearable.new_patient(lambda: None)
    assert bed.wearable.status(bed.now_ns).news2 is None
    bed = worn()
    bed.now_ns += 60 * NS
    bed.wearable.tick(bed.now_ns)
    assert (bed.wearable.connected, bed.wearable.status(bed.now_ns).news2) == (True, None)
    bed = worn()
    bed.take(bed.maker.frame(Goodbye()))
    bed.wearable.leave("closed")
    assert bed.wearable.status(bed.now_ns).news2 is None


LONGEST = News2Status(
    at_ns=OFFSET,
    total=20,
    band="low_medium",
    points={},
    missing=("respiration", "spo2", "oxygen", "systolic", "pulse", "consciousness", "temperature"),
    too_old=tuple(TooOld(what=what, entered_ns=OFFSET) for what in ("consciousness", "oxygen", "spo2_scale")),
    scale=2,
)
LOSSES = ("bad_crc", "duplicate", "impossible_counter", "impossible_value", "late", "missing_frames")


def status(wearables, *, lost=LOSSES):
    devices = tuple(
        DeviceStatus(
            device=f"wearable-{number:08}",
            connected=True,
            battery_percent=100,
            quality=0.123456789,
            last_frame_age_s=0.123,
            frames=10**9,
            dropped=dict.fromkeys(lost, 10**6),
            news2=LONGEST if number else None,
        )
        for number in range(wearables)
    )
    return GatewayStatus(
        session="f" * 32,
        at_ns=OFFSET,
        clock=ClockState(boot="b" * 36, synchronised=True, offset_ns=OFFSET),
        spool_rows=10**9,
        spool_bytes=10**12,
        unconfirmed=1000,
        counters={f"a_counter_of_the_gateway_{n}": 10**9 for n in range(60)},
        devices=devices,
    )


def test_the_longest_scores_of_32_wearables_fit():
    whole = status(32)
    fitted = ScoreTurns().fit(whole)
    assert fitted is whole
    assert len(encode_json(fitted)) < MAX_MESSAGE_BYTES // 2


@pytest.mark.parametrize("wearables", [150, 256])
def test_of_very_many_wearables_each_is_told_in_its_turn(wearables):
    turns, whole, told = ScoreTurns(), status(wearables, lost=()), []
    # At a status every 5 s, these are all told before one counts as stale.
    for _ in range(8):
        payload = encode_json(turns.fit(whole))
        assert len(payload) <= MAX_MESSAGE_BYTES
        devices = decode_json(payload, GatewayStatus).devices
        assert devices[0].news2 is None
        told.append({device.device for device in devices if device.news2})
    assert 0 < len(told[0]) < wearables - 1
    assert set.union(*told) == {device.device for device in whole.devices[1:]}


def test_wearables_that_do_not_fit_without_scores_take_turns_too():
    turns, whole, told = ScoreTurns(), status(256), []
    for _ in range(4):
        payload = encode_json(turns.fit(whole))
        assert MAX_MESSAGE_BYTES - 1000 < len(payload) <= MAX_MESSAGE_BYTES
        devices = decode_json(payload, GatewayStatus).devices
        assert all(device.news2 is None or device.news2 == LONGEST for device in devices)
        told.append({device.device for device in devices})
    assert 0 < len(told[0]) < 256
    assert set.union(*told) == {device.device for device in whole.devices}


def test_a_status_without_wearables_is_left_as_it_is():
    assert ScoreTurns(most_bytes=10).fit(status(0)) == status(0)
