from decimal import Decimal
from math import nan

import pytest
from alarm_feed import T0, Feed, S, engine, restarted

from vitalwire_edge.alarms.config import AlarmConfig, News2Config
from vitalwire_edge.alarms.news2 import (
    News2Rule,
    Observation,
    StaffEntries,
    StaffEntry,
    news2,
    observe,
    pulse_points,
    respiration_points,
    rounded,
    spo2_points,
    systolic_points,
    temperature_points,
)
from vitalwire_edge.signal.vitals import VitalsWindow
from vitalwire_edge.wire.codes import Code, ValueStatus

# The chart of the Royal College of Physicians, 2017, as rows of (first, last, points), both ends inclusive.
RESPIRATION = [(0, 8, 3), (9, 11, 1), (12, 20, 0), (21, 24, 2), (25, 90, 3)]
SPO2_SCALE_1 = [(0, 91, 3), (92, 93, 2), (94, 95, 1), (96, 100, 0)]
SPO2_SCALE_2_AIR = [(0, 83, 3), (84, 85, 2), (86, 87, 1), (88, 100, 0)]
SPO2_SCALE_2_OXYGEN = [
    (0, 83, 3),
    (84, 85, 2),
    (86, 87, 1),
    (88, 92, 0),
    (93, 94, 1),
    (95, 96, 2),
    (97, 100, 3),
]
SYSTOLIC = [(20, 90, 3), (91, 100, 2), (101, 110, 1), (111, 219, 0), (220, 320, 3)]
PULSE = [(0, 40, 3), (41, 50, 1), (51, 90, 0), (91, 110, 1), (111, 130, 2), (131, 350, 3)]
TEMPERATURE_TENTHS = [(200, 350, 3), (351, 360, 1), (361, 380, 0), (381, 390, 1), (391, 460, 2)]

WELL = Observation(
    respiration=16, spo2=98, oxygen=False, systolic=120, pulse=70, consciousness="alert", temperature=37.0
)


def with_(**changed):
    fields = {name: getattr(WELL, name) for name in WELL.__dataclass_fields__}
    return Observation(**(fields | changed))


@pytest.mark.parametrize(
    ("points", "chart"),
    [
        (respiration_points, RESPIRATION),
        (lambda v: spo2_points(v, 1, oxygen=False), SPO2_SCALE_1),
        (lambda v: spo2_points(v, 1, oxygen=True), SPO2_SCALE_1),
        (lambda v: spo2_points(v, 2, oxygen=False), SPO2_SCALE_2_AIR),
        (lambda v: spo2_points(v, 2, oxygen=True), SPO2_SCALE_2_OXYGEN),
        (systolic_points, SYSTOLIC),
        (pulse_points, PULSE),
    ],
)
def test_every_whole_value_of_the_chart(points, chart):
    for first, last, expected in chart:
        assert {points(float(value)) for value in range(first, last + 1)} == {expected}


def test_every_tenth_of_a_degree():
    for first, last, expected in TEMPERATURE_TENTHS:
        assert {temperature_points(tenths / 10) for tenths in range(first, last + 1)} == {expected}


@pytest.mark.parametrize(
    ("points", "value", "expected"),
    [
        (temperature_points, 35.04, 3),
        (temperature_points, 35.05, 1),
        (temperature_points, 38.04, 0),
        (temperature_points, 38.05, 1),
        (temperature_points, 39.05, 2),
        (respiration_points, 20.49, 0),
        (respiration_points, 20.5, 2),
        (respiration_points, 8.5, 1),
        (respiration_points, 24.5, 3),
        (pulse_points, 40.5, 1),
        (pulse_points, 90.5, 1),
        (pulse_points, 130.49, 2),
        (systolic_points, 90.5, 2),
        (systolic_points, 219.5, 3),
    ],
)
def test_values_are_rounded_half_up_before_the_lookup(points, value, expected):
    assert points(value) == expected


def test_rounding_reads_the_decimal_a_person_sees():
    assert rounded(20.5) == 21
    assert rounded(35.05, Decimal("0.1")) == Decimal("35.1")
    assert rounded(35.04, Decimal("0.1")) == Decimal("35.0")


def test_a_well_patient_scores_zero_and_low():
    score = news2(WELL)
    assert (score.total, score.band, score.complete, score.text) == (0, "low", True, "NEWS2 0")


