"""Bounded windows of numeric vitals: what NEWS2 and the number tiles read."""

from collections.abc import Mapping
from enum import StrEnum
from math import inf, isfinite, nan
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.wire.codes import VITALS, Code, ValueStatus

WINDOW_S: Final = 300.0
MAX_PER_CODE: Final = 1024
"""Values kept per code; at more than about 3 a second the oldest leave before 5 minutes are over."""

SPOT_MAX_AGE_S: Final[Mapping[int, float]] = {
    Code.SYSTOLIC: 3600.0,
    Code.DIASTOLIC: 3600.0,
    Code.MEAN_PRESSURE: 3600.0,
    Code.TEMPERATURE: 14_400.0,
}
"""Vitals taken now and then rather than continuously stay usable longer than the window; staff policy may differ."""

_NS: Final = 1_000_000_000
_NEVER_NS: Final = -(2**63)
_SLOT_S: Final = 10
_USABLE: Final = frozenset((ValueStatus.OK, ValueStatus.QUESTIONABLE))


class VitalOrderError(ValueError):
    """A vital is older than the one stored last for the same code."""


class UnknownVitalError(ValueError):
    """The code is not a numeric vital of the wire contract."""


class VitalState(StrEnum):
    """Whether a value may be used."""

    PRESENT = "present"
    STALE = "stale"
    MISSING = "missing"


class VitalSummary(msgspec.Struct, frozen=True):
    """One vital at one moment.

    Attributes:
        value: the figure in the code's unit. NaN when missing; when stale the last one known, for display only.
        age_s: seconds since the newest usable value; inf when there never was one.
        coverage: share 0..1 of the window's ten-second slots that hold a usable value.
        count: usable values in the window.
        state: present, stale (too old to be used) or missing (never seen).
        status: what the sensor said last, usable or not; None when it never spoke.

    """

    value: float
    age_s: float
    coverage: float
    count: int
    state: VitalState
    status: ValueStatus | None

    @property
    def usable(self) -> bool:
        """Whether a score may use the value."""
        return self.state is VitalState.PRESENT


class VitalsWindow:
    """The last 5 minutes of every numeric vital of one device.

    Args:
        window_s: length of the window the median is taken over.
        max_age_s: per code, the age beyond which the newest value may not be used; `window_s` for codes not named.

    """

    def __init__(
        self, *, window_s: float = WINDOW_S, max_age_s: Mapping[int, float] = SPOT_MAX_AGE_S
    ) -> None:
        self._window_s = window_s
        self._max_age_s = dict(max_age_s)
        self._values: dict[Code, _Series] = {}
        self._heard: dict[Code, tuple[int, ValueStatus]] = {}

    def add(self, time_ns: int, code: int, value: float, status: int = ValueStatus.OK) -> bool:
        """Store one reading; return whether its value is usable.

        A reading whose status says there is no value, a NaN, or a value outside what the sensor can mean is remembered
        as a status only: it never becomes a number.

        Raises:
            UnknownVitalError: the code is no numeric vital.
            VitalOrderError: the reading is older than the last one of the same code.

        """
        known = self._known(code)
        said = ValueStatus(status)
        last = self._heard.get(known)
        if last is not None and time_ns < last[0]:
            raise VitalOrderError(
                f"{VITALS[known].name} at {time_ns} ns is older than the last one at {last[0]} ns; "
                "feed each code in order of time"
            )
        quantity = VITALS[known]
        usable = said in _USABLE and isfinite(value) and quantity.low <= value <= quantity.high
        if said in _USABLE and not usable:
            said = ValueStatus.INVALID
        self._heard[known] = (time_ns, said)
        if usable:
            if known not in self._values:
                self._values[known] = _Series()
            self._values[known].add(time_ns, value)
        return usable

    def median(self, code: int, now_ns: int) -> VitalSummary:
        """Return the median of the window ending at now_ns, or the newest value where it is older but still allowed."""
        return self._summary(self._known(code), now_ns, middle=True)

    def last(self, code: int, now_ns: int) -> VitalSummary:
        """Return the newest value instead of the median."""
        return self._summary(self._known(code), now_ns, middle=False)

    def _known(self, code: int) -> Code:
        if code in VITALS and isinstance(code, Code):
            return code
        try:
            known = Code(code)
        except ValueError:
            known = Code.ECG_UNSPECIFIED
        if known not in VITALS:
            raise UnknownVitalError(f"MDC code {code} is no numeric vital; known: {[int(c) for c in VITALS]}")
        return known

    def _summary(self, code: Code, now_ns: int, *, middle: bool) -> VitalSummary:
        status = self._heard[code][1] if code in self._heard else None
        stored = self._values.get(code)
        seen = None if stored is None else stored.seen(now_ns, int(self._window_s * _NS))
        if seen is None or seen.newest_ns == _NEVER_NS:
            return VitalSummary(nan, inf, 0.0, 0, VitalState.MISSING, status)
        age_s = (now_ns - seen.newest_ns) / _NS
        fresh = age_s <= self._max_age_s.get(code, self._window_s)
        return VitalSummary(
            value=seen.median if middle and seen.recent else seen.newest,
            age_s=age_s,
            coverage=min(1.0, seen.slots * _SLOT_S / self._window_s),
            count=seen.recent,
            state=VitalState.PRESENT if fresh else VitalState.STALE,
            status=status,
        )


class _Seen(NamedTuple):
    """A series at one moment: its newest value (`newest_ns` is `_NEVER_NS` without one), and its window's values."""

    newest_ns: int
    newest: float
    recent: int
    slots: int
    median: float


class _Series:
    """The newest values of one code, in order of time."""

    def __init__(self) -> None:
        self._times_ns = np.empty(MAX_PER_CODE, dtype=np.int64)
        self._values = np.empty(MAX_PER_CODE)
        self._added = 0

    def add(self, time_ns: int, value: float) -> None:
        """Store a value; the oldest leaves when there are too many."""
        at = self._added % MAX_PER_CODE
        self._times_ns[at] = time_ns
        self._values[at] = value
        self._added += 1

    def seen(self, now_ns: int, window_ns: int) -> _Seen:
        """Look at what is no newer than `now_ns`."""
        return _Seen(*_look(self._times_ns, self._values, self._added, now_ns, window_ns, _SLOT_S * _NS))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _look(
    times_ns: NDArray[np.int64],
    values: NDArray[np.float64],
    added: int,
    now_ns: int,
    window_ns: int,
    slot_ns: int,
) -> tuple[int, float, int, int, float]:
    """Walk back in time from the newest of the values in a ring: the fields of `_Seen`."""
    newest_ns, newest, slots, last_slot = _NEVER_NS, np.nan, 0, -1
    recent = np.empty(values.size)
    count = 0
    for number in range(added - 1, max(0, added - values.size) - 1, -1):
        at = number % values.size
        if times_ns[at] > now_ns:
            continue
        if newest_ns == _NEVER_NS:
            newest_ns, newest = times_ns[at], values[at]
        if times_ns[at] <= now_ns - window_ns:
            break
        recent[count] = values[at]
        count += 1
        slot = (now_ns - times_ns[at]) // slot_ns
        if slot != last_slot:
            slots += 1
            last_slot = slot
    return newest_ns, newest, count, slots, np.median(recent[:count]) if count else np.nan


def warm() -> None:
    """Compile, or load from numba's cache, before the first number comes."""
    _Series().seen(0, _NS)
