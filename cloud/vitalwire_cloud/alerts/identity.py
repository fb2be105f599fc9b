"""Which names two gateways go by at once: they throw each other out of the broker."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_REMEMBERED: Final = 8
_RETURNS: Final = 2
"""A gateway may be set back to an earlier spool once; only another one goes on saying so."""


@dataclass(slots=True)
class _Heard:
    now: tuple[str, str]
    before: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    returns_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RETURNS))


class IdentityWatch:
    """Remembers how gateways identify themselves: the session of the spool and the boot of the machine. Thread-safe.

    A machine that starts anew has a new boot, a spool that is made anew a new session, and neither ever comes back.
    What does come back twice within `window_s` was never gone: another gateway of that name spoke in between.
    """

    def __init__(self, *, window_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._clock = clock
        self._began_s = clock()
        self._lock = threading.Lock()
        self._heard: dict[str, _Heard] = {}

    def said(self, gateway: str, session: str, boot: str) -> bool:
        """`gateway` said who it is; whether that one had been followed by another before."""
        who = session, boot
        with self._lock:
            heard = self._heard.setdefault(gateway, _Heard(who))
            if heard.now == who:
                return False
            came_back = who in heard.before
            if came_back:
                heard.before.remove(who)
                heard.returns_s.append(self._clock())
            heard.before.append(heard.now)
            heard.now = who
            return came_back

    def doubled(self) -> dict[str, float]:
        """Names that two gateways go by, with the seconds since that showed first within the window."""
        with self._lock:
            now = self._clock()
            return {
                gateway: now - heard.returns_s[0]
                for gateway, heard in self._heard.items()
                if len(heard.returns_s) == _RETURNS and now - heard.returns_s[0] <= self._window_s
            }

    def quiet(self, gateway: str) -> bool:
        """Whether this watch has lasted long enough to say that only one goes by that name."""
        return self._clock() - self._began_s > self._window_s and gateway not in self.doubled()
