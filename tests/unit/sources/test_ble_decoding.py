"""Measurements of Bluetooth devices are read as their owners saw them; nothing that arrives can do harm."""

from math import isfinite, isnan, nan

import ble_captures as captures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitalwire_edge.sources.ble import heart_rate, oximeter, polar, spot
from vitalwire_edge.sources.ble.values import BleDataError, medfloat, sfloat
from vitalwire_edge.wire.codes import Code, ValueStatus

OK, QUESTIONABLE, SENSOR_OFF, INVALID = ValueStatus


def values(readings):
    return {r.code: (None if isnan(r.value) else round(r.value, 3), r.status) for r in readings}


@pytest.mark.parametrize("raw", [0x07FE, 0x07FF, 0x0800, 0x0801, 0x0802])
def test_reserved_short_floats_are_no_numbers(raw):
    assert isnan(sfloat(raw).value)
    assert sfloat(raw).status is INVALID


@pytest.mark.parametrize("raw", [0x007FFFFE, 0x007FFFFF, 0x00800000, 0x00800001, 0x00800002])
def test_reserved_floats_are_no_numbers(raw):
    assert isnan(medfloat(raw).value)
    assert medfloat(raw).status is INVALID


def test_floats_beside_the_reserved_ones_are_numbers():
    # IEEE 11073-20601: largest and smallest mantissa, and the example of 36.4 degrees as FF 00 01 6C.
    assert sfloat(0x07FD).value == 2045
    assert sfloat(0x0803).value == -2045
    assert sfloat(0xF7FF).value == 204.7
    assert sfloat(0x8001).value == 1e-8
    assert sfloat(0x7001).value == 1e7
    assert medfloat(0xFF00016C).value == 36.4
    assert medfloat(0x00800003).value == -8388605


def test_heart_rate_with_intervals_and_contact():
    got = heart_rate.heart_rate_measurement(captures.POLAR_H7)
    assert (got.beats_per_min, got.contact, got.rr_s) == (60, True, (1041 / 1024,))
    got = heart_rate.heart_rate_measurement(captures.MOVISENS)
    assert (got.beats_per_min, got.contact, got.rr_s) == (72, True, (0.33203125, 0.73046875))
    assert heart_rate.heart_rate_measurement(captures.POLAR_H7_NO_RR).rr_s == ()
    assert heart_rate.heart_rate_measurement(captures.UNBRANDED_STRAP).reading(Code.HEART_RATE).value == 52


def test_heart_rate_flags_of_the_specification():
    # Table 3.2 of the Heart Rate Service: two-byte rate, energy expended before the intervals.
    got = heart_rate.heart_rate_measurement(bytes([0x19, 0x2C, 0x01, 0x10, 0x00, 0x00, 0x04]))
    assert (got.beats_per_min, got.contact, got.rr_s) == (300, None, (1.0,))


@pytest.mark.parametrize(
    ("flags", "rate", "value", "status"),
    [
        (0x04, 70, None, SENSOR_OFF),
        (0x06, 0, 0.0, OK),
        (0x00, 0, None, INVALID),
        (0x00, 70, 70.0, OK),
        (0x02, 70, 70.0, OK),
    ],
)
def test_without_contact_there_is_no_rate(flags, rate, value, status):
    reading = heart_rate.heart_rate_measurement(bytes([flags, rate])).reading(Code.HEART_RATE)
    assert values([reading]) == {Code.HEART_RATE: (value, status)}


def test_a_rate_from_the_wrist_is_a_pulse():
    # Body Sensor Location: 0 other, 1 chest, 2 wrist, 3 finger, 4 hand, 5 ear lobe, 6 foot.
    assert [heart_rate.rate_code(bytes([site])) for site in (0, 1, 7)] == [Code.HEART_RATE] * 3
    assert [heart_rate.rate_code(bytes([site])) for site in range(2, 7)] == [Code.PULSE_RATE] * 5
    assert heart_rate.rate_code(b"") is Code.HEART_RATE


