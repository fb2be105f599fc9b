"""The alarm engine of one device: feeds every rule and keeps the open alarms."""

from collections.abc import Iterable
from dataclasses import replace
from math import isfinite
from typing import Final

from vitalwire_edge.alarms.change import (
    NS_PER_S,
    PULSE_PRESENT,
    AlarmChange,
    AlarmRegister,
    Ended,
    Finding,
    Kind,
    Verdict,
)
from vitalwire_edge.alarms.config import AlarmConfig, Paced
from vitalwire_edge.alarms.fibrillation import AtrialFibrillationRule
from vitalwire_edge.alarms.lethal import (
    AsystoleRule,
    VentricularFibrillationRule,
    VentricularTachycardiaRule,
)
from vitalwire_edge.alarms.limits import LimitRule, limit_specs
from vitalwire_edge.alarms.news2 import News2, News2Rule, StaffEntries, observe
from vitalwire_edge.alarms.rates import HeartRate, rate_rules
from vitalwire_edge.alarms.technical import LeadOffRule, UnanalysableRule, battery_verdict, silent_finding
from vitalwire_edge.signal.chain import Beat, SignalSecond
from vitalwire_edge.signal.vitals import VitalsWindow
from vitalwire_edge.wire.codes import VITALS, Code, ValueStatus

_PULSELESS: Final[frozenset[Kind]] = frozenset(
    ("asystole", "ventricular_fibrillation", "ventricular_tachycardia", "extreme_bradycardia")
)
_COVERED_BY: Final[dict[Kind, tuple[Kind, ...]]] = {
    "ventricular_tachycardia": ("ventricular_fibrillation",),
    "extreme_tachycardia": ("ventricular_fibrillation", "ventricular_tachycardia"),
    "tachycardia": ("ventricular_fibrillation", "ventricular_tachycardia", "extreme_tachycardia"),
    "extreme_bradycardia": ("asystole", "ventricular_fibrillation"),
    "bradycardia": ("asystole", "ventricular_fibrillation", "extreme_bradycardia"),
    "atrial_fibrillation": ("asystole", "ventricular_fibrillation", "ventricular_tachycardia"),
    "ecg_unanalysable": ("asystole", "ventricular_fibrillation", "ventricular_tachycardia", "device_silent"),
}
"""An alarm is not raised beside one that says more about the same ECG; one that is open already stays."""

_DATA_AGAIN: Final = Ended("Data from the device again")
_ECG_GONE_S: Final = 5.0
_SCORE_EVERY_S: Final = 2.0


