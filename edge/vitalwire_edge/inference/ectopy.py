"""Ectopic beats by shape and timing, and how many of them a patient has.

A beat is *ventricular* where a linear score of its shape against the patient's reference beat (the shape features of
`features`), its width and its timing exceeds nought; it is *premature* where it has the patient's own shape but comes
early in an otherwise steady rhythm: a supraventricular ectopic beat as far as one lead tells. These are counts for a
trend, not alarms: ventricular runs have a lethal-rhythm rule of their own.

The weights were learned on the annotated beats of 22 MIT-BIH records (abnormal labels were used);
`vitalwire evaluate ectopy` measures by patient and learns them anew.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.inference.features import SHAPE_FEATURES, shape_features
from vitalwire_edge.signal.beats import Reference, in_own_scale

UNKNOWN, NORMAL, PREMATURE, VENTRICULAR = -1, 0, 1, 2

RHYTHM_HISTORY: Final = 21
"""Intervals, the newest included, whose median is the patient's own; so many a caller gives before its first beat."""

FEATURES: Final = SHAPE_FEATURES + 8

BIAS: Final = 0.02717
WEIGHTS: Final = (
    *(-0.2293, -0.2667, -0.09649, 0.1832, 0.07278, 0.1602, 0.2086, 0.0783, 0.1562, 0.4598, -0.05555, -0.6849),
    *(-0.3318, 0.833, -0.6151, -0.5882, 0.01327, 0.6907, 0.3307, -0.1372),
)

EARLY: Final = 0.85
STEADY: Final = 0.05
"""A beat is premature below this share of the patient's own interval, where half of the last twelve changes from
interval to interval are below this share of it: in atrial fibrillation nothing is early."""

_CHANGES: Final = 12
_HOUR_S: Final = 3600.0


def ectopy_features(
    windows_uv: NDArray[np.float32],
    width_ms: NDArray[np.float64],
    rr_before_s: NDArray[np.float64],
    rr_after_s: NDArray[np.float64],
    history: int,
    reference: Reference,
    reference_width_ms: float,
) -> NDArray[np.float64]:
    """Features of n beats: (n, 20); a row with NaN where something about the beat is not known.

    Args:
        windows_uv: (n, beats.WINDOW) as the chain cuts them; NaN where samples are missing.
        width_ms: (n,) QRS widths.
        rr_before_s: (history + n,) intervals that end at each beat, beginning `history` beats earlier.
        rr_after_s: (n,) intervals that follow.
        history: beats before the first row that `rr_before_s` holds.
        reference: the patient's reference beat.
        reference_width_ms: its QRS width.

    """
    n = windows_uv.shape[0]
    found = np.full((n, FEATURES), np.nan)
    whole = np.flatnonzero(np.isfinite(windows_uv).all(axis=1))
    own, spread = (
        np.repeat(in_own_scale(part, reference.scale_uv)[None], whole.size, axis=0)
        for part in (reference.beat_uv, reference.spread_uv)
    )
    beats = in_own_scale(windows_uv[whole], reference.scale_uv)
    found[whole, :SHAPE_FEATURES] = shape_features(beats, own, spread)
    _rhythm(rr_before_s, rr_after_s, history, found[:, SHAPE_FEATURES:])
    with np.errstate(divide="ignore", invalid="ignore"):
        found[:, SHAPE_FEATURES + 5] = np.log(width_ms / reference_width_ms)
        found[:, SHAPE_FEATURES + 6] = np.log(reference_width_ms / 100.0)
    return found


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _median_of_known(x: NDArray[np.float64], ordered: NDArray[np.float64]) -> float:
    """Return the median of what is finite in x; ordered is room for as much."""
    n = 0
    for value in x:
        if not np.isfinite(value):
            continue
        i = n
        while i > 0 and ordered[i - 1] > value:
            ordered[i] = ordered[i - 1]
            i -= 1
        ordered[i] = value
        n += 1
    return float(0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])) if n else np.nan


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _rhythm(
    rr: NDArray[np.float64], after: NDArray[np.float64], history: int, found: NDArray[np.float64]
) -> None:
    """Fill in log ratios of the intervals around each beat, how much the last ones vary, and last their own length."""
    room = np.empty(RHYTHM_HISTORY + 1)
    for k in range(rr.size - history):
        at = history + k
        own = _median_of_known(rr[max(0, at - RHYTHM_HISTORY + 1) : at + 1], room)
        deviation = _median_of_known(np.abs(rr[max(0, at - 10) : at + 1] - own), room)
        found[k, 0] = np.log(rr[at] / own)
        found[k, 1] = np.log(after[k] / own)
        found[k, 2] = np.log(rr[at] / after[k])
        found[k, 3] = np.log(rr[at] / rr[at - 1]) if at > 0 else np.nan
        found[k, 4] = np.log(deviation / own + 0.01)
        found[k, 7] = np.log(own)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _changes(rr: NDArray[np.float64], history: int) -> NDArray[np.float64]:
    """Return the median of the last `_CHANGES` changes from interval to interval at each beat."""
    found = np.empty(rr.size - history)
    room = np.empty(_CHANGES + 1)
    step = np.abs(rr[1:] - rr[:-1])
    for k in range(found.size):
        at = history + k
        found[k] = _median_of_known(step[max(0, at - _CHANGES) : at], room)
    return found


