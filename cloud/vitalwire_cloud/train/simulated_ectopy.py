"""Ectopy that never was, written into recordings: what a head learns from that saw no label of an abnormal beat.

Beats that are taken for normal are lifted out of a strip by the patient's own beat, and others are written in:
premature and idioventricular beats, couplets and tachycardias of ventricular foci that keep their shape, premature
beats and tachycardias of the atria, fusion beats, and, because a head must learn what is no ectopy too, atrial
fibrillation and noise. So it is known of every beat what it is, without anybody having labelled one, and there are as
many as are wanted.

Shapes and times are drawn from what textbooks say of such beats (Surawicz & Knilans, "Chou's Electrocardiography in
Clinical Practice"): a ventricular beat has a wide QRS (110 to 190 ms) of any axis with ST and T against it and no P
before it, and mostly a full compensatory pause after it; an atrial one has the patient's QRS after another P or none,
and resets the sinus node. No number was fitted to labelled ectopy; which kinds there are was settled after looking at
what scored low with the development patients (runs and fibrillation were missing at first).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

_SHARES: Final = (0.0, 0.03, 0.08, 0.2, 0.35)
"""How often a beat becomes an ectopic one, a share for each stretch of beats."""
_STRETCH_BEATS: Final = (30, 90)
_FUSION: Final = 0.03
_ATRIAL: Final = 0.32
_TACHYCARDIA: Final = 0.06
_IDIOVENTRICULAR: Final = 0.03
_INTERPOLATED: Final = 0.1
_SALVO: Final = 0.12
_FIBRILLATION: Final = 1 / 150
_NOISY: Final = 0.35

_BEFORE_S: Final = 0.28
_AFTER_S: Final = 0.5
_NEAR: Final = 10
_P_END_S: Final = 0.07
_TAPER_S: Final = 0.04
_MIN_RR_S: Final = 0.3
_CLEAR: Final = 0.6
"""Of the patient's interval, that lies between a written beat and the next one that stays."""
_MARGIN: Final = 4
_FEWEST: Final = 4 * _MARGIN
_REGULAR: Final = (0.85, 1.18)
_RR_S: Final = (0.4, 1.6)


@dataclass(frozen=True, slots=True)
class Strip:
    """A lead's samples, its R peaks, and of each its class (EC57; Q: what was not taken for normal)."""

    ecg_uv: NDArray[np.float32]
    peaks: NDArray[np.int64]
    label: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class _Wave:
    """A beat's samples, less the isoelectric level, and where its R peak stands."""

    samples: NDArray[np.float64]
    peak: int

    def times(self, factor: float) -> "_Wave":
        return _Wave(self.samples * factor, self.peak)


def with_ectopy(strip: Strip, *, fs_hz: float, rng: np.random.Generator) -> Strip:
    """The strip with beats of class N in part replaced by simulated ones; what was of another class becomes Q.

    A strip of a few beats stays as it is.
    """
    if strip.peaks.size < _FEWEST:
        return replace(strip, label=np.where(strip.label == "N", "N", "Q"))
    desk = _Desk(strip, fs_hz, rng)
    k, share, left = _MARGIN, 0.0, 0
    while k < strip.peaks.size - _MARGIN:
        if left <= 0:
            share, left = float(rng.choice(_SHARES)), int(rng.integers(*_STRETCH_BEATS))
        left -= 1
        if desk.ordinary(k) and rng.random() < _FIBRILLATION:
            k = _fibrillation(desk, k)
        elif desk.ordinary(k) and rng.random() < share:
            k = _episode(rng)(desk, k)
        else:
            k += 1
    return desk.strip()


