"""Heart rate from beats, and its four limits: tachycardia, bradycardia and their extremes."""

from collections import deque
from typing import Final, Literal

from vitalwire_edge.alarms.change import NS_PER_S, Ended, Finding, Hold, Kind, Verdict
from vitalwire_edge.alarms.config import RateConfig
from vitalwire_edge.wire.messages import Priority

RULE: Final = "heart_rate/1"
LONG_MEAN: Final = 8
SHORT_MEAN: Final = 4
SHORT_MEAN_BELOW: Final = 50.0
STALE_S: Final = 8.0
PAUSE_S: Final = 4.0
"""An interval this long has its own alarm; a mean over it says nothing about the rate after it."""

SHORTEST_S: Final = 0.24
"""Ventricles do not answer sooner: 250/min is the highest rate that IEC 60601-2-27 asks a monitor to show."""

UNEVEN: Final = 2.0


class HeartRate:
    """Heart rate as the mean of the last RR intervals.

    8 intervals, or 4 when they are slower than 50/min, so that a slow rate is known in time (EC13 asks for the method
    to be disclosed; most monitors average 12 and 4). At 8, an ectopic beat with its pause changes little.

    Two detections nearer than `SHORTEST_S` between intervals of twice that or more are one beat: a P wave and its QRS,
    or a QRS and its T wave, which would otherwise count twice. Where short follows short, every one counts.
    """

    def __init__(self) -> None:
        self._rr_s: deque[float] = deque(maxlen=LONG_MEAN)
        self._last_ns: int | None = None
        self._held_s = 0.0
        self._skipped_s = 0.0

    def skip(self, rr_s: float) -> None:
        """Pass over a detection that is no QRS complex: the interval goes on."""
        self._skipped_s += rr_s

    def add(self, rr_s: float, r_ns: int) -> None:
        """Take a beat; rr_s is NaN after a gap, which starts anew, and so does a pause that is asystole."""
        rr_s, self._skipped_s = rr_s + self._skipped_s, 0.0
        held_s, self._held_s = self._held_s, 0.0
        if not rr_s < PAUSE_S:
            self._rr_s.clear()
        elif not held_s and rr_s < SHORTEST_S and self._rr_s and self._rr_s[-1] >= UNEVEN * rr_s:
            self._held_s = rr_s
        elif held_s and rr_s >= UNEVEN * held_s:
            self._rr_s.append(held_s + rr_s)
        else:
            self._rr_s.extend((held_s, rr_s) if held_s else (rr_s,))
        self._last_ns = r_ns

    def clear(self) -> None:
        """Forget everything: the lead was off."""
        self._rr_s.clear()
        self._held_s = self._skipped_s = 0.0
        self._last_ns = None

    def at(self, now_ns: int) -> float | None:
        """Rate in beats a minute at now_ns; None without enough recent beats.

        The interval that is still running counts once it is longer than the mean, so a slowing heart is seen early.
        """
        if self._last_ns is None or len(self._rr_s) < SHORT_MEAN:
            return None
        running_s = (now_ns - self._last_ns) / NS_PER_S
        if running_s > STALE_S:
            return None
        intervals = list(self._rr_s)
        last = intervals[-SHORT_MEAN:]
        if running_s > sum(last) / SHORT_MEAN:
            last = [*last[1:], running_s]
        slow = 60.0 * SHORT_MEAN / sum(last)
        if slow < SHORT_MEAN_BELOW:
            return slow
        if len(intervals) < LONG_MEAN:
            return None
        return 60.0 * len(intervals) / sum(intervals)


class RateRule:
    """One heart rate limit."""

    def __init__(
        self, kind: Kind, side: Literal["low", "high"], limit: float, priority: Priority, config: RateConfig
    ) -> None:
        self.kind = kind
        self._limit = limit
        self._priority: Priority = priority
        self._config = config
        self._sign = 1.0 if side == "high" else -1.0
        self._beyond = Hold()
        self._inside = Hold()

    def update(self, rate: float | None, now_ns: int, *, trusted: bool) -> Verdict:
        """Judge the rate of now_ns; without one the delays start anew and nothing ends."""
        config = self._config
        beyond = rate is not None and self._sign * (rate - self._limit) > 0
        inside = rate is not None and self._sign * (rate - self._limit) <= -config.hysteresis
        held = self._beyond.update(beyond, now_ns)
        recovered = self._inside.update(inside, now_ns)
        if self._priority == "high":
            delay_s = config.extreme_delay_s if trusted else config.poor_quality_delay_s
        else:
            delay_s = config.delay_s
        if rate is not None and beyond and held >= delay_s:
            word = "above" if self._sign > 0 else "below"
            return Finding(
                kind=self.kind,
                priority=self._priority,
                onset_ns=self._beyond.since_ns or now_ns,
                text=f"Heart rate {rate:.0f}/min, {word} {self._limit:g}/min",
                rule=RULE,
                value=rate,
                limit=self._limit,
            )
        if rate is not None and inside and recovered >= config.recovered_s:
            return Ended(f"Heart rate {rate:.0f}/min: back within the limit")
        return None


def rate_rules(config: RateConfig) -> tuple[RateRule, ...]:
    """Return the four limits, the extremes first."""
    return (
        RateRule("extreme_tachycardia", "high", config.extreme_high, "high", config),
        RateRule("extreme_bradycardia", "low", config.extreme_low, "high", config),
        RateRule("tachycardia", "high", config.high, "medium", config),
        RateRule("bradycardia", "low", config.low, "medium", config),
    )