def classify(
    features: NDArray[np.float64],
    rr_before_s: NDArray[np.float64],
    history: int,
    *,
    weights: NDArray[np.float64] | None = None,
    bias: float = BIAS,
) -> NDArray[np.int64]:
    """Class of (n, 20) beats: `UNKNOWN` where a feature is, `NORMAL`, `PREMATURE` or `VENTRICULAR`."""
    chosen = np.asarray(WEIGHTS) if weights is None else weights
    score = features @ chosen + bias
    own = np.exp(features[:, SHAPE_FEATURES + 7])
    early = np.exp(features[:, SHAPE_FEATURES]) < EARLY
    steady = _changes(rr_before_s, history) < STEADY * own
    found = np.where(early & steady, PREMATURE, NORMAL)
    found[score > 0] = VENTRICULAR
    found[~np.isfinite(score)] = UNKNOWN
    return found.astype(np.int64)


@dataclass(slots=True)
class Tally:
    """What was counted in a stretch of time. Beats of bigeminy and trigeminy count from the third repeat on."""

    seconds: float = 0.0
    beats: int = 0
    ventricular: int = 0
    premature: int = 0
    couplets: int = 0
    runs: int = 0
    bigeminy: int = 0
    trigeminy: int = 0


@dataclass(frozen=True, slots=True)
class Burden:
    """Ectopy of the last hour: counts an hour of analysed time, shares of the beats that could be judged."""

    ventricular_per_h: float
    premature_per_h: float
    couplets_per_h: float
    runs_per_h: float
    ventricular_percent: float
    bigeminy_percent: float
    trigeminy_percent: float


class EctopyCounter:
    """Counts classes in order over the last hour, a stretch (such as a minute) at a time."""

    LEAST_S: Final = 300.0
    """Analysed time below which nothing is said of an hour."""

    def __init__(self) -> None:
        self._last: deque[Tally] = deque()
        self._in_a_row = 0
        self._since = 0
        self._repeats = 0
        self._period = 0

    def add(self, classes: NDArray[np.int64], *, seconds: float, analysed_s: float) -> None:
        """Take the next stretch of `seconds` with the beats in it, of which `analysed_s` could be judged."""
        tally = Tally(seconds=analysed_s)
        for kind in classes.tolist():
            self._count(kind, tally)
        self._last.append(tally)
        while len(self._last) * seconds > _HOUR_S:
            self._last.popleft()

    def _count(self, kind: int, tally: Tally) -> None:
        if kind == UNKNOWN:
            self._in_a_row = self._since = self._repeats = self._period = 0
            return
        tally.beats += 1
        tally.premature += kind == PREMATURE
        if kind != VENTRICULAR:
            self._since += 1
            self._in_a_row = 0
            return
        tally.ventricular += 1
        self._in_a_row += 1
        if self._in_a_row == 2:
            tally.couplets += 1
        elif self._in_a_row == 3:
            tally.couplets -= 1
            tally.runs += 1
        period = self._since + 1
        self._since = 0
        self._repeats = self._repeats + 1 if period == self._period else 1
        self._period = period
        if period in (2, 3) and self._repeats >= 2:
            # The third ectopic beat at the same distance makes a pattern of all three.
            beats = period * 3 if self._repeats == 2 else period
            if period == 2:
                tally.bigeminy += beats
            else:
                tally.trigeminy += beats

    def burden(self) -> Burden | None:
        """The last hour, None before there is enough of it."""
        seconds = sum(tally.seconds for tally in self._last)
        beats = sum(tally.beats for tally in self._last)
        if seconds < self.LEAST_S or not beats:
            return None
        per_h, percent = _HOUR_S / seconds, 100.0 / beats
        return Burden(
            ventricular_per_h=per_h * sum(tally.ventricular for tally in self._last),
            premature_per_h=per_h * sum(tally.premature for tally in self._last),
            couplets_per_h=per_h * max(0, sum(tally.couplets for tally in self._last)),
            runs_per_h=per_h * sum(tally.runs for tally in self._last),
            ventricular_percent=percent * sum(tally.ventricular for tally in self._last),
            bigeminy_percent=min(100.0, percent * sum(tally.bigeminy for tally in self._last)),
            trigeminy_percent=min(100.0, percent * sum(tally.trigeminy for tally in self._last)),
        )
