"""Measurements that are taken now and then: Health Thermometer (0x1809) and Blood Pressure (0x1810)."""

from dataclasses import dataclass
from datetime import datetime
from math import isnan
from typing import Final

from vitalwire_edge.sources.ble.values import Fields, Measured
from vitalwire_edge.wire.codes import Code, ValueStatus
from vitalwire_edge.wire.frames import Reading

_MMHG_PER_KPA: Final = 7.500616827
# Body movement, cuff too loose, improper measurement position.
_DOUBTFUL: Final = 1 << 0 | 1 << 1 | 1 << 5
_NO_USER: Final = 0xFF


@dataclass(frozen=True, slots=True)
class SpotMeasurement:
    """Vital signs of one moment. `taken` is when by the device's own clock, `user` who by its own count, if it says."""

    readings: tuple[Reading, ...]
    taken: datetime | None = None
    user: int | None = None


def temperature_measurement(data: bytes) -> SpotMeasurement:
    """Temperature Measurement (0x2A1C), Health Thermometer Service 1.0 section 3.1, in degrees Celsius.

    Flags (3.1.1.1): bit 0 Fahrenheit, bit 1 time stamp, bit 2 temperature type (read and left: where on the body is no
    part of the reading). Raises `BleDataError`.
    """
    fields = Fields(data, "temperature measurement")
    flags = fields.unsigned(1, "flags")
    measured = fields.medfloat("temperature")
    taken = fields.date_time() if flags & 1 << 1 else None
    if flags & 1 << 2:
        fields.unsigned(1, "temperature type")
    value = (measured.value - 32) / 1.8 if flags & 1 << 0 else measured.value
    return SpotMeasurement((Reading(Code.TEMPERATURE, value, measured.status),), taken)


def pressure_measurement(data: bytes) -> SpotMeasurement:
    """Blood Pressure Measurement (0x2A35), Blood Pressure Service 1.1.1 section 3.1, in mmHg.

    Flags (3.1.1.1): bit 0 kPa, bit 1 time stamp, bit 2 pulse rate, bit 3 user, bit 4 measurement status, whose bits
    for movement, a loose cuff and a wrong position make the readings questionable. A part that the cuff does not
    measure is NaN there and no reading here. Raises `BleDataError`.
    """
    fields = Fields(data, "blood pressure measurement")
    flags = fields.unsigned(1, "flags")
    kpa = bool(flags & 1 << 0)
    pressures = {
        code: fields.sfloat(name)
        for code, name in (
            (Code.SYSTOLIC, "systolic pressure"),
            (Code.DIASTOLIC, "diastolic pressure"),
            (Code.MEAN_PRESSURE, "mean pressure"),
        )
    }
    taken = fields.date_time() if flags & 1 << 1 else None
    pulse = fields.sfloat("pulse rate") if flags & 1 << 2 else None
    user = fields.unsigned(1, "user") if flags & 1 << 3 else _NO_USER
    status = fields.unsigned(2, "measurement status") if flags & 1 << 4 else 0
    worst = ValueStatus.QUESTIONABLE if status & _DOUBTFUL else ValueStatus.OK
    found = {code: _in_mmhg(pressure, kpa=kpa) for code, pressure in pressures.items()}
    if pulse is not None:
        found[Code.PULSE_RATE] = pulse
    systolic = found[Code.SYSTOLIC]
    told = {code: m for code, m in found.items() if not isnan(m.value)} or {Code.SYSTOLIC: systolic}
    readings = tuple(
        Reading(code, doubted.value, doubted.status)
        for code, doubted in ((code, measured.doubted(worst)) for code, measured in told.items())
    )
    return SpotMeasurement(readings, taken, None if user == _NO_USER else user)


def _in_mmhg(measured: Measured, *, kpa: bool) -> Measured:
    return Measured(measured.value * _MMHG_PER_KPA, measured.status) if kpa else measured
