"""What the annotators of a recording say about its rhythms, and which alarms that bears out."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.evaluation.records import Recorded
from vitalwire_edge.alarms import AlarmChange

VF: Final = "ventricular_fibrillation"
VT: Final = "ventricular_tachycardia"
AF: Final = "atrial_fibrillation"
SLACK_S: Final = 3.0
RUN_BEATS: Final = 5
RUN_PER_MIN: Final = 100.0
_JOINED_S: Final = 30.0
_NS: Final = 1_000_000_000

Spans = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Raised:
    """One alarm as the patient's time sees it, in seconds."""

    kind: str
    onset_s: float
    at_s: float
    end_s: float

    def hits(self, span: tuple[float, float]) -> bool:
        """Whether it was raised for, or was already open at the start of, an episode."""
        start, end = span
        return self.onset_s <= end and self.end_s >= start and self.at_s <= end + SLACK_S


def raised(changes: list[AlarmChange], end_s: float) -> list[Raised]:
    """Pair raised and cleared; an alarm that never cleared lasts to the end."""
    cleared = {c.alarm_id: c.at_ns / _NS for c in changes if c.phase == "cleared"}
    return [
        Raised(c.kind, c.onset_ns / _NS, c.at_ns / _NS, cleared.get(c.alarm_id, end_s))
        for c in changes
        if c.phase == "raised"
    ]


@dataclass(frozen=True, slots=True)
class Truth:
    """Spans per kind in seconds, the time of every beat, and the seconds annotated as sinus rhythm."""

    spans: dict[str, Spans]
    beats_s: NDArray[np.float64]
    length_s: float
    sinus: NDArray[np.bool_]

    def marks(self, spans: Spans) -> NDArray[np.bool_]:
        """Seconds that the spans cover."""
        out = np.zeros(round(self.length_s), dtype=np.bool_)
        for start, end in spans:
            out[max(0, round(start)) : max(0, round(end))] = True
        return out

    def mask(self, kind: str) -> NDArray[np.bool_]:
        """Seconds of one kind of episode."""
        return self.marks(self.spans[kind])

    def rate_at(self, from_s: float, to_s: float) -> float:
        """Mean rate of the annotated beats in a span; NaN with fewer than five."""
        inside = np.flatnonzero((self.beats_s >= from_s) & (self.beats_s <= to_s))
        if inside.size < RUN_BEATS:
            return float("nan")
        return float(60 * (inside.size - 1) / (self.beats_s[inside[-1]] - self.beats_s[inside[0]]))

    def bears_out(self, alarm: Raised) -> bool:
        """Whether the annotations bear the alarm out; flutter and fast ventricular runs vouch for each other."""
        ventricular = self.spans[VF] + self.spans[VT]
        rate = self.rate_at(alarm.onset_s - 8, alarm.at_s + 1)
        match alarm.kind:
            case "ventricular_fibrillation" | "ventricular_tachycardia":
                return _meets(alarm, ventricular)
            case "atrial_fibrillation":
                return _meets(alarm, self.spans[AF])
            case "extreme_tachycardia":
                return rate > 125 or _meets(alarm, ventricular)
            case "tachycardia":
                return rate > 110 or _meets(alarm, ventricular)
            case "bradycardia":
                return rate < 55
            case "extreme_bradycardia":
                return rate < 44
            case "asystole":
                gaps = np.flatnonzero(np.diff(self.beats_s) >= 3.5)
                return any(self.beats_s[i] <= alarm.at_s <= self.beats_s[i + 1] + 1 for i in gaps)
            case _:
                return False


def truth_of(record: Recorded) -> Truth:
    """Spans of flutter, of ventricular runs (at least 5 beats above 100/min) and of atrial fibrillation."""
    at = record.sample / record.fs_hz
    rhythms = [(float(t), text) for t, text, y in zip(at, record.aux, record.symbol, strict=True) if y == "+"]
    ends = [t for t, _ in rhythms[1:]] + [record.length_s]
    sinus = np.zeros(round(record.length_s), dtype=np.bool_)
    fibrillation: Spans = []
    for (start, name), end in zip(rhythms, ends, strict=True):
        if name == "(N":
            sinus[round(start) : round(end)] = True
        if name in {"(AFIB", "(AFL"}:
            joined = bool(fibrillation) and start - fibrillation[-1][1] < _JOINED_S
            fibrillation.append((fibrillation.pop()[0] if joined else start, end))
    spans = {
        VF: [(start / record.fs_hz, end / record.fs_hz) for start, end in record.flutter],
        VT: _runs(at[record.is_beat], record.symbol[record.is_beat]),
        AF: fibrillation,
    }
    return Truth(spans, at[record.is_beat], record.length_s, sinus)


def _runs(at: NDArray[np.float64], symbol: NDArray[np.str_]) -> Spans:
    ventricular = np.isin(symbol, ["V", "E"])
    edges = np.flatnonzero(np.diff(np.concatenate(([0], ventricular.astype(np.int8), [0]))))
    runs = zip(edges[::2], edges[1::2] - 1, strict=True)
    return [
        (float(at[first]), float(at[last]))
        for first, last in runs
        if last - first + 1 >= RUN_BEATS and 60 * (last - first) / (at[last] - at[first]) >= RUN_PER_MIN
    ]


def _meets(alarm: Raised, spans: Spans) -> bool:
    return any(alarm.onset_s <= end + SLACK_S and alarm.end_s >= start for start, end in spans)
