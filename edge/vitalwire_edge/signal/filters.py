"""The monitoring band-pass: 0.5-40 Hz, causal, identical for any chunking."""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import signal

from vitalwire_edge.signal.resample import ANALYSIS_HZ

LOW_HZ: Final = 0.5
HIGH_HZ: Final = 40.0
LOOK_AHEAD: Final = 12
"""Analysis samples that one filtered sample needs after it (48 ms); the low-pass delay is taken out."""


def _high_pass() -> NDArray[np.float64]:
    b, a = signal.butter(2, LOW_HZ, "highpass", fs=ANALYSIS_HZ)
    return np.concatenate((b, a[1:])).astype(np.float64)


def _low_pass() -> NDArray[np.float64]:
    return np.asarray(
        signal.firwin(2 * LOOK_AHEAD + 1, HIGH_HZ, window=("kaiser", 3.0), fs=ANALYSIS_HZ), dtype=np.float64
    )


HIGH_PASS: Final = _high_pass()
LOW_PASS: Final = _low_pass()


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def condition(
    x: NDArray[np.float32],
    coefficients: NDArray[np.float64],
    taps: NDArray[np.float64],
    state: NDArray[np.float64],
    ring: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Fill out[i] with the filtered sample LOOK_AHEAD before x[i]; state = (z1, z2, offset, alive, ring position)."""
    length = taps.shape[0]
    b0, b1, b2, a1, a2 = coefficients
    pos = int(state[4])
    for i in range(x.shape[0]):
        v = float(x[i])
        y = np.nan
        if v == v:  # noqa: PLR0124 - the cheapest NaN test
            if state[3] == 0.0:
                state[0] = 0.0
                state[1] = 0.0
                state[2] = v
                state[3] = 1.0
            v -= state[2]
            y = b0 * v + state[0]
            state[0] = b1 * v - a1 * y + state[1]
            state[1] = b2 * v - a2 * y
        else:
            state[3] = 0.0
        ring[pos] = y
        ring[pos + length] = y
        pos = (pos + 1) % length
        total = 0.0
        for k in range(length):
            total += taps[k] * ring[pos + k]
        centre = ring[pos + length // 2]
        if total != total and centre == centre:  # noqa: PLR0124
            total = 0.0
            weight = 0.0
            for k in range(length):
                v = ring[pos + k]
                if v == v:  # noqa: PLR0124
                    total += taps[k] * v
                    weight += taps[k]
            total /= weight
        out[i] = total
    state[4] = pos


class MonitorFilter:
    """One stream's 0.5-40 Hz filter at `ANALYSIS_HZ`.

    High-pass: second-order Butterworth, settled on the first sample after a gap. Low-pass: linear-phase FIR (Kaiser),
    at -6 dB at 40 Hz, more than 30 dB down at 60 Hz; its delay is compensated, so sample i of the output stands for the
    time of input sample i - `LOOK_AHEAD`. A NaN gives NaN at its own place and a settled restart after it; beside it
    the low-pass uses the samples that are there, with their weights renormalised. `state` and `ring` are what
    `condition` goes on with.
    """

    def __init__(self) -> None:
        self.state = np.zeros(5)
        self.ring = np.full(2 * LOW_PASS.size, np.nan)

    def push(self, x_uv: NDArray[np.float32], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return as many samples as given, each for the time `LOOK_AHEAD` samples earlier; in `out` if given."""
        if out is None:
            out = np.empty(x_uv.shape[0], dtype=np.float32)
        condition(x_uv, HIGH_PASS, LOW_PASS, self.state, self.ring, out)
        return out
