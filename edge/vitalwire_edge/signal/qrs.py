"""Streaming QRS detection for a bank of streams: one kernel, fixed memory, decisions at most 300 ms after the R peak.

Per analysis sample (250 Hz):

1. **Envelope.** The magnitude of a complex wavelet (Gabor/Morlet, centre 16 Hz, sigma 20 ms, 25 taps, no response to a
   constant). The quadrature pair makes the envelope independent of the QRS polarity and shape, so it needs no
   squaring and no moving-window integration: this is the Hilbert envelope of Benitez et al. (Comput. Biol. Med. 31,
   2001) in the band that Elgendi et al. (PLoS ONE 8(9), 2013) found best, kept linear as in Hamilton & Tompkins (IEEE
   TBME 33(12), 1986) rather than squared as in Pan & Tompkins (IEEE TBME 32(3), 1985), which tames large ectopic beats.
2. **Candidate.** A local maximum that no larger one follows within the *hold* (up to 200 ms). The hold is what is left
   of the 300 ms after all delays, so P waves and precursors lose against the QRS that follows them. After a beat there
   are 192 ms of refractory time (Pan & Tompkins: 200 ms); a clearly larger maximum may break it from 152 ms on.
3. **Threshold** ``noise + k * (signal - noise)``. Signal is a low rank of the last 12 beats' envelopes (a low rank
   instead of Hamilton's mean or median, so that large ectopic beats in bigeminy do not hide the normal ones), noise a
   high rank of the last 12 rejected candidates. k grows with the noise, is high during the T wave, whose end scales
   with the square root of the RR interval (Bazett), low until the expected beat, and falls further when that is
   overdue. The falling threshold stands in for Pan & Tompkins' search-back (compare Christov, Biomed. Eng. Online
   3:28, 2004): nothing is ever decided late. After two silent intervals (at least 2 s) it halves every second towards
   the floor, and a beat that needed this decay starts the levels anew, so that a burst of large artefacts cannot
   deafen the detector.
4. **P waves.** The level of what comes 100-320 ms before accepted beats is tracked, and a candidate must exceed it with
   a margin. A beat that is soon followed by a much larger one was such a precursor: it has been reported and stays
   reported, but it moves to the noise, and the next interval reaches back to the beat before it.
5. **R peak.** The largest deflection within 44 ms of the envelope's maximum, to a fraction of a sample.

The floor is the envelope of a QRS of about 0.13 mV; IEC 60601-2-27 lets a monitor ignore less than 0.15 mV.
NaN is a missing sample: the stream forgets everything and starts anew with the next finite one.
"""

from math import ceil
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.signal.resample import ANALYSIS_HZ

MAX_DECISION_MS: Final = 300.0

_CENTRE_HZ: Final = 16.0
_SIGMA_S: Final = 0.020
_HALF: Final = 12
_SEARCH: Final = 11
_MAX_HOLD: Final = 50
_RING: Final = 128
_HISTORY: Final = 12

_REFRACTORY: Final = 48
_REFRACTORY_MIN: Final = 38
_REFRACTORY_BREAK: Final = 1.2
_SIGNAL_RANK: Final = 0.45
_NOISE_RANK: Final = 0.85
_K_T_WAVE: Final = 0.5
_K_EXPECTED: Final = 0.14
_K_NOISY: Final = 0.2
_K_OVERDUE: Final = 0.12
_T_WAVE_S: Final = 0.34
_T_WAVE_FALL: Final = 25.0
_RR_START: Final = 200.0
_RR_MIN: Final = 75.0
_RR_MAX: Final = 400.0
_START_UV: Final = 80.0
_START_NOISE: Final = 2.0
_FLOOR_UV: Final = 45.0
_DECAY_AFTER: Final = 500.0
_DECAY_HALF: Final = 250.0
_PRECURSOR_MIN: Final = 25
_PRECURSOR_MAX: Final = 80
_PRECURSOR_RATIO: Final = 0.6
_P_GAIN: Final = 0.25
_P_MARGIN: Final = 1.2
_P_MOST: Final = 0.75

# Columns of the integer and of the float state.
_POS, _ALIVE, _PENDING, _LAST, _BEFORE_LAST, _BEATS, _NOISES, _REJECTED, _START = range(9)
_E1, _E2, _PENDING_UV, _LAST_UV, _LAST_R, _BEFORE_LAST_R, _REJECTED_UV, _P_UV = range(8)