@pytest.mark.parametrize("state", ["confusion", "voice", "pain", "unresponsive"])
def test_anything_but_alert_scores_three(state):
    score = news2(with_(consciousness=state))
    assert (score.total, score.band) == (3, "low_medium")


def test_oxygen_scores_two():
    assert news2(with_(oxygen=True)).total == 2


@pytest.mark.parametrize(
    ("observation", "total", "band"),
    [
        (with_(spo2=94, pulse=95, oxygen=True), 4, "low"),
        (with_(respiration=25), 3, "low_medium"),
        (with_(respiration=25, pulse=95), 4, "low_medium"),
        (with_(respiration=25, oxygen=True), 5, "medium"),
        (with_(respiration=22, spo2=93, oxygen=True), 6, "medium"),
        (with_(respiration=25, spo2=93, oxygen=True), 7, "high"),
        (
            with_(
                respiration=30,
                spo2=80,
                oxygen=True,
                systolic=80,
                pulse=140,
                consciousness="pain",
                temperature=34,
            ),
            20,
            "high",
        ),
    ],
)
def test_response_bands(observation, total, band):
    score = news2(observation)
    assert (score.total, score.band) == (total, band)


@pytest.mark.parametrize(
    "name", ["respiration", "spo2", "oxygen", "systolic", "pulse", "consciousness", "temperature"]
)
def test_a_missing_parameter_is_never_zero_and_never_low(name):
    score = news2(with_(**{name: None}))
    assert score.missing == (name,)
    assert score.band == "incomplete"
    assert score.text == "NEWS2 incomplete, at least 0"


def test_a_lower_bound_still_reaches_its_band():
    score = news2(Observation(respiration=28, spo2=88, pulse=120))
    assert (score.total, score.band) == (8, "high")
    assert score.text == "NEWS2 incomplete, at least 8"


def test_unknown_oxygen_on_scale_2_takes_the_fewest_points():
    assert spo2_points(97, 2, oxygen=None) == 0
    assert news2(with_(spo2=97, oxygen=None, scale=2)).points["spo2"] == 0


def _window(seconds, **values):
    window = VitalsWindow()
    codes = {"respiration": Code.RESPIRATION_RATE, "spo2": Code.SPO2, "pulse": Code.PULSE_RATE}
    codes |= {"heart": Code.HEART_RATE, "temperature": Code.TEMPERATURE, "systolic": Code.SYSTOLIC}
    for second in range(seconds):
        for name, value in values.items():
            window.add(T0 + second * S, codes[name], value)
    return window


def test_medians_count_from_thirty_seconds_of_data_on():
    early, later = _window(15, spo2=95.0), _window(31, spo2=95.0)
    staff, none = StaffEntries(), VitalsWindow()
    assert observe(early, none, staff, T0 + 15 * S, min_data_s=30).spo2 is None
    assert observe(later, none, staff, T0 + 31 * S, min_data_s=30).spo2 == 95.0


def test_one_cuff_reading_counts_at_once():
    assert (
        observe(_window(1, systolic=101.0), VitalsWindow(), StaffEntries(), T0 + S, min_data_s=30).systolic
        == 101.0
    )


def test_the_median_ignores_a_spike():
    window = VitalsWindow()
    for second in range(60):
        window.add(T0 + second * S, Code.RESPIRATION_RATE, 60.0 if second == 30 else 16.0)
    assert observe(window, VitalsWindow(), StaffEntries(), T0 + 60 * S, min_data_s=30).respiration == 16.0


def test_the_gateways_own_heart_rate_comes_before_the_devices_and_the_pleths():
    numbers, own = _window(40, heart=80.0, pulse=70.0), _window(40, heart=90.0)
    at_ns = T0 + 40 * S
    assert observe(numbers, own, StaffEntries(), at_ns, min_data_s=30).pulse == 90.0
    assert observe(numbers, VitalsWindow(), StaffEntries(), at_ns, min_data_s=30).pulse == 80.0
    assert (
        observe(_window(40, pulse=70.0), VitalsWindow(), StaffEntries(), at_ns, min_data_s=30).pulse == 70.0
    )


