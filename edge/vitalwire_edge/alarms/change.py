"""Changes of alarm conditions, and the register that never holds two of one kind."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal
from uuid import uuid4

from vitalwire_edge.wire.messages import Category, Phase, Priority

NS_PER_S: Final = 1_000_000_000
PULSE_PRESENT: Final = "pulse present"
"""Note beside an alarm without effective heart beat when a pleth or arterial pulse says otherwise; never suppresses."""

Kind = Literal[
    "asystole",
    "ventricular_fibrillation",
    "ventricular_tachycardia",
    "extreme_tachycardia",
    "extreme_bradycardia",
    "tachycardia",
    "bradycardia",
    "atrial_fibrillation",
    "spo2_low",
    "temperature_high",
    "temperature_low",
    "respiration_high",
    "respiration_low",
    "pressure_high",
    "pressure_low",
    "news2",
    "ecg_unanalysable",
    "lead_off",
    "device_silent",
    "battery_low",
    "beat_anomaly",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule says while its condition holds.

    `rule` is the rule's name and version. `value` and `limit` are in the unit that `text` names.
    """

    kind: Kind
    priority: Priority
    onset_ns: int
    text: str
    rule: str
    category: Category = "physiological"
    value: float | None = None
    limit: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """What a rule says once there is evidence that its condition is over."""

    text: str


Verdict = Finding | Ended | None
"""None: nothing new (not there, not yet, or not yet over)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmChange:
    """One change of one alarm of one device: the body of a `wire.messages.AlarmMessage`.

    `alarm_id` (uuid4, hex) stays the same from raised to cleared. `onset_ns` is when the condition began in the
    signal, `at_ns` when it was decided.
    """

    alarm_id: str
    kind: Kind
    priority: Priority
    category: Category
    phase: Phase
    onset_ns: int
    at_ns: int
    text: str
    rule: str
    value: float | None = None
    limit: float | None = None
    notes: tuple[str, ...] = ()


class AlarmRegister:
    """The open alarms of one device, at most one of each kind.

    Args:
        open_alarms: what was open before a restart; where a kind occurs twice the later one counts.

    """

    def __init__(self, open_alarms: Iterable[AlarmChange] = ()) -> None:
        self._open = {change.kind: change for change in open_alarms if change.phase != "cleared"}

    def __contains__(self, kind: Kind) -> bool:
        return kind in self._open

    def get(self, kind: Kind) -> AlarmChange | None:
        """Return the last change of the open alarm of this kind."""
        return self._open.get(kind)

    def open_alarms(self) -> tuple[AlarmChange, ...]:
        """Return the last change of every open alarm, oldest first."""
        return tuple(sorted(self._open.values(), key=lambda change: change.onset_ns))

    def apply(self, kind: Kind, verdict: Verdict, at_ns: int) -> list[AlarmChange]:
        """Turn a verdict into what changed: nothing, or one change.

        An open alarm is updated only when its priority changes or a pulse is noted beside it, so a value that wanders
        does not flood the link.
        """
        if verdict is None or (kind not in self._open and isinstance(verdict, Ended)):
            return []
        match verdict, self._open.get(kind):
            case Finding() as found, None:
                change = AlarmChange(
                    alarm_id=uuid4().hex,
                    kind=kind,
                    priority=found.priority,
                    category=found.category,
                    phase="raised",
                    onset_ns=min(found.onset_ns, at_ns),
                    at_ns=at_ns,
                    text=found.text,
                    rule=found.rule,
                    value=found.value,
                    limit=found.limit,
                    notes=found.notes,
                )
            case Finding() as found, AlarmChange() as before:
                pulse = PULSE_PRESENT in found.notes and PULSE_PRESENT not in before.notes
                if found.priority == before.priority and not pulse:
                    return []
                kept = (
                    (PULSE_PRESENT,)
                    if PULSE_PRESENT in before.notes and PULSE_PRESENT not in found.notes
                    else ()
                )
                change = replace(
                    before,
                    priority=found.priority,
                    phase="updated",
                    at_ns=at_ns,
                    text=found.text,
                    rule=found.rule,
                    value=found.value,
                    limit=found.limit,
                    notes=found.notes + kept,
                )
            case Ended(text), AlarmChange() as before:
                del self._open[kind]
                return [replace(before, phase="cleared", at_ns=at_ns, text=text)]
            case _:
                return []
        self._open[kind] = change
        return [change]


class Hold:
    """How long a condition has held without interruption, on the data's own time line."""

    def __init__(self) -> None:
        self.since_ns: int | None = None

    def update(self, holds: bool, at_ns: int) -> float:
        """Return for how many seconds the condition has held at `at_ns`; 0 when it does not."""
        if not holds:
            self.since_ns = None
            return 0.0
        if self.since_ns is None or self.since_ns > at_ns:
            self.since_ns = at_ns
        return (at_ns - self.since_ns) / NS_PER_S
