"""Feeds an alarm engine with synthetic beats, seconds and recordings, and asks what it said."""

from collections.abc import Iterable
from math import nan

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.alarms import AlarmChange, AlarmConfig, AlarmEngine
from vitalwire_edge.alarms.change import Kind
from vitalwire_edge.signal.chain import Beat, EcgChain, SignalSecond
from vitalwire_edge.wire.codes import Code, ValueStatus

S = 1_000_000_000
T0 = 1_760_000_000 * S
"""Where every test's time line begins: nothing may depend on it."""


def engine(open_alarms: Iterable[AlarmChange] = (), **kwargs: object) -> AlarmEngine:
    return AlarmEngine(
        device="chest-1", config=kwargs.pop("config", AlarmConfig()), open_alarms=open_alarms, **kwargs
    )


def a_beat(
    rr_s: float,
    *,
    uv: float = 1000,
    width_ms: float = 80,
    corr: float = 0.99,
    quality: float = 1.0,
    wide: bool = False,
    swing_uv: float = nan,
) -> Beat:
    return Beat(
        sample=0,
        rr_s=rr_s,
        amplitude_uv=uv,
        width_ms=width_ms,
        quality=quality,
        reference_corr=corr,
        wide=wide,
        decision_ms=250.0,
        swing_uv=swing_uv,
    )


def a_second(
    ecg_uv: NDArray[np.float32] | None = None,
    *,
    good: bool = True,
    flat: bool = False,
    lead_off: bool = False,
    valid: bool = True,
) -> SignalSecond:
    there = valid and not lead_off
    if ecg_uv is None:
        ecg_uv = np.zeros(250, dtype=np.float32) if there else np.full(250, nan, dtype=np.float32)
    return SignalSecond(
        first_sample=0,
        quality=0.9 if good and there else 0.0,
        analysable=good and there and not flat,
        flat=flat,
        saturated=False,
        lead_off=lead_off,
        rms_uv=100.0,
        valid=there,
        ecg_uv=ecg_uv,
    )


class Feed:
    """One engine and the time it has come to, in seconds since T0."""

    def __init__(self, engine_: AlarmEngine) -> None:
        self.engine = engine_
        self.now_s = 0.0
        self.changes: list[AlarmChange] = []
        self._ended_s = 0

    def take(self, changes: list[AlarmChange]) -> None:
        self.changes += changes

    def beats(self, rr_s: Iterable[float], *, good: bool = True, **shape: object) -> "Feed":
        """Beats with their seconds: each whole second that passes is given after the beats in it."""
        for rr in rr_s:
            self.now_s += rr
            while self._ended_s + 1 <= self.now_s:
                self.take(self.engine.on_second(a_second(good=good), T0 + self._ended_s * S))
                self._ended_s += 1
            self.take(self.engine.on_beat(a_beat(rr, **shape), T0 + round(self.now_s * S)))
        return self

    def seconds(self, count: int, **what: object) -> "Feed":
        """Seconds without any beat."""
        for _ in range(count):
            self.take(self.engine.on_second(a_second(**what), T0 + self._ended_s * S))
            self._ended_s += 1
            self.now_s = max(self.now_s, self._ended_s)
        return self

    def vitals(
        self, code: Code, values: Iterable[float], *, every_s: float = 1, status: ValueStatus = ValueStatus.OK
    ):
        for value in values:
            self.now_s += every_s
            self.take(self.engine.on_vitals(T0 + round(self.now_s * S), [(code, value, status)]))
        return self

    def clock(self, seconds: int) -> "Feed":
        """Time passes without data."""
        for _ in range(seconds):
            self.now_s += 1
            self.take(self.engine.on_clock(T0 + round(self.now_s * S)))
        return self

    def said(self, kind: Kind) -> list[tuple[str, float]]:
        """Phases of one kind, with the seconds at which they came."""
        return [(c.phase, (c.at_ns - T0) / S) for c in self.changes if c.kind == kind]

    def phases(self, kind: Kind) -> list[str]:
        return [phase for phase, _ in self.said(kind)]

    def last(self, kind: Kind) -> AlarmChange:
        return [c for c in self.changes if c.kind == kind][-1]

    def open(self) -> set[str]:
        return {c.kind for c in self.engine.open_alarms()}


def restarted(feed: Feed) -> Feed:
    """The same patient after the gateway restarted: only the open alarms survived."""
    again = Feed(engine(feed.engine.open_alarms()))
    again.now_s = feed.now_s
    again._ended_s = feed._ended_s
    return again


def play(ecg_uv: NDArray[np.float64], fs_hz: float, into: AlarmEngine | None = None) -> Feed:
    """A recording through the real signal chain, in blocks of a fifth of a second."""
    chain = EcgChain(fs_hz=fs_hz)
    feed = Feed(engine() if into is None else into)
    step = round(fs_hz / 5)
    for start in range(0, ecg_uv.size, step):
        out = chain.push(start, ecg_uv[start : start + step].astype(np.float32))
        for beat in out.beats:
            feed.take(feed.engine.on_beat(beat, T0 + round(beat.sample / fs_hz * S)))
        for second in out.seconds:
            feed.take(feed.engine.on_second(second, T0 + round(second.first_sample / fs_hz * S)))
        feed.take(feed.engine.on_clock(T0 + round((start + step) / fs_hz * S)))
    feed.now_s = ecg_uv.size / fs_hz
    return feed


def sinus(
    seconds: float, *, fs_hz: float = 250, rate: float = 72, uv: float = 1000, seed: int = 1
) -> NDArray[np.float64]:
    """A plain P-QRS-T signal in microvolts with a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * fs_hz)) / fs_hz
    x = rng.normal(0, 6, t.size)
    r = 0.4
    while r < seconds + 1:
        for offset, width, height in (
            (-0.16, 0.02, 0.12),
            (0, 0.011, 1.0),
            (0.03, 0.01, -0.2),
            (0.25, 0.045, 0.25),
        ):
            x += uv * height * np.exp(-0.5 * ((t - r - offset) / width) ** 2)
        r += 60 / rate + rng.normal(0, 0.015)
    return x


def fibrillation(
    seconds: float, *, fs_hz: float = 250, uv: float = 300, hz: float = 5.0, width: float = 1.0, seed: int = 1
):
    """Ventricular fibrillation as noise in a narrow band."""
    rng = np.random.default_rng(seed)
    n = round(seconds * fs_hz)
    f = np.fft.rfftfreq(n, 1 / fs_hz)
    x = np.fft.irfft(np.exp(-0.5 * ((f - hz) / width) ** 2 + 2j * np.pi * rng.random(f.size)), n)
    return x * uv / x.std() + rng.normal(0, 8, n)