def test_staff_entries_count_until_they_expire():
    staff = StaffEntries(
        consciousness=StaffEntry("alert", T0, T0 + 60 * S),
        oxygen=StaffEntry(True, T0, T0 + 120 * S),
        scale=StaffEntry(2, T0, T0 + 60 * S),
    )
    window = VitalsWindow()
    before = observe(window, window, staff, T0 + 59 * S, min_data_s=30)
    after = observe(window, window, staff, T0 + 60 * S, min_data_s=30)
    assert (before.consciousness, before.oxygen, before.scale) == ("alert", True, 2)
    assert (after.consciousness, after.oxygen, after.scale) == (None, True, 1)
    assert (before.too_old, after.too_old) == ((), ("consciousness", "SpO2 scale"))
    assert news2(after).too_old == after.too_old
    too_early = observe(window, window, staff, T0 - 1, min_data_s=30)
    assert too_early.consciousness is None


def _follow(rule, observation, start_s, seconds):
    return [rule.update(observation, T0 + second * S) for second in range(start_s, start_s + seconds)]


def test_the_alarm_follows_the_band_up_and_down_with_delays():
    rule = News2Rule(News2Config(rise_s=10, fall_s=60))
    first = [v for v in _follow(rule, with_(respiration=25, oxygen=True), 0, 11) if v]
    assert [(v.priority, v.value, v.limit) for v in first] == [("medium", 5.0, 5.0)]
    second = [v for v in _follow(rule, with_(respiration=25, spo2=90, oxygen=True), 11, 11) if v]
    assert [(v.priority, v.value) for v in second] == [("high", 8.0)]
    assert "respiration 3 points" in second[0].notes
    assert not any(_follow(rule, WELL, 22, 60))
    (ended,) = (v for v in _follow(rule, WELL, 82, 1) if v)
    assert "NEWS2 0" in ended.text


def test_a_spike_across_a_boundary_does_not_alarm():
    rule = News2Rule(News2Config())
    for start in range(0, 100, 10):
        assert not any(_follow(rule, with_(respiration=25), start, 5))
        assert not any(_follow(rule, WELL, start + 5, 5))


def test_the_alarm_does_not_end_because_what_scored_is_no_longer_measured():
    rule = News2Rule(News2Config())
    assert any(_follow(rule, with_(respiration=28, spo2=88, oxygen=True), 0, 12))
    assert not any(_follow(rule, with_(respiration=None, spo2=None, oxygen=True), 12, 300))


def _sick(feed, seconds):
    for _ in range(seconds):
        feed.now_s += 1
        readings = [(Code.RESPIRATION_RATE, 28.0), (Code.SPO2, 91.0), (Code.PULSE_RATE, 115.0)]
        feed.take(
            feed.engine.on_vitals(T0 + round(feed.now_s * S), [(c, v, ValueStatus.OK) for c, v in readings])
        )


def _well(feed, seconds):
    for _ in range(seconds):
        feed.now_s += 1
        readings = [(Code.RESPIRATION_RATE, 16.0), (Code.SPO2, 97.0), (Code.PULSE_RATE, 75.0)]
        feed.take(
            feed.engine.on_vitals(T0 + round(feed.now_s * S), [(c, v, ValueStatus.OK) for c, v in readings])
        )


def test_seven_points_are_high_priority_within_a_minute_and_survive_a_restart():
    feed = Feed(engine())
    _sick(feed, 60)
    assert feed.phases("news2") == ["raised"]
    raised = feed.last("news2")
    assert raised.priority == "high"
    assert raised.at_ns <= T0 + 60 * S
    again = restarted(feed)
    _sick(again, 60)
    assert again.phases("news2") == []
    _well(again, 400)
    assert again.phases("news2")[-1] == "cleared"
    assert again.last("news2").alarm_id == raised.alarm_id


def test_no_score_alarm_when_switched_off():
    feed = Feed(engine(config=AlarmConfig(news2=News2Config(enabled=False))))
    _sick(feed, 90)
    assert feed.phases("news2") == []


def test_a_value_that_is_no_number_never_scores():
    feed = Feed(engine())
    feed.vitals(Code.RESPIRATION_RATE, [nan] * 60, status=ValueStatus.SENSOR_OFF)
    assert feed.engine.news2 is not None
    assert "respiration" in feed.engine.news2.missing
