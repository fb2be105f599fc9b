"""Sets of sequence numbers as merged inclusive ranges, as in TCP's selective acknowledgements (RFC 2018)."""

from bisect import bisect_right
from collections.abc import Iterable

from vitalwire_cloud.store.interface import SeriesKey
from vitalwire_edge.wire.messages import StreamCommit


class RangeSet:
    """Integers kept as sorted, disjoint, non-adjacent inclusive ranges."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __contains__(self, value: int) -> bool:
        at = bisect_right(self._firsts, value) - 1
        return at >= 0 and value <= self._lasts[at]

    def __len__(self) -> int:
        """Number of ranges, not of integers."""
        return len(self._firsts)

    def add(self, first: int, last: int) -> None:
        """Put `first..last` in, joined with what it touches."""
        if first > last:
            raise ValueError(f"range {first}..{last} is empty")
        begin = bisect_right(self._lasts, first - 2)
        end = bisect_right(self._firsts, last + 1)
        if begin < end:
            first = min(first, self._firsts[begin])
            last = max(last, self._lasts[end - 1])
        self._firsts[begin:end] = [first]
        self._lasts[begin:end] = [last]

    def ranges(self) -> list[tuple[int, int]]:
        """The ranges in order."""
        return list(zip(self._firsts, self._lasts, strict=True))

    def low_water(self) -> int:
        """Smallest integer from 0 that is missing."""
        return self._lasts[0] + 1 if self._firsts and self._firsts[0] == 0 else 0

    def above_low_water(self) -> list[tuple[int, int]]:
        """The ranges that begin above `low_water()`."""
        return self.ranges()[1:] if self._firsts and self._firsts[0] == 0 else self.ranges()

    def count(self) -> int:
        """Number of integers inside."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)


def commit_of(key: SeriesKey, held: RangeSet) -> StreamCommit:
    """What a gateway is told of a series of which `held` is stored."""
    return StreamCommit(key.device, key.stream, key.session, held.low_water(), tuple(held.above_low_water()))
