"""An alarm as staff sees it (terms of IEC 60601-1-8)."""

from typing import Literal

import msgspec

from vitalwire_edge.wire.messages import BeatEvidence, Category, Priority

State = Literal["active", "acknowledged", "latched", "cleared"]


Verdict = Literal["confirmed", "rejected"]


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What staff said of a model alert: it was right, or it was not. Retraining reads it."""

    verdict: Verdict
    by: str
    at_ns: int


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm condition and what staff did about it.

    `active`: the condition holds and nobody acknowledged. `acknowledged`: the condition holds, somebody took it, until
    `acknowledged_until_ns`. `latched`: the condition ended before anybody acknowledged. `cleared`: ended and seen.
    `device` is None for alarms about a gateway. `stored_ns` is when the cloud had it durably,
    `escalated_ns` when it had waited too long for somebody. `evidence` is the beat that a model alert is about.
    """

    alarm_id: str
    gateway: str
    device: str | None
    kind: str
    priority: Priority
    category: Category
    state: State
    onset_ns: int
    raised_ns: int
    stored_ns: int
    text: str
    rule: str
    value: float | None = None
    limit: float | None = None
    notes: tuple[str, ...] = ()
    cleared_ns: int | None = None
    acknowledged_by: str | None = None
    acknowledged_ns: int | None = None
    acknowledged_until_ns: int | None = None
    escalated_ns: int | None = None
    evidence: BeatEvidence | None = None
    label: Label | None = None
