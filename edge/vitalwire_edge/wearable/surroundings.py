"""What a wearable's pipeline needs from the gateway around it."""

from collections.abc import Callable
from dataclasses import dataclass

from vitalwire_edge.alarms import AlarmChange, AlarmConfig
from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.config import TelemetryConfig
from vitalwire_edge.spool.rows import Entry
from vitalwire_edge.wearable.scoring import Scoring
from vitalwire_edge.wire.messages import StaffState


def _nothing_said(_device: str) -> StaffState:
    return StaffState()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Of one gateway, for all its wearables; `said` is what staff say of whoever wears a device."""

    clock: GatewayClock
    telemetry: TelemetryConfig
    alarms: AlarmConfig
    session: Callable[[], str]
    put: Callable[[Entry], None]
    on_alarm: Callable[[str, AlarmChange], None]
    scoring: Scoring | None = None
    said: Callable[[str], StaffState] = _nothing_said
