"""When to try a source again: exponential back-off with full jitter (Brooker, 2015), without a network or a clock."""

from random import Random


class Backoff:
    """Seconds to wait after each failure in a row: a random share of a doubling ceiling."""

    def __init__(self, *, first_s: float, most_s: float, random: Random | None = None) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._random = random or Random()
        self._failures = 0

    def failed(self) -> float:
        """How long to wait now."""
        ceiling = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._first_s / 2 + self._random.random() * max(0.0, ceiling - self._first_s / 2)

    def worked(self) -> None:
        """The next failure is the first again."""
        self._failures = 0
