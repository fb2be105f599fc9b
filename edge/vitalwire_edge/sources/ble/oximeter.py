"""Pulse Oximeter Service (0x1822): continuous and spot-check measurements."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vitalwire_edge.sources.ble.values import Fields, Measured
from vitalwire_edge.wire.codes import Code, ValueStatus
from vitalwire_edge.wire.frames import Reading

_STORED: Final = 1 << 9
# Demonstration, test, calibration, unavailable, invalid.
_NO_MEASUREMENT: Final = 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 15
# Early estimate, questionable.
_DOUBTFUL: Final = 1 << 6 | 1 << 14
# Equipment malfunction, sensor malfunction.
_BROKEN: Final = 1 << 1 | 1 << 14
# Unconnected to the user, displaced, disconnected.
_OFF: Final = 1 << 11 | 1 << 13 | 1 << 15
# Irregular processing, inadequate or poor signal, low perfusion, erratic, non-pulsatile, questionable, interference.
_WEAK: Final = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10


@dataclass(frozen=True, slots=True)
class OximeterMeasurement:
    """Saturation in percent and pulse per minute, believed no more than the device's own status allows.

    `stored` says that it comes from the device's memory; `taken` is when by the device's own clock, where it says.
    """

    spo2: Measured
    pulse: Measured
    taken: datetime | None = None
    stored: bool = False

    def readings(self) -> tuple[Reading, ...]:
        """As vital signs."""
        return (
            Reading(Code.SPO2, self.spo2.value, self.spo2.status),
            Reading(Code.PULSE_RATE, self.pulse.value, self.pulse.status),
        )


def continuous_measurement(data: bytes) -> OximeterMeasurement:
    """Value of 0x2A5F, Pulse Oximeter Service 1.0.1, "PLX Continuous Measurement".

    Flags: bit 0 fast, bit 1 slow values, bit 2 measurement status, bit 3 device and sensor status, bit 4 pulse
    amplitude index. Raises `BleDataError`.
    """
    fields = Fields(data, "PLX continuous measurement")
    flags = fields.unsigned(1, "flags")
    spo2, pulse = fields.sfloat("SpO2"), fields.sfloat("pulse rate")
    for bit, name in ((1 << 0, "fast"), (1 << 1, "slow")):
        if flags & bit:
            fields.sfloat(f"{name} SpO2")
            fields.sfloat(f"{name} pulse rate")
    status = fields.unsigned(2, "measurement status") if flags & 1 << 2 else 0
    sensor = fields.unsigned(3, "device and sensor status") if flags & 1 << 3 else 0
    if flags & 1 << 4:
        fields.sfloat("pulse amplitude index")
    return _judged(spo2, pulse, status, sensor, None)


def spot_check_measurement(data: bytes) -> OximeterMeasurement:
    """Value of 0x2A5E, Pulse Oximeter Service 1.0.1, "PLX Spot-Check Measurement".

    Flags: bit 0 time stamp, bit 1 measurement status, bit 2 device and sensor status, bit 3 pulse amplitude index,
    bit 4 the device's clock is not set (its time stamp is then no time). Raises `BleDataError`.
    """
    fields = Fields(data, "PLX spot-check measurement")
    flags = fields.unsigned(1, "flags")
    spo2, pulse = fields.sfloat("SpO2"), fields.sfloat("pulse rate")
    taken = fields.date_time() if flags & 1 << 0 else None
    status = fields.unsigned(2, "measurement status") if flags & 1 << 1 else 0
    sensor = fields.unsigned(3, "device and sensor status") if flags & 1 << 2 else 0
    if flags & 1 << 3:
        fields.sfloat("pulse amplitude index")
    return _judged(spo2, pulse, status, sensor, None if flags & 1 << 4 else taken)


def _judged(
    spo2: Measured, pulse: Measured, status: int, sensor: int, taken: datetime | None
) -> OximeterMeasurement:
    if sensor & _OFF:
        worst = ValueStatus.SENSOR_OFF
    elif status & _NO_MEASUREMENT or sensor & _BROKEN:
        worst = ValueStatus.INVALID
    elif status & _DOUBTFUL or sensor & _WEAK:
        worst = ValueStatus.QUESTIONABLE
    else:
        worst = ValueStatus.OK
    return OximeterMeasurement(spo2.doubted(worst), pulse.doubted(worst), taken, bool(status & _STORED))
