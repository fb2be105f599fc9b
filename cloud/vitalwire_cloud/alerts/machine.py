"""The life of one alarm as pure steps, after IEC 60601-1-8 (terms: alarm condition, latching, acknowledged).

Messages may come twice, out of order or long after the fact; the newest word of the gateway decides whether the
condition holds, and nothing said earlier brings an ended alarm back.
"""

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from vitalwire_cloud.alerts.alarm import Alarm, Label, State, Verdict
from vitalwire_cloud.store.interface import StoredAlarm
from vitalwire_edge.wire.messages import AlarmMessage, Priority

LATCHING: Final[frozenset[Priority]] = frozenset({"high"})
"""Priorities that stay up after their condition ended until somebody has seen them."""

MAX_ACKNOWLEDGED_S: Final = 24 * 3600.0
_RANK: Final[dict[Priority, int]] = {"low": 0, "medium": 1, "high": 2}

Event = Literal["raised", "updated", "cleared", "late", "acknowledged", "expired", "escalated", "labelled"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm with what its next step depends on.

    `holds`: the condition is there. `session`, `seq`, `at_ns`: the newest message that was applied. `waiting_since_ns`:
    since when it waits for somebody, on the cloud's clock.
    """

    alarm: Alarm
    holds: bool
    session: str
    seq: int
    at_ns: int
    waiting_since_ns: int


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of one alarm, for the audit trail."""

    alarm_id: str
    at_ns: int
    event: Event
    before: State | None
    after: State
    by: str | None = None
    note: str = ""


Step = tuple[Record, Transition | None]


def apply(record: Record | None, stored: StoredAlarm, now_ns: int) -> Step:
    """The alarm after a message of its gateway."""
    message = stored.message
    if record is None:
        return _first(stored, now_ns)
    if (message.session, message.seq) == (record.session, record.seq):
        return record, None
    if not _is_newer(record, message):
        return _late(record, stored, now_ns)
    before = record.alarm.state
    fields: dict[str, object] = {
        "text": message.text,
        "priority": message.priority,
        "rule": message.rule,
        "value": message.value,
        "limit": message.limit,
        "notes": message.notes,
        "evidence": message.evidence or record.alarm.evidence,
    }
    waiting_ns = record.waiting_since_ns
    if message.phase == "cleared":
        fields["cleared_ns"] = message.at_ns
        fields["state"] = _after_end(before, message.priority)
    elif not record.holds or (before == "acknowledged" and _worse(message.priority, record.alarm.priority)):
        # It came back, or became worse than what was acknowledged: somebody must look again.
        waiting_ns = now_ns
        fields |= {"state": "active", "cleared_ns": None, "escalated_ns": None, **_NOT_ACKNOWLEDGED}
    after = msgspec.structs.replace(record.alarm, **fields)
    moved = Record(
        alarm=after,
        holds=message.phase != "cleared",
        session=message.session,
        seq=message.seq,
        at_ns=message.at_ns,
        waiting_since_ns=waiting_ns,
    )
    return moved, Transition(after.alarm_id, now_ns, message.phase, before, after.state)


def acknowledge(record: Record, *, by: str, for_s: float | None, now_ns: int) -> Step:
    """The alarm after `by` took it for `for_s` seconds (None: until its condition ends).

    A latched alarm is thereby seen and cleared; one that is cleared stays as it is. Raises `ValueError`.
    """
    if not by.strip() or len(by) > 64:
        raise ValueError(f"acknowledged by {by!r}: give a name or role of 1 to 64 characters")
    if for_s is not None and not 0 < for_s <= MAX_ACKNOWLEDGED_S:
        raise ValueError(f"acknowledged for {for_s} s: use more than 0 and at most {MAX_ACKNOWLEDGED_S:g} s")
    before = record.alarm.state
    if before == "cleared":
        return record, None
    after = msgspec.structs.replace(
        record.alarm,
        state="acknowledged" if record.holds else "cleared",
        acknowledged_by=by.strip(),
        acknowledged_ns=now_ns,
        acknowledged_until_ns=None if for_s is None or not record.holds else now_ns + round(for_s * 1e9),
    )
    note = "until it ends" if for_s is None else f"for {for_s:g} s"
    step = Transition(after.alarm_id, now_ns, "acknowledged", before, after.state, by.strip(), note)
    return msgspec.structs.replace(record, alarm=after), step


def label(record: Record, *, verdict: Verdict, by: str, now_ns: int) -> Step:
    """The alarm after `by` said whether a model alert was right; the last word counts. Raises `ValueError`."""
    if not by.strip() or len(by) > 64:
        raise ValueError(f"labelled by {by!r}: give a name or role of 1 to 64 characters")
    if record.alarm.evidence is None:
        raise ValueError(
            f"alarm {record.alarm.alarm_id!r} was raised by a rule: only model alerts are labelled"
        )
    alarm = record.alarm
    after = msgspec.structs.replace(alarm, label=Label(verdict=verdict, by=by.strip(), at_ns=now_ns))
    step = Transition(alarm.alarm_id, now_ns, "labelled", alarm.state, after.state, by.strip(), verdict)
    return msgspec.structs.replace(record, alarm=after), step


def pass_time(record: Record, *, now_ns: int, escalate_after_ns: int) -> Step:
    """The alarm after waiting: an acknowledgement runs out, or nobody took a high alarm in time."""
    alarm = record.alarm
    until_ns = alarm.acknowledged_until_ns
    if alarm.state == "acknowledged" and until_ns is not None and until_ns <= now_ns:
        again = msgspec.structs.replace(alarm, state="active", escalated_ns=None, **_NOT_ACKNOWLEDGED)
        expired = Transition(
            alarm.alarm_id, now_ns, "expired", alarm.state, again.state, alarm.acknowledged_by
        )
        return msgspec.structs.replace(record, alarm=again, waiting_since_ns=now_ns), expired
    waits = alarm.state in {"active", "latched"} and alarm.priority == "high" and alarm.escalated_ns is None
    if waits and now_ns - record.waiting_since_ns >= escalate_after_ns:
        up = msgspec.structs.replace(alarm, escalated_ns=now_ns)
        escalated = Transition(alarm.alarm_id, now_ns, "escalated", alarm.state, alarm.state)
        return msgspec.structs.replace(record, alarm=up), escalated
    return record, None


_NOT_ACKNOWLEDGED: Final = {
    "acknowledged_by": None,
    "acknowledged_ns": None,
    "acknowledged_until_ns": None,
}


def _first(stored: StoredAlarm, now_ns: int) -> Step:
    message = stored.message
    holds = message.phase != "cleared"
    alarm = Alarm(
        alarm_id=message.alarm_id,
        gateway=stored.gateway,
        device=stored.device or None,
        kind=message.kind,
        priority=message.priority,
        category=message.category,
        state="active" if holds else _after_end("active", message.priority),
        onset_ns=message.onset_ns,
        # A message that overtook `raised` does not tell when that was; `_late` puts it right.
        raised_ns=message.at_ns if message.phase == "raised" else message.onset_ns,
        stored_ns=stored.stored_ns,
        text=message.text,
        rule=message.rule,
        value=message.value,
        limit=message.limit,
        notes=message.notes,
        evidence=message.evidence,
        cleared_ns=None if holds else message.at_ns,
    )
    record = Record(
        alarm=alarm,
        holds=holds,
        session=message.session,
        seq=message.seq,
        at_ns=message.at_ns,
        waiting_since_ns=now_ns,
    )
    return record, Transition(alarm.alarm_id, now_ns, message.phase, None, alarm.state)


def _late(record: Record, stored: StoredAlarm, now_ns: int) -> Step:
    """A message older than the newest one applied: it only completes what is known of the beginning."""
    message = stored.message
    alarm = record.alarm
    fields: dict[str, object] = {"onset_ns": min(alarm.onset_ns, message.onset_ns)}
    if message.phase == "raised":
        fields["raised_ns"] = message.at_ns
        fields["evidence"] = message.evidence or alarm.evidence
    after = msgspec.structs.replace(alarm, **fields)
    step = Transition(alarm.alarm_id, now_ns, "late", alarm.state, after.state, note=message.phase)
    return msgspec.structs.replace(record, alarm=after), step


def _is_newer(record: Record, message: AlarmMessage) -> bool:
    if message.session == record.session:
        return message.seq > record.seq
    return message.at_ns > record.at_ns


def _after_end(before: State, priority: Priority) -> State:
    match before:
        case "active":
            return "latched" if priority in LATCHING else "cleared"
        case "acknowledged":
            return "cleared"
        case "latched" | "cleared":
            return before


def _worse(now: Priority, before: Priority) -> bool:
    return _RANK[now] > _RANK[before]
