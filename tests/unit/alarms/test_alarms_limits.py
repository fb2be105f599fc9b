from typing import NamedTuple

import pytest
from alarm_feed import Feed, engine, restarted

from vitalwire_edge.alarms.change import Kind
from vitalwire_edge.alarms.config import AlarmConfig, LimitsConfig, VitalLimit
from vitalwire_edge.wire.codes import Code, ValueStatus


class Case(NamedTuple):
    kind: Kind
    code: Code
    beyond: float
    within: float
    well: float
    delay_s: float


CASES = [
    Case("spo2_low", Code.SPO2, 88.0, 90.0, 97.0, 10),
    Case("respiration_low", Code.RESPIRATION_RATE, 6.0, 8.0, 16.0, 15),
    Case("respiration_high", Code.RESPIRATION_RATE, 34.0, 30.0, 16.0, 15),
    Case("temperature_low", Code.TEMPERATURE, 34.5, 35.0, 36.8, 20),
    Case("temperature_high", Code.TEMPERATURE, 39.0, 38.3, 36.8, 20),
    Case("pressure_low", Code.SYSTOLIC, 84.0, 90.0, 120.0, 0),
    Case("pressure_high", Code.SYSTOLIC, 195.0, 180.0, 120.0, 0),
]
ALL = pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)


@ALL
def test_a_limit_raises_after_its_delay_and_clears(case):
    feed = Feed(engine()).vitals(case.code, [case.well] * 60)
    start_s = feed.now_s
    feed.vitals(case.code, [case.beyond] * 40)
    assert feed.phases(case.kind) == ["raised"]
    assert case.delay_s <= feed.said(case.kind)[0][1] - start_s <= case.delay_s + 1
    raised = feed.last(case.kind)
    assert (raised.priority, raised.category) == ("medium", "physiological")
    assert raised.value == case.beyond
    assert f"{raised.limit:g}" in raised.text
    feed.vitals(case.code, [case.well] * 40)
    assert feed.phases(case.kind) == ["raised", "cleared"]


@ALL
def test_values_at_the_limit_are_silent(case):
    assert Feed(engine()).vitals(case.code, [case.well] * 10 + [case.within] * 100).phases(case.kind) == []


@ALL
def test_a_sensor_that_is_off_is_no_physiological_alarm(case):
    feed = Feed(engine()).vitals(case.code, [case.well] * 60)
    feed.vitals(case.code, [case.beyond] * 60, status=ValueStatus.SENSOR_OFF)
    feed.vitals(case.code, [float("nan")] * 60, status=ValueStatus.INVALID)
    assert feed.phases(case.kind) == []


@ALL
def test_limit_alarms_survive_a_restart(case):
    feed = Feed(engine()).vitals(case.code, [case.beyond] * 40)
    again = restarted(feed).vitals(case.code, [case.beyond] * 40)
    assert again.phases(case.kind) == []
    again.vitals(case.code, [case.well] * 40)
    assert again.phases(case.kind) == ["cleared"]
    assert again.last(case.kind).alarm_id == feed.last(case.kind).alarm_id


def test_an_interrupted_drop_starts_its_delay_anew():
    feed = Feed(engine())
    for _ in range(20):
        feed.vitals(Code.SPO2, [88.0] * 8).vitals(Code.SPO2, [95.0])
    assert feed.phases("spo2_low") == []


def test_a_saturation_around_the_limit_does_not_flap():
    feed = Feed(engine())
    for _ in range(30):
        feed.vitals(Code.SPO2, [89.0] * 12).vitals(Code.SPO2, [90.0] * 12)
    assert feed.phases("spo2_low") == ["raised"]


def test_a_severe_desaturation_becomes_high_priority_and_back():
    feed = Feed(engine()).vitals(Code.SPO2, [87.0] * 20)
    assert feed.last("spo2_low").priority == "medium"
    feed.vitals(Code.SPO2, [76.0] * 20)
    assert feed.phases("spo2_low") == ["raised", "updated"]
    severe = feed.last("spo2_low")
    assert (severe.priority, severe.limit) == ("high", 80.0)
    feed.vitals(Code.SPO2, [81.0] * 5)
    assert feed.last("spo2_low").priority == "high"
    feed.vitals(Code.SPO2, [87.0] * 5)
    assert feed.last("spo2_low").priority == "medium"


def test_a_questionable_reading_is_delayed_and_not_suppressed():
    feed = Feed(engine()).vitals(Code.SPO2, [80.5] * 25, status=ValueStatus.QUESTIONABLE)
    assert feed.phases("spo2_low") == []
    feed.vitals(Code.SPO2, [80.5] * 10, status=ValueStatus.QUESTIONABLE)
    assert feed.phases("spo2_low") == ["raised"]


def test_an_open_alarm_needs_evidence_to_end():
    feed = Feed(engine()).vitals(Code.SPO2, [85.0] * 20)
    feed.vitals(Code.SPO2, [float("nan")] * 400, status=ValueStatus.SENSOR_OFF)
    assert feed.phases("spo2_low") == ["raised"]


def test_a_thermometer_read_every_ten_minutes_still_alarms():
    feed = Feed(engine()).vitals(Code.TEMPERATURE, [39.5, 39.6], every_s=600)
    assert feed.phases("temperature_high") == ["raised"]


def test_readings_far_apart_are_not_one_continuous_crossing():
    feed = Feed(engine()).vitals(Code.SPO2, [85.0] * 3, every_s=200)
    assert feed.phases("spo2_low") == []


def test_limits_are_configurable_and_can_be_switched_off():
    config = AlarmConfig(
        limits=LimitsConfig(
            spo2_low=VitalLimit(limit=85.0, delay_s=2.0), respiration_high=VitalLimit(limit=1, enabled=False)
        )
    )
    feed = (
        Feed(engine(config=config)).vitals(Code.SPO2, [84.0] * 4).vitals(Code.RESPIRATION_RATE, [40.0] * 60)
    )
    assert feed.phases("spo2_low") == ["raised"]
    assert feed.phases("respiration_high") == []


def test_an_older_reading_is_dropped_and_counted():
    e = engine()
    e.on_vitals(100_000_000_000, [(Code.SPO2, 97.0, ValueStatus.OK)])
    assert e.on_vitals(99_000_000_000, [(Code.SPO2, 50.0, ValueStatus.OK)]) == []
    assert e.late_readings == 1


def test_codes_that_are_no_numbers_are_ignored():
    assert engine().on_vitals(1, [(Code.PLETH, 1.0, ValueStatus.OK)]) == []