class LookAheadError(ValueError):
    """The delay before the detector leaves too little of the 300 ms to decide in."""


class QrsEvents(NamedTuple):
    """The beats decided in one block: the first counts[s] entries of row s.

    Attributes:
        counts: (n_streams,).
        position: R peak on the analysis grid, fractional.
        decided: index of the analysis sample with which the beat was decided.
        rr: analysis samples since the previous beat; NaN after a restart.
        level_uv: envelope at the beat.
        noise_uv: the detector's noise level before the beat.

    """

    counts: NDArray[np.int64]
    position: NDArray[np.float64]
    decided: NDArray[np.int64]
    rr: NDArray[np.float64]
    level_uv: NDArray[np.float64]
    noise_uv: NDArray[np.float64]


class _State(NamedTuple):
    """Struct of arrays, one row per stream."""

    ring: NDArray[np.float64]
    integers: NDArray[np.int64]
    floats: NDArray[np.float64]
    signal: NDArray[np.float64]
    noise: NDArray[np.float64]
    rr: NDArray[np.float64]
    scratch: NDArray[np.float64]


def _wavelet() -> NDArray[np.float64]:
    """Return the (2, 25) quadrature pair, unit gain for a sine at the centre frequency."""
    t = np.arange(-_HALF, _HALF + 1) / ANALYSIS_HZ
    window = np.exp(-0.5 * (t / _SIGMA_S) ** 2)
    cosine, sine = np.cos(2 * np.pi * _CENTRE_HZ * t), np.sin(2 * np.pi * _CENTRE_HZ * t)
    even = window * cosine
    even -= window * (even.sum() / window.sum())
    odd = window * sine
    return np.ascontiguousarray(np.stack((even / (even @ cosine), odd / (odd @ sine))))


