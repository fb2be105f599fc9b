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
from typing import Any, Final, NamedTuple

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

_STREAM: Final = np.dtype(
    [
        ("ring", np.float64, (2 * _RING,)),
        ("signal", np.float64, (_HISTORY,)),
        ("noise", np.float64, (_HISTORY,)),
        ("rr", np.float64, (_HISTORY,)),
        ("pos", np.int64),
        ("alive", np.int64),
        ("pending", np.int64),
        ("last", np.int64),
        ("before_last", np.int64),
        ("beats", np.int64),
        ("noises", np.int64),
        ("rejected", np.int64),
        ("e1", np.float64),
        ("e2", np.float64),
        ("pending_uv", np.float64),
        ("last_uv", np.float64),
        ("last_r", np.float64),
        ("before_last_r", np.float64),
        ("rejected_uv", np.float64),
        ("p_uv", np.float64),
    ]
)
"""State of one stream: one record, because every array handed to a compiled function costs time, block by block."""


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


_EVENT: Final = np.dtype(
    [
        ("position", np.float64),
        ("decided", np.int64),
        ("rr", np.float64),
        ("level_uv", np.float64),
        ("noise_uv", np.float64),
    ]
)

Record = Any
"""One element of a structured array."""


def _wavelet() -> NDArray[np.float64]:
    """Return the (2, 25) quadrature pair, unit gain for a sine at the centre frequency."""
    t = np.arange(-_HALF, _HALF + 1) / ANALYSIS_HZ
    window = np.exp(-0.5 * (t / _SIGMA_S) ** 2)
    cosine, sine = np.cos(2 * np.pi * _CENTRE_HZ * t), np.sin(2 * np.pi * _CENTRE_HZ * t)
    even = window * cosine
    even -= window * (even.sum() / window.sum())
    odd = window * sine
    return np.ascontiguousarray(np.stack((even / (even @ cosine), odd / (odd @ sine))))


