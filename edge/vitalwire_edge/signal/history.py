"""The newest samples of one stream on the analysis grid, in a buffer that is moved along and never grows."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_ROOM: Final = 2
"""Times as much as is kept: so rarely are the samples moved to the front of the buffer."""


class History:
    """Samples by their analysis index, at least the last `keep` of them.

    Args:
        keep: samples that must stay.
        most: samples that are added at once, at most.
        first_index: analysis index of the first sample to come.

    Attributes:
        samples: the buffer; sample `start` is the first in it.
        start: analysis index of the oldest sample that is still there.
        end: analysis index after the newest.

    """

    def __init__(self, keep: int, most: int, first_index: int) -> None:
        self._keep = keep
        self.samples = np.empty(_ROOM * keep + most, dtype=np.float32)
        self.start = first_index
        self.end = first_index

    def extend(self, n: int) -> NDArray[np.float32]:
        """Make room for the next n samples and return it, to be filled."""
        held = self.room(n)
        return self.samples[held : held + n]

    def room(self, n: int) -> int:
        """Make room for the next n samples, to be filled; return where in `samples` it begins."""
        held = self.end - self.start
        if held + n > self.samples.size:
            self.samples[: self._keep] = self.samples[held - self._keep : held]
            self.start = self.end - self._keep
            held = self._keep
        self.end += n
        return held

    def until(self, index: int) -> NDArray[np.float32]:
        """Everything from `start` to before ``index``, to be looked at before the next `extend`."""
        return self.samples[: index - self.start]

    def copy(self, first: int, length: int) -> NDArray[np.float32]:
        """Copy the samples from index ``first`` on, NaN where there are none."""
        if self.start <= first and first + length <= self.end:
            return self.samples[first - self.start : first - self.start + length].copy()
        out = np.full(length, np.nan, dtype=np.float32)
        lo, hi = max(first, self.start), min(first + length, self.end)
        if hi > lo:
            out[lo - first : hi - first] = self.samples[lo - self.start : hi - self.start]
        return out
