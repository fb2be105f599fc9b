"""Causal streaming resampling of device samples to the analysis rate.

One linear-phase polyphase FIR per rate. The analysis grid is anchored to the device's sample counter: analysis
sample ``m`` stands for the device position ``m * down / up`` (in device samples, zero delay), where ``down / up`` is
the device rate over `ANALYSIS_HZ`. So a position on the grid needs no history to be mapped back, and two streams that
start anywhere give the same grid.

A missing sample is NaN, and so is the output where the nearest device sample is missing: nothing is interpolated over a
gap. At its edges the filter uses the samples that are there, with their weights renormalised.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import ceil, pi
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

ANALYSIS_HZ: Final = 250
MIN_FS_HZ: Final = 100.0
MAX_FS_HZ: Final = 1000.0
MAX_PHASES: Final = 1000

_ATTENUATION_DB: Final = 50.0
_PASS_HZ: Final = 45.0
_MIN_WEIGHT: Final = 0.4


class SampleRateError(ValueError):
    """The rate is outside what the signal chain supports."""


@dataclass(frozen=True, slots=True)
class ResamplePlan:
    """The polyphase filter from one device rate to `ANALYSIS_HZ`.

    Attributes:
        up: phases; analysis sample m lies at device position ``m * down / up``.
        down: see `up`.
        before: device samples of history that one output needs before the floor of its position.
        after: device samples that one output needs after the floor of its position (the look-ahead).
        taps: (up, before + 1 + after) float64, each row sums to 1.

    """

    up: int
    down: int
    before: int
    after: int
    taps: NDArray[np.float64]

    def delay_ms(self, fs_hz: float) -> float:
        """Return the longest wait of an output for its last device sample, and half a sample for rounding to one."""
        return (self.after + 0.5) * 1000.0 / fs_hz

    def first_output(self, sample: int) -> int:
        """Return the first analysis index whose position is at or after device ``sample``."""
        return -((-sample * self.up) // self.down)

    def outputs_before(self, end_sample: int) -> int:
        """Return how many analysis samples (from index 0) are complete when device samples < end_sample are known."""
        return max(0, -(-(end_sample - self.after) * self.up // self.down))

    def device_sample(self, position: float) -> float:
        """Map a (fractional) analysis index to a device sample position."""
        whole = int(position)
        return (whole * self.down) / self.up + (position - whole) * self.down / self.up

    def needed_sample(self, index: int) -> int:
        """Return the last device sample that must be known for analysis sample ``index``."""
        return (index * self.down) // self.up + self.after


@cache
def resample_plan(fs_hz: float) -> ResamplePlan:
    """Design the filter for a device rate.

    A Kaiser-windowed sinc (Oppenheim & Schafer, Discrete-Time Signal Processing, section 7.6), 50 dB. Only 0-45 Hz has
    to be kept and only what folds into it has to go, so the transition band is wide and the filter short: 13 ms of
    look-ahead at 360 Hz, at most 60 ms at 100 Hz. At `ANALYSIS_HZ` it is the identity.

    Raises:
        SampleRateError: fs_hz is not within 100..1000 Hz.

    """
    if not MIN_FS_HZ <= fs_hz <= MAX_FS_HZ:
        raise SampleRateError(
            f"sample rate {fs_hz} Hz is outside {MIN_FS_HZ:g}-{MAX_FS_HZ:g} Hz; configure the device's true ECG rate"
        )
    ratio = Fraction(fs_hz / ANALYSIS_HZ).limit_denominator(MAX_PHASES)
    up, down = ratio.denominator, ratio.numerator
    if up == down:
        return ResamplePlan(up=1, down=1, before=0, after=0, taps=np.ones((1, 1)))
    low_hz = min(fs_hz, float(ANALYSIS_HZ))
    # Up-sampling must stop the images that start at fs - pass; at 100 Hz that leaves 35 Hz of pass band.
    pass_hz = min(_PASS_HZ, 0.35 * low_hz)
    stop_hz = low_hz - pass_hz
    cutoff = (pass_hz + stop_hz) / 2 / fs_hz
    beta = 0.5842 * (_ATTENUATION_DB - 21) ** 0.4 + 0.07886 * (_ATTENUATION_DB - 21)
    length = (_ATTENUATION_DB - 8) / (2.285 * 2 * pi * (stop_hz - pass_hz) / fs_hz)
    half = ceil(length / 2)
    offsets = np.arange(-half + 1, half + 1)
    distance = offsets[None, :] - np.arange(up)[:, None] / up
    window = np.i0(beta * np.sqrt(np.clip(1 - (distance / half) ** 2, 0, 1))) / np.i0(beta)
    taps = 2 * cutoff * np.sinc(2 * cutoff * distance) * window
    taps /= taps.sum(axis=1, keepdims=True)
    return ResamplePlan(up=up, down=down, before=half - 1, after=half, taps=np.ascontiguousarray(taps))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _known_only(x: NDArray[np.float32], taps: NDArray[np.float64]) -> float:
    """Return the mean of the samples that are there, weighted by their taps; NaN where too little is there."""
    total = 0.0
    weight = 0.0
    for k in range(taps.shape[0]):
        if x[k] == x[k]:
            total += taps[k] * x[k]
            weight += taps[k]
    return total / weight if weight >= _MIN_WEIGHT else np.nan


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _polyphase(
    x: NDArray[np.float32],
    x_start: int,
    first: int,
    taps: NDArray[np.float64],
    before: int,
    down: int,
    out: NDArray[np.float32],
) -> None:
    """Fill out[s, j] with analysis sample first + j; x[s, i] is device sample x_start + i."""
    up, length = taps.shape
    for s in range(out.shape[0]):
        for j in range(out.shape[1]):
            position = (first + j) * down
            whole = position // up
            phase = position - whole * up
            base = whole - before - x_start
            total = 0.0
            for k in range(length):
                total += taps[phase, k] * x[s, base + k]
            nearest = base + before + (1 if 2 * phase > up else 0)
            if total != total and x[s, nearest] == x[s, nearest]:  # noqa: PLR0124 - the cheapest NaN tests
                total = _known_only(x[s, base : base + length], taps[phase])
            out[s, j] = total


class ResamplerBank:
    """Resample n streams that share one rate and one sample counter, block by block.

    Args:
        n_streams: rows of every block.
        fs_hz: device rate, 100-1000 Hz.
        first_sample: device counter of the first sample to come.

    Attributes:
        next_index: analysis index of the next output sample.

    """

    def __init__(self, n_streams: int, *, fs_hz: float, first_sample: int = 0) -> None:
        self.plan = resample_plan(fs_hz)
        self._n_streams = n_streams
        self._keep = self.plan.before + 1 + self.plan.after + ceil(self.plan.down / self.plan.up)
        self.restart(first_sample)

    def restart(self, first_sample: int) -> None:
        """Forget all history; the next block starts at device sample first_sample."""
        self._tail = np.full((self._n_streams, self._keep), np.nan, dtype=np.float32)
        self._end_sample = first_sample
        self.next_index = self.plan.first_output(first_sample)

    def push(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take (n_streams, n) device samples, return (n_streams, k) analysis samples from `next_index` on.

        NaN marks missing input and missing output.
        """
        plan = self.plan
        if plan.taps.size == 1:
            self._end_sample += x.shape[1]
            self.next_index += x.shape[1]
            return np.ascontiguousarray(x, dtype=np.float32)
        data = np.concatenate((self._tail, x), axis=1, dtype=np.float32)
        start = self._end_sample - self._keep
        self._end_sample += x.shape[1]
        first = self.next_index
        last = max(first, plan.outputs_before(self._end_sample))
        out = np.empty((self._n_streams, last - first), dtype=np.float32)
        if last > first:
            # Indices relative to a multiple of `down`, so that the kernel's products stay small integers.
            turns = first // plan.up
            _polyphase(
                data,
                start - turns * plan.down,
                first - turns * plan.up,
                plan.taps,
                plan.before,
                plan.down,
                out,
            )
        self.next_index = last
        self._tail = data[:, data.shape[1] - self._keep :].copy()
        return out
