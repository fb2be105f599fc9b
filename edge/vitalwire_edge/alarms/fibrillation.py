"""Atrial fibrillation from the irregularity of RR intervals."""

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.alarms.change import Ended, Finding, Verdict
from vitalwire_edge.alarms.config import AtrialFibrillationConfig
from vitalwire_edge.signal.chain import Beat

RULE: Final = "atrial_fibrillation/1"
COSEN_LIMIT: Final = -1.4
TOLERANCE_S: Final = 0.03
MIN_MATCHES: Final = 5
RR_MIN_S: Final = 0.24
RR_MAX_S: Final = 3.0


def sample_entropy_coefficient(rr_s: NDArray[np.float64]) -> float:
    """Coefficient of sample entropy (CosEn) of RR intervals in seconds, template length 1.

    Lake & Moorman, "Accurate estimation of entropy in very short physiological time series: the problem of atrial
    fibrillation detection in implanted ventricular devices", Am. J. Physiol. Heart Circ. Physiol. 300:H319, 2011:
    above -1.4 is fibrillation. The tolerance grows from 30 ms until at least 5 pairs match (their minimum numerator).
    """
    n = rr_s.size
    first = np.abs(rr_s[:-1, None] - rr_s[None, :-1])
    second = np.abs(rr_s[1:, None] - rr_s[None, 1:])
    above = np.triu_indices(n - 1, 1)
    d1, d2 = first[above], np.maximum(first[above], second[above])
    r = max(TOLERANCE_S, float(np.partition(d2, MIN_MATCHES - 1)[MIN_MATCHES - 1]))
    b, a = int((d1 <= r).sum()), int((d2 <= r).sum())
    return float(-np.log(a / b) + np.log(2 * r) - np.log(rr_s.mean()))


class AtrialFibrillationRule:
    """Judges the last RR intervals at every beat."""

    def __init__(self, config: AtrialFibrillationConfig) -> None:
        self._config = config
        self._rr_s: deque[float] = deque(maxlen=config.beats)
        self._for = 0
        self._against = 0
        self._onset_ns: deque[int] = deque(maxlen=config.beats)

    def on_beat(self, beat: Beat, r_ns: int) -> Verdict:
        """Judge the intervals that end with this beat."""
        rr_s = beat.rr_s
        if not RR_MIN_S <= rr_s <= RR_MAX_S:
            return None
        self._rr_s.append(rr_s)
        self._onset_ns.append(r_ns)
        if len(self._rr_s) < self._config.beats:
            return None
        entropy = sample_entropy_coefficient(np.array(self._rr_s))
        irregular = entropy > COSEN_LIMIT
        self._for = self._for + 1 if irregular else 0
        self._against = 0 if irregular else self._against + 1
        if self._for > self._config.confirm_beats:
            rate = 60 / float(np.mean(self._rr_s))
            return Finding(
                kind="atrial_fibrillation",
                priority="medium",
                onset_ns=self._onset_ns[0],
                text=f"Irregular rhythm, probably atrial fibrillation, {rate:.0f}/min",
                rule=RULE,
                value=rate,
            )
        if self._against >= self._config.recovered_beats:
            return Ended("Regular rhythm")
        return None
