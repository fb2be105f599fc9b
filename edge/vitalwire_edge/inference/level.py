"""A patient's own usual score, half of which is taken off every score.

Some patients' normal beats surprise the model more than others', so one level for all would be too high for them. The
level is the lower quartile of the patient's last scores: ectopy up to three quarters of the beats leaves it alone. Only
half is taken off: the other half is the population's word against a patient who is ill throughout.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.signal.newest import Newest

BEATS: Final = 300
MIN_BEATS: Final = 30
QUANTILE: Final = 0.25
SHARE: Final = 0.5


class OwnLevel:
    """One patient's level under one model: start anew after a swap. `values` and `restore` keep it over a restart."""

    def __init__(self) -> None:
        self._last = Newest(BEATS)

    def relative(self, score: float) -> float:
        """The score above half of the patient's level so far; then the score enters the level."""
        level = 0.0
        if len(self._last) >= MIN_BEATS:
            level = self._last.above(QUANTILE)
        self._last.add(score)
        return score - SHARE * level

    def relatives(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """`relative` of scores (n,) in order of time; what is not finite is left out and has NaN."""
        return np.array([self.relative(float(score)) if np.isfinite(score) else np.nan for score in scores])

    @property
    def values(self) -> list[float]:
        """The scores that the level rests on, oldest first."""
        return self._last.values

    def restore(self, values: Sequence[float]) -> None:
        """Go on from `values`."""
        self._last.clear()
        for value in values:
            self._last.add(value)
