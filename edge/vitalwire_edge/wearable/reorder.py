"""Puts frames of one device back in order, within a small window, and drops what came twice or too late."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from vitalwire_edge.wire.frames import Frame

_MODULUS: Final = 2**32
_REMEMBERED: Final = 1024
_RESTART: Final = 4096


class Timed(msgspec.Struct, frozen=True):
    """A frame with the gateway's monotonic time of its arrival."""

    arrival_ns: int
    frame: Frame


class _Passed:
    """The last sequences that were let through, as runs without a hole: one of them where nothing was lost."""

    def __init__(self) -> None:
        self._runs: deque[list[int]] = deque()
        self._following: int | None = None
        self._held = 0

    def add(self, sequence: int) -> None:
        if sequence == self._following:
            self._runs[-1][1] += 1
        else:
            self._runs.append([sequence, 1])
        self._following = (sequence + 1) % _MODULUS
        if self._held < _REMEMBERED:
            self._held += 1
            return
        oldest = self._runs[0]
        oldest[0] = (oldest[0] + 1) % _MODULUS
        oldest[1] -= 1
        if not oldest[1]:
            self._runs.popleft()

    def __contains__(self, sequence: int) -> bool:
        return any((sequence - first) % _MODULUS < count for first, count in self._runs)


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
        self._seen = _Passed()
        self.duplicate = 0
        self.late = 0
        self.missing = 0

    def push(self, timed: Timed) -> Iterable[Timed]:
        """Take a frame; give what is in order now."""
        sequence = timed.frame.sequence
        if sequence == self._next and not self._waiting:
            self._seen.add(sequence)
            self._next = (sequence + 1) % _MODULUS
            return (timed,)
        return self._sort_in(timed)

    def _sort_in(self, timed: Timed) -> Iterator[Timed]:
        sequence = timed.frame.sequence
        if self._next is None:
            self._next = sequence
        ahead = self._ahead(sequence)
        if abs(ahead) > _RESTART:
            yield from self.flush()
            self._seen = _Passed()
            self._next = sequence
        elif sequence in self._waiting or (ahead < 0 and sequence in self._seen):
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
        while (sequence := self._next) in self._waiting:
            assert sequence is not None
            timed = self._waiting.pop(sequence)
            self._seen.add(sequence)
            self._next = (sequence + 1) % _MODULUS
            yield timed
