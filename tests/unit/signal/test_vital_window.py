from math import inf, isnan, nan

import pytest

from vitalwire_edge.signal.vitals import (
    MAX_PER_CODE,
    UnknownVitalError,
    VitalOrderError,
    VitalState,
    VitalsWindow,
)
from vitalwire_edge.wire.codes import Code, ValueStatus

S = 1_000_000_000


def test_the_median_of_five_minutes_with_age_and_coverage() -> None:
    window = VitalsWindow()
    for second in range(600):
        window.add(
            second * S, Code.HEART_RATE, 60.0 if second < 300 else 80.0 + (40.0 if second % 10 == 0 else 0.0)
        )
    got = window.median(Code.HEART_RATE, 600 * S)
    assert got.value == 80
    assert got.age_s == 1
    assert got.coverage == pytest.approx(1.0)
    assert got.count == 299
    assert got.state is VitalState.PRESENT
    assert window.last(Code.HEART_RATE, 600 * S).value == 80


def test_what_was_never_heard_is_missing_not_zero() -> None:
    got = VitalsWindow().median(Code.SPO2, 100 * S)
    assert isnan(got.value)
    assert got.age_s == inf
    assert got.state is VitalState.MISSING
    assert got.status is None
    assert not got.usable


def test_an_old_value_is_stale() -> None:
    window = VitalsWindow()
    window.add(0, Code.SPO2, 95.0)
    assert window.median(Code.SPO2, 299 * S).usable
    got = window.median(Code.SPO2, 301 * S)
    assert got.state is VitalState.STALE
    assert got.value == 95
    assert got.coverage == 0
    assert not got.usable


def test_spot_measurements_last_longer_than_the_window() -> None:
    window = VitalsWindow()
    window.add(0, Code.SYSTOLIC, 118.0)
    got = window.median(Code.SYSTOLIC, 1800 * S)
    assert got.usable
    assert got.value == 118
    assert got.count == 0
    assert not window.median(Code.SYSTOLIC, 3601 * S).usable


@pytest.mark.parametrize(
    ("value", "status", "said"),
    [
        (nan, ValueStatus.OK, ValueStatus.INVALID),
        (inf, ValueStatus.OK, ValueStatus.INVALID),
        (101.0, ValueStatus.OK, ValueStatus.INVALID),
        (-1.0, ValueStatus.QUESTIONABLE, ValueStatus.INVALID),
        (95.0, ValueStatus.SENSOR_OFF, ValueStatus.SENSOR_OFF),
        (95.0, ValueStatus.INVALID, ValueStatus.INVALID),
    ],
)
def test_an_impossible_or_disowned_value_never_becomes_a_number(
    value: float, status: ValueStatus, said: ValueStatus
) -> None:
    window = VitalsWindow()
    assert not window.add(0, Code.SPO2, value, status)
    got = window.median(Code.SPO2, S)
    assert got.state is VitalState.MISSING
    assert got.status is said


def test_sparse_values_show_in_the_coverage() -> None:
    window = VitalsWindow()
    for second in (0, 100, 200):
        window.add(second * S, Code.RESPIRATION_RATE, 16.0)
    assert window.median(Code.RESPIRATION_RATE, 250 * S).coverage == pytest.approx(0.1)


def test_memory_is_bounded() -> None:
    window = VitalsWindow()
    for k in range(5 * MAX_PER_CODE):
        window.add(k, Code.HEART_RATE, 70.0)
    assert window.median(Code.HEART_RATE, 5 * MAX_PER_CODE).count == MAX_PER_CODE


def test_time_does_not_run_backwards() -> None:
    window = VitalsWindow()
    window.add(10 * S, Code.HEART_RATE, 70.0)
    window.add(5 * S, Code.SPO2, 97.0)
    with pytest.raises(VitalOrderError, match="HR at 9000000000 ns is older"):
        window.add(9 * S, Code.HEART_RATE, 70.0)


@pytest.mark.parametrize("code", [Code.ECG_II, Code.PLETH, 7])
def test_only_numeric_vitals_are_taken(code: int) -> None:
    with pytest.raises(UnknownVitalError, match="no numeric vital"):
        VitalsWindow().add(0, code, 1.0)
