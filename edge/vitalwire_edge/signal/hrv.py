"""Heart rate variability in the terms of the Task Force of ESC and NASPE (Circulation 93:1043, 1996).

Normal-to-normal (NN) intervals only: an interval counts where both its beats are normal and nothing is missing between
them. Differences of successive intervals are taken only where both count and follow each other; nothing is filled in.
"""

from collections import deque
from dataclasses import dataclass
from math import nan
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SEGMENT_S: Final = 300.0
"""What short-term terms are taken over, and the parts of SDANN and of the SDNN index."""

LEAST_NN: Final = 60
LEAST_COVERAGE: Final = 0.5
"""Share of a segment that NN intervals have to make up for it to count."""

DAY_PARTS: Final = 288
LEAST_DAY_PARTS: Final = 216
"""Parts of 5 minutes in 24 hours, and in the 18 hours that the Task Force asks of a day's recording."""

LF_HZ: Final = (0.04, 0.15)
HF_HZ: Final = (0.15, 0.40)
_STEP_HZ: Final = 1 / 600


@dataclass(frozen=True, slots=True)
class Variability:
    """Time-domain terms; NaN where there are too few intervals.

    `pnn50_percent` is the share of differences beyond 50 ms; `sdann_ms` and `sdnn_index_ms` are the standard deviation
    of the 5-minute means and the mean of the 5-minute standard deviations.
    """

    mean_nn_ms: float = nan
    sdnn_ms: float = nan
    rmssd_ms: float = nan
    pnn50_percent: float = nan
    sdann_ms: float = nan
    sdnn_index_ms: float = nan
    count: int = 0


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Power of the NN intervals in the low and the high band, and low over high; NaN with too few intervals."""

    lf_ms2: float = nan
    hf_ms2: float = nan
    lf_hf: float = nan


@dataclass(frozen=True, slots=True)
class DayVariability:
    """Terms of the last 24 hours, NaN below `LEAST_DAY_PARTS`; `parts` of `DAY_PARTS` had NN intervals enough."""

    sdann_ms: float = nan
    sdnn_index_ms: float = nan
    parts: int = 0


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    mean_ms: float
    spread_ms: float


class DayRecord:
    """The last 24 hours of one patient, of which a mean and a deviation of each 5 minutes are kept.

    Time is any steady clock; parts begin at its multiples of 5 minutes, and time without a beat is time without a part.
    """

    def __init__(self) -> None:
        self._parts: deque[_Part] = deque(maxlen=DAY_PARTS)
        self._number: int | None = None
        self._ms: list[Floats] = []

    def add(self, time_s: float, nn_ms: Floats) -> None:
        """NN intervals (n,) of a short while around `time_s`, which does not go back."""
        number = int(time_s // SEGMENT_S)
        if self._number is None or number > self._number:
            self._close()
            self._number = number
        self._ms.append(nn_ms)

    def _close(self) -> None:
        gathered, self._ms = self._ms, []
        if self._number is None:
            return
        ms = np.concatenate(gathered)
        if ms.sum() / 1000.0 >= LEAST_COVERAGE * SEGMENT_S and ms.size > 1:
            self._parts.append(_Part(self._number, float(ms.mean()), float(ms.std(ddof=1))))

    def variability(self) -> DayVariability:
        """Of the parts that are over."""
        if self._number is None:
            return DayVariability()
        last = [part for part in self._parts if part.number >= self._number - DAY_PARTS]
        if len(last) < LEAST_DAY_PARTS:
            return DayVariability(parts=len(last))
        return DayVariability(
            sdann_ms=float(np.std([part.mean_ms for part in last], ddof=1)),
            sdnn_index_ms=float(np.mean([part.spread_ms for part in last])),
            parts=len(last),
        )


def nn_intervals(rr_s: Floats, normal: Bools) -> Bools:
    """(n,) which intervals are NN: `rr_s[k]` ends at beat k (NaN after a gap), and beats k - 1 and k are `normal`."""
    before = np.concatenate((np.zeros(1, dtype=np.bool_), normal[:-1]))
    chosen: Bools = normal & before & np.isfinite(rr_s)
    return chosen


def variability(time_s: Floats, rr_s: Floats, nn: Bools) -> Variability:
    """Time-domain terms.

    Args:
        time_s: (n,) when each interval ended.
        rr_s: (n,) intervals.
        nn: (n,) which of them count, see `nn_intervals`.

    """
    ms = rr_s[nn] * 1000.0
    if ms.size < LEAST_NN:
        return Variability(count=ms.size)
    both = nn[1:] & nn[:-1]
    steps = np.diff(rr_s * 1000.0)[both]
    enough = steps.size >= LEAST_NN // 2
    means, spreads = _segments(time_s[nn], ms)
    return Variability(
        mean_nn_ms=float(ms.mean()),
        sdnn_ms=float(ms.std(ddof=1)),
        rmssd_ms=float(np.sqrt(np.mean(steps * steps))) if enough else nan,
        pnn50_percent=float(100.0 * np.mean(np.abs(steps) > 50.0)) if enough else nan,
        sdann_ms=float(means.std(ddof=1)) if means.size > 1 else nan,
        sdnn_index_ms=float(spreads.mean()) if spreads.size else nan,
        count=ms.size,
    )


def _segments(time_s: Floats, ms: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each whole 5 minutes that NN intervals fill to at least a half."""
    if not time_s.size:
        return np.empty(0), np.empty(0)
    which = ((time_s - time_s[0]) // SEGMENT_S).astype(np.int64)
    means, spreads = [], []
    for k in range(int((time_s[-1] - time_s[0]) // SEGMENT_S)):
        part = ms[which == k]
        if part.sum() / 1000.0 >= LEAST_COVERAGE * SEGMENT_S and part.size > 1:
            means.append(part.mean())
            spreads.append(part.std(ddof=1))
    return np.asarray(means), np.asarray(spreads)


def spectrum(time_s: Floats, rr_s: Floats, nn: Bools) -> Spectrum:
    """LF and HF power by the Lomb-Scargle periodogram, which takes intervals where they are and fills no gap.

    Lomb (Astrophys. Space Sci. 39:447, 1976), for heart rate Moody (Computers in Cardiology 20:381, 1993). NaN where
    intervals make up less than half of the time, or less than 2 minutes of it (LF needs ten of its periods).
    """
    t, ms = time_s[nn], rr_s[nn] * 1000.0
    if ms.size < LEAST_NN:
        return Spectrum()
    span = float(t[-1] - t[0])
    if span < 120.0 or ms.sum() / 1000.0 < LEAST_COVERAGE * span:
        return Spectrum()
    since, off = t - t.mean(), ms - ms.mean()
    steady = off - since * (since @ off) / (since @ since)
    count = round((HF_HZ[1] - LF_HZ[0]) / _STEP_HZ) + 1
    power = np.empty(count)
    _lomb_scargle(t - t[0], steady, LF_HZ[0], _STEP_HZ, power)
    # A sine of amplitude A has power N A^2 / 4 there and A^2 / 2 in the signal; a line is as wide as one over the time
    # that the intervals cover.
    density = power * 2.0 / ms.size * ms.sum() / 1000.0
    split = round((LF_HZ[1] - LF_HZ[0]) / _STEP_HZ)
    lf, hf = float(density[:split].sum() * _STEP_HZ), float(density[split:].sum() * _STEP_HZ)
    return Spectrum(lf, hf, lf / hf if hf > 0 else nan)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _lomb_scargle(t: Floats, x: Floats, first_hz: float, step_hz: float, power: Floats) -> None:
    """Fill in the periodogram; sines and cosines are turned from one frequency to the next, not computed anew."""
    n = t.size
    cosine, sine = np.cos(2 * np.pi * first_hz * t), np.sin(2 * np.pi * first_hz * t)
    turn_c, turn_s = np.cos(2 * np.pi * step_hz * t), np.sin(2 * np.pi * step_hz * t)
    for k in range(power.size):
        xc = xs = cc = ss = cs = 0.0
        for i in range(n):
            c, s = cosine[i], sine[i]
            xc += x[i] * c
            xs += x[i] * s
            cc += c * c
            ss += s * s
            cs += c * s
            cosine[i] = c * turn_c[i] - s * turn_s[i]
            sine[i] = s * turn_c[i] + c * turn_s[i]
        shift = 0.5 * np.arctan2(2.0 * cs, cc - ss)
        c, s = np.cos(shift), np.sin(shift)
        yc, ys = xc * c + xs * s, xs * c - xc * s
        yy_c = cc * c * c + 2.0 * cs * c * s + ss * s * s
        yy_s = cc * s * s - 2.0 * cs * c * s + ss * c * c
        power[k] = 0.5 * (yc * yc / max(yy_c, 1e-12) + ys * ys / max(yy_s, 1e-12))
