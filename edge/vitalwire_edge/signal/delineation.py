"""Where P wave, QRS complex and T wave of a beat begin and end.

The wavelet delineator of Martinez, Almeida, Olmos, Rocha & Laguna ("A wavelet-based ECG delineator: evaluation on
standard databases", IEEE TBME 51(4):570, 2004): a quadratic spline wavelet without decimation, whose zero crossings
are peaks and whose moduli give the steepest places of a wave; a wave begins and ends where the modulus has fallen to a
share of the outermost significant maximum, or begins to rise again.

Other than the paper: beats are cut out and lie in rows, so a beat looks no further than its own window; places are
interpolated between samples; QRS edges are looked for on the scale of 8 ms and need to stand out of the quiet before
the QRS; P is looked for on 16 ms first; and the shares are those that suit the 40 Hz low-pass of `filters`, chosen on
waves drawn from cosines (`vitalwire evaluate delineation` judges on others).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vitalwire_edge.signal.resample import ANALYSIS_HZ

Beats = NDArray[np.float64]

BEFORE: Final = 90
AFTER: Final = 170
WINDOW: Final = BEFORE + AFTER
"""A row: 360 ms before the R peak to 680 ms after it at 250 Hz; the R peak is at index `BEFORE`."""

MARKS: Final = ("p_on", "p_peak", "p_off", "qrs_on", "qrs_off", "t_peak", "t_off")
P_ON, P_PEAK, P_OFF, QRS_ON, QRS_OFF, T_PEAK, T_OFF = range(len(MARKS))
_P_UV, _T_UV = len(MARKS), len(MARKS) + 1

MIN_QRS_UV: Final = 100.0
"""A smaller QRS has no waves beside it that could be measured."""

MIN_P_UV: Final = 20.0
MIN_T_UV: Final = 40.0
"""The least wave that counts, about what CSE's referees still marked (20 uV), and twice that for T (flat T waves have
no end that two people agree on)."""

_MS: Final = 1000.0 / ANALYSIS_HZ
_SCALES: Final = 4
_QRS, _P, _T = 1, 2, 3
"""Index of the scale on which each is looked for: 2^2, 2^3 and 2^4 samples."""

_CENTRE: Final = (0.5, 2.5, 6.5, 14.5)
"""Samples by which the causal filters of each scale lag the signal."""


@dataclass(frozen=True, slots=True)
class Delineation:
    """Marks of n beats.

    Attributes:
        ms: (n, 7) milliseconds from the R peak, columns after `MARKS`, NaN where there is none.
        height_uv: (n, 2) of P and of T above the line between where each begins and ends; NaN where there is none.

    """

    ms: NDArray[np.float64]
    height_uv: NDArray[np.float64]

    @property
    def pr_ms(self) -> NDArray[np.float64]:
        """(n,) P onset to QRS onset."""
        return self.ms[:, QRS_ON] - self.ms[:, P_ON]

    @property
    def qrs_ms(self) -> NDArray[np.float64]:
        """(n,) QRS onset to its end."""
        return self.ms[:, QRS_OFF] - self.ms[:, QRS_ON]

    @property
    def qt_ms(self) -> NDArray[np.float64]:
        """(n,) QRS onset to the end of T."""
        return self.ms[:, T_OFF] - self.ms[:, QRS_ON]


def rows(ecg_uv: NDArray[np.float32], r_index: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cut (n, WINDOW) beats around the R peaks of (samples,) ECG at 250 Hz; NaN where a row leaves the array."""
    first = r_index - BEFORE
    inside = (first >= -WINDOW) & (first <= ecg_uv.size)
    around = np.full(WINDOW, np.nan, dtype=np.float32)
    padded = np.concatenate((around, ecg_uv.astype(np.float32), around))
    found: NDArray[np.float32] = sliding_window_view(padded, WINDOW)[np.where(inside, first + WINDOW, 0)]
    return found


