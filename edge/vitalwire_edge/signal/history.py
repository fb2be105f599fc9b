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
        start: analysis index of the oldest sample that is still there.
        end: analysis index after the newest.

    """

    def __init__(self, keep: int, most: int, first_index: int) -> None:
        self._keep = keep
        self._samples = np.empty(_ROOM * keep + most, dtype=np.float32)
        self.start = first_index
        self.end = first_index

    def extend(self, n: int) -> NDArray[np.float32]:
        """Make room for the next n samples and return it, to be filled."""
        held = self.end - self.start
        if held + n > self._samples.size:
            self._samples[: self._keep] = self._samples[held - self._keep : held]
            self.start = self.end - self._keep
            held = self._keep
        self.end += n
        return self._samples[held : held + n]

    def until(self, index: int) -> NDArray[np.float32]:
        """Everything from `start` to before ``index``, to be looked at before the next `extend`."""
        return self._samples[: index - self.start]

    def copy(self, first: int, length: int) -> NDArray[np.float32]:
        """Copy the samples from index ``first`` on, NaN where there are none."""
        out = np.full(length, np.nan, dtype=np.float32)
        lo, hi = max(first, self.start), min(first + length, self.end)
        if hi > lo:
            out[lo - first : hi - first] = self._samples[lo - self.start : hi - self.start]
        return out
