"""When to try the broker again: exponential back-off with full jitter, as a small state machine.

After Brooker, "Exponential backoff and jitter" (2015): a random share of a doubling interval, so that gateways that
lost the broker together do not come back together.
"""

from enum import Enum
from random import Random
from typing import Final

_STEADY_NS: Final = 10_000_000_000
"""A connection that held this long was a good one: the next failure starts the back-off anew."""


class LinkPhase(Enum):
    """Where the link stands."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    UP = "up"
    STOPPED = "stopped"


class Reconnect:
    """Phases of the link and the moments between them. Knows no network and no clock."""

    def __init__(self, *, first_s: float, most_s: float, random: Random | None = None) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._random = random or Random()
        self._failures = 0
        self._up_ns = 0
        self.phase = LinkPhase.WAITING
        self.retry_ns = 0

    def may_connect(self, now_ns: int) -> bool:
        """Whether it is time to try."""
        return self.phase is LinkPhase.WAITING and now_ns >= self.retry_ns

    def connecting(self) -> None:
        """A try has begun."""
        self.phase = LinkPhase.CONNECTING

    def connected(self, now_ns: int) -> None:
        """The broker let us in."""
        self.phase = LinkPhase.UP
        self._up_ns = now_ns

    def failed(self, now_ns: int) -> float:
        """A try or a connection ended. Returns the seconds to wait."""
        if self.phase is LinkPhase.UP and now_ns - self._up_ns >= _STEADY_NS:
            self._failures = 0
        ceiling = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 30))
        wait_s = self._first_s / 2 + self._random.random() * (ceiling - self._first_s / 2)
        self._failures += 1
        self.phase = LinkPhase.WAITING
        self.retry_ns = now_ns + round(wait_s * 1e9)
        return wait_s

    def again(self, now_ns: int) -> None:
        """The connection was given up for a better one: try at once."""
        self.phase = LinkPhase.WAITING
        self.retry_ns = now_ns

    def stopped(self) -> None:
        """No further try."""
        self.phase = LinkPhase.STOPPED
