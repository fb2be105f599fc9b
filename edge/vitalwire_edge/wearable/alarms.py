"""The alarm rules of one wearable, fed on a time line that no step of the wall clock can disturb."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import nan
from typing import Any, Final

import structlog

from vitalwire_edge.alarms import AlarmChange, AlarmConfig, AlarmEngine
from vitalwire_edge.alarms.news2 import Entry, News2, StaffEntries, StaffEntry
from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.signal.chain import Beat, SignalSecond
from vitalwire_edge.wire.codes import Code, ValueStatus
from vitalwire_edge.wire.messages import (
    Entered,
    News2Status,
    Paced,
    StaffState,
    StaffWord,
    TooOld,
    VitalValue,
)

log = structlog.get_logger()

_CLOCK_EVERY_NS: Final = 500_000_000
_WORDS: Final[dict[Entry, StaffWord]] = {
    "consciousness": "consciousness",
    "oxygen": "oxygen",
    "SpO2 scale": "spo2_scale",
}


class DeviceAlarms:
    """Runs the engine of one device and hands every change, in UTC, to `on_change`.

    The engine's time is the monotonic clock plus the offset that held when this began; a change is moved to today's
    UTC on its way out, what staff said to then on its way in. An engine that fails costs its input, is counted in
    `failures` and said loudly; it never costs the data.
    """

    def __init__(
        self,
        device: str,
        config: AlarmConfig,
        paced: Paced,
        clock: GatewayClock,
        on_change: Callable[[AlarmChange], None],
        open_alarms: Iterable[AlarmChange] = (),
    ) -> None:
        self._device = device
        self._clock = clock
        self._on_change = on_change
        self._base_ns = clock.offset_ns
        self._clock_ns = 0
        self.failures = 0
        self._engine = AlarmEngine(device=device, config=config, paced=paced, open_alarms=tuple(open_alarms))
        self._staff = StaffState()
        self._staff_shift_ns = 0

    def told(self, staff: StaffState, paced: Paced) -> None:
        """What staff say of the wearer, in place of what they said before, and whether that one has a pacemaker."""
        self._staff = staff
        self._engine.paced = paced
        self._place_staff()

    @property
    def news2(self) -> News2 | None:
        """The score computed last; None before the first."""
        return self._engine.news2

    def news2_status(self) -> News2Status | None:
        """The score computed last, in UTC, for the status message; None before the first. From any thread."""
        scored, staff = self._engine.scored, self._staff
        if scored is None:
            return None
        at_ns, score = scored[0] + self._shift_ns, scored[1]
        said = {word: getattr(staff, word) for word in map(_WORDS.__getitem__, score.too_old)}
        return News2Status(
            at_ns=max(0, at_ns),
            total=score.total,
            band=score.band,
            points=score.points,
            missing=score.missing,
            # What staff withdrew or said anew since is in the next score.
            too_old=tuple(
                TooOld(what=word, entered_ns=entry.entered_ns)
                for word, entry in said.items()
                if entry is not None and entry.expires_ns <= at_ns
            ),
            scale=score.scale,
        )

    @property
    def late_readings(self) -> int:
        """Readings and seconds that the rules dropped because they were older than the one before."""
        return self._engine.late_readings

    def beat(self, beat: Beat, mono_ns: int) -> None:
        """A beat whose R peak was at `mono_ns`."""
        self._run(lambda: self._engine.on_beat(beat, self._line(mono_ns)))

    def second(self, second: SignalSecond, mono_ns: int) -> None:
        """A judged second of signal that began at `mono_ns`."""
        self._run(lambda: self._engine.on_second(second, self._line(mono_ns)))

    def vitals(self, mono_ns: int, values: Iterable[VitalValue]) -> None:
        """Numbers of one instant."""
        readings = [
            (Code(v.code), nan if v.value is None else v.value, ValueStatus(v.status)) for v in values
        ]
        self._run(lambda: self._engine.on_vitals(self._line(mono_ns), readings))

    def status(self, mono_ns: int, battery_percent: int) -> None:
        """The device's state."""
        self._run(lambda: self._engine.on_status(self._line(mono_ns), battery_percent))

    def end(self, mono_ns: int, why: str) -> None:
        """Clear everything that is open, because `why`. Nothing may be asked of this afterwards."""
        at_ns = self._line(mono_ns)
        self._run(
            lambda: [
                replace(change, phase="cleared", at_ns=max(at_ns, change.at_ns), text=why)
                for change in self._engine.open_alarms()
            ]
        )

    def clock(self, mono_ns: int) -> None:
        """Time passes, with or without data."""
        if mono_ns - self._clock_ns >= _CLOCK_EVERY_NS:
            self._clock_ns = mono_ns
            if self._staff_shift_ns != self._shift_ns:
                self._place_staff()
            self._run(lambda: self._engine.on_clock(self._line(mono_ns)))

    @property
    def _shift_ns(self) -> int:
        return self._clock.offset_ns - self._base_ns

    def _place_staff(self) -> None:
        """Staff speak in UTC, the engine's time began before a step of the clock."""
        shift_ns = self._staff_shift_ns = self._shift_ns

        def placed(said: Entered[Any] | None) -> StaffEntry | None:
            if said is None:
                return None
            return StaffEntry(said.value, said.entered_ns - shift_ns, said.expires_ns - shift_ns)

        self._engine.staff = StaffEntries(
            consciousness=placed(self._staff.consciousness),
            oxygen=placed(self._staff.oxygen),
            scale=placed(self._staff.spo2_scale),
        )

    def _line(self, mono_ns: int) -> int:
        return mono_ns + self._base_ns

    def _run(self, rule: Callable[[], list[AlarmChange]]) -> None:
        try:
            changes = rule()
        except Exception:
            self.failures += 1
            log.exception("alarm_rules_failed", device=self._device, failures=self.failures)
            return
        shift = self._shift_ns
        for change in changes:
            self._on_change(replace(change, onset_ns=change.onset_ns + shift, at_ns=change.at_ns + shift))
