"""Once a minute, from what the signal chain gives: intervals of the median beat, HRV, ectopy.

Nothing is done beat by beat. A minute is looked at when the second after it is final, all its beats as rows of one
array, so what it says lags by a second and may use the beat after each beat.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.inference.ectopy import (
    FEATURES,
    NORMAL,
    RHYTHM_HISTORY,
    UNKNOWN,
    Burden,
    EctopyCounter,
    classify,
    ectopy_features,
)
from vitalwire_edge.signal import beats as windows
from vitalwire_edge.signal.beats import Reference, qrs_width_ms
from vitalwire_edge.signal.chain import Beat, BeatWindow, ChainOutput, SignalSecond
from vitalwire_edge.signal.delineation import BEFORE, rows
from vitalwire_edge.signal.hrv import Spectrum, Variability, nn_intervals, spectrum, variability
from vitalwire_edge.signal.intervals import Formula, Intervals, measure
from vitalwire_edge.signal.resample import ANALYSIS_HZ

MINUTE_S: Final = 60
HRV_MINUTES: Final = 5

ALIKE: Final = 0.9
"""Correlation of the QRS with the reference from which on a beat may enter the median."""

_MARGIN_S: Final = 1
_CUT: Final = slice(BEFORE - windows.BEFORE, BEFORE + windows.AFTER)
_LEVEL: Final = slice(windows.BEFORE - 30, windows.BEFORE - 15)
_MIDDLE: Final = (_LEVEL.stop - _LEVEL.start) // 2


@dataclass(frozen=True, slots=True)
class TrendMinute:
    """What a minute of one lead says.

    Attributes:
        end_sample: device counter where the minute ended.
        samples: (n,) R peaks, device counter.
        classes: (n,) as in `ectopy`; `UNKNOWN` also where the signal was poor.
        features: (n, 20) of `ectopy`.
        history: (RHYTHM_HISTORY + n,) intervals that end at each beat, with those before.
        nn_ms: (k,) normal-to-normal intervals that ended in the minute.
        intervals: of the median of the normal beats.
        variability, spectrum: of the last 5 minutes.
        burden: ectopy of the last hour, None before there is enough of it.

    """

    end_sample: int
    samples: NDArray[np.int64]
    classes: NDArray[np.int64]
    features: NDArray[np.float64]
    history: NDArray[np.float64]
    nn_ms: NDArray[np.float64]
    intervals: Intervals
    variability: Variability
    spectrum: Spectrum
    burden: Burden | None


@dataclass(frozen=True, slots=True)
class _Intervals:
    time_s: NDArray[np.float64]
    rr_s: NDArray[np.float64]
    nn: NDArray[np.bool_]


class EcgTrend:
    """Gathers a lead's seconds and beats and looks at each minute once.

    Args:
        fs_hz: rate of the device's sample counter.
        formula: by which QT is corrected.
        phase_s: 0 to 59, by how much the first minute begins late, so that a gateway does not look at all its patients
            in the same second.

    """

    def __init__(self, *, fs_hz: float, formula: Formula = "fridericia", phase_s: int = 0) -> None:
        self._fs_hz = fs_hz
        self._phase_s = phase_s
        self._formula: Formula = formula
        self._ectopy = EctopyCounter()
        self._five: deque[_Intervals] = deque(maxlen=HRV_MINUTES)
        self._reference: Reference | None = None
        self._restart()

    def _restart(self) -> None:
        self._seconds: dict[int, SignalSecond] = {}
        self._beats: deque[Beat] = deque()
        self._rr: deque[float] = deque(np.full(RHYTHM_HISTORY, np.nan), maxlen=RHYTHM_HISTORY)
        self._after_normal = False
        self._minute: int | None = None
        self._newest = -1

    def push(self, output: ChainOutput) -> list[TrendMinute]:
        """Take what the chain made final; return the minutes that are over."""
        done: list[TrendMinute] = []
        if output.beats:
            self._beats.extend(output.beats)
        if output.windows:
            self._reference = output.windows[-1].reference or self._reference
        for second in output.seconds:
            at = int(second.first_sample // self._fs_hz)
            if at <= self._newest:
                # The device's counter was set anew; the beats of this output are of the new stretch.
                self._restart()
                self._beats.extend(output.beats)
            if self._minute is None:
                self._minute = at + self._phase_s
                self._phase_s = 0
            elif at >= self._minute + 2 * MINUTE_S:
                done.append(self._look(self._minute))
                self._minute = at
                self._five.clear()
            self._seconds[at] = second
            self._newest = at
            if at >= self._minute + MINUTE_S + _MARGIN_S - 1:
                done.append(self._look(self._minute))
                self._minute += MINUTE_S
        return done

    def _look(self, minute: int) -> TrendMinute:
        end = minute + MINUTE_S
        per_s = self._fs_hz
        found: list[Beat] = []
        while self._beats and self._beats[0].sample < end * per_s:
            beat = self._beats.popleft()
            if beat.sample >= minute * per_s:
                found.append(beat)
            else:
                self._rr.append(beat.rr_s)
        samples = np.array([beat.sample for beat in found], dtype=np.int64)
        rr_s = np.array([beat.rr_s for beat in found])
        after_s = np.append(rr_s[1:], self._beats[0].rr_s if self._beats else np.nan)[: rr_s.size]
        history = np.concatenate((np.array(self._rr), rr_s))
        self._rr.extend(rr_s.tolist())

        start = minute - _MARGIN_S
        index = np.rint(samples * (ANALYSIS_HZ / per_s)).astype(np.int64) - start * ANALYSIS_HZ
        cut = rows(self._ecg(start, end + _MARGIN_S), index)
        features, classes = self._classify(found, cut, history, after_s)
        clean = np.array([self._clean(int(beat.sample // per_s)) for beat in found], dtype=np.bool_)
        classes[~clean] = UNKNOWN
        analysed_s = sum(self._clean(second) for second in range(minute, end))
        self._ectopy.add(classes, seconds=float(MINUTE_S), analysed_s=float(analysed_s))

        own = (classes == NORMAL) & (np.tanh(features[:, 0]) >= ALIKE)
        normal = classes == NORMAL
        nn = nn_intervals(np.append(np.nan, rr_s), np.append(self._after_normal, normal))[1:]
        if normal.size:
            self._after_normal = bool(normal[-1])
        self._five.append(_Intervals(samples / per_s, rr_s, nn))
        time_s, rr_5, nn_5 = (
            np.concatenate([getattr(part, name) for part in self._five]) for name in ("time_s", "rr_s", "nn")
        )
        self._seconds = {at: second for at, second in self._seconds.items() if at >= end - _MARGIN_S}
        return TrendMinute(
            end_sample=round(end * per_s),
            samples=samples,
            classes=classes,
            features=features,
            history=history,
            nn_ms=rr_s[nn] * 1000.0,
            intervals=measure(cut[own], rr_s[own], after_s[own], self._formula),
            variability=variability(time_s, rr_5, nn_5),
            spectrum=spectrum(time_s, rr_5, nn_5),
            burden=self._ectopy.burden(),
        )

    def _classify(
        self,
        found: list[Beat],
        cut: NDArray[np.float32],
        history: NDArray[np.float64],
        after_s: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        reference = self._reference
        if reference is None or not found:
            return np.full((len(found), FEATURES), np.nan), np.full(len(found), UNKNOWN)
        shapes = cut[:, _CUT]
        features = ectopy_features(
            shapes - np.sort(shapes[:, _LEVEL], axis=1)[:, _MIDDLE, None],
            np.array([beat.width_ms for beat in found]),
            history,
            after_s,
            RHYTHM_HISTORY,
            reference,
            qrs_width_ms(reference.beat_uv, windows.BEFORE),
        )
        return features, classify(features, history, RHYTHM_HISTORY)

    def _ecg(self, first: int, last: int) -> NDArray[np.float32]:
        ecg = np.full((last - first, ANALYSIS_HZ), np.nan, dtype=np.float32)
        for at in range(first, last):
            second = self._seconds.get(at)
            if second is not None:
                ecg[at - first] = second.ecg_uv
        return ecg.ravel()

    def _clean(self, at: int) -> bool:
        second = self._seconds.get(at)
        return second is not None and second.analysable


def warm() -> None:
    """Compile every kernel, or load it from numba's cache, before the first minute is over."""
    trend = EcgTrend(fs_hz=float(ANALYSIS_HZ))
    beat = np.zeros(windows.WINDOW, dtype=np.float32)
    beat[windows.BEFORE - 5 : windows.BEFORE + 6] = np.hanning(11) * 1000.0
    beat[windows.BEFORE + 50 : windows.BEFORE + 90] = np.hanning(40) * 200.0
    reference = Reference(beat, np.full(windows.WINDOW, 20.0, dtype=np.float32), 1000.0, 80)
    step = round(0.8 * ANALYSIS_HZ)
    ecg = np.resize(np.roll(beat, -windows.BEFORE), 3 * MINUTE_S * ANALYSIS_HZ)
    for at in range(3 * MINUTE_S):
        second = SignalSecond(
            *(at * ANALYSIS_HZ, 1.0, True, False, False, False, 100.0, True),
            ecg[at * ANALYSIS_HZ : (at + 1) * ANALYSIS_HZ],
        )
        peaks = range(-(-at * ANALYSIS_HZ // step) * step, (at + 1) * ANALYSIS_HZ, step)
        found = [Beat(peak, 0.8, 1000.0, 80.0, 1.0, 1.0, False, 200.0) for peak in peaks]
        trend.push(ChainOutput(found, [second], [BeatWindow(0, beat, reference)]))