_TAPS: Final = _wavelet()


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _ranked(values: NDArray[np.float64], n: int, rank: float, scratch: NDArray[np.float64]) -> float:
    """Return the ``rank`` quantile (0..1, interpolated) of the first n values."""
    for i in range(n):
        v = values[i]
        j = i - 1
        while j >= 0 and scratch[j] > v:
            scratch[j + 1] = scratch[j]
            j -= 1
        scratch[j + 1] = v
    at = rank * (n - 1)
    low = int(at)
    high = min(low + 1, n - 1)
    value: float = scratch[low] + (at - low) * (scratch[high] - scratch[low])
    return value


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _envelope(ring: NDArray[np.float64], base: int, taps: NDArray[np.float64]) -> float:
    even = 0.0
    odd = 0.0
    for k in range(taps.shape[1]):
        v = ring[base + k]
        even += taps[0, k] * v
        odd += taps[1, k] * v
    value: float = np.sqrt(even * even + odd * odd)
    return value


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _restart(state: _State, s: int, v: float, t: int) -> None:
    state.ring[s, :] = v
    state.integers[s, :] = 0
    state.floats[s, :] = 0.0
    state.integers[s, _ALIVE] = 1
    state.integers[s, _PENDING] = -1
    state.integers[s, _LAST] = t
    state.integers[s, _START] = t


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _noise_level(state: _State, s: int) -> float:
    n = min(state.integers[s, _NOISES], _HISTORY)
    if n == 0:
        return 0.0
    level: float = _ranked(state.noise[s], n, _NOISE_RANK, state.scratch)
    return level


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _threshold(state: _State, s: int, at: int, noise: float) -> tuple[float, float]:
    """Return the level a candidate at index ``at`` must exceed to be a beat, and the same before any decay."""
    beats = state.integers[s, _BEATS]
    since = float(at - state.integers[s, _LAST])
    rr = _RR_START
    if beats == 0:
        limit = max(_START_UV, _START_NOISE * noise)
    else:
        signal = _ranked(state.signal[s], min(beats, _HISTORY), _SIGNAL_RANK, state.scratch)
        if beats > 1:
            rr = _ranked(state.rr[s], min(beats - 1, _HISTORY), 0.5, state.scratch)
            rr = min(max(rr, _RR_MIN), _RR_MAX)
        t_end = _T_WAVE_S * np.sqrt(rr * ANALYSIS_HZ)
        if since < t_end:
            k = _K_T_WAVE
        elif since < t_end + _T_WAVE_FALL:
            k = _K_T_WAVE + (_K_EXPECTED - _K_T_WAVE) * (since - t_end) / _T_WAVE_FALL
        else:
            overdue = min(max(since / rr - 1.0, 0.0), 1.0)
            k = _K_EXPECTED + (_K_OVERDUE - _K_EXPECTED) * overdue
        noise = min(noise, signal)
        k = min(k + _K_NOISY * noise / signal, max(k, _K_T_WAVE))
        limit = noise + k * (signal - noise)
        limit = max(limit, min(_P_MARGIN * state.floats[s, _P_UV], _P_MOST * signal))
    silent = max(since - max(2.0 * rr, _DECAY_AFTER), 0.0)
    return max(limit * 0.5 ** (silent / _DECAY_HALF), _FLOOR_UV), limit


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _r_offset(ring: NDArray[np.float64], base: int) -> float:
    """Return where, relative to ring[base], the largest deflection from the surrounding level is."""
    level = 0.5 * (ring[base - _SEARCH - 5] + ring[base + _SEARCH + 5])
    best = -1.0
    at = 0
    for k in range(-_SEARCH, _SEARCH + 1):
        deflection = abs(ring[base + k] - level)
        if deflection > best:
            best = deflection
            at = k
    left = abs(ring[base + at - 1] - level)
    right = abs(ring[base + at + 1] - level)
    curvature = left - 2.0 * best + right
    if curvature >= 0.0:
        return float(at)
    offset: float = at + min(max(0.5 * (left - right) / curvature, -0.5), 0.5)
    return offset


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _learn_beat(state: _State, s: int, at: int, level: float, position: float, relearn: bool) -> float:
    """Take an accepted beat into the state; return its interval to the beat before, NaN for the first.

    With ``relearn`` the levels so far have proved wrong and are forgotten.
    """
    ints = state.integers[s]
    floats = state.floats[s]
    beats = ints[_BEATS]
    if beats > 0 and at - ints[_LAST] < _PRECURSOR_MAX and floats[_LAST_UV] < _PRECURSOR_RATIO * level:
        state.noise[s, ints[_NOISES] % _HISTORY] = floats[_LAST_UV]
        ints[_NOISES] += 1
        ints[_REJECTED] = ints[_LAST]
        floats[_REJECTED_UV] = floats[_LAST_UV]
        ints[_LAST] = ints[_BEFORE_LAST]
        floats[_LAST_R] = floats[_BEFORE_LAST_R]
        beats -= 1
    if _PRECURSOR_MIN <= at - ints[_REJECTED] <= _PRECURSOR_MAX and floats[_REJECTED_UV] > 0.0:
        floats[_P_UV] += _P_GAIN * (floats[_REJECTED_UV] - floats[_P_UV])
    else:
        floats[_P_UV] *= 1.0 - 0.5 * _P_GAIN
    interval = np.nan
    if beats > 0:
        interval = position - floats[_LAST_R]
        state.rr[s, (beats - 1) % _HISTORY] = at - ints[_LAST]
    if relearn:
        beats = 0
        ints[_NOISES] = 0
        floats[_P_UV] = 0.0
    state.signal[s, beats % _HISTORY] = level
    ints[_BEFORE_LAST] = ints[_LAST]
    floats[_BEFORE_LAST_R] = floats[_LAST_R]
    ints[_LAST] = at
    floats[_LAST_R] = position
    floats[_LAST_UV] = level
    ints[_BEATS] = beats + 1
    return interval


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _offer(state: _State, s: int, at: int, level: float) -> None:
    """Consider the envelope's local maximum at index ``at`` as the pending candidate."""
    ints = state.integers[s]
    floats = state.floats[s]
    if ints[_PENDING] < 0:
        since = at - ints[_LAST]
        breaks = since >= _REFRACTORY_MIN and level > _REFRACTORY_BREAK * floats[_LAST_UV]
        if ints[_BEATS] == 0 or since >= _REFRACTORY or breaks:
            ints[_PENDING] = at
            floats[_PENDING_UV] = level
    elif level > floats[_PENDING_UV]:
        if at - ints[_PENDING] >= _PRECURSOR_MIN:
            ints[_REJECTED] = ints[_PENDING]
            floats[_REJECTED_UV] = floats[_PENDING_UV]
        ints[_PENDING] = at
        floats[_PENDING_UV] = level


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _detect(
    x: NDArray[np.float32], first: int, hold: int, state: _State, taps: NDArray[np.float64], events: QrsEvents
) -> None:
    length = taps.shape[1]
    for s in range(x.shape[0]):
        ints = state.integers[s]
        floats = state.floats[s]
        ring = state.ring[s]
        found = 0
        for i in range(x.shape[1]):
            v = float(x[s, i])
            t = first + i
            if v != v:  # noqa: PLR0124 - the cheapest NaN test
                ints[_ALIVE] = 0
                continue
            if ints[_ALIVE] == 0:
                _restart(state, s, v, t)
            pos = ints[_POS]
            ring[pos] = v
            ring[pos + _RING] = v
            pos = (pos + 1) % _RING
            ints[_POS] = pos
            e = _envelope(ring, pos + _RING - length, taps)
            if floats[_E1] > floats[_E2] and floats[_E1] >= e:
                _offer(state, s, t - 1 - _HALF, floats[_E1])
            floats[_E2] = floats[_E1]
            floats[_E1] = e
            at = ints[_PENDING]
            if at < 0 or t - _HALF - at < hold:
                continue
            ints[_PENDING] = -1
            level = floats[_PENDING_UV]
            noise = _noise_level(state, s)
            limit, undecayed = _threshold(state, s, at, noise)
            if level > limit:
                position = at + _r_offset(ring, pos + _RING - 1 - (t - at))
                events.rr[s, found] = _learn_beat(state, s, at, level, position, level <= undecayed)
                events.position[s, found] = position
                events.decided[s, found] = t
                events.level_uv[s, found] = level
                events.noise_uv[s, found] = noise
                found += 1
            else:
                state.noise[s, ints[_NOISES] % _HISTORY] = level
                ints[_NOISES] += 1
                ints[_REJECTED] = at
                floats[_REJECTED_UV] = level
        events.counts[s] = found


