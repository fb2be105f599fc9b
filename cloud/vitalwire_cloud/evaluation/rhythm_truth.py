"""What the annotators of a recording say about its rhythms, and which alarms that bears out."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.evaluation.records import PACED, Recorded
from vitalwire_edge.alarms import AlarmChange
from vitalwire_edge.alarms.config import RateConfig

VF: Final = "ventricular_fibrillation"
VT: Final = "ventricular_tachycardia"
AF: Final = "atrial_fibrillation"
UNANALYSABLE: Final = "ecg_unanalysable"
SLACK_S: Final = 3.0
RUN_BEATS: Final = 5
RUN_PER_MIN: Final = 100.0
PAUSE_S: Final = 3.5
_JOINED_S: Final = 30.0
_NS: Final = 1_000_000_000

TOLERANCE: Final = 0.1
TOLERANCE_PER_MIN: Final = 5.0
"""A heart rate may be off by 10 % or 5/min, whichever is greater (ANSI/AAMI EC13, IEC 60601-2-27: accuracy)."""

FAST_MEAN, SLOW_MEAN = 8, 4
"""Intervals that a rate is the mean of when it is fast and when it is slow: the gateway's disclosed method (EC13)."""

_WINDOW_S: Final = 10
_SHOWN: Final = 0.5
"""Share of the time an alarm speaks of in which what it says has to hold."""

_LIMITS: Final = RateConfig()
_FASTER: Final = {"tachycardia": _LIMITS.high, "extreme_tachycardia": _LIMITS.extreme_high}
_SLOWER: Final = {"bradycardia": _LIMITS.low, "extreme_bradycardia": _LIMITS.extreme_low}

Spans = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Raised:
    """One alarm as the patient's time sees it, in seconds: since when, said when, and when it ended."""

    kind: str
    priority: str
    onset_s: float
    at_s: float
    end_s: float

    def meets(self, span: tuple[float, float]) -> bool:
        """Whether it speaks of an episode: one that it was raised before is none of its, though it is open still."""
        start, end = span
        return self.onset_s <= end + SLACK_S and self.at_s >= start

    def hits(self, span: tuple[float, float]) -> bool:
        """Whether it speaks of an episode, and was raised before that was over."""
        return self.meets(span) and self.at_s <= span[1] + SLACK_S

    def overlaps(self, span: tuple[float, float]) -> bool:
        """Whether it was open during an episode and raised before that was over: EC57's overlap of episodes."""
        start, end = span
        return self.onset_s <= end and self.end_s >= start and self.at_s <= end + SLACK_S


