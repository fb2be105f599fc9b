"""Which waveform leaves the gateway: all of it, what surrounds alarms, or what somebody asks for.

What does not leave is analysed all the same, and waits in a ring for a while: an alarm that opens sends what came
before it. It was withheld, which is neither lost nor dropped, and is counted as such.
"""

from collections import deque
from typing import Final

import msgspec

from vitalwire_edge.config import TelemetryConfig
from vitalwire_edge.wearable.channel import PackedBlock
from vitalwire_edge.wire.frames import WaveChannel
from vitalwire_edge.wire.messages import Phase, Priority

_NS: Final = 1_000_000_000
_RANK: Final[dict[Priority, int]] = {"low": 0, "medium": 1, "high": 2}
_MOST_BLOCKS: Final = 2048
"""A ring is bounded by time; this bounds it where a device's clock says nonsense."""


class Held(msgspec.Struct, frozen=True):
    """A packed block of one channel, of the device's boot `boot`."""

    channel: WaveChannel
    boot: int
    block: PackedBlock


class WavePolicy:
    """The gate of one wearable's waveform. Times are the gateway's monotonic clock.

    `withheld` samples have not left (those in the ring may yet), `given_up` of them no longer can.
    """

    def __init__(self, config: TelemetryConfig) -> None:
        self._mode = config.waveform
        self._least = _RANK[config.waveform_priority]
        self._before_ns = round(config.waveform_before_s * _NS)
        self._after_ns = round(config.waveform_after_s * _NS)
        self._ring: deque[Held] = deque()
        self._open_until_ns = 0
        self._ranks: dict[str, int] = {}
        self.withheld = 0
        self.given_up = 0

    def offer(self, held: Held) -> tuple[Held, ...]:
        """What may leave now that `held` was cut."""
        if self._mode == "all" or held.block.mono_ns < self._open_until_ns:
            return (held,)
        self._ring.append(held)
        self.withheld += held.block.count
        oldest_ns = held.block.mono_ns - self._before_ns
        while self._ring and (self._ring[0].block.mono_ns < oldest_ns or len(self._ring) > _MOST_BLOCKS):
            self.given_up += self._ring.popleft().block.count
        return ()

    def alarm(self, kind: str, phase: Phase, priority: Priority, now_ns: int) -> tuple[Held, ...]:
        """What may leave because an alarm changed: its surroundings, when it opens or becomes worse."""
        before = self._ranks.get(kind, -1)
        if phase == "cleared":
            self._ranks.pop(kind, None)
            return ()
        self._ranks[kind] = rank = _RANK[priority]
        if self._mode != "events" or rank < self._least or rank <= before:
            return ()
        return self._open(now_ns + self._after_ns)

    def demand(self, seconds: float, now_ns: int) -> tuple[Held, ...]:
        """What may leave because somebody asks: what waits, and the next `seconds`."""
        if self._mode == "all":
            return ()
        return self._open(now_ns + round(seconds * _NS))

    def forget(self) -> None:
        """What waits is of somebody else now and never leaves."""
        self.given_up += sum(held.block.count for held in self._ring)
        self._ring.clear()
        self._ranks.clear()
        self._open_until_ns = 0

    def _open(self, until_ns: int) -> tuple[Held, ...]:
        self._open_until_ns = max(self._open_until_ns, until_ns)
        waiting = tuple(self._ring)
        self._ring.clear()
        self.withheld -= sum(held.block.count for held in waiting)
        return waiting