TAPS: Final = _wavelet()


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _ranked(values: NDArray[np.float64], n: int, rank: float) -> float:
    """Return the ``rank`` quantile (0..1, interpolated) of the first n values."""
    scratch = np.empty(_HISTORY)
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
def _restart(stream: Record, v: float, t: int) -> None:
    stream.ring[:] = v
    stream.pos = 0
    stream.alive = 1
    stream.pending = -1
    stream.last = t
    stream.before_last = 0
    stream.beats = 0
    stream.noises = 0
    stream.rejected = 0
    stream.e1 = 0.0
    stream.e2 = 0.0
    stream.pending_uv = 0.0
    stream.last_uv = 0.0
    stream.last_r = 0.0
    stream.before_last_r = 0.0
    stream.rejected_uv = 0.0
    stream.p_uv = 0.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _reject(stream: Record, at: int, level: float) -> None:
    """Remember a candidate that was no beat: it tells the noise, and may have been a P wave."""
    stream.noise[stream.noises % _HISTORY] = level
    stream.noises += 1
    stream.rejected = at
    stream.rejected_uv = level


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _noise_level(stream: Record) -> float:
    n = min(stream.noises, _HISTORY)
    if n == 0:
        return 0.0
    level: float = _ranked(stream.noise, n, _NOISE_RANK)
    return level


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _threshold(stream: Record, at: int, noise: float) -> tuple[float, float]:
    """Return the level a candidate at index ``at`` must exceed to be a beat, and the same before any decay."""
    beats = stream.beats
    since = float(at - stream.last)
    rr = _RR_START
    if beats == 0:
        limit = max(_START_UV, _START_NOISE * noise)
    else:
        signal = _ranked(stream.signal, min(beats, _HISTORY), _SIGNAL_RANK)
        if beats > 1:
            rr = _ranked(stream.rr, min(beats - 1, _HISTORY), 0.5)
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
        limit = max(limit, min(_P_MARGIN * stream.p_uv, _P_MOST * signal))
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
def _learn_beat(stream: Record, at: int, level: float, position: float, relearn: bool) -> float:
    """Take an accepted beat into the state; return its interval to the beat before, NaN for the first.

    With ``relearn`` the levels so far have proved wrong and are forgotten.
    """
    beats = stream.beats
    if beats > 0 and at - stream.last < _PRECURSOR_MAX and stream.last_uv < _PRECURSOR_RATIO * level:
        _reject(stream, stream.last, stream.last_uv)
        stream.last = stream.before_last
        stream.last_r = stream.before_last_r
        beats -= 1
    if _PRECURSOR_MIN <= at - stream.rejected <= _PRECURSOR_MAX and stream.rejected_uv > 0.0:
        stream.p_uv += _P_GAIN * (stream.rejected_uv - stream.p_uv)
    else:
        stream.p_uv *= 1.0 - 0.5 * _P_GAIN
    interval = np.nan
    if beats > 0:
        interval = position - stream.last_r
        stream.rr[(beats - 1) % _HISTORY] = at - stream.last
    if relearn:
        beats = 0
        stream.noises = 0
        stream.p_uv = 0.0
    stream.signal[beats % _HISTORY] = level
    stream.before_last = stream.last
    stream.before_last_r = stream.last_r
    stream.last = at
    stream.last_r = position
    stream.last_uv = level
    stream.beats = beats + 1
    return interval


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _offer(stream: Record, at: int, level: float) -> None:
    """Consider the envelope's local maximum at index ``at`` as the pending candidate."""
    if stream.pending < 0:
        since = at - stream.last
        breaks = since >= _REFRACTORY_MIN and level > _REFRACTORY_BREAK * stream.last_uv
        if stream.beats == 0 or since >= _REFRACTORY or breaks:
            stream.pending = at
            stream.pending_uv = level
    elif level > stream.pending_uv:
        if at - stream.pending >= _PRECURSOR_MIN:
            stream.rejected = stream.pending
            stream.rejected_uv = stream.pending_uv
        stream.pending = at
        stream.pending_uv = level


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def detect(
    x: NDArray[np.float32],
    first: int,
    hold: int,
    state: NDArray[np.void],
    taps: NDArray[np.float64],
    counts: NDArray[np.int64],
    events: NDArray[np.void],
) -> None:
    """Take x (streams, n) into the streams' state; fill counts and events with what was decided."""
    length = taps.shape[1]
    for s in range(x.shape[0]):
        stream = state[s]
        ring = stream.ring
        found = 0
        for i in range(x.shape[1]):
            v = float(x[s, i])
            t = first + i
            if v != v:  # noqa: PLR0124 - the cheapest NaN test
                stream.alive = 0
                continue
            if stream.alive == 0:
                _restart(stream, v, t)
            pos = stream.pos
            ring[pos] = v
            ring[pos + _RING] = v
            pos = (pos + 1) % _RING
            stream.pos = pos
            e = _envelope(ring, pos + _RING - length, taps)
            if stream.e1 > stream.e2 and stream.e1 >= e:
                _offer(stream, t - 1 - _HALF, stream.e1)
            stream.e2 = stream.e1
            stream.e1 = e
            at = stream.pending
            if at < 0 or t - _HALF - at < hold:
                continue
            stream.pending = -1
            level = stream.pending_uv
            noise = _noise_level(stream)
            limit, undecayed = _threshold(stream, at, noise)
            if level <= limit:
                _reject(stream, at, level)
                continue
            position = at + _r_offset(ring, pos + _RING - 1 - (t - at))
            event = events[s, found]
            event.rr = _learn_beat(stream, at, level, position, level <= undecayed)
            event.position = position
            event.decided = t
            event.level_uv = level
            event.noise_uv = noise
            found += 1
        counts[s] = found


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
        hold, state, counts, events: what `detect` takes, for who calls it within a larger compiled pass.

    """

    def __init__(self, n_streams: int, *, delay_ms: float = 0.0, first_index: int = 0) -> None:
        # The R peak may lie up to half a sample beyond the search.
        budget = int((MAX_DECISION_MS - delay_ms) * ANALYSIS_HZ / 1000.0 - _HALF - _SEARCH - 0.5)
        if budget < _PRECURSOR_MIN:
            raise LookAheadError(
                f"{delay_ms:.0f} ms of delay leave no time to decide within {MAX_DECISION_MS:.0f} ms; "
                "use a shorter resampling filter"
            )
        self.hold = min(budget, _MAX_HOLD)
        self._n_streams = n_streams
        self._reserve(0)
        self.restart(first_index)

    def restart(self, first_index: int) -> None:
        """Forget everything in every stream; the next block starts at analysis index first_index."""
        self.next_index = first_index
        self.state = np.zeros(self._n_streams, _STREAM)

    def push(self, x_uv: NDArray[np.float32]) -> QrsEvents:
        """Take (n_streams, n) microvolts at 250 Hz, NaN where missing; return the beats decided in this block.

        The returned arrays are overwritten by the next call.
        """
        n = x_uv.shape[1]
        self.make_room(n)
        detect(x_uv, self.next_index, self.hold, self.state, TAPS, self.counts, self.events)
        self.next_index += n
        return self._told

    def make_room(self, n: int) -> None:
        """Have room in `events` for what n samples can make: two decisions are at least the shortest hold apart."""
        need = ceil(n / _PRECURSOR_MIN) + 1
        if need > self.events.shape[1]:
            self._reserve(need)

    def _reserve(self, capacity: int) -> None:
        self.counts = np.zeros(self._n_streams, np.int64)
        self.events = np.zeros((self._n_streams, capacity), _EVENT)
        self._told = QrsEvents(self.counts, *(self.events[name] for name in QrsEvents._fields[1:]))