def raised(changes: list[AlarmChange], end_s: float) -> list[Raised]:
    """Pair raised and cleared; an alarm that never cleared lasts to the end."""
    cleared = {c.alarm_id: c.at_ns / _NS for c in changes if c.phase == "cleared"}
    return [
        Raised(c.kind, c.priority, c.onset_ns / _NS, c.at_ns / _NS, cleared.get(c.alarm_id, end_s))
        for c in changes
        if c.phase == "raised"
    ]


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of one recording.

    Attributes:
        spans: in seconds, by kind of episode.
        beats_s: the time of every beat.
        length_s: of the recording.
        sinus: (seconds,) annotated as sinus rhythm.
        noisy: (seconds,) the annotators call the lead noisy or unreadable.
        wrong_rate: (seconds,) the heart rate of the detected beats is wrong.
        paced: a pacemaker's rhythm.

    """

    spans: dict[str, Spans]
    beats_s: NDArray[np.float64]
    length_s: float
    sinus: NDArray[np.bool_]
    noisy: NDArray[np.bool_]
    wrong_rate: NDArray[np.bool_]
    paced: bool = False

    def marks(self, spans: Spans) -> NDArray[np.bool_]:
        """Seconds that the spans cover."""
        out = np.zeros(round(self.length_s), dtype=np.bool_)
        for start, end in spans:
            out[max(0, round(start)) : max(0, round(end))] = True
        return out

    def mask(self, kind: str) -> NDArray[np.bool_]:
        """Seconds of one kind of episode."""
        return self.marks(self.spans[kind])

    def rate_at(self, at_s: float, intervals: int) -> float:
        """Rate of the annotated beats at a time, the mean of some intervals; NaN with fewer before it.

        The interval that is running counts once it is longer than that mean.
        """
        before = self.beats_s[: np.searchsorted(self.beats_s, at_s, side="right")]
        if before.size <= intervals:
            return float("nan")
        last = np.diff(before[-intervals - 1 :])
        running = at_s - before[-1]
        if running > last.mean():
            last = np.append(last[1:], running)
        return float(60 / last.mean())

    def bears_out(self, alarm: Raised) -> bool | None:
        """Whether the annotations bear an alarm out; None where they do not tell.

        Flutter and fast ventricular runs vouch for each other: both are to be shocked. Atrial fibrillation is not
        judged on paced records.
        """
        match alarm.kind:
            case "ventricular_fibrillation" | "ventricular_tachycardia":
                return self._meets(alarm, VF, VT)
            case "atrial_fibrillation":
                return None if self.paced else self._meets(alarm, AF)
            case "tachycardia" | "extreme_tachycardia":
                return self._is_beyond(alarm, _FASTER[alarm.kind], 1) or self._meets(alarm, VF)
            case "bradycardia" | "extreme_bradycardia":
                return self._is_beyond(alarm, _SLOWER[alarm.kind], -1)
            case "asystole":
                return self._has_pause(alarm)
            case "ecg_unanalysable":
                start = int(alarm.onset_s)
                said = (self.noisy | self.wrong_rate)[start : max(start + 1, int(alarm.at_s))]
                return bool(said.mean() >= _SHOWN) if said.size else None
            case _:
                return None

    def _meets(self, alarm: Raised, *kinds: str) -> bool:
        return any(alarm.meets(span) for kind in kinds for span in self.spans[kind])

    def _is_beyond(self, alarm: Raised, limit: float, side: int) -> bool:
        """Whether the rate was beyond a limit, within the tolerance, for most of the time that the alarm speaks of."""
        reach = limit - side * max(TOLERANCE * limit, TOLERANCE_PER_MIN)
        times = np.arange(alarm.onset_s, alarm.at_s + 0.25, 0.5)
        rates = np.array([self.rate_at(float(at), FAST_MEAN if side > 0 else SLOW_MEAN) for at in times])
        return bool((side * (rates - reach) > 0).mean() >= _SHOWN)

    def _has_pause(self, alarm: Raised) -> bool:
        """Whether it speaks of a pause between two beats; flutter has no annotated beats and is none."""
        for at in np.flatnonzero(np.diff(self.beats_s) >= PAUSE_S):
            start, end = float(self.beats_s[at]), float(self.beats_s[at + 1])
            flutters = any(start < last and first < end for first, last in self.spans[VF])
            if not flutters and start <= alarm.at_s <= end + 1:
                return True
        return False


def truth_of(record: Recorded, detected_s: NDArray[np.float64]) -> Truth:
    """Spans of flutter, of ventricular runs (at least 5 beats above 100/min) and of atrial fibrillation.

    Args:
        record: with its annotations.
        detected_s: times of the beats that were detected in it.

    """
    at = record.sample / record.fs_hz
    length_s = round(record.length_s)
    rhythms = [(float(t), text) for t, text, y in zip(at, record.aux, record.symbol, strict=True) if y == "+"]
    ends = [t for t, _ in rhythms[1:]] + [record.length_s]
    sinus = np.zeros(length_s, dtype=np.bool_)
    fibrillation: Spans = []
    for (start, name), end in zip(rhythms, ends, strict=True):
        if name == "(N":
            sinus[round(start) : round(end)] = True
        if name in {"(AFIB", "(AFL"}:
            joined = bool(fibrillation) and start - fibrillation[-1][1] < _JOINED_S
            fibrillation.append((fibrillation.pop()[0] if joined else start, end))
    beats_s = at[record.is_beat]
    noisy = np.zeros(length_s, dtype=np.bool_)
    for first, last in record.noise:
        noisy[int(first / record.fs_hz) : round(last / record.fs_hz)] = True
    spans = {
        VF: [(start / record.fs_hz, end / record.fs_hz) for start, end in record.flutter],
        VT: ventricular_runs(beats_s, record.symbol[record.is_beat]),
        AF: fibrillation,
    }
    wrong = rate_is_wrong(beats_s, detected_s, length_s)
    return Truth(spans, beats_s, record.length_s, sinus, noisy, wrong, paced=record.name in PACED)


def rate_is_wrong(
    beats_s: NDArray[np.float64], detected_s: NDArray[np.float64], length_s: int
) -> NDArray[np.bool_]:
    """Seconds at whose end the rate of the 10 s before, of the detected beats, is off by more than the tolerance.

    Where too few beats are annotated to tell a rate, as in flutter, nothing is wrong.
    """
    true, shown = (
        np.array([_rate(times, end) for end in range(1, length_s + 1)]) for times in (beats_s, detected_s)
    )
    off = np.abs(np.nan_to_num(shown) - true) > np.maximum(TOLERANCE * true, TOLERANCE_PER_MIN)
    wrong: NDArray[np.bool_] = ~np.isnan(true) & off
    return wrong


def _rate(times_s: NDArray[np.float64], end_s: float) -> float:
    first, last = np.searchsorted(times_s, (end_s - _WINDOW_S, end_s))
    if last - first <= SLOW_MEAN:
        return float("nan")
    return float(60 * (last - first - 1) / (times_s[last - 1] - times_s[first]))


def ventricular_runs(at_s: NDArray[np.float64], symbol: NDArray[np.str_]) -> Spans:
    """Runs of at least 5 ventricular beats above 100/min.

    A fusion beat between two of them does not end a run: it is partly ventricular, a supraventricular impulse that met
    the tachycardia is a sign of it, and EC57 lets `F` count as either.
    """
    ventricular = np.isin(symbol, ["V", "E"])
    fused = np.flatnonzero(symbol[1:-1] == "F") + 1
    within = ventricular.copy()
    within[[i for i in fused if ventricular[i - 1] and ventricular[i + 1]]] = True
    edges = np.flatnonzero(np.diff(np.concatenate(([0], within.astype(np.int8), [0]))))
    runs = zip(edges[::2], edges[1::2] - 1, strict=True)
    return [
        (float(at_s[first]), float(at_s[last]))
        for first, last in runs
        if last - first + 1 >= RUN_BEATS and 60 * (last - first) / (at_s[last] - at_s[first]) >= RUN_PER_MIN
    ]
