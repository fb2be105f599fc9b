"""What the measurements of all services are made of: medical floats and time stamps, read with strict bounds."""

from dataclasses import dataclass
from datetime import datetime
from math import nan
from typing import Final

from vitalwire_edge.wire.codes import ValueStatus


class BleDataError(ValueError):
    """A characteristic's value is not what its specification says; the message names the field."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A number as the device gave it: NaN where `status` says there is none."""

    value: float
    status: ValueStatus = ValueStatus.OK

    def doubted(self, worst: ValueStatus) -> "Measured":
        """The same number, believed no more than `worst`."""
        if worst in (ValueStatus.OK, self.status) or self.status is ValueStatus.INVALID:
            return self
        return Measured(self.value if worst is ValueStatus.QUESTIONABLE else nan, worst)


NOTHING: Final = Measured(nan, ValueStatus.INVALID)

_SFLOAT_RESERVED: Final = frozenset((0x07FE, 0x07FF, 0x0800, 0x0801, 0x0802))
_FLOAT_RESERVED: Final = frozenset((0x007FFFFE, 0x007FFFFF, 0x00800000, 0x00800001, 0x00800002))


def sfloat(raw: int) -> Measured:
    """16-bit SFLOAT-Type: 4-bit exponent, 12-bit mantissa, both signed (IEEE 11073-20601, annex F.8).

    +INF (07FE), NaN (07FF), NRes (0800), reserved (0801) and -INF (0802) are no numbers.
    """
    if raw in _SFLOAT_RESERVED:
        return NOTHING
    return _decimal(_signed(raw & 0x0FFF, 12), _signed(raw >> 12, 4))


def medfloat(raw: int) -> Measured:
    """32-bit FLOAT-Type: 8-bit exponent, 24-bit mantissa, both signed (IEEE 11073-20601, annex F.7).

    +INF (007FFFFE), NaN (007FFFFF), NRes (00800000), reserved (00800001) and -INF (00800002) are no numbers.
    """
    if raw in _FLOAT_RESERVED:
        return NOTHING
    return _decimal(_signed(raw & 0x00FFFFFF, 24), _signed(raw >> 24, 8))


def _decimal(mantissa: int, exponent: int) -> Measured:
    # Division, as 364 / 10 is the double nearest to 36.4 and 364 * 10**-1 is not.
    return Measured(float(mantissa * 10**exponent) if exponent >= 0 else mantissa / 10**-exponent)


def _signed(raw: int, bits: int) -> int:
    return raw - (1 << bits) if raw >> (bits - 1) else raw


class Fields:
    """Reads the fields of `data` in order, little-endian. What is too short raises `BleDataError`."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read."""
        return len(self._data) - self._at

    def unsigned(self, size: int, field: str) -> int:
        """Unsigned integer of `size` bytes."""
        if self.left < size:
            raise BleDataError(f"{self._what} of {len(self._data)} bytes ends before its {field}")
        raw = int.from_bytes(self._data[self._at : self._at + size], "little")
        self._at += size
        return raw

    def sfloat(self, field: str) -> Measured:
        """SFLOAT of 2 bytes."""
        return sfloat(self.unsigned(2, field))

    def medfloat(self, field: str) -> Measured:
        """FLOAT of 4 bytes."""
        return medfloat(self.unsigned(4, field))

    def date_time(self) -> datetime | None:
        """Date Time (0x2A08): 7 bytes without a zone; None where year, month or day is 0, "not known".

        GATT Specification Supplement, "Date Time": year 1582 to 9999, month 1 to 12, day 1 to 31, hours, minutes,
        seconds. Other values raise `BleDataError`.
        """
        year = self.unsigned(2, "year")
        month, day, hour, minute, second = (
            self.unsigned(1, field) for field in ("month", "day", "hour", "minute", "second")
        )
        if not (year and month and day):
            return None
        try:
            return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the device knows no zone
        except ValueError as error:
            raise BleDataError(f"{self._what}: impossible time stamp ({error})") from error