class _Desk:
    """Where beats are lifted out of a strip and others written in."""

    def __init__(self, strip: Strip, fs_hz: float, rng: np.random.Generator) -> None:
        self.rng = rng
        self.fs_hz = fs_hz
        self.peaks = strip.peaks
        self.normal = strip.label == "N"
        self.foci = _Foci(rng, fs_hz)
        self._original = strip.ecg_uv
        self._ecg = strip.ecg_uv.astype(np.float64)
        self._lifted = np.zeros(strip.peaks.size, dtype=np.bool_)
        self._written: list[tuple[int, str]] = []
        self._cuts: list[tuple[int, int]] = []

    def samples(self, seconds: float) -> int:
        return int(seconds * self.fs_hz)

    def rr(self, k: int) -> int:
        """Samples from the beat before to beat `k`."""
        return int(self.peaks[k] - self.peaks[k - 1])

    def ordinary(self, k: int) -> bool:
        """Whether beat `k` and its neighbours are normal and regular, so that something can be written there."""
        rr = self.rr(k)
        even = _REGULAR[0] < self.rr(k + 1) / max(rr, 1) < _REGULAR[1]
        usual = _RR_S[0] * self.fs_hz < rr < _RR_S[1] * self.fs_hz
        inside = self.peaks[k] >= self.samples(_BEFORE_S) and self.peaks[k + 2] < self._ecg.size
        return bool(even and usual and inside and self.normal[k - 2 : k + 4].all())

    def room(self, k: int) -> int:
        """Sample up to which all beats from `k` on are normal, short of the strip's end."""
        other = np.flatnonzero(~self.normal[k:])
        last = self.peaks.size - _MARGIN - 1 if other.size == 0 else k + int(other[0]) - 2
        return int(self.peaks[max(k, min(last, self.peaks.size - _MARGIN - 1))])

    def own(self, k: int) -> _Wave:
        """The patient's own beat around beat `k`: the median of its neighbours as they were recorded."""
        before, after = self.samples(_BEFORE_S), self.samples(_AFTER_S)
        near = self.peaks[max(0, k - _NEAR) : k + _NEAR + 1]
        near = near[(near >= before) & (near + after <= self._original.size)]
        beats = self._original[near[:, None] + np.arange(-before, after)].astype(np.float64)
        level = slice(before - self.samples(0.12), before - self.samples(0.06))
        return _Wave(np.median(beats - np.median(beats[:, level], axis=1, keepdims=True), axis=0), before)

    def size_uv(self, own: _Wave) -> float:
        """Peak to peak amplitude of the QRS."""
        half = self.samples(0.08)
        return max(float(np.ptp(own.samples[own.peak - half : own.peak + half])), 1.0)

    def lift(self, k: int, *, keep_p: bool = False) -> None:
        """Take beat `k` out: the patient's own beat, scaled to it, is subtracted; noise and wander stay."""
        own = self.own(k)
        first = int(self.peaks[k]) - own.peak
        there = self._original[first : first + own.samples.size].astype(np.float64)
        level = np.median(there[own.peak - self.samples(0.12) : own.peak - self.samples(0.06)])
        qrs = slice(own.peak - self.samples(0.06), own.peak + self.samples(0.06))
        of = own.samples[qrs]
        scale = np.clip((there[qrs] - level) @ of / max(float(of @ of), 1e-6), 0.5, 1.8)
        part = _taper(own.samples.size, self.samples(_TAPER_S))
        if keep_p:
            part[: own.peak - self.samples(_P_END_S)] = 0.0
        self._ecg[first : first + there.size] -= scale * (own.samples * part)[: there.size]
        self._lifted[k] = True

    def write(self, wave: _Wave, at: int, label: str | None) -> None:
        """Add a beat with its R peak at sample `at`; without a label it is part of one that is written there."""
        first = at - wave.peak
        low, high = max(0, first), min(self._ecg.size, first + wave.samples.size)
        tapered = wave.samples * _taper(wave.samples.size, self.samples(_TAPER_S))
        self._ecg[low:high] += tapered[low - first : high - first]
        if label is not None:
            self._written.append((at, label))

    def write_run(
        self, k: int, waves: Callable[[int], tuple[_Wave, str, int]], first: int, count: int
    ) -> int:
        """Write up to `count` beats from sample `first` on; lift those that were there; the next beat to look at.

        `waves` gives a beat, its label, and the samples from it to the next one.
        """
        at, last, room = first, first, self.room(k)
        for n in range(count):
            if at >= room:
                break
            wave, label, away = waves(n)
            self.write(wave, at, label)
            last, at = at, at + away
        return self.lift_until(k, last)

    def lift_until(self, k: int, last: int) -> int:
        """Lift beats from `k` on that stand too close after `last`; the next beat to look at."""
        clear, end = last + _CLEAR * self.rr(k), self.peaks.size - _MARGIN
        while k < end and self.peaks[k] < clear:
            self.lift(k)
            k += 1
        return k + 2

    def cut(self, at: int, count: int) -> None:
        """Take so many samples out of the strip, later."""
        self._cuts.append((at, count))

    def add(self, first: int, wave: NDArray[np.float64]) -> None:
        """Add a wave that belongs to no beat."""
        self._ecg[first : first + wave.size] += wave

    def strip(self) -> Strip:
        """What has become of the strip, with noise and without what was cut."""
        stayed = np.flatnonzero(~self._lifted)
        peaks = np.concatenate(
            (self.peaks[stayed], np.array([at for at, _ in self._written], dtype=np.int64))
        )
        label = np.concatenate(
            (np.where(self.normal[stayed], "N", "Q"), np.array([of for _, of in self._written], dtype="<U1"))
        ).astype("<U1")
        peaks, first = np.unique(peaks, return_index=True)
        label = label[first]
        parts: list[NDArray[np.float64]] = []
        done, moved = 0, np.zeros(peaks.size, dtype=np.int64)
        fade = np.linspace(0.0, 1.0, self.samples(0.03))
        for at, count in sorted(self._cuts):
            if at >= done and at + count + fade.size < self._ecg.size:
                parts.append(self._ecg[done:at])
                after = self._ecg[at + count : at + count + fade.size]
                parts.append(self._ecg[at : at + fade.size] * (1 - fade) + after * fade)
                done = at + count + fade.size
                moved[peaks >= at + count] += count
        whole = np.concatenate((*parts, self._ecg[done:]))
        size_uv = self.size_uv(self.own(self.peaks.size // 2))
        return Strip(_noisy(whole, self.fs_hz, self.rng, size_uv).astype(np.float32), peaks - moved, label)


class _Foci:
    """Where a heart's ventricular beats come from: one to three places, each of which gives beats of one shape."""

    def __init__(self, rng: np.random.Generator, fs_hz: float) -> None:
        self._rng = rng
        self._fs_hz = fs_hz
        self._known: list[_Wave] = []

    def beat(self, own: _Wave, size_uv: float) -> _Wave:
        rng = self._rng
        if not self._known or rng.random() < 0.02:
            self._known = [*self._known, self._focus(own)][-3:]
        wave = self._known[int(rng.integers(len(self._known)))] if rng.random() > 0.05 else self._focus(own)
        faster = rng.uniform(0.92, 1.08)
        at = (np.arange(wave.samples.size) - wave.peak) / faster + wave.peak
        samples = np.interp(at, np.arange(wave.samples.size), wave.samples)
        return _Wave(samples * size_uv * rng.uniform(0.85, 1.15), wave.peak)

    def _focus(self, own: _Wave) -> _Wave:
        """A ventricular beat in units of the patient's QRS."""
        rng = self._rng
        t = np.arange(-0.35, 0.6, 1 / self._fs_hz)
        qrs = self._slow(own, t) if rng.random() < 0.25 else self._lobes(t)
        qrs /= max(float(np.ptp(qrs)), 1e-6)
        against = -(np.sign(qrs.sum()) or 1.0)
        peak_s, rise_s, fall_s = rng.uniform(0.22, 0.36), rng.uniform(0.05, 0.09), rng.uniform(0.04, 0.07)
        t_wave = rng.uniform(0.08, 0.5) * np.where(
            t < peak_s, _bell(t, peak_s, rise_s), _bell(t, peak_s, fall_s)
        )
        st = rng.uniform(0.0, 0.12) * _bell(t, 0.12, 0.05)
        whole = (qrs + against * (t_wave + st)) * np.exp(rng.normal(np.log(1.15), 0.45))
        near = np.flatnonzero(np.abs(t) < 0.12)
        return _Wave(whole, int(near[np.argmax(np.abs(whole[near]))]))

    def _lobes(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """A wide deflection, mostly with another against it, sometimes notched."""
        rng = self._rng
        duration_s = rng.uniform(0.11, 0.19)
        width_s, sign = duration_s / rng.uniform(3.6, 5.5), rng.choice((1.0, -1.0))
        qrs = sign * np.where(t < 0, _bell(t, 0, width_s), _bell(t, 0, width_s * rng.uniform(0.7, 1.4)))
        if rng.random() < 0.65:
            at_s = rng.choice((1.0, -1.0)) * rng.uniform(0.3, 0.6) * duration_s
            qrs -= sign * rng.uniform(0.15, 0.9) * _bell(t, at_s, duration_s / rng.uniform(5, 8))
        if rng.random() < 0.4:
            at_s = rng.uniform(-0.4, 0.4) * duration_s
            qrs += rng.uniform(-0.25, 0.25) * _bell(t, at_s, duration_s / rng.uniform(7, 10))
        return np.asarray(qrs, dtype=np.float64)

    def _slow(self, own: _Wave, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """The patient's own QRS conducted slowly, sometimes the other way."""
        slower = self._rng.uniform(1.5, 2.4)
        from_s = (np.arange(own.samples.size) - own.peak) / self._fs_hz
        away_s = np.abs(t / slower)
        part = np.where(away_s < 0.07, 1.0, np.exp(-(((away_s - 0.07) / 0.02) ** 2)))
        qrs = self._rng.choice((1.0, 1.0, -1.0)) * np.interp(t / slower, from_s, own.samples) * part
        return np.asarray(qrs, dtype=np.float64)


_Episode = Callable[[_Desk, int], int]
"""Writes something in place of a beat and of those after it; returns the next beat to look at."""


def _episode(rng: np.random.Generator) -> _Episode:
    kind = rng.random()
    if kind < _FUSION:
        return _fusion
    sustained = rng.random()
    if kind < _FUSION + _ATRIAL:
        return _atrial_tachycardia if sustained < _TACHYCARDIA else _atrial_beat
    if sustained < _TACHYCARDIA + _IDIOVENTRICULAR:
        return _ventricular_tachycardia if sustained < _TACHYCARDIA else _idioventricular_rhythm
    how = rng.random()
    if how < _INTERPOLATED:
        return _interpolated_beat
    return _salvo if how < _INTERPOLATED + _SALVO else _ventricular_beat


def _ventricular_beat(desk: _Desk, k: int) -> int:
    """One early or late beat in place of the patient's, the next at its own time: a full compensatory pause."""
    rng, own = desk.rng, desk.own(k)
    at = int(desk.peaks[k - 1]) + int(_coupling(rng) * desk.rr(k))
    desk.lift(k, keep_p=rng.random() < 0.2)
    desk.write(desk.foci.beat(own, desk.size_uv(own)), at, "V")
    return k + (2 if rng.random() < 0.7 else 3)


def _interpolated_beat(desk: _Desk, k: int) -> int:
    """One between two of the patient's, neither of which is missing, where there is room."""
    rng, own, rr = desk.rng, desk.own(k), desk.rr(k)
    if rr < 0.8 * desk.fs_hz:
        return _ventricular_beat(desk, k)
    at = int(desk.peaks[k - 1]) + int(rng.uniform(0.42, 0.6) * rr)
    desk.write(desk.foci.beat(own, desk.size_uv(own)), at, "V")
    return k + 2


def _salvo(desk: _Desk, k: int) -> int:
    """Two or three of one focus."""
    rng, own, rr = desk.rng, desk.own(k), desk.rr(k)
    wave = desk.foci.beat(own, desk.size_uv(own))
    first = int(desk.peaks[k - 1]) + int(_coupling(rng) * rr)

    def next_one(_n: int) -> tuple[_Wave, str, int]:
        return wave.times(rng.uniform(0.9, 1.1)), "V", int(rng.uniform(0.5, 0.75) * rr)

    return desk.write_run(k, next_one, first, int(rng.integers(2, 4)))


def _ventricular_tachycardia(desk: _Desk, k: int) -> int:
    own = desk.own(k)
    return _tachycardia(desk, k, desk.foci.beat(own, desk.size_uv(own)), "V")


def _atrial_tachycardia(desk: _Desk, k: int) -> int:
    return _tachycardia(desk, k, _atrial_wave(desk, k), "S")


def _tachycardia(desk: _Desk, k: int, wave: _Wave, label: str) -> int:
    """A regular run, often short, sometimes sustained, at 1.3 to 2.5 times the patient's rate."""
    rng, rr = desk.rng, desk.rr(k)
    cycle = max(rng.uniform(0.4, 0.75) * rr, 0.27 * desk.fs_hz)
    away = (np.arange(wave.samples.size) - wave.peak) / cycle
    # A beat ends before the next one begins.
    narrow = _Wave(
        wave.samples * np.clip((0.72 - away) / 0.12, 0, 1) * np.clip((away + 0.5) / 0.12, 0, 1), wave.peak
    )
    first = int(desk.peaks[k - 1]) + int(rng.uniform(0.5, 0.8) * rr)

    def next_one(_n: int) -> tuple[_Wave, str, int]:
        return narrow.times(rng.uniform(0.95, 1.05)), label, int(cycle * rng.uniform(0.98, 1.02))

    return desk.write_run(k, next_one, first, _run_length(rng))


def _idioventricular_rhythm(desk: _Desk, k: int) -> int:
    """Ventricular beats at about the patient's own rate, which timing does not tell."""
    rng, own, rr = desk.rng, desk.own(k), desk.rr(k)
    wave, cycle = desk.foci.beat(own, desk.size_uv(own)), rng.uniform(0.8, 1.1) * rr
    first = int(desk.peaks[k - 1]) + int(rng.uniform(0.75, 1.05) * rr)

    def next_one(_n: int) -> tuple[_Wave, str, int]:
        return wave.times(rng.uniform(0.93, 1.07)), "V", int(cycle * rng.uniform(0.96, 1.04))

    return desk.write_run(k, next_one, first, _run_length(rng))


def _fusion(desk: _Desk, k: int) -> int:
    """The patient's beat and a ventricular one at once, each in part."""
    rng, own = desk.rng, desk.own(k)
    share = rng.uniform(0.3, 0.7)
    at = int(desk.peaks[k]) - int(rng.uniform(0, 0.06) * desk.fs_hz)
    desk.lift(k)
    desk.write(desk.foci.beat(own, desk.size_uv(own)).times(share), at, "F")
    desk.write(own.times(1 - share), at, None)
    return k + 3


def _atrial_beat(desk: _Desk, k: int) -> int:
    """The patient's QRS early, sometimes conducted slowly; the sinus node begins anew, so the pause is short."""
    rng, rr = desk.rng, desk.rr(k)
    at = int(desk.peaks[k - 1]) + int(rng.uniform(0.5, 0.86) * rr)
    wave = _atrial_wave(desk, k)
    if rng.random() < 0.2:
        slower, away = rng.uniform(1.15, 1.5), np.arange(wave.samples.size) - wave.peak
        slow = np.interp(away / slower, away, wave.samples)
        wave = _Wave(np.where(np.abs(away) < 0.1 * desk.fs_hz * slower, slow, wave.samples), wave.peak)
    desk.lift(k)
    desk.write(wave, at, "S")
    early = int(desk.peaks[k + 1]) - at - int(rr * rng.uniform(0.98, 1.2))
    first = at + desk.samples(_AFTER_S)
    if early > desk.samples(0.02) and first + early < desk.peaks[k + 1] - _MIN_RR_S * desk.fs_hz:
        desk.cut(first, early)
    return k + 3


def _atrial_wave(desk: _Desk, k: int) -> _Wave:
    """The patient's beat after another P: none to be seen, the same, inverted or smaller."""
    rng, own = desk.rng, desk.own(k)
    samples = own.samples * rng.uniform(0.85, 1.15)
    samples[: own.peak - desk.samples(_P_END_S)] *= rng.choice(
        (0.0, 1.0, -1.0, 0.6), p=(0.35, 0.25, 0.2, 0.2)
    )
    return _Wave(samples, own.peak)


def _fibrillation(desk: _Desk, k: int) -> int:
    """Atrial fibrillation: normal beats at irregular intervals, no P, fibrillatory waves; sometimes ectopy in it."""
    rng, own, rr, fs_hz = desk.rng, desk.own(k), desk.rr(k), desk.fs_hz
    size_uv, shortest = desk.size_uv(own), _MIN_RR_S * desk.fs_hz
    away = np.arange(own.samples.size) - own.peak
    bare = own.samples * np.clip((away + 0.08 * fs_hz) / (0.02 * fs_hz), 0, 1)
    cycle, spread = rng.uniform(0.6, 1.0) * rr, rng.uniform(0.1, 0.25)
    ectopy = float(rng.choice((0.0, 0.0, 0.02, 0.08)))
    begun = int(desk.peaks[k - 1])

    def next_one(_n: int) -> tuple[_Wave, str, int]:
        if rng.random() < ectopy:
            pause = int(max(shortest, cycle * rng.uniform(0.9, 1.6)))
            return desk.foci.beat(own, size_uv), "V", pause
        interval = int(max(shortest, cycle * np.exp(spread * rng.normal() - 0.02)))
        ended = np.clip((0.95 * interval - away) / (0.05 * fs_hz), 0, 1)
        return _Wave(bare * ended * rng.uniform(0.92, 1.08), own.peak), "N", interval

    first = begun + int(max(shortest, cycle * np.exp(spread * rng.normal())))
    after = desk.write_run(k, next_one, first, int(rng.integers(20, 150)))
    count = int(desk.peaks[min(after - 2, desk.peaks.size - 1)]) - begun - int(0.5 * rr)
    if count > fs_hz:
        ends = np.minimum(1.0, np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.3 * fs_hz))
        knots = np.arange(0, count + fs_hz, fs_hz / 2)
        rate_hz = rng.uniform(5, 8) + np.interp(np.arange(count), knots, rng.normal(size=knots.size))
        waves = np.sin(2 * np.pi * np.cumsum(rate_hz) / fs_hz)
        desk.add(begun + int(0.3 * fs_hz), rng.uniform(0, 0.06) * size_uv * waves * ends)
    return after


def _noisy(
    ecg_uv: NDArray[np.float64], fs_hz: float, rng: np.random.Generator, size_uv: float
) -> NDArray[np.float64]:
    """Stretches of muscle noise, of motion in bursts and of wander, up to a third of the QRS: it is no ectopy."""
    noisy, start = ecg_uv.copy(), 0
    while start < ecg_uv.size:
        count = min(int(rng.uniform(10, 60) * fs_hz), ecg_uv.size - start)
        if rng.random() < _NOISY and count > 2 * fs_hz:
            kind = int(rng.integers(3))
            band_hz, much = (((15.0, 45.0), 1.0), ((1.0, 12.0), 1.0), ((0.15, 1.0), 2.0))[kind]
            settling = int(5 * fs_hz)
            sos = butter(2, band_hz, "band", fs=fs_hz, output="sos")
            wave = sosfilt(sos, rng.normal(size=count + settling))[settling:]
            if kind == 1:
                knots = np.arange(0, count + 2 * fs_hz, fs_hz)
                bursts = np.clip(rng.normal(size=knots.size), 0, None) ** 2
                wave *= np.interp(np.arange(count), knots, bursts)
            wave *= size_uv * much * rng.choice((0.02, 0.04, 0.08, 0.15)) / max(float(wave.std()), 1e-9)
            wave *= np.minimum(1.0, np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.5 * fs_hz))
            noisy[start : start + count] += wave
        start += count
    return noisy


def _coupling(rng: np.random.Generator) -> float:
    """Interval to a ventricular beat over the patient's own."""
    return float(rng.uniform(0.45, 0.85) if rng.random() < 0.7 else rng.uniform(0.85, 1.0))


def _run_length(rng: np.random.Generator) -> int:
    """Beats of a run: mostly some, in one of five sustained."""
    return int(rng.integers(30, 150)) if rng.random() < 0.2 else min(30, int(3 + rng.exponential(6)))


def _bell(t: NDArray[np.float64], at: float, width: float) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.exp(-0.5 * ((t - at) / width) ** 2)
    return found


def _taper(count: int, ends: int) -> NDArray[np.float64]:
    """Ones, with ends that rise from zero."""
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(ends) / ends)
    return np.concatenate((rise, np.ones(count - 2 * ends), rise[::-1]))
