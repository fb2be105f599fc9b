"""Limit alarms of numeric vitals. A sensor that is off gives no reading, so it never is a physiological alarm."""

from dataclasses import dataclass
from typing import Final, Literal

from vitalwire_edge.alarms.change import NS_PER_S, Ended, Finding, Hold, Kind, Verdict
from vitalwire_edge.alarms.config import LimitsConfig, VitalLimit
from vitalwire_edge.signal.vitals import SPOT_MAX_AGE_S
from vitalwire_edge.wire.codes import VITALS, Code, ValueStatus
from vitalwire_edge.wire.messages import Priority

RULE: Final = "limit/1"
QUESTIONABLE_FACTOR: Final = 3.0
"""A reading its sensor calls questionable has to persist this much longer: delayed, not suppressed."""

MAX_SPACING_S: Final = 120.0
"""Readings of a continuous vital further apart than this are not one continuous crossing."""

_UNITS: Final = {"Cel": "\N{DEGREE SIGN}C", "mm[Hg]": "mmHg"}


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """Which limit of which vital raises what."""

    kind: Kind
    code: Code
    side: Literal["low", "high"]
    limit: VitalLimit
    priority: Priority = "medium"
    severe: VitalLimit | None = None


def limit_specs(config: LimitsConfig) -> tuple[LimitSpec, ...]:
    """Return every limit that is enabled."""
    severe = config.spo2_severe if config.spo2_severe.enabled else None
    specs = (
        LimitSpec("spo2_low", Code.SPO2, "low", config.spo2_low, severe=severe),
        LimitSpec("respiration_low", Code.RESPIRATION_RATE, "low", config.respiration_low),
        LimitSpec("respiration_high", Code.RESPIRATION_RATE, "high", config.respiration_high),
        LimitSpec("temperature_low", Code.TEMPERATURE, "low", config.temperature_low),
        LimitSpec("temperature_high", Code.TEMPERATURE, "high", config.temperature_high),
        LimitSpec("pressure_low", Code.SYSTOLIC, "low", config.pressure_low),
        LimitSpec("pressure_high", Code.SYSTOLIC, "high", config.pressure_high),
    )
    return tuple(spec for spec in specs if spec.limit.enabled)


class LimitRule:
    """One limit of one device.

    Readings that cross for `delay_s` raise; readings `hysteresis` inside for `recovered_s` end. Without readings
    nothing changes: an open alarm needs evidence to end.
    """

    def __init__(self, spec: LimitSpec) -> None:
        self.spec = spec
        self._quantity = VITALS[spec.code]
        self._unit = _UNITS.get(self._quantity.unit, self._quantity.unit)
        self._sign = 1.0 if spec.side == "high" else -1.0
        self._crossed = Hold()
        self._severe = Hold()
        self._inside = Hold()
        self._last_ns: int | None = None

    def update(self, value: float, status: ValueStatus, time_ns: int) -> Verdict:
        """Judge one usable reading; a reading without a value must not come here, use `interrupt`."""
        continuous = self.spec.code not in SPOT_MAX_AGE_S
        if continuous and self._last_ns is not None and time_ns - self._last_ns > MAX_SPACING_S * NS_PER_S:
            self.interrupt()
        self._last_ns = time_ns
        limit = self.spec.limit
        patience = QUESTIONABLE_FACTOR if status == ValueStatus.QUESTIONABLE else 1.0
        beyond = self._sign * (value - limit.limit) > 0
        held = self._crossed.update(beyond, time_ns)
        severe = self._is_severe(value, patience, time_ns)
        recovered = self._inside.update(self._sign * (value - limit.limit) <= -limit.hysteresis, time_ns)
        if beyond and held >= patience * limit.delay_s:
            return self._finding(value, severe)
        if self._inside.since_ns is not None and recovered >= patience * limit.recovered_s:
            return Ended(f"{self._quantity.name} {self._shown(value)}: back within the limit")
        return None

    def interrupt(self) -> None:
        """Forget running delays: the sensor is off or its value invalid."""
        self._crossed.update(False, 0)
        self._severe.update(False, 0)
        self._inside.update(False, 0)

    def _is_severe(self, value: float, patience: float, time_ns: int) -> bool:
        severe = self.spec.severe
        if severe is None:
            return False
        slack = severe.hysteresis if self._severe.since_ns is not None else 0.0
        beyond = self._sign * (value - severe.limit) > -slack
        return self._severe.update(beyond, time_ns) >= patience * severe.delay_s and beyond

    def _finding(self, value: float, severe: bool) -> Finding:
        limit = self.spec.severe if severe and self.spec.severe is not None else self.spec.limit
        word = "below" if self.spec.side == "low" else "above"
        return Finding(
            kind=self.spec.kind,
            priority="high" if severe else self.spec.priority,
            onset_ns=self._crossed.since_ns or 0,
            text=f"{self._quantity.name} {self._shown(value)}, {word} {self._shown(limit.limit)}",
            rule=RULE,
            value=value,
            limit=limit.limit,
        )

    def _shown(self, value: float) -> str:
        digits = 1 if self.spec.code == Code.TEMPERATURE else 0
        unit = self._unit if self._unit in {"%", "/min"} else f" {self._unit}"
        return f"{value:.{digits}f}{unit}"
