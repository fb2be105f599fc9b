"""Technical alarms: lead off, ECG that cannot be analysed, a silent device, a low battery."""

from collections import deque
from itertools import pairwise
from typing import Final

from vitalwire_edge.alarms.change import NS_PER_S, Ended, Finding, Hold, Verdict
from vitalwire_edge.alarms.config import TechnicalConfig
from vitalwire_edge.signal.chain import Beat, SignalSecond
from vitalwire_edge.wire.messages import Priority

LEAD_OFF: Final = "lead_off/1"
UNANALYSABLE: Final = "ecg_unanalysable/1"
SILENT: Final = "device_silent/1"
BATTERY: Final = "battery_low/1"

SECOND_NS: Final = NS_PER_S
READABLE_BEATS: Final = 6
READABLE_QUALITY: Final = 0.6


class LeadOffRule:
    """Electrodes off for some seconds. Medium priority: a patient whose ECG is gone is not watched."""

    def __init__(self, config: TechnicalConfig) -> None:
        self._config = config
        self._off = Hold()
        self._on = Hold()

    def on_second(self, second: SignalSecond, start_ns: int) -> Verdict:
        """Judge one second; only a second with signal is evidence that the lead is on again."""
        if second.lead_off:
            self._off.update(True, start_ns)
        elif second.valid:
            self._off.update(False, start_ns)
        self._on.update(second.valid, start_ns)
        return self.on_clock(start_ns + SECOND_NS)

    def on_clock(self, now_ns: int) -> Verdict:
        """Judge the state at now_ns."""
        if self._off.since_ns is not None:
            off_s = self._off.update(True, now_ns)
            if off_s < self._config.lead_off_s:
                return None
            return Finding(
                kind="lead_off",
                priority="medium",
                category="technical",
                onset_ns=self._off.since_ns,
                text=f"ECG lead off for {off_s:.0f} s",
                rule=LEAD_OFF,
                value=off_s,
                limit=self._config.lead_off_s,
            )
        if self._on.since_ns is not None and self._on.update(True, now_ns) >= self._config.lead_on_s:
            return Ended("ECG lead connected again")
        return None


class UnanalysableRule:
    """ECG that no rhythm can be read from, for 10 s.

    A bucket that fills by one each second that cannot be analysed and empties by one each other second: raised when it
    is full, ended when it is empty, so neither single bad seconds nor single good ones count. Seconds with the lead off
    have their own alarm, and a flat line with the lead on is asystole. A steady row of clear QRS complexes can be read
    even where the quality index is low.
    """

    def __init__(self, config: TechnicalConfig, *, is_open: bool) -> None:
        self._full = config.unanalysable_s
        self._clear_ns: deque[int] = deque(maxlen=READABLE_BEATS)
        self._level = self._full if is_open else 0.0
        self._onset_ns = 0

    def on_beat(self, beat: Beat, r_ns: int) -> None:
        """Take one beat."""
        if beat.quality >= READABLE_QUALITY:
            self._clear_ns.append(r_ns)
        else:
            self._clear_ns.clear()

    def reset(self) -> None:
        """Start anew: until now another alarm told what is wrong with the ECG."""
        self._level = 0.0

    def _is_readable(self, end_ns: int) -> bool:
        if len(self._clear_ns) < READABLE_BEATS or end_ns - self._clear_ns[-1] > 2 * NS_PER_S:
            return False
        intervals = [after - before for before, after in pairwise(self._clear_ns)]
        return max(intervals) < 2 * min(intervals)

    def on_second(self, second: SignalSecond, start_ns: int) -> Verdict:
        """Judge one second."""
        if second.lead_off:
            return None
        readable = second.analysable or second.flat or self._is_readable(start_ns + SECOND_NS)
        if second.valid and readable:
            self._level = max(0.0, self._level - 1)
            return Ended("ECG can be analysed again") if self._level == 0 else None
        if self._level == 0:
            self._onset_ns = start_ns
        self._level = min(self._full, self._level + 1)
        if self._level < self._full:
            return None
        return self.finding(self._onset_ns, "poor signal" if second.valid else "samples are missing")

    def finding(self, onset_ns: int, reason: str) -> Finding:
        """Return the alarm with its reason."""
        return Finding(
            kind="ecg_unanalysable",
            priority="medium",
            category="technical",
            onset_ns=onset_ns,
            text=f"ECG cannot be analysed for {self._full:g} s: {reason}",
            rule=UNANALYSABLE,
            value=self._full,
            limit=self._full,
        )


def silent_finding(config: TechnicalConfig, last_data_ns: int, now_ns: int) -> Finding | None:
    """Return the alarm of a device that sent nothing since last_data_ns, or None while that is not long."""
    silent_s = (now_ns - last_data_ns) / NS_PER_S
    if silent_s < config.silent_s:
        return None
    return Finding(
        kind="device_silent",
        priority="medium",
        category="technical",
        onset_ns=last_data_ns,
        text=f"No data from the device for {silent_s:.0f} s",
        rule=SILENT,
        value=silent_s,
        limit=config.silent_s,
    )


def battery_verdict(config: TechnicalConfig, percent: int, time_ns: int) -> Verdict:
    """Judge a battery level; between the two limits nothing changes."""
    if percent >= config.battery_ok_percent:
        return Ended(f"Battery {percent}%")
    if percent > config.battery_low_percent:
        return None
    priority: Priority = "medium" if percent <= config.battery_low_percent // 3 else "low"
    return Finding(
        kind="battery_low",
        priority=priority,
        category="technical",
        onset_ns=time_ns,
        text=f"Battery {percent}%, at or below {config.battery_low_percent}%",
        rule=BATTERY,
        value=float(percent),
        limit=float(config.battery_low_percent),
    )
