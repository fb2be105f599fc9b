"""Alarm rules of the gateway: lethal rhythms, rates, fibrillation, limits, NEWS2 and technical conditions.

Deterministic and independent of any model. Times are UTC nanoseconds of the device's own time line, given by the
caller; nothing here reads a clock.
"""

from vitalwire_edge.alarms.change import AlarmChange, Kind
from vitalwire_edge.alarms.config import AlarmConfig
from vitalwire_edge.alarms.engine import AlarmEngine

__all__ = ["AlarmChange", "AlarmConfig", "AlarmEngine", "Kind"]