def delineate(
    beats_uv: NDArray[np.float32], rr_before_s: NDArray[np.float64], rr_after_s: NDArray[np.float64]
) -> Delineation:
    """Delineate (n, WINDOW) beats; a row with a missing (NaN) sample, or without a QRS, has no marks.

    Args:
        beats_uv: filtered samples at 250 Hz from `rows`, or the median of such rows.
        rr_before_s: (n,) interval to the beat before, which ends the search for P; NaN if unknown.
        rr_after_s: (n,) interval to the beat after, which ends the search for T; NaN if unknown.

    """
    found = np.full((beats_uv.shape[0], len(MARKS) + 2), np.nan)
    _delineate(beats_uv.astype(np.float64), rr_before_s * ANALYSIS_HZ, rr_after_s * ANALYSIS_HZ, found)
    return Delineation(found[:, : len(MARKS)], found[:, len(MARKS) :])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _wavelets(x: Beats, w: Beats) -> None:
    """Fill w (scales, n) with the undecimated quadratic spline wavelet transform of x (n,), ends held."""
    n = x.size
    low = x.copy()
    smooth = np.empty(n)
    for k in range(w.shape[0]):
        hop = 1 << k
        for i in range(n):
            one = low[max(0, i - hop)]
            w[k, i] = 2.0 * (low[i] - one)
            smooth[i] = (low[i] + 3.0 * one + 3.0 * low[max(0, i - 2 * hop)] + low[max(0, i - 3 * hop)]) / 8.0
        low[:] = smooth


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _is_peak(w: Beats, i: int) -> bool:
    """Whether |w| has a local maximum at i."""
    here = abs(w[i])
    return bool(here > abs(w[i - 1]) and here >= abs(w[i + 1]))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fallen(w: Beats, start: int, step: int, share: float, floor: float, limit: int) -> float:
    """Return where |w| has fallen from its maximum at start to a share of it, or to a minimum; in parts of a sample."""
    level = max(share * abs(w[start]), floor)
    i = start
    while i != limit:
        here, after = abs(w[i]), abs(w[i + step])
        if w[i] * w[i + step] <= 0.0:
            after = -after
        if after <= level:
            return float(i + step * (here - level) / max(here - after, 1e-12)) if here > level else float(i)
        if after > here and abs(here) < 0.5 * abs(w[start]):
            return float(i)
        i += step
    return np.nan


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _quiet(w: Beats, first: int, last: int, length: int) -> float:
    """Return the least RMS of w over any `length` samples within first..last: what noise alone does to it."""
    least = np.inf
    for start in range(first, last - length + 1, 2):
        total = 0.0
        for i in range(start, start + length):
            total += w[i] * w[i]
        least = min(least, total)
    return float(np.sqrt(least / length)) if least < np.inf else 0.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _qrs(w: Beats, middle: int, noise: float, edges: NDArray[np.int64]) -> bool:
    """Put the outermost significant maxima of the QRS around `middle` into edges; False where there are none."""
    top = 0.0
    for i in range(middle - 20, middle + 21):
        top = max(top, abs(w[i]))
    if top < 6.0 * noise or top <= 0.0:
        return False
    first, last = -1, -1
    for i in range(middle - 20, middle + 21):
        if _is_peak(w, i) and abs(w[i]) > 0.35 * top:
            if first < 0:
                first = i
            last = i
    if first < 0:
        return False
    # Smaller deflections that follow closely still belong to it.
    least = max(0.025 * top, 6.0 * noise)
    i = first - 1
    while i > max(middle - 30, 2) and first - i <= 10:
        if _is_peak(w, i) and abs(w[i]) > least:
            first = i
        i -= 1
    least = max(0.05 * top, 4.0 * noise)
    i = last + 1
    while i < middle + 36 and i - last <= 20:
        # A wide S, as in bundle branch block, ends steeply and late; a shallow slope as late is the T wave's.
        if _is_peak(w, i) and abs(w[i]) > (least if i - last <= 12 else 0.2 * top):
            last = i
        i += 1
    edges[0], edges[1] = first, last
    return True


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _strongest_pair(w: Beats, first: int, last: int, longest: int, pair: NDArray[np.int64]) -> float:
    """Find the wave in first..last: the neighbouring maxima of opposite sign that are steepest together.

    Puts their places into pair and returns the smaller of the two moduli, 0 where there is no such pair.
    """
    best, weaker = 0.0, 0.0
    before = -1
    for i in range(first, last + 1):
        if not _is_peak(w, i):
            continue
        if before >= 0 and w[before] * w[i] < 0.0 and i - before <= longest:
            least = min(abs(w[before]), abs(w[i]))
            both = least + 0.25 * max(abs(w[before]), abs(w[i]))
            if both > best:
                best, weaker = both, least
                pair[0], pair[1] = before, i
        if before < 0 or w[before] * w[i] < 0.0 or abs(w[i]) > abs(w[before]):
            before = i
    return weaker


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _crossing(w: Beats, first: int, last: int) -> float:
    """Return where w changes its sign between first and last."""
    for i in range(first, last):
        if w[i] * w[i + 1] <= 0.0 and w[i] != w[i + 1]:
            return float(i + w[i] / (w[i] - w[i + 1]))
    return 0.5 * (first + last)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _height(x: Beats, peak: float, start: float, end: float) -> float:
    """Return how far x at a peak is from the line between where the wave begins and where it ends."""
    at, a, b = round(peak), round(start), round(end)
    if not (0 <= a < at < b < x.size):
        return 0.0
    line = x[a] + (x[b] - x[a]) * (at - a) / (b - a)
    return float(abs(x[at] - line))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _delineate(
    beats: Beats, rr_before: NDArray[np.float64], rr_after: NDArray[np.float64], found: NDArray[np.float64]
) -> None:
    n = beats.shape[1]
    w = np.empty((_SCALES, n))
    edges = np.empty(2, dtype=np.int64)
    for k in range(beats.shape[0]):
        x = beats[k]
        if not np.isfinite(x).all():
            continue
        _wavelets(x, w)
        middle = BEFORE + 2
        qrs_w = w[_QRS]
        noise = _quiet(qrs_w, BEFORE - 55, BEFORE - 18, 9)
        near = x[BEFORE - 20 : BEFORE + 21]
        if near.max() - near.min() < MIN_QRS_UV or not _qrs(qrs_w, middle, noise, edges):
            continue
        floor = 2.5 * noise
        on = _fallen(qrs_w, edges[0], -1, 0.15, floor, 8) - _CENTRE[_QRS]
        off = _fallen(qrs_w, edges[1], 1, 0.4, floor, n - 8) - _CENTRE[_QRS]
        if not (on < BEFORE < off + 3.0) or off - on > 60.0:
            continue
        found[k, QRS_ON] = (on - BEFORE) * _MS
        found[k, QRS_OFF] = (off - BEFORE) * _MS
        _find_p(x, w[_P], on, rr_before[k], edges, found[k])
        _find_t(x, w[_T], off, rr_after[k], edges, found[k])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_t(
    x: Beats, w: Beats, off: float, rr_after: float, edges: NDArray[np.int64], found: NDArray[np.float64]
) -> None:
    lag = _CENTRE[_T]
    # A T wave ends by two thirds of a long interval; in a short one before the next P and QRS.
    room = AFTER - 4.0
    if rr_after == rr_after:  # noqa: PLR0124 - the cheapest NaN test
        room = min(room, max(0.62 * rr_after + 20.0, 50.0), rr_after - 24.0)
        if found[P_ON] < 0.0:
            # The next P comes as long before its R peak as this one, and may be the steeper wave of the two.
            room = min(room, rr_after + max(found[P_ON] / _MS, -62.0) - 2.0)
    first = int(off + 10.0 + lag)
    last = min(int(BEFORE + room + lag), w.size - 3)
    if last - first < 20 or _strongest_pair(w, first, last, 60, edges) <= 0.0:
        return
    end = _fallen(w, edges[1], 1, 0.3, 0.0, w.size - 2) - lag
    peak = _crossing(w, edges[0], edges[1]) - lag
    start = max(off, peak - 1.2 * (end - peak))
    if not end <= BEFORE + room:
        return
    height = _height(x, peak, start, end)
    if height >= MIN_T_UV:
        found[_T_UV] = height
        found[T_PEAK] = (peak - BEFORE) * _MS
        found[T_OFF] = (end - BEFORE) * _MS


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_p(
    x: Beats, w: Beats, on: float, rr_before: float, edges: NDArray[np.int64], found: NDArray[np.float64]
) -> None:
    lag = _CENTRE[_P]
    # Not before the T wave of the beat before has ended, for which a heart at rest takes 60 % of the interval.
    first = 4.0
    if rr_before == rr_before:  # noqa: PLR0124 - the cheapest NaN test
        first = max(first, BEFORE - 0.42 * rr_before - 4.0)
    low, high = int(first + lag), int(on - 1.0 + lag)
    if high - low < 12 or _strongest_pair(w, low, high, 24, edges) <= 0.0:
        return
    start = _fallen(w, edges[0], -1, 0.3, 0.0, 3) - lag
    end = _fallen(w, edges[1], 1, 0.3, 0.0, w.size - 2) - lag
    peak = _crossing(w, edges[0], edges[1]) - lag
    weaker = min(abs(w[edges[0]]), abs(w[edges[1]]))
    if not (start < peak < end) or weaker < 3.0 * _quiet(w, low, high, 8):
        return
    height = _height(x, peak, start, min(end, on))
    if height >= MIN_P_UV:
        found[_P_UV] = height
        found[P_ON] = (start - BEFORE) * _MS
        found[P_PEAK] = (peak - BEFORE) * _MS
        found[P_OFF] = (min(end, on) - BEFORE) * _MS
