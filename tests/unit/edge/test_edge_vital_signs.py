"""Numbers no sensor can mean lose their value and are counted."""

from math import inf, nan

import pytest

from vitalwire_edge.wearable.vital_signs import judge
from vitalwire_edge.wire.codes import VITALS, Code, ValueStatus
from vitalwire_edge.wire.frames import Reading


@pytest.mark.parametrize("value", [nan, inf, -inf, -1.0, 100.5, 1e30])
def test_an_impossible_number_becomes_invalid(value):
    values, impossible = judge([Reading(Code.SPO2, value), Reading(Code.HEART_RATE, 70.0)])
    assert impossible == 1
    assert [(v.code, v.value, v.status) for v in values] == [
        (Code.SPO2, None, ValueStatus.INVALID),
        (Code.HEART_RATE, 70.0, ValueStatus.OK),
    ]


@pytest.mark.parametrize("code", list(VITALS))
def test_bounds_are_inclusive(code):
    quantity = VITALS[code]
    for bound in (quantity.low, quantity.high):
        ((value,), impossible) = judge([Reading(code, bound)])
        assert (value.value, impossible) == (bound, 0)


def test_a_status_without_a_value_never_carries_one():
    values, impossible = judge(
        [Reading(Code.SPO2, 97.0, ValueStatus.SENSOR_OFF), Reading(Code.HEART_RATE, nan, ValueStatus.INVALID)]
    )
    assert impossible == 0
    assert [v.value for v in values] == [None, None]


def test_what_is_no_vital_sign_is_left_out():
    assert judge([Reading(Code.ECG_II, 1.0)]) == ([], 1)


def test_of_a_code_that_stands_there_twice_the_later_reading_holds():
    values, impossible = judge(
        [Reading(Code.SPO2, 97.0), Reading(Code.HEART_RATE, 70.0), Reading(Code.SPO2, 96.0)]
    )
    assert [(v.code, v.value) for v in values] == [(Code.SPO2, 96.0), (Code.HEART_RATE, 70.0)]
    assert impossible == 0
