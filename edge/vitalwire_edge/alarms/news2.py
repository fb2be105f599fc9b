"""NEWS2: the National Early Warning Score 2 (Royal College of Physicians, London, 2017), and its alarm.

Adults only, not in pregnancy. A missing parameter makes the score incomplete ("at least N"), never zero and never low.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from typing import Final, Literal

from vitalwire_edge.alarms.change import AlarmChange, Ended, Finding, Hold, Verdict
from vitalwire_edge.alarms.config import News2Config
from vitalwire_edge.signal.vitals import SPOT_MAX_AGE_S, WINDOW_S, VitalsWindow
from vitalwire_edge.wire import messages
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import Priority

Consciousness = messages.Consciousness
Scale = messages.Spo2Scale
Band = messages.News2Band
Parameter = messages.News2Parameter
Entry = Literal["consciousness", "oxygen", "SpO2 scale"]

RULE: Final = "news2/1"
_WHOLE: Final = Decimal(1)
_TENTH: Final = Decimal("0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One set of NEWS2 parameters; None is not known.

    `respiration` and `pulse` in /min, `spo2` in %, `systolic` in mm[Hg], `temperature` in Cel; `oxygen`: breathing
    supplemental oxygen; `scale`: SpO2 scale 2 only where a clinician prescribed it (hypercapnic respiratory failure).
    `too_old` names what staff said so long ago that it counts as not said.
    """

    respiration: float | None = None
    spo2: float | None = None
    oxygen: bool | None = None
    systolic: float | None = None
    pulse: float | None = None
    consciousness: Consciousness | None = None
    temperature: float | None = None
    scale: Scale = 1
    too_old: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class News2:
    """A score.

    `total` is the sum of what is known: the score where `missing` is empty, else a lower bound. `band` follows the
    response table (0-4 low, a single 3 low-medium, 5-6 medium, 7 and more high); "incomplete" where the lower bound
    alone would be low. `too_old` names the staff's entries that count no more, `scale` is the SpO2 scale it used.
    """

    total: int
    points: dict[Parameter, int]
    missing: tuple[Parameter, ...]
    band: Band
    too_old: tuple[Entry, ...] = ()
    scale: Scale = 1

    @property
    def complete(self) -> bool:
        """Whether every parameter is known."""
        return not self.missing

    @property
    def text(self) -> str:
        """Return the score as staff reads it."""
        return worded(self.total, complete=self.complete)


def worded(total: int, *, complete: bool) -> str:
    """A total as staff reads it; an incomplete one is a lower bound and says so."""
    return f"NEWS2 {total}" if complete else f"NEWS2 incomplete, at least {total}"


def rounded(value: float, step: Decimal = _WHOLE) -> Decimal:
    """Round half up to whole units or to `step`, as a person reading the display does (20.5 -> 21, 35.05 -> 35.1)."""
    return Decimal(repr(float(value))).quantize(step, rounding=ROUND_HALF_UP)


def respiration_points(value: float) -> int:
    """Points of a respiration rate in /min."""
    rate = rounded(value)
    if rate <= 8 or rate >= 25:
        return 3
    if rate >= 21:
        return 2
    return 1 if rate <= 11 else 0


def spo2_points(value: float, scale: Scale, oxygen: bool | None) -> int:
    """Points of an oxygen saturation in %; with `oxygen` unknown on scale 2, the fewest it can be."""
    spo2 = rounded(value)
    if scale == 1:
        return 3 if spo2 <= 91 else 2 if spo2 <= 93 else 1 if spo2 <= 95 else 0
    if spo2 <= 92 or not oxygen:
        return 3 if spo2 <= 83 else 2 if spo2 <= 85 else 1 if spo2 <= 87 else 0
    return 1 if spo2 <= 94 else 2 if spo2 <= 96 else 3


