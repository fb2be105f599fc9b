"""What a wearable's numbers are worth: judged against what a sensor can mean, never corrected."""

from collections.abc import Iterable
from math import isfinite
from typing import Final

from vitalwire_edge.wire.codes import VITALS, ValueStatus
from vitalwire_edge.wire.frames import Reading
from vitalwire_edge.wire.messages import VitalValue

_WITH_VALUE: Final = frozenset((ValueStatus.OK, ValueStatus.QUESTIONABLE))
_DIGITS: Final = 3


def judge(readings: Iterable[Reading]) -> tuple[list[VitalValue], int]:
    """Values of `readings` and how many of them were impossible.

    A number that is not finite or beyond the bounds of `wire.codes.VITALS` becomes INVALID without a value. A code
    that is no vital sign is left out. Both count as impossible. Of a code that stands there twice the later reading
    holds: one instant has one number.
    """
    values: dict[int, VitalValue] = {}
    impossible = 0
    for reading in readings:
        quantity = VITALS.get(reading.code)
        if quantity is None:
            impossible += 1
        elif reading.status not in _WITH_VALUE:
            values[reading.code] = VitalValue(int(reading.code), None, int(reading.status))
        elif not isfinite(reading.value) or not quantity.low <= reading.value <= quantity.high:
            impossible += 1
            values[reading.code] = VitalValue(int(reading.code), None, int(ValueStatus.INVALID))
        else:
            values[reading.code] = VitalValue(
                int(reading.code), round(reading.value, _DIGITS), int(reading.status)
            )
    return list(values.values()), impossible