def test_oximeter():
    got = oximeter.spot_check_measurement(captures.CHOICEMMED_SPOT)
    # Its status says low perfusion, and that its clock is not set.
    assert values(got.readings()) == {Code.SPO2: (97, QUESTIONABLE), Code.PULSE_RATE: (96, QUESTIONABLE)}
    assert (got.taken, got.stored) == (None, False)
    got = oximeter.continuous_measurement(captures.CHOICEMMED_CONTINUOUS)
    assert values(got.readings()) == {Code.SPO2: (98, OK), Code.PULSE_RATE: (78, OK)}


@pytest.mark.parametrize(
    ("status", "sensor", "expected"),
    [
        (0x0040, 0x0000, QUESTIONABLE),
        (0x2000, 0x0000, INVALID),
        (0x8000, 0x0000, INVALID),
        (0x0400, 0x0000, INVALID),
        (0x0000, 0x0800, SENSOR_OFF),
        (0x0000, 0x8000, SENSOR_OFF),
        (0x0000, 0x0002, INVALID),
        (0x0180, 0x0200, OK),
    ],
)
def test_an_oximeter_is_believed_as_far_as_it_believes_itself(status, sensor, expected):
    captured = captures.CHOICEMMED_CONTINUOUS
    data = captured[:5] + status.to_bytes(2, "little") + sensor.to_bytes(3, "little")
    got = oximeter.continuous_measurement(data)
    assert got.spo2.status is expected
    assert isfinite(got.spo2.value) == (expected in (OK, QUESTIONABLE))


@pytest.mark.parametrize(("celsius", "data"), [*captures.THERMOMETER, *captures.THERMOMETER_HUNDREDTHS])
def test_thermometer(celsius, data):
    got = spot.temperature_measurement(data)
    assert values(got.readings) == {Code.TEMPERATURE: (celsius, OK)}


def test_thermometer_says_when_and_in_fahrenheit():
    data = captures.THERMOMETER[0][1]
    assert spot.temperature_measurement(data).taken.isoformat() == "2018-03-10T21:52:00"
    fahrenheit = bytes([data[0] | 1]) + bytes.fromhex("DA 03 00 FF") + data[5:]  # 98.6
    assert values(spot.temperature_measurement(fahrenheit).readings) == {Code.TEMPERATURE: (37.0, OK)}


def test_cuff():
    got = spot.pressure_measurement(captures.CUFF)
    assert values(got.readings) == {
        Code.SYSTOLIC: (127.0, OK),
        Code.DIASTOLIC: (79.0, OK),
        Code.PULSE_RATE: (69.0, OK),
    }
    assert (got.taken.isoformat(), got.user) == ("2020-01-20T08:43:00", 1)
    got = spot.pressure_measurement(captures.CUFF_IRREGULAR)
    assert values(got.readings)[Code.SYSTOLIC] == (116.0, OK)
    assert got.taken.isoformat() == "2020-01-19T22:55:00"


def test_cuff_in_kilopascal_and_moved():
    data = captures.CUFF
    kpa = bytes([data[0] | 1]) + bytes.fromhex("A9 F0 69 F0") + data[5:-2] + bytes([0x01, 0x00])  # 16.9, 10.5
    assert values(spot.pressure_measurement(kpa).readings) == {
        Code.SYSTOLIC: (126.76, QUESTIONABLE),
        Code.DIASTOLIC: (78.756, QUESTIONABLE),
        Code.PULSE_RATE: (69.0, QUESTIONABLE),
    }


def test_a_cuff_that_failed_says_so():
    data = captures.CUFF
    failed = data[:1] + bytes.fromhex("FF 07 FF 07 FF 07") + data[7:14] + bytes.fromhex("FF 07") + data[16:]
    assert values(spot.pressure_measurement(failed).readings) == {Code.SYSTOLIC: (None, INVALID)}


