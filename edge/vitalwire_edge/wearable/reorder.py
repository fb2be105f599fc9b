"""Puts frames of one device back in order, within a small window, and drops what came twice or too late."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from vitalwire_edge.wire.frames import Frame

_MODULUS: Final = 2**32
_REMEMBERED: Final = 1024
_RESTART: Final = 4096


@dataclass(frozen=True, slots=True)
class Timed:
    """A frame with the gateway's monotonic time of its arrival."""

    arrival_ns: int
    frame: Frame


class Reorder:
    """Yields frames by sequence (u32, wrapping). A hole is waited for until `frames` or `hold_ns` are exceeded.

    `duplicate` and `late` count frames dropped, `missing` sequences that never came. A sequence far behind means that
    the device started to count anew.
    """

    def __init__(self, *, frames: int = 8, hold_ns: int = 1_000_000_000) -> None:
        self._frames = frames
        self._hold_ns = hold_ns
        self._next: int | None = None
        self._waiting: dict[int, Timed] = {}
        self._seen: OrderedDict[int, None] = OrderedDict()
        self.duplicate = 0
        self.late = 0
        self.missing = 0

    def push(self, timed: Timed) -> Iterable[Timed]:
        """Take a frame; give what is in order now."""
        if timed.frame.sequence == self._next and not self._waiting:
            self._pass(self._next)
            return (timed,)
        return self._sort_in(timed)

    def _sort_in(self, timed: Timed) -> Iterator[Timed]:
        sequence = timed.frame.sequence
        if self._next is None:
            self._next = sequence
        ahead = self._ahead(sequence)
        if abs(ahead) > _RESTART:
            yield from self.flush()
            self._seen.clear()
            self._next = sequence
        elif sequence in self._waiting or sequence in self._seen:
            self.duplicate += 1
            return
        elif ahead < 0:
            self.late += 1
            return
        self._waiting[sequence] = timed
        yield from self._ready()
        while len(self._waiting) > self._frames:
            yield from self._give_up()

    def expire(self, now_ns: int) -> Iterator[Timed]:
        """Yield what has waited long enough for a hole to fill."""
        while self._waiting and min(t.arrival_ns for t in self._waiting.values()) + self._hold_ns <= now_ns:
            yield from self._give_up()

    def flush(self) -> Iterator[Timed]:
        """Yield everything that still waits."""
        while self._waiting:
            yield from self._give_up()

    def _ahead(self, sequence: int) -> int:
        assert self._next is not None
        return (sequence - self._next + _MODULUS // 2) % _MODULUS - _MODULUS // 2

    def _give_up(self) -> Iterator[Timed]:
        """Stop waiting for the hole in front."""
        first = min(self._waiting, key=self._ahead)
        self.missing += self._ahead(first)
        self._next = first
        yield from self._ready()

    def _ready(self) -> Iterator[Timed]:
        while self._next in self._waiting:
            timed = self._waiting.pop(self._next)
            self._pass(self._next)
            yield timed

    def _pass(self, sequence: int) -> None:
        self._seen[sequence] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self._next = (sequence + 1) % _MODULUS
