"""From what a peripheral says to frames: one sequence, one device clock and one sample counter over all connections.

The standard services carry no clock, so the device clock is the gateway's monotonic clock at arrival; Polar's own time
stamps are mapped to it by their minimum delay.
"""

from datetime import datetime
from typing import Final

import numpy as np

from vitalwire_edge.clock.device_clock import EnvelopeClock
from vitalwire_edge.sources.ble.heart_rate import HeartRateMeasurement
from vitalwire_edge.sources.ble.polar import ECG_HZ, EcgBlock
from vitalwire_edge.wire.codes import Code, ValueStatus
from vitalwire_edge.wire.frames import (
    Frame,
    Goodbye,
    Hello,
    Payload,
    Reading,
    Status,
    Vitals,
    Wave,
    WaveChannel,
)

_ECG: Final = WaveChannel(Code.ECG_UNSPECIFIED, ECG_HZ * 1000, 1.0)
_RAIL: Final = 32767
_SEQUENCES: Final = 2**32
_NS: Final = 1_000_000_000
_LONGEST_GAP_NS: Final = 60 * _NS
"""Over which a counter at nominally 130 Hz still says when a sample was taken; beyond, it begins again."""
_LATEST_NS: Final = 30 * _NS
_FRESH_S: Final = 120.0
_NO_RSSI: Final = -127


class Translation:
    """Frames of the wearable `device`. `boot` must differ from that of the process before."""

    def __init__(self, device: str, boot: int) -> None:
        self._device = device
        self._boot = boot
        self._sequence = 0
        self._next_sample = 0
        self._block: tuple[int, int] | None = None
        """Device clock of the last ECG block and when it arrived, of any connection."""
        self._ecg_clock: EnvelopeClock | None = None
        self._lead_off = False
        self._rssi_dbm = _NO_RSSI
        self._device_time: tuple[datetime, int] | None = None

    def hello(self, now_ns: int, *, ecg: bool, rssi_dbm: int = _NO_RSSI) -> Frame:
        """A connection began."""
        if self._block is not None and now_ns - self._block[1] > _LONGEST_GAP_NS:
            self._boot = (self._boot + 1) % 256
            self._next_sample = 0
            self._block = None
        self._ecg_clock = None
        self._lead_off = False
        self._rssi_dbm = max(-128, min(rssi_dbm, 127))
        self._device_time = None
        return self._frame(now_ns, Hello(self._device, self._boot, (_ECG,) if ecg else ()))

    def device_time(self, now_ns: int, told: datetime) -> None:
        """What the device's own clock says now."""
        self._device_time = told, now_ns

    def heart_rate(self, now_ns: int, measurement: HeartRateMeasurement, code: Code) -> Frame:
        """A rate; what it says about skin contact holds for the ECG of the same strap."""
        if measurement.contact is not None:
            self._lead_off = not measurement.contact
        return self._frame(now_ns, Vitals((measurement.reading(code),)))

    def readings(self, now_ns: int, readings: tuple[Reading, ...]) -> Frame:
        """Numbers of this moment."""
        return self._frame(now_ns, Vitals(readings))

    def spot(self, now_ns: int, readings: tuple[Reading, ...], taken: datetime | None) -> Frame | None:
        """Numbers of a moment that the device names by its own clock; None for one that is long past.

        Where the device's clock was never told, a time stamp cannot be judged: the readings are questionable.
        """
        age_s = 0.0
        if taken is not None and self._device_time is not None:
            told, told_ns = self._device_time
            age_s = (told - taken).total_seconds() + (now_ns - told_ns) / _NS
            if not -1.0 <= age_s <= _FRESH_S:
                return None
        elif taken is not None:
            readings = tuple(
                Reading(r.code, r.value, ValueStatus.QUESTIONABLE) if r.status is ValueStatus.OK else r
                for r in readings
            )
        return self._frame(now_ns - round(max(0.0, age_s) * _NS), Vitals(readings))

    def battery(self, now_ns: int, percent: int) -> Frame:
        """The device's battery."""
        return self._frame(now_ns, Status(percent, self._rssi_dbm, 0))

    def alive(self, now_ns: int) -> Frame:
        """Nothing to say, but the connection stands: a cuff is silent between two measurements."""
        return self._frame(now_ns, Vitals(()))

    def goodbye(self, now_ns: int) -> Frame:
        """The device measured what it had to and is going to sleep."""
        return self._frame(now_ns, Goodbye())

    def ecg(self, now_ns: int, block: EcgBlock) -> Frame | None:
        """A block of ECG; None for one that came twice. What is missing before it stays a gap in the counter."""
        size = block.uv.size
        lost = 0
        if self._block is not None:
            last_ns, arrived_ns = self._block
            passed_ns = block.last_ns - last_ns
            same_clock = self._ecg_clock is not None
            if same_clock and passed_ns == 0:
                return None
            if not same_clock or not 0 < passed_ns < _LONGEST_GAP_NS:
                # Another connection, or a clock that was set: only the gateway's clock says how long it was.
                self._ecg_clock = None
                passed_ns = now_ns - arrived_ns
            lost = round(passed_ns * ECG_HZ / _NS) - size
            # Notifications are lost whole; less is the strap's rate being not quite 130 Hz.
            lost = lost if lost >= size // 2 else 0
        if self._ecg_clock is None:
            self._ecg_clock = EnvelopeClock()
        believed = self._ecg_clock.observe(block.last_ns, now_ns)
        self._block = block.last_ns, now_ns
        first = self._next_sample + lost
        self._next_sample = first + size
        samples = np.clip(block.uv, -_RAIL, _RAIL).astype(np.int16)
        at_ns = min(self._ecg_clock.map(block.last_ns), now_ns) if believed else now_ns
        at_ns = at_ns if at_ns >= now_ns - _LATEST_NS else now_ns
        return self._frame(at_ns, Wave(0, first, samples, self._lead_off))

    def _frame(self, at_ns: int, payload: Payload) -> Frame:
        frame = Frame(self._sequence, max(0, at_ns) // 1000, payload)
        self._sequence = (self._sequence + 1) % _SEQUENCES
        return frame
