"""Beat windows in the patient's own scale, and the guarded running reference beat.

Pure functions on arrays and one small object; the gateway and the training code use the same ones.
"""

from typing import Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.signal.resample import ANALYSIS_HZ

BEFORE: Final = 75
AFTER: Final = 125
WINDOW: Final = BEFORE + AFTER
"""A beat window: 300 ms before the R peak to 500 ms after it at 250 Hz; the R peak is at index `BEFORE`."""

QRS_HALF: Final = 20
"""Half of the QRS window (81 ms each side) on which correlation with the reference is taken."""

P_PART: Final = slice(BEFORE - 65, BEFORE - QRS_HALF)
QRS_PART: Final = slice(BEFORE - QRS_HALF, BEFORE + QRS_HALF + 1)
T_PART: Final = slice(BEFORE + QRS_HALF + 1, BEFORE + 110)

REFERENCE_BEATS: Final = 80
REFERENCE_MIN_BEATS: Final = 8

UNLIKE: Final = 0.8
WIDER: Final = 1.4
"""A QRS correlating less than `UNLIKE` with the reference's and `WIDER` times as wide is not the patient's own."""

GUARDED_FROM: Final = 40
GUARD_BEATS: Final = 600
"""Beats in a row that are not the patient's own before they are believed to have become so: three minutes of
ventricular tachycardia at 180 a minute do not move the reference, a new bundle branch block at 70 does in nine."""

UNUSUAL_RATIO: Final = 4.0
UNUSUAL_SHARE: Final = 0.12
"""A beat whose residual (root mean square over the window) exceeds `UNUSUAL_RATIO` times the reference's own spread and
this share of its QRS is unlike the patient's beats of late, be its QRS as narrow as theirs: most normal beats stay
within twice the spread. A slow ventricular rhythm may be told by no more than that."""
UNUSUAL_BEATS: Final = 100
"""Such beats in a row before they are believed: a minute or so after the patient turned over."""

_LEVEL_FROM: Final = BEFORE - 30
_LEVEL_TO: Final = BEFORE - 15
_MIN_SCALE_UV: Final = 20.0
_ALIGNMENT: Final = 3
_WIDTH_BEFORE: Final = 25
_WIDTH_AFTER: Final = 22
_SWING: Final = 15


