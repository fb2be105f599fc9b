"""What the beat model sees of a beat: its shape and its patient's, in the patient's own scale, and 18 context features.

Causal: a beat uses the past and the R peak of the beat after it. The gateway feeds `FeatureStream` one window at a
time, training feeds it a whole record; the arithmetic is the same, so the numbers are the same.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.signal.beats import P_PART, QRS_PART, T_PART, WINDOW, Reference, in_own_scale
from vitalwire_edge.signal.chain import BeatWindow

VERSION: Final = 1
"""Of the preprocessing, stored with every model: a model runs only on the features it was trained on."""

CONTEXT: Final = (
    "corr_qrs",
    "corr_p",
    "corr_t",
    "residual_qrs",
    "residual_p",
    "residual_t",
    "unusual_qrs",
    "unusual_p",
    "unusual_t",
    "amplitude",
    "projection",
    "slope",
    "rr_before",
    "rr_after",
    "rr_ratio",
    "rr_change",
    "rr_variability",
    "rr_reference",
)
SHAPE_FEATURES: Final = 12
RHYTHM_FEATURES: Final = 6
PARTS: Final = (QRS_PART, P_PART, T_PART)

MAX_RR_S: Final = 3.0
"""A longer interval is a gap or a pause that the lethal-rhythm rules answer for; the beats at its ends abstain."""

_RR_BEATS: Final = 80
_RR_MIN: Final = 8
_RECENT_RR: Final = 10
_SPREAD_FLOOR: Final = 0.03
_ENERGY_FLOOR: Final = 1e-4
_RATIO: Final = (0.05, 20.0)
_MOST_ALIKE: Final = 0.999
_EDGES: Final = tuple((part.start, part.stop) for part in PARTS)


class BeatInput(msgspec.Struct, frozen=True):
    """A beat as the model takes it.

    Attributes:
        sample: the R peak, as in its `Beat`.
        beat: (WINDOW,) float32, in units of the reference's QRS amplitude.
        reference: (WINDOW,) float32, likewise.
        context: (18,) float32, named by `CONTEXT`.
        scale_uv: the unit of `beat`.

    """

    sample: int
    beat: NDArray[np.float32]
    reference: NDArray[np.float32]
    context: NDArray[np.float32]
    scale_uv: float


def shape_features(
    beat: NDArray[np.float32], reference: NDArray[np.float32], spread: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compare (n, WINDOW) beats with their references: (n, 12), the first names of `CONTEXT`.

    Per part (QRS, P, T): Fisher's z of the correlation, log energy of the residual, log of the residual in units of the
    reference's point-wise spread; then log ratios of amplitude, projection and slope of the QRS.
    """
    found = np.empty((beat.shape[0], SHAPE_FEATURES), dtype=np.float32)
    _compare(beat, reference, spread, found)
    return found


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _log_ratio(value: float, of: float) -> float:
    return float(np.log(min(max(value / max(of, 1e-6), _RATIO[0]), _RATIO[1])))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _compare(
    beat: NDArray[np.float32],
    reference: NDArray[np.float32],
    spread: NDArray[np.float32],
    found: NDArray[np.float32],
) -> None:
    for k in range(beat.shape[0]):
        x, y = beat[k].astype(np.float64), reference[k].astype(np.float64)
        s = np.maximum(spread[k].astype(np.float64), _SPREAD_FLOOR)
        for part in range(len(_EDGES)):
            first, last = _EDGES[part]
            n = last - first
            mean_x, mean_y = x[first:last].mean(), y[first:last].mean()
            xx = yy = xy = residual = unusual = 0.0
            for i in range(first, last):
                dx, dy = x[i] - mean_x, y[i] - mean_y
                xx += dx * dx
                yy += dy * dy
                xy += dx * dy
                off = x[i] - y[i]
                residual += off * off
                unusual += (off / s[i]) ** 2
            corr = xy / np.sqrt(max(xx * yy, 1e-12))
            found[k, part] = np.arctanh(min(max(corr, -_MOST_ALIKE), _MOST_ALIKE))
            found[k, 3 + part] = np.log(residual / n + _ENERGY_FLOOR)
            found[k, 6 + part] = np.log(unusual / n + 100 * _ENERGY_FLOOR)
        first, last = _EDGES[0]
        qx, qy = x[first:last], y[first:last]
        found[k, 9] = _log_ratio(qx.max() - qx.min(), qy.max() - qy.min())
        found[k, 10] = _log_ratio((qx * qy).sum(), (qy * qy).sum())
        found[k, 11] = _log_ratio(np.abs(np.diff(qx)).max(), np.abs(np.diff(qy)).max())


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _own_rr_s(rr: NDArray[np.float64]) -> float:
    """Mean of the half of the intervals closest to their median, the earlier ones first where equally close."""
    distance = np.abs(rr - np.median(rr))
    kept = np.argsort(distance, kind="mergesort")[: (rr.size + 1) // 2]
    return float(rr[kept].mean())


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _variability_s(rr: NDArray[np.float64]) -> float:
    """Median absolute deviation from the median."""
    return float(np.median(np.abs(rr - np.median(rr))))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _rhythm(history: NDArray[np.float64], rr_s: float, next_rr_s: float, known: NDArray[np.float32]) -> None:
    own, deviation = _own_rr_s(history), _variability_s(history[-_RECENT_RR:])
    known[0] = np.log(rr_s / own)
    known[1] = np.log(next_rr_s / own)
    known[2] = np.log(rr_s / next_rr_s)
    known[3] = np.log(rr_s / history[-1])
    known[4] = np.log(deviation / own + 0.01)
    known[5] = np.log(own)


class Rhythm:
    """The RR history of one patient and the six rhythm features of a beat."""

    def __init__(self) -> None:
        self._history = np.empty(_RR_BEATS)
        self._count = 0

    def add(self, rr_s: float) -> None:
        """Take the interval that ended at the newest beat."""
        if self._count == _RR_BEATS:
            self._history[:-1] = self._history[1:]
            self._count -= 1
        self._history[self._count] = rr_s
        self._count += 1

    def reference_s(self) -> float | None:
        """The patient's own RR: mean of the half of the last 80 closest to their median. None before 8."""
        if self._count < _RR_MIN:
            return None
        return float(_own_rr_s(self._history[: self._count]))

    def features(self, rr_s: float, next_rr_s: float) -> NDArray[np.float32] | None:
        """Rhythm features of the beat that ends ``rr_s``, before `add` of it. None before there is a reference."""
        if self._count < _RR_MIN:
            return None
        known = np.empty(RHYTHM_FEATURES, dtype=np.float32)
        _rhythm(self._history[: self._count], rr_s, next_rr_s, known)
        return known


class FeatureStream:
    """Beat windows of one patient in, model inputs out, one beat late.

    Args:
        fs_hz: rate of the device's sample counter.

    """

    def __init__(self, *, fs_hz: float) -> None:
        self._fs_hz = fs_hz
        self._rhythm = Rhythm()
        self._previous: int | None = None
        self._waiting: tuple[BeatWindow, float] | None = None

    def push(self, window: BeatWindow) -> BeatInput | None:
        """Take the next window; return the input of the beat before it, or None where that beat abstains."""
        rr_s = np.nan if self._previous is None else (window.sample - self._previous) / self._fs_hz
        self._previous = window.sample
        done = None
        known = bool(rr_s <= MAX_RR_S)
        if self._waiting is not None:
            before, before_rr_s = self._waiting
            if known and before_rr_s <= MAX_RR_S:
                rhythm = self._rhythm.features(before_rr_s, float(rr_s))
                if rhythm is not None and before.reference is not None:
                    done = _input(before, before.reference, rhythm)
            if before_rr_s <= MAX_RR_S:
                self._rhythm.add(before_rr_s)
        self._waiting = (window, float(rr_s))
        return done


def _input(window: BeatWindow, reference: Reference, rhythm: NDArray[np.float32]) -> BeatInput:
    beat = in_own_scale(window.ecg_uv, reference.scale_uv)
    own = in_own_scale(reference.beat_uv, reference.scale_uv)
    spread = in_own_scale(reference.spread_uv, reference.scale_uv)
    shape = shape_features(beat[None], own[None], spread[None])[0]
    return BeatInput(window.sample, beat, own, np.concatenate((shape, rhythm)), reference.scale_uv)


def inputs(windows: Iterable[BeatWindow], *, fs_hz: float) -> Iterator[BeatInput]:
    """Model inputs of a whole record's windows, in order."""
    stream = FeatureStream(fs_hz=fs_hz)
    for window in windows:
        done = stream.push(window)
        if done is not None:
            yield done


def warm() -> None:
    """Compile every kernel, or load it from numba's cache, before the first beat."""
    beat = np.linspace(0, 1, 2 * WINDOW, dtype=np.float32).reshape(2, WINDOW)
    shape_features(beat, beat, beat)
    rhythm = Rhythm()
    for _ in range(_RR_MIN):
        rhythm.add(0.8)
    rhythm.features(0.8, 0.8)
