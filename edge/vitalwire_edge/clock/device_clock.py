"""A wearable's clocks seen from the gateway: one-sided noise, slow drift, and a mapping that never runs backwards.

What arrives was sent earlier: arrival minus device time is the clock offset plus a delay that is never negative, so
the truth is the lower envelope of what is observed (minimum delay, after Cristian, Distributed Computing 3, 1989; the
envelope as a line, after Moon, Skelly and Towsley, "Estimation and removal of clock skew from network delay
measurements", INFOCOM 1999). Each window keeps its minimum; the skew is the Theil-Sen slope (Sen, JASA 63, 1968)
through the minima, which up to 29 % bad windows cannot move; the offset is the highest line of that slope that lies
below all of them. Unlike Moon et al. the slope is a median, not the linear programme, because one late window must
not tilt it.
"""

from collections import deque
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

NS_PER_S: Final = 1_000_000_000
WINDOW_NS: Final = 2 * NS_PER_S
WINDOWS: Final = 32
MAX_SKEW: Final = 2000e-6
SLEW: Final = 400e-6
"""Most that the mapping deviates from the estimated rate while it catches up: 0.1 of a sample a second at 250 Hz."""

_CATCH_UP_NS: Final = 10 * NS_PER_S
_STEP_NS: Final = NS_PER_S // 20
_EARLY_NS: Final = 600 * NS_PER_S
_INSIST: Final = 5
_SKEW_WINDOWS: Final = 6


class EnvelopeClock:
    """Maps a source clock to a target clock, both in nanoseconds, from pairs whose target side is late by a delay.

    Between updates the mapping is a line; an update changes its slope only, so it is continuous and increasing. It
    jumps only where the caller allows it (`align`, at a gap in the data) or on `reset`.

    `late_ns` and `early_ns` bound how far a pair may lie from the mapping. Any delay is believable (a device that had
    to buffer), so is that all pairs before were late by minutes.
    """

    __slots__ = (
        "_current",
        "_early_ns",
        "_late_ns",
        "_minima",
        "_off",
        "_rate",
        "_ref",
        "_skew",
        "_suspects",
        "_window_start",
        "_x0",
        "_y0",
        "resets",
    )

    def __init__(self, *, late_ns: int | None = None, early_ns: int = _EARLY_NS) -> None:
        self._late_ns = late_ns
        self._early_ns = early_ns
        self.resets = -1
        self._suspects = 0
        # Of each window: where in it the delay was least, and the offset there.
        self._minima: deque[tuple[int, int]] = deque(maxlen=WINDOWS)
        self._window_start = 0
        self._current: tuple[int, int] | None = None
        self._x0 = 0
        self._y0 = 0
        self._rate = 0.0
        self._off = 0
        self._skew = 0.0
        self._ref = 0

    @property
    def ready(self) -> bool:
        """Whether there is a mapping."""
        return self.resets >= 0

    def observe(self, x_ns: int, y_ns: int) -> bool:
        """Take a pair. False when it cannot be true, and so what it belongs to cannot be timed by it.

        A clock that keeps saying the same impossible thing has been set anew: the mapping starts again.
        """
        if self.resets < 0:
            self.reset(x_ns, y_ns)
            return True
        ahead = x_ns - self._x0
        delay = y_ns - self._y0 - ahead - round(ahead * self._rate)
        if delay < -self._early_ns or (self._late_ns is not None and delay > self._late_ns):
            self._suspects += 1
            if self._suspects < _INSIST:
                return False
            self.reset(x_ns, y_ns)
            return True
        self._suspects = 0
        offset = y_ns - x_ns
        if self._current is None or offset < self._current[1]:
            self._current = x_ns, offset
        if x_ns - self._window_start >= WINDOW_NS:
            self._minima.append(self._current)
            self._current = None
            self._window_start = x_ns
            self._estimate(x_ns)
        elif (early := self._off + round(self._skew * (x_ns - self._ref)) - offset) > 0:
            # A quicker arrival than any before: no need to wait for the window to end.
            self._off -= early
            self._steer(x_ns)
        return True

    def map(self, x_ns: int) -> int:
        """Target time of source time `x_ns`."""
        ahead = x_ns - self._x0
        return self._y0 + ahead + round(ahead * self._rate)

    def align(self, x_ns: int, not_before_ns: int) -> None:
        """Jump to the best estimate at `x_ns` (data before it has ended), never to before `not_before_ns`."""
        wanted = max(self._line(x_ns), not_before_ns)
        if abs(wanted - self.map(x_ns)) > _STEP_NS:
            self._x0, self._y0 = x_ns, wanted
            self._steer(x_ns)

    def reset(self, x_ns: int, y_ns: int) -> None:
        """Start again from one pair."""
        self.resets += 1
        self._suspects = 0
        self._minima.clear()
        self._current = None
        self._window_start = x_ns
        self._x0, self._y0, self._rate = x_ns, y_ns, 0.0
        self._ref, self._off, self._skew = x_ns, y_ns - x_ns, 0.0

    def _line(self, x_ns: int) -> int:
        return x_ns + self._off + round(self._skew * (x_ns - self._ref))

    def _estimate(self, x_ns: int) -> None:
        at_ns, offset_ns = self._minima[0]
        x = np.array([at - at_ns for at, _ in self._minima], dtype=np.float64)
        d = np.array([offset - offset_ns for _, offset in self._minima], dtype=np.float64)
        self._skew, lowest_ns = _envelope(x, d)
        self._ref = at_ns
        self._off = offset_ns + round(lowest_ns)
        self._steer(x_ns)

    def _steer(self, x_ns: int) -> None:
        now = self.map(x_ns)
        error = self._line(x_ns) - now
        correction = max(-SLEW, min(SLEW, error / _CATCH_UP_NS))
        self._x0, self._y0 = x_ns, now
        self._rate = self._skew + correction


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _envelope(x_ns: NDArray[np.float64], offset_ns: NDArray[np.float64]) -> tuple[float, float]:
    """Theil-Sen slope of the minima, and the offset at 0 of the highest line of that slope below all of them."""
    n = x_ns.size
    slopes = np.empty(n * (n - 1) // 2)
    found = 0
    for i in range(n if n >= _SKEW_WINDOWS else 0):
        for j in range(i + 1, n):
            run = x_ns[j] - x_ns[i]
            if run > 0:
                slopes[found] = (offset_ns[j] - offset_ns[i]) / run
                found += 1
    skew = min(max(np.median(slopes[:found]), -MAX_SKEW), MAX_SKEW) if found else 0.0
    return skew, (offset_ns - skew * x_ns).min()


def warm() -> None:
    """Compile, or load from numba's cache, before the first device connects."""
    _envelope(np.arange(WINDOWS, dtype=np.float64), np.zeros(WINDOWS))
