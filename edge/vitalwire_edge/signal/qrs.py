"""Streaming QRS detection for a bank of streams."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.signal.resample import ANALYSIS_HZ

HISTORY: Final = 8
RING: Final = 128
LEAD_IN: Final = 100

# rows of the integer and float state
_I_POS, _I_ALIVE, _I_PEND, _I_LAST, _I_BEATS, _I_NOISES, _I_START = range(7)
_F_E1, _F_E2, _F_PEND, _F_LAST_E, _F_LASTX, _F_SLOPE = range(6)
N_INT: Final = 8
N_FLOAT: Final = 8


def wavelet(centre_hz: float, sigma_s: float, half: int) -> NDArray[np.float64]:
    t = np.arange(-half, half + 1) / ANALYSIS_HZ
    g = np.exp(-0.5 * (t / sigma_s) ** 2)
    re = g * np.cos(2 * np.pi * centre_hz * t)
    re -= g * (re.sum() / g.sum())
    im = g * np.sin(2 * np.pi * centre_hz * t)
    ref = np.cos(2 * np.pi * centre_hz * t)
    re /= abs((re * ref).sum())
    im /= abs((im * np.sin(2 * np.pi * centre_hz * t)).sum())
    return np.ascontiguousarray(np.stack((re, im)))


class QrsState(NamedTuple):
    ring: NDArray[np.float64]
    integers: NDArray[np.int64]
    floats: NDArray[np.float64]
    signal: NDArray[np.float64]
    noise: NDArray[np.float64]
    rr: NDArray[np.float64]
    scratch: NDArray[np.float64]


class QrsEvents(NamedTuple):
    """Beats of one block: the first count[s] entries of each row are filled.

    position: R peak, analysis samples, fractional.  decided: index of the analysis sample at which it was decided.
    """

    count: NDArray[np.int64]
    position: NDArray[np.float64]
    decided: NDArray[np.int64]
    level: NDArray[np.float64]
    noise: NDArray[np.float64]
    rr: NDArray[np.float64]


@njit(cache=True, nogil=True)
def _ranked(values, n, rank, scratch):
    for i in range(n):
        v = values[i]
        j = i - 1
        while j >= 0 and scratch[j] > v:
            scratch[j + 1] = scratch[j]
            j -= 1
        scratch[j + 1] = v
    pos = rank * (n - 1)
    lo = int(pos)
    hi = min(lo + 1, n - 1)
    return scratch[lo] + (pos - lo) * (scratch[hi] - scratch[lo])


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _envelope(ring, base, taps):
    re = 0.0
    im = 0.0
    for k in range(taps.shape[1]):
        v = ring[base + k]
        re += taps[0, k] * v
        im += taps[1, k] * v
    return np.sqrt(re * re + im * im)


@njit(cache=True, nogil=True)
def _threshold(state, s, tp, p):
    I = state.integers[s]
    F = state.floats[s]
    nb = min(I[_I_BEATS], 8)
    nn = min(I[_I_NOISES], 8)
    N = 0.0
    if nn > 0:
        N = _ranked(state.noise[s], nn, p[8], state.scratch)
    if nb == 0:
        return max(p[0], p[1] * N)
    S = _ranked(state.signal[s], nb, p[2], state.scratch)
    nr = min(I[_I_BEATS] - 1, 8)
    rr = p[3]
    if nr > 0:
        rr = min(max(_ranked(state.rr[s], nr, 0.5, state.scratch), 75.0), 400.0)
    rho = (tp - I[_I_LAST]) / rr
    if rho < 0.5:
        k = p[4]
    elif rho < 1.0:
        k = p[4] + (p[5] - p[4]) * (rho - 0.5) / 0.5
    elif rho < 2.0:
        k = p[5] + (p[6] - p[5]) * (rho - 1.0)
    else:
        k = p[6]
    N = min(N, S)
    return max(N + k * (S - N), p[7])


@njit(cache=True, nogil=True)
def _detect(x, first, state, taps, p, count, position, decided, level, noise, rrs):
    n_streams, n = x.shape
    L = taps.shape[1]
    h = L // 2
    H = int(p[9])
    refractory = p[10]
    for s in range(n_streams):
        I = state.integers[s]
        F = state.floats[s]
        ring = state.ring[s]
        c = 0
        for i in range(n):
            v = float(x[s, i])
            t = first + i
            if v != v:
                I[_I_ALIVE] = 0
                continue
            if I[_I_ALIVE] == 0:
                I[_I_ALIVE] = 1
                I[_I_POS] = 0
                ring[:] = v
                I[_I_PEND] = -1
                I[_I_BEATS] = 0
                I[_I_NOISES] = 0
                I[_I_LAST] = -1
                I[_I_START] = t
                F[:] = 0.0
            pos = I[_I_POS]
            ring[pos] = v
            ring[pos + RING] = v
            pos = (pos + 1) % RING
            I[_I_POS] = pos
            # newest L samples end at pos-1 (+RING)
            e = _envelope(ring, pos + RING - L, taps)
            e1 = F[_F_E1]
            if e1 > F[_F_E2] and e1 >= e:
                tp = t - 1 - h
                if I[_I_PEND] < 0:
                    if I[_I_BEATS] == 0 or tp - I[_I_LAST] >= refractory:
                        I[_I_PEND] = tp
                        F[_F_PEND] = e1
                elif e1 > F[_F_PEND]:
                    I[_I_PEND] = tp
                    F[_F_PEND] = e1
            F[_F_E2] = e1
            F[_F_E1] = e
            pend = I[_I_PEND]
            if pend >= 0 and t - h - pend >= H:
                pe = F[_F_PEND]
                I[_I_PEND] = -1
                thr = _threshold(state, s, pend, p)
                if pe > thr:
                    # locate R
                    best = -1.0
                    at = 0
                    age = t - pend  # samples back
                    base = pos + RING - 1 - age
                    lo = -int(p[11])
                    hi = int(p[11])
                    mean = 0.5 * (ring[base + lo - 5] + ring[base + hi + 5])
                    for k in range(lo, hi + 1):
                        d = abs(ring[base + k] - mean)
                        if d > best:
                            best = d
                            at = k
                    a = abs(ring[base + at - 1] - mean)
                    b = abs(ring[base + at] - mean)
                    g = abs(ring[base + at + 1] - mean)
                    den = a - 2 * b + g
                    off = 0.0
                    if den < 0:
                        off = min(max(0.5 * (a - g) / den, -0.5), 0.5)
                    nb = I[_I_BEATS]
                    position[s, c] = pend + at + off
                    decided[s, c] = t
                    level[s, c] = pe
                    noise[s, c] = thr
                    rrs[s, c] = np.nan
                    if nb > 0:
                        rrs[s, c] = position[s, c] - F[_F_LASTX]
                    F[_F_LASTX] = position[s, c]
                    c += 1
                    state.signal[s, nb % 8] = pe
                    if nb > 0:
                        state.rr[s, (nb - 1) % 8] = pend - I[_I_LAST]
                    I[_I_LAST] = pend
                    I[_I_BEATS] = nb + 1
                else:
                    state.noise[s, I[_I_NOISES] % 8] = pe
                    I[_I_NOISES] += 1
        count[s] = c


P0 = np.array([
    100.0,  # 0 initial abs threshold
    2.0,    # 1 init * N
    0.3,    # 2 rank of S
    200.0,  # 3 default RR
    0.5,    # 4 k early
    0.3,    # 5 k at RR
    0.12,   # 6 k late
    40.0,   # 7 floor
    0.5,    # 8 noise rank
    35.0,   # 9 H
    50.0,   # 10 refractory
    12.0,   # 11 search
])


class QrsBank:
    """The detector for n streams on one analysis grid.

    Args:
        n_streams: rows of every block.
        first_index: analysis index of the first sample to come.

    """

    def __init__(self, n_streams: int, *, first_index: int = 0) -> None:
        self._n_streams = n_streams
        self._capacity = 0
        self.restart(first_index)

    def restart(self, first_index: int) -> None:
        """Forget everything; the next block starts at analysis index first_index."""
        n = self._n_streams
        self.next_index = first_index
        self._state = QrsState(
            np.zeros((n, 2 * RING)),
            np.zeros((n, N_INT), np.int64),
            np.zeros((n, N_FLOAT)),
            np.zeros((n, HISTORY)),
            np.zeros((n, HISTORY)),
            np.zeros((n, HISTORY)),
            np.zeros(2 * HISTORY),
        )

    def push(self, x_uv: NDArray[np.float32]) -> QrsEvents:
        """Take (n_streams, n) samples at 250 Hz, NaN where missing; return the beats decided in this block.

        The arrays returned are overwritten by the next call.
        """
        n = x_uv.shape[1]
        need = n // 25 + 2
        if need > self._capacity:
            self._capacity = need
            s = self._n_streams
            self._events = QrsEvents(
                np.zeros(s, np.int64), np.zeros((s, need)), np.zeros((s, need), np.int64), *(np.zeros((s, need)) for _ in range(3))
            )
        _detect(x_uv, self.next_index, self._state, TAPS, P0, *self._events)
        self.next_index += n
        return self._events


TAPS = wavelet(16, 0.02, 15)
