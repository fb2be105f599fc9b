"""Heart Rate Service (0x180D) and Battery Service (0x180F)."""

from dataclasses import dataclass
from typing import Final

from vitalwire_edge.sources.ble.values import NOTHING, BleDataError, Fields, Measured
from vitalwire_edge.wire.codes import Code, ValueStatus
from vitalwire_edge.wire.frames import Reading

_WIDE: Final = 0x01
_CONTACT: Final = 0x02
_CONTACT_SUPPORTED: Final = 0x04
_ENERGY: Final = 0x08
_RR: Final = 0x10
_RR_PER_S: Final = 1024
_LARGEST_PERCENT: Final = 100

_PULSE_SITES: Final = frozenset((2, 3, 4, 5, 6))


@dataclass(frozen=True, slots=True)
class HeartRateMeasurement:
    """One notification. `contact` is None where the sensor cannot tell; `rr_s` are intervals, the oldest first."""

    beats_per_min: int
    contact: bool | None
    rr_s: tuple[float, ...]

    def reading(self, code: Code) -> Reading:
        """As a vital sign. Without skin contact there is no rate; 0 without a word of contact is no rate either."""
        if self.contact is False:
            measured = Measured(NOTHING.value, ValueStatus.SENSOR_OFF)
        elif self.beats_per_min == 0 and self.contact is None:
            measured = NOTHING
        else:
            measured = Measured(float(self.beats_per_min))
        return Reading(code, measured.value, measured.status)


def heart_rate_measurement(data: bytes) -> HeartRateMeasurement:
    """Heart Rate Measurement (0x2A37), Heart Rate Service 1.0 section 3.1: flags, rate, energy, RR intervals.

    Flags (3.1.1.1): bit 0 rate as uint16, bits 1-2 sensor contact, bit 3 energy expended, bit 4 RR intervals in
    1/1024 s (3.1.1.4). Raises `BleDataError`.
    """
    fields = Fields(data, "heart rate measurement")
    flags = fields.unsigned(1, "flags")
    rate = fields.unsigned(2 if flags & _WIDE else 1, "heart rate")
    if flags & _ENERGY:
        fields.unsigned(2, "energy expended")
    rr: list[float] = []
    if flags & _RR:
        while fields.left:
            rr.append(fields.unsigned(2, "RR interval") / _RR_PER_S)
    contact = bool(flags & _CONTACT) if flags & _CONTACT_SUPPORTED else None
    return HeartRateMeasurement(rate, contact, tuple(rr))


def rate_code(body_sensor_location: bytes) -> Code:
    """What the rate of a sensor at a Body Sensor Location (0x2A38, Heart Rate Service 1.0 section 3.2) is.

    At the wrist, a finger, the hand, an ear lobe or a foot it is a pulse; at the chest, or where the sensor does not
    say, a heart rate.
    """
    site = body_sensor_location[0] if body_sensor_location else 0
    return Code.PULSE_RATE if site in _PULSE_SITES else Code.HEART_RATE


def battery_percent(data: bytes) -> int:
    """Battery Level (0x2A19), Battery Service 1.0 section 3.1: percent, 0 to 100. Raises `BleDataError`."""
    percent = Fields(data, "battery level").unsigned(1, "level")
    if percent > _LARGEST_PERCENT:
        raise BleDataError(f"battery level of {percent} %")
    return percent
