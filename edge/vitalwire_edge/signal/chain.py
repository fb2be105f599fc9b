"""One lead of one device, from raw samples to beats, beat windows and judged seconds."""

from collections import deque
from math import ceil, nan
from typing import Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.signal import quality as sqi
from vitalwire_edge.signal.beats import (
    AFTER,
    GUARDED_FROM,
    UNLIKE,
    WIDER,
    WINDOW,
    Reference,
    RunningReference,
    beat_facts,
    cut_window,
)
from vitalwire_edge.signal.filters import HIGH_PASS, LOOK_AHEAD, LOW_PASS, MonitorFilter, condition
from vitalwire_edge.signal.history import History
from vitalwire_edge.signal.qrs import TAPS, QrsBank, detect
from vitalwire_edge.signal.resample import ANALYSIS_HZ, ResamplerBank
from vitalwire_edge.signal.ventricular import WINDOW_S, ventricular_features

MAX_FILLED_GAP_S: Final = 60
"""Seconds that are wholly inside a gap are reported up to this long; after that the seconds jump."""

WIDE_MS: Final = 120.0
SECOND_LAG: Final = 75
"""Analysis samples (300 ms) after a second's end at which it is final: every beat in it has been decided by then."""

_PIECE: Final = ANALYSIS_HZ + 1
"""Analysis samples of a second of device samples, at most; a longer block is taken second by second."""

_HISTORY: Final = (sqi.CONTEXT_S + 1) * ANALYSIS_HZ + SECOND_LAG + _PIECE
"""What the oldest second that is not judged yet looks back on, and what came after it."""

_CONTEXT: Final = sqi.CONTEXT_S * ANALYSIS_HZ
_RECENT_BEATS: Final = 16
"""As many as a heart makes in `CONTEXT_S`, at 240/min."""
_RECENT_S: Final = 10


class SampleOverlapError(ValueError):
    """A block starts before the end of what was already taken."""


class SampleBlockError(ValueError):
    """A block has the wrong shape or an impossible start."""


class Beat(msgspec.Struct, frozen=True):
    """One detected QRS complex.

    Attributes:
        sample: R peak, device sample counter.
        rr_s: seconds since the previous beat; NaN for the first one and after a gap.
        amplitude_uv: the R peak's deflection from the level before the QRS, signed.
        width_ms: QRS width estimate; NaN where samples around it are missing.
        quality: 0..1, how far the QRS stands above the detector's noise level.
        reference_corr: correlation of the QRS with the patient's running reference beat; NaN until there is one.
        wide: the QRS is at least 120 ms wide, or unlike the reference and 40 % wider: perhaps ventricular. A hint.
        decision_ms: from the R peak to the device sample with which it was decided.
        swing_uv: from peak to valley around the R peak, as standards measure a QRS; NaN where samples are missing. A
            beat that begins on the T wave before it may have all of its swing and hardly an amplitude.

    """

    sample: int
    rr_s: float
    amplitude_uv: float
    width_ms: float
    quality: float
    reference_corr: float
    wide: bool
    decision_ms: float
    swing_uv: float = nan


class BeatWindow(msgspec.Struct, frozen=True):
    """A beat's whole window, 500 ms after its R peak, with the reference as it was before this beat entered it.

    Attributes:
        sample: the beat's R peak, as in its `Beat`.
        ecg_uv: (beats.WINDOW,) filtered samples at 250 Hz, isoelectric level removed.
        reference: the patient's reference beat, None until there is one.

    """

    sample: int
    ecg_uv: NDArray[np.float32]
    reference: Reference | None


class SignalSecond(msgspec.Struct, frozen=True):
    """One second of device time, final.

    Attributes:
        first_sample: device counter of its first sample.
        quality: 0..1, see `quality.quality_index`; 0 where invalid.
        analysable: quality allows model scores. Lethal-rhythm rules ignore it.
        flat: there is signal, but no electrical activity in it.
        saturated: the amplifier is at its rail.
        lead_off: the device said so for at least a part of it.
        rms_uv: of `ecg_uv`; NaN where invalid.
        valid: every sample is there and the lead is on.
        ecg_uv: (250,) 0.5-40 Hz samples at 250 Hz; NaN where missing.

    """

    first_sample: int
    quality: float
    analysable: bool
    flat: bool
    saturated: bool
    lead_off: bool
    rms_uv: float
    valid: bool
    ecg_uv: NDArray[np.float32]