def test_an_impossible_date_is_refused_and_an_unknown_one_is_none():
    data = captures.CUFF
    with pytest.raises(BleDataError, match="impossible time stamp"):
        spot.pressure_measurement(data[:9] + bytes([13]) + data[10:])
    assert spot.pressure_measurement(data[:7] + bytes(7) + data[14:]).taken is None


def test_polar_ecg():
    first, second = (polar.ecg_block(data) for data in captures.POLAR_ECG)
    assert first.uv[:3].tolist() == [0x7A, 0x67, 0x83]
    assert first.uv[17] == 0x08B9
    assert first.uv[20] == 0xFEFA - 0x10000
    assert first.uv.size == second.uv.size == 73
    assert first.last_ns == 0x08524930AA70F791
    # 73 samples later at the strap's 130 Hz.
    assert (second.last_ns - first.last_ns) * 1e-9 * 130 == pytest.approx(73, abs=0.2)


def test_polar_ecg_of_its_own_tests():
    block = polar.ecg_block(captures.POLAR_SDK_HEADER + captures.POLAR_SDK_SAMPLES)
    assert (block.last_ns, block.uv.tolist()) == (2_000_000_000, [-32766, 32770])


def test_polar_control_point():
    assert polar.START_ECG == captures.POLAR_START
    assert polar.refusal(captures.POLAR_STARTED) is None
    assert polar.refusal(captures.POLAR_SETTINGS) is None
    assert polar.refusal(captures.POLAR_REFUSED) == "invalid parameter"


DECODERS = {
    heart_rate.heart_rate_measurement: captures.MOVISENS,
    heart_rate.battery_percent: b"\x64",
    oximeter.continuous_measurement: captures.CHOICEMMED_CONTINUOUS,
    oximeter.spot_check_measurement: captures.CHOICEMMED_SPOT,
    spot.temperature_measurement: captures.THERMOMETER[0][1],
    spot.pressure_measurement: captures.CUFF,
    polar.ecg_block: captures.POLAR_ECG[0],
    polar.refusal: captures.POLAR_STARTED[:4],
}


@pytest.mark.parametrize("decode", DECODERS, ids=lambda d: d.__name__)
def test_what_is_cut_short_is_refused(decode):
    whole = DECODERS[decode]
    decode(whole)
    short = [n for n in range(len(whole)) if refused(decode, whole[:n])]
    # Whole samples and whole intervals are complete where they end.
    assert len(short) >= {polar.ecg_block: 150, heart_rate.heart_rate_measurement: 4}.get(decode, len(whole))


def refused(decode, data):
    try:
        decode(data)
    except BleDataError:
        return True
    return False


@given(data=st.binary(max_size=64), flip=st.tuples(st.integers(0, 300), st.integers(0, 255)))
@settings(max_examples=300, deadline=None)
def test_no_bytes_can_do_more_than_be_refused(data, flip):
    at, value = flip
    for decode, whole in DECODERS.items():
        changed = whole[: at % len(whole)] + bytes([value]) + whole[at % len(whole) + 1 :]
        for hostile in (data, changed, whole + data):
            try:
                got = decode(hostile)
            except BleDataError:
                continue
            for reading in readings_of(got):
                assert isfinite(reading.value) == (reading.status in (OK, QUESTIONABLE))


def readings_of(got):
    if isinstance(got, heart_rate.HeartRateMeasurement):
        return [got.reading(Code.HEART_RATE)]
    if isinstance(got, oximeter.OximeterMeasurement):
        return got.readings()
    return got.readings if isinstance(got, spot.SpotMeasurement) else []


def test_nothing_doubted_becomes_better():
    for status in ValueStatus:
        measured = sfloat(0xF4F6).doubted(status)
        assert measured.status is status
        assert sfloat(0x07FF).doubted(status).status in (INVALID, SENSOR_OFF)
        assert repr(measured.value) == repr(127.0 if status in (OK, QUESTIONABLE) else nan)
