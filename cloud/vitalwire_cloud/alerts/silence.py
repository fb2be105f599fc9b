"""Which gateways have gone silent. No data is an alarm, never a normal."""

import threading
import time
from collections.abc import Callable, Iterable


class SilenceWatch:
    """Remembers when each gateway was last heard, on a monotonic clock. Thread-safe.

    Gateways in `known` count as heard when the watch begins, so a restart of the service raises nothing at once. A
    gateway whose connection broke is silent after `death_grace_s` unless it is heard again; one that said goodbye on
    purpose is not expected any more.
    """

    def __init__(
        self,
        known: Iterable[str],
        *,
        silent_after_s: float,
        death_grace_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._silent_after_s = silent_after_s
        self._death_grace_s = min(death_grace_s, silent_after_s)
        self._lock = threading.Lock()
        now = clock()
        self._heard_s = dict.fromkeys(known, now)
        self._present: set[str] = set()

    def seen(self, gateway: str) -> None:
        """`gateway` said something."""
        with self._lock:
            self._heard_s[gateway] = self._clock()
            self._present.add(gateway)

    def gone(self, gateway: str, *, expected: bool) -> None:
        """`gateway` said goodbye (`expected`), or its connection broke."""
        with self._lock:
            self._present.discard(gateway)
            if expected:
                self._heard_s.pop(gateway, None)
            else:
                early_s = self._clock() - self._silent_after_s + self._death_grace_s
                self._heard_s[gateway] = min(self._heard_s.get(gateway, early_s), early_s)

    def silent(self) -> dict[str, float]:
        """Silent gateways, with the seconds since each was last heard or should have been."""
        with self._lock:
            now = self._clock()
            ages = {gateway: now - heard for gateway, heard in self._heard_s.items()}
        return {gateway: age for gateway, age in ages.items() if age >= self._silent_after_s}

    def present(self, gateway: str) -> bool:
        """Whether `gateway` really said something since this watch began, and is not gone since."""
        with self._lock:
            return gateway in self._present
