"""Alerts within a budget per patient-hour, without labels (protocol P6).

The threshold follows the patient by online quantile tracking (Gibbs & Candes, "Adaptive conformal inference under
distribution shift", NeurIPS 2021): it rises with each alert and sinks slowly without, so that alerts come at the
budget's rate whatever the patient's scores are. A limiter on top holds in every window, not only on average. Rules for
lethal rhythms and NEWS2 do not pass through here.
"""

from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.inference.features import CONTEXT

ALERT_S: Final = 30.0
"""An alert covers this long from its first flagged beat and is never extended."""

HOUR_S: Final = 3600.0
SLACK: Final = 1.2

LIKE_CORRELATION: Final = 0.8
LIKE_MARGIN: Final = 4.0
"""Within a budget of a few alerts an hour beats of a strange QRS come first: one whose QRS is like the patient's
reference must score so much higher. Chosen once on labelled development patients (DS1); 3 to 5 serve alike."""

_CORRELATION: Final = CONTEXT.index("corr_qrs")
_LIKE: Final = float(np.arctanh(LIKE_CORRELATION))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def alert_scores(scores: NDArray[np.float64], context: NDArray[np.float32]) -> NDArray[np.float64]:
    """What scores (n,) of beats with context features (n, 18) count for an alert."""
    counted = scores.copy()
    for k in range(scores.size):
        if context[k, _CORRELATION] >= _LIKE:
            counted[k] -= LIKE_MARGIN
    return counted


def window_limit(budget_per_hour: float, window_s: float) -> int:
    """Most alerts allowed in any window of this length, up to an hour."""
    return ceil(SLACK * budget_per_hour * window_s / HOUR_S - 1e-9)


@dataclass(frozen=True, slots=True)
class Alert:
    """The model's alert: its first flagged beat's time, its score and the threshold that it exceeded."""

    at_s: float
    score: float
    threshold: float


class CalibrationState(msgspec.Struct, frozen=True):
    """A calibration between two beats, to be kept over a restart. Times are of the caller's own time line."""

    threshold: float
    floor: float
    last_s: float | None
    starts_s: tuple[float, ...]

    def later(self, seconds: float) -> "CalibrationState":
        """The same on a time line that is `seconds` ahead."""
        last_s = None if self.last_s is None else self.last_s + seconds
        starts_s = tuple(start + seconds for start in self.starts_s)
        return CalibrationState(self.threshold, self.floor, last_s, starts_s)


class AlertCalibration:
    """The alerts of one patient; `renewed` after a swap of models.

    Args:
        budget_per_hour: at most so many alerts per patient-hour, above 0.
        threshold: where to start, from the model.
        step: how far one alert lifts the threshold, in units of the score.

    """

    def __init__(self, *, budget_per_hour: float, threshold: float, step: float = 0.5) -> None:
        if budget_per_hour <= 0:
            raise ValueError(f"alert budget {budget_per_hour} per hour: give a number above 0")
        self._budget = budget_per_hour
        self._threshold = threshold
        self._floor = threshold
        self._step = step
        self._covered_until_s = float("-inf")
        self._last_s: float | None = None
        self._starts: deque[float] = deque(maxlen=window_limit(budget_per_hour, HOUR_S))

    @property
    def threshold(self) -> float:
        """The score that the next beat must exceed."""
        return self._threshold

    @property
    def state(self) -> CalibrationState:
        """What to keep over a restart."""
        return CalibrationState(self._threshold, self._floor, self._last_s, tuple(self._starts))

    @classmethod
    def restored(cls, state: CalibrationState, *, budget_per_hour: float) -> "AlertCalibration":
        """Go on where `state` was taken, with a budget that may be another one."""
        calibration = cls(budget_per_hour=budget_per_hour, threshold=state.floor)
        calibration._threshold = max(state.floor, state.threshold)
        calibration._last_s = state.last_s
        calibration._starts.extend(state.starts_s)
        if state.starts_s:
            calibration._covered_until_s = state.starts_s[-1] + ALERT_S
        return calibration

    def renewed(self, threshold: float) -> "AlertCalibration":
        """Begin anew with another model's scores; alerts of the past hour still count against the budget."""
        state = CalibrationState(threshold, threshold, self._last_s, tuple(self._starts))
        return self.restored(state, budget_per_hour=self._budget)

    def push(self, at_s: float, score: float) -> Alert | None:
        """Take a scored beat, in order of time; return the alert that it starts."""
        passed = 0.0 if self._last_s is None else max(0.0, at_s - self._last_s)
        self._last_s = at_s
        self._threshold = max(
            self._floor, self._threshold - self._step * self._budget * min(passed, HOUR_S) / HOUR_S
        )
        if at_s < self._covered_until_s or score <= self._threshold or not self._allowed(at_s):
            return None
        alert = Alert(at_s, score, self._threshold)
        self._threshold += self._step
        self._starts.append(at_s)
        self._covered_until_s = at_s + ALERT_S
        return alert

    def _allowed(self, at_s: float) -> bool:
        """Whether one more alert keeps every window that ends now within its limit.

        The n-th alert back and this one span a window whose limit must be at least n + 1; the shortest window that may
        hold n + 1 alerts is just above the longest that may hold n.
        """
        return all(
            at_s - start > _longest_window_s(self._budget, back)
            for back, start in enumerate(reversed(self._starts), start=1)
        )


def _longest_window_s(budget_per_hour: float, alerts: int) -> float:
    """Longest window, up to an hour, that may hold at most so many alerts."""
    return min(alerts * HOUR_S / (SLACK * budget_per_hour), HOUR_S)
