"""The newest values of a kind in order of size, so that a median or a quartile costs no sorting."""

from bisect import bisect_left, insort
from collections import deque


class Newest:
    """At most so many of the newest values, none of them NaN; the oldest leaves where there are too many."""

    def __init__(self, most: int) -> None:
        self._values: deque[float] = deque(maxlen=most)
        self._ordered: list[float] = []

    def __len__(self) -> int:
        return len(self._values)

    @property
    def values(self) -> list[float]:
        """All of them, oldest first."""
        return list(self._values)

    def add(self, value: float) -> None:
        """Take a value."""
        if len(self._values) == self._values.maxlen:
            del self._ordered[bisect_left(self._ordered, self._values[0])]
        self._values.append(value)
        insort(self._ordered, value)

    def clear(self) -> None:
        """Forget all."""
        self._values.clear()
        self._ordered.clear()

    def above(self, share: float) -> float:
        """The smallest value with `share` (below 1) of them before it in order of size; there must be one."""
        return self._ordered[int(share * len(self._ordered))]

    @property
    def median(self) -> float:
        """Their median; there must be one."""
        half = len(self._ordered) // 2
        if len(self._ordered) % 2:
            return self._ordered[half]
        return (self._ordered[half - 1] + self._ordered[half]) / 2