class QrsBank:
    """The detector for n streams on one analysis grid.

    Args:
        n_streams: rows of every block.
        delay_ms: what the samples have waited before they get here (the resampler's look-ahead); it shortens the hold.
        first_index: analysis index of the first sample to come.

    Raises:
        LookAheadError: delay_ms leaves less than 100 ms to hold a candidate.

    Attributes:
        next_index: analysis index of the next sample.

    """

    def __init__(self, n_streams: int, *, delay_ms: float = 0.0, first_index: int = 0) -> None:
        # The R peak may lie up to half a sample beyond the search.
        budget = int((MAX_DECISION_MS - delay_ms) * ANALYSIS_HZ / 1000.0 - _HALF - _SEARCH - 0.5)
        if budget < _PRECURSOR_MIN:
            raise LookAheadError(
                f"{delay_ms:.0f} ms of delay leave no time to decide within {MAX_DECISION_MS:.0f} ms; "
                "use a shorter resampling filter"
            )
        self._hold = min(budget, _MAX_HOLD)
        self._n_streams = n_streams
        self._events = _empty_events(n_streams, 0)
        self.restart(first_index)

    def restart(self, first_index: int) -> None:
        """Forget everything in every stream; the next block starts at analysis index first_index."""
        n = self._n_streams
        self.next_index = first_index
        self._state = _State(
            ring=np.zeros((n, 2 * _RING)),
            integers=np.zeros((n, 9), np.int64),
            floats=np.zeros((n, 8)),
            signal=np.zeros((n, _HISTORY)),
            noise=np.zeros((n, _HISTORY)),
            rr=np.zeros((n, _HISTORY)),
            scratch=np.zeros(_HISTORY),
        )

    def push(self, x_uv: NDArray[np.float32]) -> QrsEvents:
        """Take (n_streams, n) microvolts at 250 Hz, NaN where missing; return the beats decided in this block.

        The returned arrays are overwritten by the next call.
        """
        n = x_uv.shape[1]
        # Two decisions are at least the shortest hold apart.
        need = ceil(n / _PRECURSOR_MIN) + 1
        if need > self._events.position.shape[1]:
            self._events = _empty_events(self._n_streams, need)
        _detect(x_uv, self.next_index, self._hold, self._state, _TAPS, self._events)
        self.next_index += n
        return self._events


def _empty_events(n_streams: int, capacity: int) -> QrsEvents:
    shape = (n_streams, capacity)
    return QrsEvents(
        counts=np.zeros(n_streams, np.int64),
        position=np.zeros(shape),
        decided=np.zeros(shape, np.int64),
        rr=np.zeros(shape),
        level_uv=np.zeros(shape),
        noise_uv=np.zeros(shape),
    )