def systolic_points(value: float) -> int:
    """Points of a systolic pressure in mm[Hg]."""
    pressure = rounded(value)
    if pressure <= 90 or pressure >= 220:
        return 3
    return 2 if pressure <= 100 else 1 if pressure <= 110 else 0


def pulse_points(value: float) -> int:
    """Points of a pulse in /min."""
    pulse = rounded(value)
    if pulse <= 40 or pulse >= 131:
        return 3
    if pulse >= 111:
        return 2
    return 1 if pulse <= 50 or pulse >= 91 else 0


def temperature_points(value: float) -> int:
    """Points of a temperature in Cel."""
    temperature = rounded(value, _TENTH)
    if temperature <= Decimal("35.0"):
        return 3
    if temperature <= Decimal("36.0"):
        return 1
    if temperature <= Decimal("38.0"):
        return 0
    return 1 if temperature <= Decimal("39.0") else 2


def band_of(total: int, *, single_three: bool, complete: bool) -> Band:
    """Response band of a total, after the table of thresholds and triggers."""
    if total >= 7:
        return "high"
    if total >= 5:
        return "medium"
    if single_three:
        return "low_medium"
    return "low" if complete else "incomplete"


def news2(observation: Observation) -> News2:
    """Score one observation."""
    o = observation
    scored: dict[Parameter, int | None] = {
        "respiration": _points(o.respiration, respiration_points),
        "spo2": None if o.spo2 is None else spo2_points(o.spo2, o.scale, o.oxygen),
        "oxygen": None if o.oxygen is None else 2 * o.oxygen,
        "systolic": _points(o.systolic, systolic_points),
        "pulse": _points(o.pulse, pulse_points),
        "consciousness": None if o.consciousness is None else 0 if o.consciousness == "alert" else 3,
        "temperature": _points(o.temperature, temperature_points),
    }
    points = {name: value for name, value in scored.items() if value is not None}
    missing = tuple(name for name, value in scored.items() if value is None)
    total = sum(points.values())
    band = band_of(total, single_three=3 in points.values(), complete=not missing)
    return News2(total=total, points=points, missing=missing, band=band, too_old=o.too_old, scale=o.scale)


def _points(value: float | None, table: Callable[[float], int]) -> int | None:
    return None if value is None else table(value)


@dataclass(frozen=True, slots=True)
class StaffEntry:
    """Something only a person can say: when it was seen, and until when it counts. Who said it stays in the cloud."""

    value: Consciousness | bool | Scale
    entered_ns: int
    expires_ns: int

    def valid_at(self, now_ns: int) -> bool:
        """Whether the entry counts at now_ns."""
        return self.entered_ns <= now_ns < self.expires_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffEntries:
    """The staff's part of NEWS2; an expired or absent entry is unknown, and the SpO2 scale is then scale 1."""

    consciousness: StaffEntry | None = None
    oxygen: StaffEntry | None = None
    scale: StaffEntry | None = None


def observe(
    window: VitalsWindow, ecg_rate: VitalsWindow, staff: StaffEntries, now_ns: int, *, min_data_s: float
) -> Observation:
    """Read an observation from 5-minute medians; a continuous vital counts once it has `min_data_s` of data.

    The pulse is the heart rate of the gateway's own beats (`ecg_rate`), else the device's heart rate, else the pulse
    rate of its pleth.
    """
    value = partial(_value, window, now_ns, min_data_s)
    rates = (
        _value(ecg_rate, now_ns, min_data_s, Code.HEART_RATE),
        value(Code.HEART_RATE),
        value(Code.PULSE_RATE),
    )
    consciousness, oxygen = _said(staff.consciousness, now_ns), _said(staff.oxygen, now_ns)
    said: dict[Entry, StaffEntry | None] = {
        "consciousness": staff.consciousness,
        "oxygen": staff.oxygen,
        "SpO2 scale": staff.scale,
    }
    return Observation(
        respiration=value(Code.RESPIRATION_RATE),
        spo2=value(Code.SPO2),
        oxygen=oxygen if isinstance(oxygen, bool) else None,
        systolic=value(Code.SYSTOLIC),
        pulse=next((rate for rate in rates if rate is not None), None),
        consciousness=consciousness if isinstance(consciousness, str) else None,
        temperature=value(Code.TEMPERATURE),
        scale=2 if _said(staff.scale, now_ns) == 2 else 1,
        too_old=tuple(name for name, entry in said.items() if entry and now_ns >= entry.expires_ns),
    )