def beat_window(ecg_uv: NDArray[np.float32], r_index: int) -> NDArray[np.float32] | None:
    """Cut the (WINDOW,) beat around ``ecg_uv[r_index]``, its isoelectric level (median before the QRS) removed.

    Returns None where the window leaves the array or holds a missing (NaN) sample.
    """
    if r_index < BEFORE or r_index + AFTER > ecg_uv.shape[0]:
        return None
    window = np.empty(WINDOW, dtype=np.float32)
    return window if _cut(ecg_uv[r_index - BEFORE : r_index + AFTER], window) else None


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _cut(ecg_uv: NDArray[np.float32], window: NDArray[np.float32]) -> bool:
    """Fill ``window`` with the samples less their isoelectric level. False where one of them is missing."""
    if not np.isfinite(ecg_uv).all():
        return False
    window[:] = ecg_uv - _median(ecg_uv[_LEVEL_FROM:_LEVEL_TO])
    return True


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _median(values: NDArray[np.float32]) -> np.float32:
    """Return the median of a few values."""
    ordered = np.sort(values)
    n = values.size
    return np.float32(0.5 * (ordered[(n - 1) // 2] + ordered[n // 2]))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def r_amplitude_uv(ecg_uv: NDArray[np.float32], r_index: int) -> float:
    """Return the signed deflection of ``ecg_uv[r_index]`` from the isoelectric level before the QRS."""
    r_uv = np.float64(ecg_uv[r_index])
    before = ecg_uv[max(0, r_index - BEFORE + _LEVEL_FROM) : max(0, r_index - BEFORE + _LEVEL_TO)]
    if before.size == 0 or not np.isfinite(before).all():
        return r_uv
    return r_uv - np.float64(_median(before))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def qrs_swing_uv(ecg_uv: NDArray[np.float32], r_index: int) -> float:
    """Return from peak to valley within 60 ms of ``ecg_uv[r_index]``; NaN where samples are missing."""
    qrs = ecg_uv[max(0, r_index - _SWING) : r_index + _SWING + 1]
    if qrs.size == 0 or not np.isfinite(qrs).all():
        return np.nan
    return np.float64(qrs.max()) - np.float64(qrs.min())


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def beat_facts(
    ecg_uv: NDArray[np.float32], until: int, r_index: int, reference: NDArray[np.float32]
) -> tuple[float, float, float, float]:
    """Return amplitude, width, correlation with ``reference`` (of size 0: NaN) and swing of a beat.

    Samples from ``until`` on are not known yet.
    """
    known = ecg_uv[:until]
    corr = qrs_correlation(known, r_index, reference) if reference.size else np.nan
    return r_amplitude_uv(known, r_index), qrs_width_ms(known, r_index), corr, qrs_swing_uv(known, r_index)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def cut_window(ecg_uv: NDArray[np.float32], until: int, r_index: int, window: NDArray[np.float32]) -> bool:
    """Fill ``window`` with the beat around ``ecg_uv[r_index]``. False where `beat_window` would return None."""
    if r_index < BEFORE or r_index + AFTER > until:
        return False
    return bool(_cut(ecg_uv[r_index - BEFORE : r_index + AFTER], window))


def beat_scale_uv(reference: NDArray[np.float32]) -> float:
    """Return the patient's scale: the peak-to-peak amplitude of the reference's QRS part, at least 20 uV."""
    qrs = reference[QRS_PART]
    return max(float(qrs.max() - qrs.min()), _MIN_SCALE_UV)


def in_own_scale(window_uv: NDArray[np.float32], scale_uv: float) -> NDArray[np.float32]:
    """Express windows (..., WINDOW) in units of the patient's reference QRS amplitude."""
    return (window_uv / np.float32(scale_uv)).astype(np.float32)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _best_correlation(x: NDArray[np.float64], y: NDArray[np.float64], half: int, shift: int) -> float:
    """Pearson correlation of the middle 2 * half + 1 samples of y with x, the best over +-shift samples of x."""
    n = 2 * half + 1
    y0 = y.shape[0] // 2 - half
    best: float = -1.0
    for s in range(-shift, shift + 1):
        x0 = x.shape[0] // 2 - half + s
        mx = 0.0
        my = 0.0
        for i in range(n):
            mx += x[x0 + i]
            my += y[y0 + i]
        mx /= n
        my /= n
        xx = 0.0
        yy = 0.0
        xy = 0.0
        for i in range(n):
            a = x[x0 + i] - mx
            b = y[y0 + i] - my
            xx += a * a
            yy += b * b
            xy += a * b
        if xx > 0.0 and yy > 0.0:
            best = max(best, xy / float(np.sqrt(xx * yy)))
    return float(best)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def qrs_correlation(ecg_uv: NDArray[np.float32], r_index: int, reference: NDArray[np.float32]) -> float:
    """Correlate the QRS around ``ecg_uv[r_index]`` with the reference's QRS, the best over +-12 ms of misalignment.

    Needs only `QRS_HALF` + 3 samples after the R peak. NaN where samples are missing.
    """
    reach = QRS_HALF + _ALIGNMENT
    if r_index < reach or r_index + reach >= ecg_uv.shape[0]:
        return np.nan
    x = ecg_uv[r_index - reach : r_index + reach + 1].astype(np.float64)
    if not np.isfinite(x).all():
        return np.nan
    own = reference[BEFORE - QRS_HALF : BEFORE + QRS_HALF + 1].astype(np.float64)
    return float(_best_correlation(x, own, QRS_HALF, _ALIGNMENT))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _qrs_edge(x: NDArray[np.float64], middle: int, step: int, limit: float, plateau: int, bridge: int) -> int:
    """Return the last index from ``middle`` in one direction where the slope exceeds limit.

    The peak itself may be a plateau of some length; after that only short pauses are bridged.
    """
    edge = middle
    quiet = 0
    allowed = plateau
    i = middle
    while 1 <= i < x.shape[0] - 1 and quiet <= allowed:
        if abs(x[i + 1] - x[i - 1]) > limit:
            edge = i
            quiet = 0
            allowed = bridge
        else:
            quiet += 1
        i += step
    return edge


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _qrs_extent(x: NDArray[np.float64], middle: int, share: float, plateau: int, bridge: int) -> int:
    """Return the number of samples around ``middle`` whose slope exceeds ``share`` of its maximum, pauses bridged."""
    steepest = 0.0
    for i in range(1, x.shape[0] - 1):
        steepest = max(steepest, abs(x[i + 1] - x[i - 1]))
    last = _qrs_edge(x, middle, 1, share * steepest, plateau, bridge)
    first = _qrs_edge(x, middle, -1, share * steepest, plateau, bridge)
    return int(last - first + 1)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def qrs_width_ms(ecg_uv: NDArray[np.float32], r_index: int) -> float:
    """Estimate the QRS width: where the slope stays above an eighth of its maximum, pauses up to 16 ms bridged.

    A slope criterion as in Pan & Tompkins (IEEE TBME 32(3), 1985) and Laguna et al. (1994); a screening figure with a
    resolution of 4 ms, not a diagnostic measurement. NaN where samples are missing.
    """
    if r_index < _WIDTH_BEFORE or r_index + _WIDTH_AFTER >= ecg_uv.shape[0]:
        return np.nan
    x = ecg_uv[r_index - _WIDTH_BEFORE : r_index + _WIDTH_AFTER + 1].astype(np.float64)
    if not np.isfinite(x).all():
        return np.nan
    return float(_qrs_extent(x, _WIDTH_BEFORE, 1 / 8, 10, 4)) * 1000.0 / ANALYSIS_HZ


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _replace_sorted(column: NDArray[np.float32], n: int, old: float, new: float) -> None:
    """Replace one value in the n sorted values of ``column`` (old is NaN: append)."""
    i = n - 1 if np.isnan(old) else np.searchsorted(column[:n], old)
    while i < n - 1 and column[i + 1] < new:
        column[i] = column[i + 1]
        i += 1
    while i > 0 and column[i - 1] > new:
        column[i] = column[i - 1]
        i -= 1
    column[i] = new


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _distance(beat: NDArray[np.float32], middle: NDArray[np.float64]) -> float:
    """Squared distance; it only serves to rank beats, so its additions may be in any order."""
    total = 0.0
    for j in range(beat.size):
        d = beat[j] - middle[j]
        total += d * d
    return total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _update_reference(
    window: NDArray[np.float32],
    count: int,
    beats: NDArray[np.float32],
    ordered: NDArray[np.float32],
    beat: NDArray[np.float32],
    spread: NDArray[np.float32],
) -> None:
    """Store beat number ``count`` (from 0) and recompute the guarded mean and its spread."""
    capacity, width = beats.shape
    slot = count % capacity
    n = min(count + 1, capacity)
    middle = np.empty(width)
    for j in range(width):
        old = beats[slot, j] if count >= capacity else np.nan
        _replace_sorted(ordered[j], n, old, window[j])
        middle[j] = 0.5 * (ordered[j, (n - 1) // 2] + ordered[j, n // 2])
    beats[slot] = window
    distance = np.empty(n)
    for i in range(n):
        distance[i] = _distance(beats[i], middle)
    kept = np.argsort(distance, kind="mergesort")[: (n + 1) // 2]
    mean = np.zeros(width)
    for i in kept:
        mean += beats[i]
    mean /= kept.size
    squares = np.zeros(width)
    for i in kept:
        squares += (beats[i] - mean) ** 2
    beat[:] = mean
    spread[:] = np.sqrt(squares / kept.size)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _learn(
    window: NDArray[np.float32],
    count: int,
    beats: NDArray[np.float32],
    ordered: NDArray[np.float32],
    beat: NDArray[np.float32],
    spread: NDArray[np.float32],
) -> tuple[float, float]:
    """`_update_reference`, and then QRS amplitude and width of what it gives."""
    _update_reference(window, count, beats, ordered, beat, spread)
    qrs = beat[BEFORE - QRS_HALF : BEFORE + QRS_HALF + 1]
    return np.float64(qrs.max() - qrs.min()), qrs_width_ms(beat, BEFORE)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _is_foreign(window: NDArray[np.float32], own: NDArray[np.float32], own_width_ms: float) -> bool:
    """Whether the window's QRS is unlike the patient's own and wider."""
    if not qrs_width_ms(window, BEFORE) >= WIDER * own_width_ms:
        return False
    return bool(qrs_correlation(window, BEFORE, own) < UNLIKE)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _is_unusual(
    window: NDArray[np.float32], own: NDArray[np.float32], spread: NDArray[np.float32], scale_uv: float
) -> bool:
    """Whether the window differs from the patient's own beat much more than those of late differ among themselves."""
    residual = 0.0
    usual = 0.0
    for i in range(window.size):
        residual += (window[i] - own[i]) ** 2
        usual += spread[i] ** 2
    limit = max(UNUSUAL_RATIO**2 * usual, UNUSUAL_SHARE**2 * scale_uv**2 * window.size)
    return bool(residual > limit)


class _Doubt:
    """What is not believed until it has come so many times in a row; a time that it does not takes back one."""

    def __init__(self, times: int) -> None:
        self._times = times
        self._count = 0

    def holds(self, happened: bool) -> bool:
        """Whether it happened and is still not believed."""
        self._count = self._count + 1 if happened else max(0, self._count - 1)
        return happened and self._count <= self._times


class Reference(msgspec.Struct, frozen=True):
    """A patient's reference beat at one moment.

    Attributes:
        beat_uv: (WINDOW,) mean of the kept beats, isoelectric level removed.
        spread_uv: (WINDOW,) their point-wise standard deviation.
        scale_uv: peak-to-peak QRS amplitude of `beat_uv`.
        count: beats seen since the reference was started.

    """

    beat_uv: NDArray[np.float32]
    spread_uv: NDArray[np.float32]
    scale_uv: float
    count: int


class RunningReference:
    """The guarded running reference beat of one patient and lead.

    The mean of the half of the last 80 beats closest to their own point-wise median, so ectopy does not enter it as
    long as it is the minority. Once it knows the patient, wide beats unlike it are not even among the 80, so that a
    long run of them does not take it over, nor for a while are others far from it. Memory and time per beat are fixed.
    """

    def __init__(self) -> None:
        self._width_ms = float("nan")
        self._foreign = _Doubt(GUARD_BEATS)
        self._unusual = _Doubt(UNUSUAL_BEATS)
        self._beats = np.zeros((REFERENCE_BEATS, WINDOW), dtype=np.float32)
        self._ordered = np.zeros((WINDOW, REFERENCE_BEATS), dtype=np.float32)
        self._count = 0
        self._current: Reference | None = None

    @property
    def current(self) -> Reference | None:
        """The reference, or None before `REFERENCE_MIN_BEATS` beats."""
        return self._current

    @property
    def width_ms(self) -> float:
        """QRS width of the reference; NaN before there is one."""
        return self._width_ms

    def add(self, window_uv: NDArray[np.float32]) -> None:
        """Take one finite (WINDOW,) beat from `beat_window`; it enters unless it is not the patient's own."""
        if not self._keeps_out(window_uv):
            self._take(window_uv)

    def _take(self, window_uv: NDArray[np.float32]) -> None:
        beat, spread = np.empty(WINDOW, dtype=np.float32), np.empty(WINDOW, dtype=np.float32)
        amplitude_uv, width_ms = _learn(window_uv, self._count, self._beats, self._ordered, beat, spread)
        self._count += 1
        if self._count >= REFERENCE_MIN_BEATS:
            self._current = Reference(beat, spread, max(amplitude_uv, _MIN_SCALE_UV), self._count)
            self._width_ms = width_ms

    def _keeps_out(self, window_uv: NDArray[np.float32]) -> bool:
        own = self._current
        if own is None or self._count < GUARDED_FROM:
            return False
        foreign = _is_foreign(window_uv, own.beat_uv, self._width_ms)
        held = self._foreign.holds(foreign)
        if foreign:
            return held
        return self._unusual.holds(_is_unusual(window_uv, own.beat_uv, own.spread_uv, own.scale_uv))

    def snapshot(self) -> NDArray[np.float32]:
        """Return the stored windows (n, WINDOW), oldest first, for `restore` after a restart."""
        n = min(self._count, REFERENCE_BEATS)
        first = self._count % REFERENCE_BEATS if self._count >= REFERENCE_BEATS else 0
        return np.roll(self._beats[:n], -first, axis=0).copy()

    def restore(self, windows_uv: NDArray[np.float32]) -> None:
        """Rebuild the reference from a `snapshot`; call on a new object only."""
        for window in windows_uv:
            self._take(window.astype(np.float32))
