"""The first second of a device that restarted: it only teaches the clock.

What a device has in its memory when it connects arrives at once but was not made at once.
"""

from typing import Final

from vitalwire_edge.clock.device_clock import EnvelopeClock
from vitalwire_edge.wearable.reorder import Timed

_SETTLE_NS: Final = 1_000_000_000
_SETTLE_FRAMES: Final = 4096
"""What a device may have had in its memory; more is not waited for."""


class Settling:
    """Frames that wait until their times can be told."""

    def __init__(self) -> None:
        self._held: list[Timed] = []

    def take(self, timed: Timed) -> None:
        """A frame in order."""
        self._held.append(timed)

    def over(self, now_ns: int) -> bool:
        """Whether enough was heard to judge the clock by."""
        held = self._held
        return bool(held) and (now_ns - held[0].arrival_ns >= _SETTLE_NS or len(held) >= _SETTLE_FRAMES)

    def release(self, clock: EnvelopeClock) -> list[Timed]:
        """Set `clock` by the frame that was least delayed; return what waited."""
        held, self._held = self._held, []
        if held:
            best = min(held, key=lambda timed: timed.arrival_ns - timed.frame.device_us * 1000)
            clock.reset(best.frame.device_us * 1000, best.arrival_ns)
        return held