def _value(source: VitalsWindow, now_ns: int, min_data_s: float, code: Code) -> float | None:
    summary = source.median(code, now_ns)
    enough = code in SPOT_MAX_AGE_S or summary.coverage * WINDOW_S >= min_data_s
    return summary.value if summary.usable and enough else None


def _said(entry: StaffEntry | None, now_ns: int) -> Consciousness | bool | Scale | None:
    return entry.value if entry is not None and entry.valid_at(now_ns) else None


_PRIORITY: Final[dict[Band, Priority]] = {"low_medium": "low", "medium": "medium", "high": "high"}
"""Response table to IEC 60601-1-8: emergency assessment is an immediate response (high), urgent response a prompt one
(medium), the ward review for a single 3 is awareness (low; what is extreme has its own limit alarm beside it)."""

_RESPONSE: Final[dict[Band, str]] = {
    "low_medium": "one parameter scores 3: urgent ward review",
    "medium": "urgent response",
    "high": "emergency response",
}
_LIMIT: Final[dict[Band, float]] = {"low_medium": 3.0, "medium": 5.0, "high": 7.0}


class News2Rule:
    """Follows the response band with delays, so that a value at a boundary does not make the alarm flap.

    It ends only on evidence: every parameter that had points must still be known.

    Args:
        config: delays.
        before: the alarm that was open before a restart.

    """

    def __init__(self, config: News2Config, before: AlarmChange | None = None) -> None:
        self._config = config
        self._rise = Hold()
        self._fall = Hold()
        self._level = 0 if before is None else {"low": 1, "medium": 2, "high": 3}[before.priority]
        self._scored = (
            frozenset(note.split()[0] for note in before.notes if note.split()) if before else frozenset()
        )
        self._observed: Observation | None = None
        self.score: News2 | None = None

    def update(self, observation: Observation, now_ns: int) -> Verdict:
        """Judge the observation of now_ns; call in order of time."""
        if observation != self._observed or self.score is None:
            self._observed, self.score = observation, news2(observation)
        score = self.score
        order: tuple[Band, ...] = ("low", "low_medium", "medium", "high")
        level = 0 if score.band == "incomplete" else order.index(score.band)
        rising = self._rise.update(level > self._level, now_ns)
        blind = bool(self._scored & set(score.missing))
        falling = self._fall.update(level < self._level and not blind, now_ns)
        rise_since, fall_since = self._rise.since_ns, self._fall.since_ns
        if rise_since is not None and rising >= self._config.rise_s:
            onset_ns = rise_since
        elif fall_since is not None and falling >= self._config.fall_s:
            onset_ns = fall_since
        else:
            return None
        self._level = level
        self._rise, self._fall = Hold(), Hold()
        self._scored = frozenset(name for name, points in score.points.items() if points)
        if level == 0:
            return Ended(f"{score.text}: below the alarm bands")
        return Finding(
            kind="news2",
            priority=_PRIORITY[score.band],
            onset_ns=onset_ns,
            text=f"{score.text}: {_RESPONSE[score.band]}",
            rule=RULE,
            value=float(score.total),
            limit=_LIMIT[score.band],
            notes=tuple(_notes(score)),
        )


def _notes(score: News2) -> Iterable[str]:
    for name, points in score.points.items():
        if points:
            yield f"{name} {points} points"
    if score.missing:
        yield f"unknown: {', '.join(score.missing)}"
    if score.too_old:
        yield f"said too long ago: {', '.join(score.too_old)}"