class AlarmEngine:
    """Every alarm rule of one device.

    Feed it in order of time: beats before the second that holds them, as the signal chain emits them. All times are UTC
    nanoseconds of the device's own time line. Each method returns what changed, at most one change per kind. Memory is
    bounded whatever is fed.

    Args:
        device: name of the device, for the owner of several engines.
        config: limits and durations.
        paced: the patient's pacemaker flag; it never suppresses a rule, it is noted beside rhythm alarms.
        open_alarms: what was open before a restart (from `open_alarms` or the spool): not raised again, and cleared
            when there is evidence that it is over.
        staff: the staff's entries for NEWS2.

    """

    def __init__(
        self,
        *,
        device: str,
        config: AlarmConfig,
        paced: Paced = "unknown",
        open_alarms: Iterable[AlarmChange] = (),
        staff: StaffEntries | None = None,
    ) -> None:
        self.device = device
        self.staff = StaffEntries() if staff is None else staff
        self.paced: Paced = paced
        self._config = config
        self._register = register = AlarmRegister(open_alarms)
        self._asystole = AsystoleRule(config.asystole)
        self._vf = VentricularFibrillationRule(config.ventricular_fibrillation)
        self._vt = VentricularTachycardiaRule(
            config.ventricular_tachycardia, before=register.get("ventricular_tachycardia")
        )
        self._af = AtrialFibrillationRule(config.atrial_fibrillation)
        self._heart = HeartRate()
        self._rates = rate_rules(config.rate)
        self._limits = tuple(LimitRule(spec) for spec in limit_specs(config.limits))
        self._news2 = News2Rule(config.news2, before=register.get("news2"))
        self._lead_off = LeadOffRule(config.technical)
        self._unanalysable = UnanalysableRule(config.technical, is_open="ecg_unanalysable" in register)
        self._window = VitalsWindow()
        self._ecg_rate = VitalsWindow()
        self._heard_ns: dict[Code, int] = {}
        self._data_ns: int | None = None
        self._ecg_ns: int | None = None
        self._pulse_ns: int | None = None
        self._scored_ns: int | None = None
        self._scored: tuple[int, News2] | None = None
        self._late_readings = 0

    @property
    def news2(self) -> News2 | None:
        """The score computed last; None before the first."""
        return None if self._scored is None else self._scored[1]

    @property
    def scored(self) -> tuple[int, News2] | None:
        """The score computed last and when, on the device's time line; both of one moment for any thread."""
        return self._scored

    @property
    def late_readings(self) -> int:
        """How many readings and seconds were dropped because they were older than the one before."""
        return self._late_readings

    def open_alarms(self) -> tuple[AlarmChange, ...]:
        """Return the last change of every open alarm, oldest first, for the spool and after a restart."""
        return self._register.open_alarms()

    def on_beat(self, beat: Beat, r_ns: int) -> list[AlarmChange]:
        """Take one beat with the time of its R peak."""
        changes = self._alive(r_ns)
        if not self._asystole.on_beat(beat, r_ns):
            if self._asystole.has_swing(beat):
                self._heart.add(beat.rr_s, r_ns)
            else:
                self._heart.skip(beat.rr_s)
            return changes
        self._heart.add(beat.rr_s, r_ns)
        self._unanalysable.on_beat(beat, r_ns)
        changes += self._apply("ventricular_tachycardia", self._vt.on_beat(beat, r_ns), r_ns)
        changes += self._apply("atrial_fibrillation", self._af.on_beat(beat, r_ns), r_ns)
        return changes

    def on_second(self, second: SignalSecond, start_ns: int) -> list[AlarmChange]:
        """Take one second of ECG with the time of its first sample."""
        end_ns = start_ns + NS_PER_S
        if self._ecg_ns is not None and end_ns <= self._ecg_ns - NS_PER_S // 2:
            self._late_readings += 1
            return []
        changes = self._alive(end_ns) if second.valid or second.lead_off else []
        self._ecg_ns = end_ns = end_ns if self._ecg_ns is None else max(end_ns, self._ecg_ns)
        changes += self._apply("asystole", self._asystole.on_second(second, start_ns), end_ns)
        run = "ventricular_tachycardia" in self._register
        fibrillation = self._vf.on_second(second, start_ns, tachycardia=run)
        changes += self._apply("ventricular_fibrillation", fibrillation, end_ns)
        changes += self._apply("lead_off", self._lead_off.on_second(second, start_ns), end_ns)
        if self._is_covered("ecg_unanalysable"):
            self._unanalysable.reset()
        changes += self._apply("ecg_unanalysable", self._unanalysable.on_second(second, start_ns), end_ns)
        if second.lead_off:
            self._heart.clear()
        elif second.valid:
            rate = self._heart.at(end_ns)
            changes += self._judge_rate(rate, end_ns, trusted=second.analysable)
            if rate is not None and second.analysable:
                self._ecg_rate.add(end_ns, Code.HEART_RATE, rate)
        return changes + self._judge_score(end_ns)

    def on_vitals(
        self, time_ns: int, readings: Iterable[tuple[Code, float, ValueStatus]]
    ) -> list[AlarmChange]:
        """Take the numbers of one instant; codes that are no numeric vital are ignored."""
        changes = self._alive(time_ns)
        for code, value, status in readings:
            if code in VITALS:
                changes += self._take_reading(time_ns, code, value, status)
        return changes + self._judge_score(time_ns)

    def on_status(self, time_ns: int, battery_percent: int | None) -> list[AlarmChange]:
        """Take the device's own state; None where it does not know its battery."""
        changes = self._alive(time_ns)
        if battery_percent is None:
            return changes
        return changes + self._apply(
            "battery_low", battery_verdict(self._config.technical, battery_percent, time_ns), time_ns
        )

    def on_clock(self, now_ns: int) -> list[AlarmChange]:
        """Tell the time, about once a second, so that what is missing is noticed."""
        if self._data_ns is None:
            self._data_ns = now_ns
        changes = self._apply("lead_off", self._lead_off.on_clock(now_ns), now_ns)
        silent = silent_finding(self._config.technical, self._data_ns, now_ns)
        changes += self._apply("device_silent", silent, now_ns)
        limit_ns = int((self._config.technical.unanalysable_s + _ECG_GONE_S) * NS_PER_S)
        gone = self._ecg_ns is not None and now_ns - self._ecg_ns >= limit_ns
        if gone and self._ecg_ns is not None and "lead_off" not in self._register:
            found = self._unanalysable.finding(self._ecg_ns, "no ECG arrives")
            changes += self._apply("ecg_unanalysable", found, now_ns)
        return changes

    def _alive(self, time_ns: int) -> list[AlarmChange]:
        """Note that there is data up to time_ns."""
        self._data_ns = time_ns if self._data_ns is None else max(self._data_ns, time_ns)
        return self._apply("device_silent", _DATA_AGAIN, time_ns)

    def _take_reading(self, time_ns: int, code: Code, value: float, status: ValueStatus) -> list[AlarmChange]:
        last_ns = self._heard_ns.get(code)
        if last_ns is not None and time_ns < last_ns:
            self._late_readings += 1
            return []
        self._heard_ns[code] = time_ns
        usable = self._window.add(time_ns, code, value, status)
        changes: list[AlarmChange] = []
        for rule in self._limits:
            if rule.spec.code != code:
                continue
            if usable:
                changes += self._apply(rule.spec.kind, rule.update(value, status, time_ns), time_ns)
            else:
                rule.interrupt()
        if not usable:
            return changes
        if code == Code.PULSE_RATE and value > 0:
            self._pulse_ns = time_ns
        if self._ecg_is_gone(time_ns) and code == self._rate_source(time_ns):
            changes += self._judge_rate(value, time_ns, trusted=status == ValueStatus.OK)
        return changes

    def _judge_rate(self, rate: float | None, at_ns: int, *, trusted: bool) -> list[AlarmChange]:
        changes: list[AlarmChange] = []
        for rule in self._rates:
            known = None if self._is_covered(rule.kind) else rate
            changes += self._apply(rule.kind, rule.update(known, at_ns, trusted=trusted), at_ns)
        return changes

    def _judge_score(self, now_ns: int) -> list[AlarmChange]:
        if not self._config.news2.enabled:
            return []
        if self._scored_ns is not None and 0 <= now_ns - self._scored_ns < _SCORE_EVERY_S * NS_PER_S:
            return []
        self._scored_ns = now_ns
        seen = observe(
            self._window, self._ecg_rate, self.staff, now_ns, min_data_s=self._config.news2.min_data_s
        )
        verdict = self._news2.update(seen, now_ns)
        if self._news2.score is not None:
            self._scored = (now_ns, self._news2.score)
        return self._apply("news2", verdict, now_ns)

    def _ecg_is_gone(self, time_ns: int) -> bool:
        """Whether no ECG rate is to be had, so that the device's own number has to do."""
        if self._ecg_ns is None or time_ns - self._ecg_ns > _ECG_GONE_S * NS_PER_S:
            return True
        return self._heart.at(time_ns) is None and "asystole" not in self._register

    def _rate_source(self, time_ns: int) -> Code:
        heard_ns = self._heard_ns.get(Code.HEART_RATE)
        fresh = heard_ns is not None and time_ns - heard_ns < _ECG_GONE_S * NS_PER_S
        return Code.HEART_RATE if fresh else Code.PULSE_RATE

    def _apply(self, kind: Kind, verdict: Verdict, at_ns: int) -> list[AlarmChange]:
        if verdict is None:
            return []
        if isinstance(verdict, Finding):
            if kind not in self._register and any(
                other in self._register for other in _COVERED_BY.get(kind, ())
            ):
                return []
            notes = verdict.notes
            if kind in _PULSELESS and self._has_pulse(at_ns):
                notes = (*notes, PULSE_PRESENT)
            if kind in _PULSELESS and self.paced == "yes":
                notes = (*notes, "paced patient")
            value = verdict.value if verdict.value is not None and isfinite(verdict.value) else None
            verdict = replace(verdict, notes=notes, value=value)
        return self._register.apply(kind, verdict, at_ns)

    def _is_covered(self, kind: Kind) -> bool:
        """Whether the alarm is not open and would say less than one that is."""
        return kind not in self._register and any(
            other in self._register for other in _COVERED_BY.get(kind, ())
        )

    def _has_pulse(self, at_ns: int) -> bool:
        return (
            self._pulse_ns is not None and at_ns - self._pulse_ns <= self._config.pulse_present_s * NS_PER_S
        )