class ChainOutput(msgspec.Struct, frozen=True):
    """What one push made final, each list in order of time."""

    beats: list[Beat]
    seconds: list[SignalSecond]
    windows: list[BeatWindow]


_NO_REFERENCE: Final = np.empty(0, dtype=np.float32)


class EcgChain:
    """The streaming signal chain of one lead of one device.

    The output depends only on the samples, never on how they were cut into blocks.

    Args:
        fs_hz: device rate, 100-1000 Hz.
        full_scale_uv: where the device clips, if known.
        reference: the patient's reference beat on this lead from before, to go on with.

    Attributes:
        next_sample: the device sample expected next; None before the first block.

    """

    def __init__(
        self,
        *,
        fs_hz: float,
        full_scale_uv: float | None = None,
        reference: RunningReference | None = None,
    ) -> None:
        self._fs_hz = fs_hz
        self._full_scale_uv = full_scale_uv
        self.reference = reference or RunningReference()
        self._resampler = ResamplerBank(1, fs_hz=fs_hz)
        self._plan = self._resampler.plan
        self._qrs = QrsBank(1, delay_ms=self._plan.delay_ms(fs_hz))
        self._as_it_is = self._plan.taps.size == 1
        self.next_sample: int | None = None

    def push(
        self, first_sample: int, samples_uv: NDArray[np.float32], *, lead_off: bool = False
    ) -> ChainOutput:
        """Take one block of device samples.

        Args:
            first_sample: device counter of samples_uv[0]; a jump forward is a gap.
            samples_uv: (n,) microvolts; a sample that is not finite is missing.
            lead_off: the electrode was off during this block: its samples do not count.

        Raises:
            SampleOverlapError: the block starts before the end of the last one.
            SampleBlockError: the block is not one-dimensional, or its start is negative.

        """
        if samples_uv.ndim != 1 or first_sample < 0:
            raise SampleBlockError(
                f"block of shape {samples_uv.shape} at sample {first_sample}: pass a one-dimensional block at >= 0"
            )
        out = ChainOutput([], [], [])
        if self.next_sample is None:
            self._start(first_sample)
        elif first_sample != self.next_sample:
            self._skip_to(first_sample, out)
        if samples_uv.size == 0:
            return out
        x = np.ascontiguousarray(samples_uv, dtype=np.float32)
        if lead_off:
            x = np.full(x.size, nan, dtype=np.float32)
            self._mark_lead_off(first_sample, first_sample + x.size)
        self._feed(x, out)
        return out

    def _start(self, first_sample: int) -> None:
        """Forget the signal, not the patient: the reference beat stays."""
        self.next_sample = first_sample
        self._resampler.restart(first_sample)
        index = self._resampler.next_index
        self._qrs.restart(index)
        self._filter = MonitorFilter()
        self._raw = History(_HISTORY, _PIECE, index)
        self._ecg = History(_HISTORY, _PIECE, index - LOOK_AHEAD)
        self._second = index // ANALYSIS_HZ
        self._lead_off: deque[tuple[int, int]] = deque()
        self._waiting: deque[tuple[int, int]] = deque()
        # Of the last beats: R peak on the analysis grid, the detector's noise over its level, credible interval.
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=_RECENT_BEATS)
        self._due = self._next_due()

    def _skip_to(self, first_sample: int, out: ChainOutput) -> None:
        assert self.next_sample is not None
        gap = first_sample - self.next_sample
        if gap < 0:
            raise SampleOverlapError(
                f"block at sample {first_sample} overlaps what ended at {self.next_sample}; "
                "drop duplicates and reorder before the chain"
            )
        filled = min(gap, ceil(MAX_FILLED_GAP_S * self._fs_hz))
        if filled:
            self._feed(np.full(filled, nan, dtype=np.float32), out)
        if gap > filled:
            self._start(first_sample)

    def _mark_lead_off(self, first_sample: int, end_sample: int) -> None:
        first = first_sample * self._plan.up // self._plan.down // ANALYSIS_HZ
        last = (end_sample - 1) * self._plan.up // self._plan.down // ANALYSIS_HZ
        if self._lead_off and self._lead_off[-1][1] >= first - 1:
            first, _ = self._lead_off.pop()
        self._lead_off.append((first, last))

    def _feed(self, x: NDArray[np.float32], out: ChainOutput) -> None:
        second = int(self._fs_hz)
        if x.size <= second:
            self._feed_piece(x, out)
            return
        for at in range(0, x.size, second):
            self._feed_piece(x[at : at + second], out)

    def _feed_piece(self, x: NDArray[np.float32], out: ChainOutput) -> None:
        assert self.next_sample is not None
        self.next_sample += x.size
        if not self._as_it_is:
            x = self._resampler.push(_finite(x)[None, :])[0]
        n = x.size
        if n == 0:
            return
        qrs, raw, ecg, conditioning = self._qrs, self._raw, self._ecg, self._filter
        qrs.make_room(n)
        found = _pass(
            x,
            self._as_it_is,
            raw.samples,
            raw.room(n),
            qrs.next_index,
            qrs.hold,
            qrs.state,
            TAPS,
            qrs.counts,
            qrs.events,
            HIGH_PASS,
            LOW_PASS,
            conditioning.state,
            conditioning.ring,
            ecg.samples,
            ecg.room(n),
        )
        qrs.next_index += n
        if found:
            for position, decided, rr, level, noise in qrs.events[0, :found].tolist():
                self._settle(decided, out)
                self._take_beat(position, decided, rr, level, noise, out)
        if self._due < raw.end:
            self._settle(raw.end - 1, out)

    def _next_due(self) -> int:
        """Analysis index with which the next window or second is final."""
        second_due = (self._second + 1) * ANALYSIS_HZ + SECOND_LAG
        return min(self._waiting[0][0] + AFTER + LOOK_AHEAD, second_due) if self._waiting else second_due

    def _settle(self, index: int, out: ChainOutput) -> None:
        """Emit the windows and seconds that are final once analysis sample ``index`` is known."""
        while True:
            window_due = self._waiting[0][0] + AFTER + LOOK_AHEAD if self._waiting else index + 1
            second_due = (self._second + 1) * ANALYSIS_HZ + SECOND_LAG
            if min(window_due, second_due) > index:
                return
            if window_due <= second_due:
                self._take_window(out)
            else:
                self._take_second(out)
            self._due = self._next_due()

    def _take_beat(
        self, position: float, decided: int, rr: float, level: float, noise: float, out: ChainOutput
    ) -> None:
        sample = round(self._plan.device_sample(position))
        # Of the device's own sample, as annotations give it: so a window that is learned from is the window here.
        index = round(sample * self._plan.up / self._plan.down)
        start = self._ecg.start
        current = self.reference.current
        amplitude_uv, width, corr, swing_uv = beat_facts(
            self._ecg.samples,
            decided - LOOK_AHEAD + 1 - start,
            index - start,
            _NO_REFERENCE if current is None else current.beat_uv,
        )
        ratio = noise / level if level > 0 else 1.0
        out.beats.append(
            Beat(
                sample=sample,
                rr_s=rr / ANALYSIS_HZ,
                amplitude_uv=amplitude_uv,
                width_ms=width,
                quality=min(1.0, max(0.0, (1.0 - ratio) / 0.6)),
                reference_corr=corr,
                wide=width >= WIDE_MS or (corr < UNLIKE and width >= WIDER * self.reference.width_ms),
                decision_ms=(self._plan.needed_sample(decided) - sample) * 1000.0 / self._fs_hz,
                swing_uv=swing_uv,
            )
        )
        credible = 1.0
        if self._recent:
            before, ratio_before, _ = self._recent[-1]
            credible = sqi.interval_credible((position - before) / ANALYSIS_HZ, max(ratio_before, ratio))
        self._recent.append((position, ratio, credible))
        self._waiting.append((index, sample))
        self._due = self._next_due()

    def _take_window(self, out: ChainOutput) -> None:
        index, sample = self._waiting.popleft()
        start = self._ecg.start
        window = np.empty(WINDOW, dtype=np.float32)
        if not cut_window(self._ecg.samples, index + AFTER - start, index - start, window):
            return
        out.windows.append(BeatWindow(sample, window, self.reference.current))
        self.reference.add(window)

    def _take_second(self, out: ChainOutput) -> None:
        first = self._second * ANALYSIS_HZ
        self._second += 1
        ecg = self._ecg.copy(first, ANALYSIS_HZ)
        context = self._raw.copy(first + ANALYSIS_HZ - _CONTEXT, _CONTEXT)
        raw = context[-ANALYSIS_HZ:]
        second = first // ANALYSIS_HZ
        while self._lead_off and self._lead_off[0][1] < second:
            self._lead_off.popleft()
        lead_off = bool(self._lead_off) and self._lead_off[0][0] <= second
        valid = not lead_off and sqi.missing_until(raw) == 0 and sqi.missing_until(ecg) == 0
        first_sample = ceil(first * self._plan.down / self._plan.up)
        if not valid:
            out.seconds.append(
                SignalSecond(first_sample, 0.0, False, False, False, lead_off, nan, False, ecg)
            )
            return
        facts = sqi.second_facts(raw, ecg, self._full_scale_uv)
        index = 0.0
        if not (facts.flat or facts.saturated):
            end = first + ANALYSIS_HZ
            since = [beat for beat in self._recent if end - _RECENT_S * ANALYSIS_HZ <= beat[0] < end]
            index = sqi.quality_index(
                context[sqi.missing_until(context) :],
                noise_ratios=[ratio for _, ratio, _ in since],
                intervals=[credible for at, _, credible in since if at >= end - _CONTEXT],
            )
        out.seconds.append(
            SignalSecond(
                first_sample=first_sample,
                quality=index,
                analysable=index >= sqi.ANALYSABLE,
                flat=facts.flat,
                saturated=facts.saturated,
                lead_off=False,
                rms_uv=facts.rms_uv,
                valid=True,
                ecg_uv=ecg,
            )
        )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _finite(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Copy x with NaN for everything that is no number."""
    out = np.empty(x.size, dtype=np.float32)
    for i in range(x.size):
        out[i] = x[i] if np.isfinite(x[i]) else np.nan
    return out


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pass(
    x: NDArray[np.float32],
    unchecked: bool,
    raw: NDArray[np.float32],
    raw_at: int,
    first: int,
    hold: int,
    streams: NDArray[np.void],
    taps: NDArray[np.float64],
    counts: NDArray[np.int64],
    events: NDArray[np.void],
    high_pass: NDArray[np.float64],
    low_pass: NDArray[np.float64],
    filter_state: NDArray[np.float64],
    filter_ring: NDArray[np.float64],
    ecg: NDArray[np.float32],
    ecg_at: int,
) -> int:
    """Take analysis samples into both histories, from ``raw_at`` and ``ecg_at`` on; return the beats decided.

    One pass, because each call of a compiled function costs Python more than these samples cost it. ``unchecked``: x
    may hold what is no number, which becomes NaN.
    """
    n = x.size
    here = raw[raw_at : raw_at + n]
    for i in range(n):
        here[i] = x[i] if not unchecked or np.isfinite(x[i]) else np.nan
    detect(here.reshape(1, n), first, hold, streams, taps, counts, events)
    condition(here, high_pass, low_pass, filter_state, filter_ring, ecg[ecg_at : ecg_at + n])
    return int(counts[0])


def warm() -> None:
    """Compile every kernel, or load it from numba's cache, before the first patient is connected."""
    for fs_hz in (250.0, 360.0):
        chain = EcgChain(fs_hz=fs_hz)
        t = np.arange(int(12 * fs_hz)) / fs_hz
        beats = 1000.0 * np.exp(-0.5 * (((t + 0.5) % 0.8 - 0.4) / 0.012) ** 2)
        chain.push(0, beats.astype(np.float32))
    reference = RunningReference()
    for _ in range(GUARDED_FROM + 1):
        reference.add(np.hanning(WINDOW).astype(np.float32))
    t = np.arange(WINDOW_S * ANALYSIS_HZ) / ANALYSIS_HZ
    ventricular_features((400 * np.sin(2 * np.pi * 4 * t)).astype(np.float32))
