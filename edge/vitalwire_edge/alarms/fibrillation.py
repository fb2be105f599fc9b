"""Atrial fibrillation from the irregularity of RR intervals."""

from collections import deque
from math import isnan, log
from typing import Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.alarms.change import NS_PER_S, Ended, Finding, Verdict
from vitalwire_edge.alarms.config import AtrialFibrillationConfig
from vitalwire_edge.signal.chain import Beat

RULE: Final = "atrial_fibrillation/1"

ENTROPY_LIMIT: Final = -1.4
"""Lake & Moorman 2011, see `entropy_coefficient`."""

RMSSD_LIMIT: Final = 0.07
"""Dash et al., Ann. Biomed. Eng. 37:1701, 2009, take 0.1 of the mean over 128 intervals after removing ectopy; the
running median of 3, which no single ectopic beat passes, takes about a third off the figure of fibrillation as well."""

NEAR_PAIRS_LIMIT: Final = 0.2
"""A basic rhythm with premature beats keeps most pairs of intervals near each other; fibrillation scatters all."""

NOISE_LIMIT: Final = 0.5
"""Successive intervals in fibrillation are nearly uncorrelated (Bootsma et al., Circulation 41:783, 1970); respiratory
arrhythmia and bi- or trigeminy follow from the two intervals before."""

TOLERANCE_S: Final = 0.03
MIN_MATCHES: Final = 5
RR_MIN_S: Final = 0.24
RR_MAX_S: Final = 3.0
OWN_CORRELATION: Final = 0.9
"""Beats less like the reference are taken as ectopic: the intervals that end and begin with them do not count."""

MIN_QUALITY: Final = 0.4
_REACH: Final = 2.2
"""Intervals from more than this many times as many beats are too much ectopy to call fibrillation."""


def entropy_coefficient(rr_s: NDArray[np.float64]) -> float:
    """Coefficient of sample entropy (CosEn) of RR intervals in seconds, template length 1.

    Lake & Moorman, "Accurate estimation of entropy in very short physiological time series: the problem of atrial
    fibrillation detection in implanted ventricular devices", Am. J. Physiol. Heart Circ. Physiol. 300:H319, 2011:
    above -1.4 is fibrillation. The tolerance grows from 30 ms until at least 5 pairs match (their minimum numerator).
    """
    r, b, a, mean_s = _matches(rr_s)
    return -log(a / b) + log(2 * r) - log(mean_s)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _matches(rr_s: NDArray[np.float64]) -> tuple[float, int, int, float]:
    """Return tolerance, how many pairs of templates match over one and over two intervals, mean interval."""
    n = rr_s.size - 1
    both = np.empty(n * (n - 1) // 2)
    pair = 0
    for i in range(n):
        for j in range(i + 1, n):
            both[pair] = max(abs(rr_s[i] - rr_s[j]), abs(rr_s[i + 1] - rr_s[j + 1]))
            pair += 1
    r = max(TOLERANCE_S, np.partition(both, MIN_MATCHES - 1)[MIN_MATCHES - 1])
    one = 0
    for i in range(n):
        for j in range(i + 1, n):
            one += abs(rr_s[i] - rr_s[j]) <= r
    return r, one, (both <= r).sum(), rr_s.mean()


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def median_rmssd(rr_s: NDArray[np.float64]) -> float:
    """RMSSD of the intervals behind a running median of 3, over their mean."""
    before, square = 0.0, 0.0
    for i in range(2, rr_s.size):
        a, b, c = rr_s[i - 2], rr_s[i - 1], rr_s[i]
        middle = max(min(a, b), min(max(a, b), c))
        if i > 2:
            square += (middle - before) ** 2
        before = middle
    return float(np.sqrt(square / (rr_s.size - 3)) / rr_s.mean())


def near_pairs(rr_s: NDArray[np.float64]) -> float:
    """Share of all pairs of intervals that differ by less than 3.75 % of the mean (30 ms at 75/min)."""
    difference = np.abs(rr_s[:, None] - rr_s[None, :])[np.triu_indices(rr_s.size, 1)]
    return float((difference < 0.0375 * rr_s.mean()).mean())


def unpredicted(rr_s: NDArray[np.float64]) -> float:
    """Share of the variance that a linear prediction from the two intervals before leaves: 1 for white noise."""
    y = rr_s - rr_s.mean()
    past = np.stack((y[1:-1], y[:-2]), axis=1)
    factors = np.linalg.lstsq(past, y[2:], rcond=None)[0]
    return float(((y[2:] - past @ factors) ** 2).sum() / max(float((y[2:] ** 2).sum()), 1e-12))


def is_fibrillation(rr_s: NDArray[np.float64]) -> bool:
    """Whether some 30 RR intervals in seconds, ectopy taken out, are irregular in the manner of fibrillation."""
    # First what takes least and excludes most.
    return (
        median_rmssd(rr_s) > RMSSD_LIMIT
        and entropy_coefficient(rr_s) > ENTROPY_LIMIT
        and near_pairs(rr_s) < NEAR_PAIRS_LIMIT
        and unpredicted(rr_s) > NOISE_LIMIT
    )


class _Interval(msgspec.Struct, frozen=True):
    number: int
    start_ns: int
    rr_s: float


class AtrialFibrillationRule:
    """Judges the last RR intervals at every beat; abstains on poor beats and where most beats are ectopic."""

    def __init__(self, config: AtrialFibrillationConfig) -> None:
        self._config = config
        self._intervals: deque[_Interval] = deque(maxlen=config.beats)
        self._number = 0
        self._ectopic_before = False
        self._for = 0
        self._against = 0
        self._since_ns = 0

    def on_beat(self, beat: Beat, r_ns: int) -> Verdict:
        """Judge the intervals that end with this beat."""
        self._number += 1
        ectopic = not isnan(beat.reference_corr) and beat.reference_corr < OWN_CORRELATION
        counts = not (ectopic or self._ectopic_before) and beat.quality >= MIN_QUALITY
        self._ectopic_before = ectopic
        if not counts or not RR_MIN_S <= beat.rr_s <= RR_MAX_S:
            return None
        self._intervals.append(_Interval(self._number, r_ns - round(beat.rr_s * 1e9), beat.rr_s))
        size = self._config.beats
        if len(self._intervals) < size:
            return None
        rr_s = np.array([interval.rr_s for interval in self._intervals])
        irregular = is_fibrillation(rr_s)
        if irregular and self._number - self._intervals[0].number > _REACH * size:
            return None
        if irregular and self._for == 0:
            self._since_ns = self._intervals[0].start_ns
        self._for = self._for + 1 if irregular else 0
        self._against = 0 if irregular else self._against + 1
        lasted_s = (r_ns - self._since_ns) / NS_PER_S
        if self._for > self._config.confirm_beats and lasted_s >= self._config.confirm_s:
            rate = 60 / float(rr_s.mean())
            return Finding(
                kind="atrial_fibrillation",
                priority="medium",
                onset_ns=self._since_ns,
                text=f"Irregular rhythm, probably atrial fibrillation, {rate:.0f}/min",
                rule=RULE,
                value=rate,
            )
        if self._against >= self._config.recovered_beats:
            return Ended("No longer irregular as in atrial fibrillation")
        return None


def warm() -> None:
    """Compile, or load from numba's cache, before the first beat."""
    entropy_coefficient(np.linspace(0.7, 0.9, 30))
    median_rmssd(np.linspace(0.7, 0.9, 30))
