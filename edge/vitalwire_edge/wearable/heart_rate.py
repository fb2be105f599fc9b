"""Heart rate from beats, for a wearable that does not tell one."""

from collections import deque
from math import isnan
from statistics import median
from typing import Final

from vitalwire_edge.signal.chain import Beat
from vitalwire_edge.wire.codes import ValueStatus

_NS: Final = 1_000_000_000
_WINDOW_NS: Final = 10 * _NS
_EVERY_NS: Final = 2 * _NS
_LEAST_INTERVALS: Final = 3
_GOOD: Final = 0.5


class HeartRate:
    """60 over the median RR interval of the last 10 s, every 2 s; nothing where there are too few beats."""

    def __init__(self) -> None:
        self._beats: deque[tuple[int, float, float]] = deque(maxlen=64)
        self._told_ns = 0

    def add(self, mono_ns: int, beat: Beat) -> None:
        """Take a beat."""
        if not isnan(beat.rr_s) and beat.rr_s > 0:
            self._beats.append((mono_ns, beat.rr_s, beat.quality))

    def at(self, now_ns: int, *, lead_off: bool) -> tuple[float | None, int] | None:
        """(beats a minute or None, status) if it is time to tell them, else None.

        With the electrodes off there is no rate, and what came before no longer counts.
        """
        if lead_off:
            self._beats.clear()
        if now_ns - self._told_ns < _EVERY_NS:
            return None
        if lead_off:
            self._told_ns = now_ns
            return None, int(ValueStatus.SENSOR_OFF)
        while self._beats and self._beats[0][0] < now_ns - _WINDOW_NS:
            self._beats.popleft()
        if len(self._beats) < _LEAST_INTERVALS:
            return None
        self._told_ns = now_ns
        rate = 60 / median(rr_s for _, rr_s, _ in self._beats)
        good = median(quality for _, _, quality in self._beats) >= _GOOD
        return round(rate, 1), int(ValueStatus.OK if good else ValueStatus.QUESTIONABLE)
