"""The gateway's clock: UTC nanoseconds from its monotonic clock, and whether that may be believed.

Everything on the gateway is timed on `CLOCK_MONOTONIC`; UTC is that plus an offset. NTP slews both clocks alike, so
the offset only changes when somebody steps the wall clock. A small step is slewed into the offset so that block times
do not run backwards; a large one is taken over at once and counted.
"""

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from vitalwire_edge.wire.messages import ClockState

log = structlog.get_logger()

NS_PER_S: Final = 1_000_000_000
EARLIEST_NS: Final = 1_577_836_800 * NS_PER_S
"""2020-01-01: a wall clock before this was never set."""
LATEST_NS: Final = 4_102_444_800 * NS_PER_S
"""2100-01-01: a wall clock after this was set wrongly."""

_SLEW: Final = 500e-6
_NOISE_NS: Final = 1_000_000
_TIME_ERROR: Final = 5
_STA_UNSYNC: Final = 0x40
_STATUS_OFFSET: Final = 40
_TIMEX_BYTES: Final = 256


def boot_id() -> str:
    """What the kernel calls this boot: the monotonic clock only means something together with it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def kernel_synchronised() -> bool:
    """Whether the kernel's clock is disciplined, by `adjtimex(2)`: neither TIME_ERROR nor STA_UNSYNC."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    # struct timex on 64-bit Linux: modes (padded to 8), offset, freq, maxerror, esterror, then int status.
    status = int.from_bytes(timex.raw[_STATUS_OFFSET : _STATUS_OFFSET + 4], "little")
    return state >= 0 and state != _TIME_ERROR and not status & _STA_UNSYNC


def wall_offset_ns() -> int:
    """UTC minus monotonic, from the tightest of three bracketed readings."""
    best: tuple[int, int] | None = None
    for _ in range(3):
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        if best is None or after - before < best[0]:
            best = after - before, wall - (before + after) // 2
    assert best is not None
    return best[1]


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment on the monotonic clock and on UTC, and whether UTC could be believed when it was made."""

    mono_ns: int
    utc_ns: int
    synchronised: bool


class GatewayClock:
    """Maps this boot's monotonic clock to UTC. `poll` once a second; the mapping itself costs an addition.

    `steps` counts wall-clock steps of more than `step_s`. The readings can be injected, as for a host without NTP.
    """

    def __init__(
        self,
        *,
        trust_system: bool = False,
        step_s: float = 0.5,
        read_offset: Callable[[], int] = wall_offset_ns,
        read_synchronised: Callable[[], bool] = kernel_synchronised,
        read_mono: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.boot = boot_id()
        self.steps = 0
        self._trust_system = trust_system
        self._step_ns = round(step_s * NS_PER_S)
        self._read_offset = read_offset
        self._read_synchronised = read_synchronised
        self._read_mono = read_mono
        self._polled_ns = read_mono()
        self.offset_ns = read_offset()
        self.synchronised = self._judge()

    @property
    def state(self) -> ClockState:
        """What births and statuses say about this clock."""
        return ClockState(boot=self.boot, synchronised=self.synchronised, offset_ns=self.offset_ns)

    def utc_ns(self, mono_ns: int) -> int:
        """UTC of a monotonic moment of this boot, by the present offset."""
        return mono_ns + self.offset_ns

    def now(self) -> Stamp:
        """The present moment."""
        mono_ns = self._read_mono()
        return Stamp(mono_ns, self.utc_ns(mono_ns), self.synchronised)

    def poll(self) -> None:
        """Read the wall clock again: slew a small difference, take over and count a step."""
        now = self._read_mono()
        elapsed = now - self._polled_ns
        self._polled_ns = now
        wanted = self._read_offset()
        difference = wanted - self.offset_ns
        if abs(difference) > self._step_ns:
            self.steps += 1
            self.offset_ns = wanted
            log.warning("clock_stepped", step_ms=difference // 1_000_000, steps=self.steps)
        elif abs(difference) > _NOISE_NS:
            most = round(elapsed * _SLEW)
            self.offset_ns += max(-most, min(most, difference))
        synchronised = self._judge()
        if synchronised != self.synchronised:
            self.synchronised = synchronised
            # What was slewed towards before the clock was right is not worth keeping.
            self.offset_ns = wanted
            log.info("clock_synchronised" if synchronised else "clock_not_synchronised", **_shown(wanted))

    def _judge(self) -> bool:
        wall = self._read_mono() + self.offset_ns
        if not EARLIEST_NS <= wall <= LATEST_NS:
            return False
        return self._trust_system or self._read_synchronised()


def _shown(offset_ns: int) -> dict[str, int]:
    return {"offset_ns": offset_ns}
