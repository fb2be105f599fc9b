"""Once a minute intervals, variability and ectopy leave the gateway beside the vital signs."""

from math import nan

import numpy as np
import pytest
from test_edge_wearable import Bed

from vitalwire_edge.inference.ectopy import Burden
from vitalwire_edge.inference.trend import TrendMinute
from vitalwire_edge.signal.hrv import DayVariability, Spectrum, Variability
from vitalwire_edge.signal.intervals import Intervals, Unmeasured
from vitalwire_edge.wearable.trend import DeviceTrend, trend_values
from vitalwire_edge.wire.codes import TRENDS, VITALS, Code, ValueStatus
from vitalwire_edge.wire.frames import Reading, Vitals

NS = 1_000_000_000


def trends_of(bed):
    """What left of them: (time, {code: value})."""
    found = [(m.time_ns, {v.code: v for v in m.values}) for m in bed.of("vitals")]
    return [(at, values) for at, values in found if Code.QRS_DURATION in values]


@pytest.fixture(scope="module")
def two_minutes():
    bed = Bed()
    bed.hello()
    bed.seconds(125)
    return bed


def test_a_minute_of_beats_becomes_one_message(two_minutes):
    ((at_ns, values),) = trends_of(two_minutes)[:1]
    assert set(values) == set(TRENDS)
    assert 40 < values[Code.QRS_DURATION].value < 140
    assert values[Code.VENTRICULAR_RATE].value == 0
    began_ns = two_minutes.offset + 5_000 * NS
    phase_s = (at_ns - began_ns) / NS - 60
    assert 0 <= phase_s <= 59
    assert phase_s == pytest.approx(round(phase_s), abs=0.02)
    assert two_minutes.wearable.counts()["trend_minutes"] == len(trends_of(two_minutes))


def test_what_a_device_tells_itself_is_not_told_again():
    bed = Bed()
    bed.hello()
    bed.take(bed.maker.frame(Vitals((Reading(Code.QTC_INTERVAL, 412.0),))))
    bed.seconds(122)
    assert all(Code.QTC_INTERVAL not in values for _, values in trends_of(bed))
    assert trends_of(bed)


@pytest.mark.parametrize("options", [{"trends": False}, {"paced": ("chest-1",)}])
def test_without_trends_or_with_a_pacemaker_there_are_none(options):
    bed = Bed(**options)
    bed.hello()
    bed.seconds(122)
    assert trends_of(bed) == []


def test_a_trend_that_fails_costs_its_minute_and_not_the_stream(monkeypatch):
    bed = Bed()
    monkeypatch.setattr("vitalwire_edge.inference.trend.measure", lambda *_: 1 / 0)
    bed.hello()
    bed.seconds(122)
    assert trends_of(bed) == []
    assert bed.wearable.counts()["trend_failures"] >= 1
    assert len(bed.samples()) >= 121 * 250


def minute(**changed):
    parts = {
        "end_sample": 15_000,
        "samples": np.array([1]),
        "classes": np.array([0]),
        "features": np.zeros((1, 20)),
        "history": np.zeros(22),
        "nn_ms": np.full(70, 857.0),
        "intervals": Intervals(160.0, 92.0, 400.0, 421.234, 0.86, 40),
        "variability": Variability(860.0, 41.0, 33.0, 7.0, nan, nan, 300),
        "spectrum": Spectrum(500.0, 250.0, 2.0),
        "burden": Burden(120.0, 6.0, 2.0, 1.0, 2.5, 0.5, 0.0),
    }
    return TrendMinute(**(parts | changed))


def test_numbers_are_rounded_and_within_their_bounds():
    values = {v.code: v.value for v in trend_values(minute(), DayVariability(112.345, 52.0, 230))}
    assert values[Code.QTC_INTERVAL] == 421.23
    assert values[Code.VENTRICULAR_PER_H] == 120.0
    assert values[Code.VENTRICULAR_BURDEN] == 2.5
    assert (values[Code.SDANN], values[Code.SDNN_INDEX], values[Code.DAY_PARTS]) == (112.34, 52.0, 230.0)
    assert set(values) == set(TRENDS) <= set(VITALS)


def test_what_is_not_measured_is_invalid_without_a_number():
    noisy = Intervals(
        qrs_ms=92.0, why={"qt": Unmeasured.NOISY, "qtc": Unmeasured.NOISY, "pr": Unmeasured.NO_P}
    )
    unknown = minute(intervals=noisy, burden=None, classes=np.array([-1]))
    values = {v.code: v for v in trend_values(unknown, DayVariability(parts=215))}
    for code in (
        *(Code.QTC_INTERVAL, Code.PR_INTERVAL, Code.VENTRICULAR_PER_H, Code.VENTRICULAR_RATE),
        *(Code.SDANN, Code.SDNN_INDEX),
    ):
        assert (values[code].value, values[code].status) == (None, ValueStatus.INVALID)
    assert values[Code.QRS_DURATION].value == 92.0
    assert values[Code.DAY_PARTS].value == 215.0


def test_why_an_interval_is_missing_is_counted():
    trend = DeviceTrend("chest-1", "fridericia")
    noisy = Intervals(why={"qt": Unmeasured.NOISY, "pr": Unmeasured.NO_P})

    class Told:
        def push(self, _output):
            return [minute(intervals=noisy)]

    trend._trend = Told()
    assert len(trend.take(None, lambda sample: sample)) == 1
    assert trend.counts == {"trend_minutes": 1, "trend_qt_noisy": 1, "trend_pr_no_p_wave": 1}


def minutes_of_a_day(hours):
    """Minutes of a heart that beats at 650 and 850 ms, 5 minutes of each in turn."""
    for k in range(hours * 60):
        yield minute(end_sample=(k + 1) * 60 * 250, nn_ms=np.full(80, 850.0 if k // 5 % 2 else 650.0))


def test_a_day_has_its_variability_over_a_restart_of_the_device():
    trend = DeviceTrend("chest-1", "fridericia")
    coming = minutes_of_a_day(19)
    found = []

    class Told:
        def push(self, _output):
            return [next(coming)]

    for k in range(19 * 60):
        if k == 600:
            trend.begin(250.0)
        trend._trend = Told()
        ((_, values),) = trend.take(None, lambda sample: sample * NS // 250)
        found.append({v.code: v.value for v in values})
    assert [v[Code.DAY_PARTS] for v in found] == [k // 5 for k in range(19 * 60)]
    assert [v[Code.SDANN] is None for v in found] == [k < 216 * 5 for k in range(19 * 60)]
    assert found[-1][Code.SDANN] == pytest.approx(100.0, abs=0.3)
    assert found[-1][Code.SDNN_INDEX] == 0.0


def test_the_wearable_tells_how_much_of_a_day_it_has():
    bed = Bed()
    bed.hello()
    bed.seconds(560)
    told = [values for _, values in trends_of(bed)]
    assert (told[0][Code.DAY_PARTS].value, told[-1][Code.DAY_PARTS].value) == (0, 1)
    assert {values[Code.SDANN].status for values in told} == {ValueStatus.INVALID}
    bed.wearable.new_patient(lambda: None)
    bed.seconds(122)
    assert trends_of(bed)[-1][1][Code.DAY_PARTS].value == 0
