"""Lethal rhythms: asystole, ventricular fibrillation or flutter, ventricular tachycardia.

Poor signal quality never suppresses these rules. Each ends only on evidence of another rhythm: a lead that comes off or
a signal that stops leaves the alarm open.
"""

from collections import deque
from itertools import pairwise
from math import isnan
from statistics import median
from typing import Final

import msgspec

from vitalwire_edge.alarms.change import NS_PER_S, AlarmChange, Ended, Finding, Verdict
from vitalwire_edge.alarms.config import (
    AsystoleConfig,
    VentricularFibrillationConfig,
    VentricularTachycardiaConfig,
)
from vitalwire_edge.signal.chain import Beat, SignalSecond
from vitalwire_edge.signal.newest import Newest
from vitalwire_edge.signal.ventricular import WINDOW_S, VentricularDetector

ASYSTOLE: Final = "asystole/1"
FIBRILLATION: Final = "ventricular_fibrillation/1"
TACHYCARDIA: Final = "ventricular_tachycardia/1"

MISSING_RESET_S: Final = 3
"""Seconds without samples after which the wait for a QRS starts anew: what happened in the gap is not known."""

MAX_INTERVAL_RATIO: Final = 2.0
MONOMORPHIC: Final = 0.92
MONOMORPHIC_BELOW: Final = 200.0
"""A window that repeats itself this well, slower than this, is a monomorphic tachycardia however sinusoidal it looks;
so where that alarm is open, fibrillation or flutter is not raised beside it."""

_OWN_BEATS: Final = 40
_OWN_SHARE: Final = 0.35
_CLEAR: Final = 0.5


class QrsGate:
    """Which detected beats count as QRS complexes for asystole.

    All of more than `min_qrs_uv`; smaller ones only where the patient's own beats are that small, so that neither P
    waves nor noise pass for a heart beat, and a low-voltage ECG is no asystole. Until the patient's beats are known,
    clear ones of half that size count.
    """

    def __init__(self, min_qrs_uv: float) -> None:
        self._min_uv = min_qrs_uv
        self._own_uv = Newest(_OWN_BEATS)
        self._own_swing_uv = Newest(_OWN_BEATS)

    def passes(self, beat: Beat) -> bool:
        """Judge one beat, and learn the patient's amplitudes from it."""
        amplitude_uv = abs(beat.amplitude_uv)
        if isnan(amplitude_uv):
            return True
        floor_uv = self._min_uv
        if len(self._own_uv) >= _OWN_BEATS // 4:
            floor_uv = min(floor_uv, _OWN_SHARE * self._own_uv.median)
        elif beat.quality >= _CLEAR:
            floor_uv /= 2
        if amplitude_uv >= floor_uv:
            self._own_uv.add(amplitude_uv)
            if not isnan(beat.swing_uv):
                self._own_swing_uv.add(beat.swing_uv)
        return amplitude_uv >= floor_uv

    def swings(self, beat: Beat) -> bool:
        """Whether a beat that does not pass swings like the patient's own, so that a heart rate may count it.

        A ventricular beat that begins on the T wave before it has little amplitude at its peak. Asystole never asks
        for this: what is doubtful does not end the wait for a QRS.
        """
        if len(self._own_swing_uv) < _OWN_BEATS // 4:
            return False
        return beat.swing_uv >= _OWN_SHARE * self._own_swing_uv.median


class AsystoleRule:
    """No QRS for `pause_s`, on any signal with the lead on: a flat line, P waves only, or low-amplitude noise."""

    def __init__(self, config: AsystoleConfig) -> None:
        self._config = config
        self._gate = QrsGate(config.min_qrs_uv)
        self._since_ns: int | None = None
        self._missing_s = 0
        self._missing_run = 0
        self._qrs_ns: deque[int] = deque(maxlen=config.recovered_beats)

    def on_beat(self, beat: Beat, r_ns: int) -> bool:
        """Take one beat; return whether it counts as a QRS complex."""
        counts = self._gate.passes(beat)
        if counts:
            self._since_ns = r_ns
            self._missing_s = 0
            self._qrs_ns.append(r_ns)
        return counts

    def has_swing(self, beat: Beat) -> bool:
        """Whether a beat that does not count as a QRS complex here may count for the heart rate."""
        return self._gate.swings(beat)

    def on_second(self, second: SignalSecond, start_ns: int) -> Verdict:
        """Judge at the end of a second, when every beat in it has been given."""
        end_ns = start_ns + NS_PER_S
        if second.lead_off:
            self._since_ns = None
            self._qrs_ns.clear()
            return None
        if not second.valid:
            self._missing_s += 1
            self._missing_run += 1
            if self._missing_run >= MISSING_RESET_S:
                self._since_ns = None
            return None
        self._missing_run = 0
        if self._since_ns is None:
            self._since_ns = start_ns
            self._missing_s = 0
        config = self._config
        full = len(self._qrs_ns) == config.recovered_beats
        if full and self._qrs_ns[0] > end_ns - config.recovered_s * NS_PER_S:
            return Ended("QRS complexes again")
        pause_s = (end_ns - self._since_ns) / NS_PER_S - self._missing_s
        if pause_s < config.pause_s:
            return None
        return Finding(
            kind="asystole",
            priority="high",
            onset_ns=self._since_ns,
            text=f"Asystole: no QRS for {pause_s:.1f} s",
            rule=ASYSTOLE,
            value=pause_s,
            limit=config.pause_s,
        )


class VentricularFibrillationRule:
    """Fibrillation or flutter in `confirm_s` of the last `of_s` windows of 5 s."""

    def __init__(self, config: VentricularFibrillationConfig) -> None:
        self._config = config
        self._detector = VentricularDetector()
        self._votes: deque[int | None] = deque(maxlen=config.of_s)
        self._clear = 0

    def on_second(self, second: SignalSecond, start_ns: int, *, tachycardia: bool = False) -> Verdict:
        """Judge the window that ends with this second; `tachycardia`: the alarm of a ventricular run is open."""
        window = self._detector.push(second.ecg_uv)
        if window is None:
            self._votes.clear()
            self._clear = 0
            return None
        monomorphic = window.periodicity >= MONOMORPHIC and 60 * window.dominant_hz < MONOMORPHIC_BELOW
        positive = window.fibrillating and not (tachycardia and monomorphic)
        end_ns = start_ns + NS_PER_S
        self._votes.append(end_ns if positive else None)
        self._clear = 0 if positive else self._clear + 1
        since_ns = [vote for vote in self._votes if vote is not None]
        if positive and len(since_ns) >= self._config.confirm_s:
            per_min = 60 * window.dominant_hz
            return Finding(
                kind="ventricular_fibrillation",
                priority="high",
                # A window turns positive when all but its first second fibrillates.
                onset_ns=since_ns[0] - (WINDOW_S - 1) * NS_PER_S,
                text=f"Ventricular fibrillation or flutter, about {per_min:.0f}/min",
                rule=FIBRILLATION,
                value=per_min,
            )
        if self._clear >= self._config.recovered_s:
            return Ended("No ventricular fibrillation")
        return None


class _Seen(msgspec.Struct, frozen=True):
    r_ns: int
    width_ms: float
    unlike: bool
    odd: bool


class VentricularTachycardiaRule:
    """A run of ventricular beats at or above a rate.

    Ventricular beats are unlike the patient's own and wider. Two runs count: `run_beats` that are clearly unlike the
    reference beat, or `odd_beats` that differ less but every one (a slow tachycardia may resemble the patient's beat in
    one lead). The running reference follows a long tachycardia after a while, so the alarm does not end when beats look
    like the reference again, but when they are also slower than the run was; and when they are slower than a
    tachycardia, whatever they look like.

    Args:
        config: run lengths and rate.
        before: the alarm that was open before a restart.

    """

    UNLIKE: Final = 0.5
    """Correlation below which a QRS is not the patient's own (own beats: above 0.75 in 95 of 100 on every record)."""

    NOT_QUITE: Final = 0.85
    ODD: Final = 0.02
    """How far a beat's correlation lies below the patient's usual one when it is odd."""

    WIDER: Final = 1.1
    ODD_WIDER: Final = 1.2
    SLOWER: Final = 0.85
    SLOW_ENOUGH: Final = 0.9

    def __init__(self, config: VentricularTachycardiaConfig, before: AlarmChange | None = None) -> None:
        self._config = config
        longest = max(config.run_beats, config.odd_beats, config.recovered_beats)
        self._beats: deque[_Seen] = deque(maxlen=longest)
        self._own_width_ms = Newest(_OWN_BEATS)
        self._own_corr = Newest(_OWN_BEATS)
        self._run_rate = before.value if before is not None and before.value is not None else 0.0

    def on_beat(self, beat: Beat, r_ns: int) -> Verdict:
        """Judge the run that ends with this beat."""
        config = self._config
        if isnan(beat.rr_s):
            self._beats.clear()
        self._beats.append(self._seen(beat, r_ns))
        seen = list(self._beats)
        for length, factor, clear in (
            (config.run_beats, self.WIDER, True),
            (config.odd_beats, self.ODD_WIDER, False),
        ):
            run = seen[-length:]
            if len(run) < length or not all(b.unlike or (not clear and b.odd) for b in run):
                continue
            rate = _rate(run)
            if rate >= config.rate and _is_steady(run) and self._is_wide(run, factor):
                self._run_rate = max(rate, self._run_rate)
                return Finding(
                    kind="ventricular_tachycardia",
                    priority="high",
                    onset_ns=run[0].r_ns,
                    text=f"Ventricular tachycardia: at least {length} wide beats at {rate:.0f}/min",
                    rule=TACHYCARDIA,
                    value=rate,
                    limit=config.rate,
                )
        last = seen[-config.recovered_beats :]
        if len(last) < config.recovered_beats:
            return None
        rate = _rate(last)
        own = sum(not b.odd for b in last) > len(last) // 2
        slower = own and rate < max(config.rate, self.SLOWER * self._run_rate)
        if slower or rate < self.SLOW_ENOUGH * config.rate:
            self._run_rate = 0.0
            return Ended(f"Rhythm of {rate:.0f}/min without a ventricular run")
        return None

    def _seen(self, beat: Beat, r_ns: int) -> _Seen:
        corr, width_ms = beat.reference_corr, beat.width_ms
        if isnan(corr):
            return _Seen(r_ns, width_ms, unlike=beat.wide, odd=beat.wide)
        unlike = corr < self.UNLIKE or (beat.wide and corr < self.NOT_QUITE)
        odd = unlike
        if len(self._own_corr) == _OWN_BEATS:
            odd = corr < self._own_corr.median - self.ODD
        if not unlike:
            self._own_corr.add(corr)
            if not isnan(width_ms):
                self._own_width_ms.add(width_ms)
        return _Seen(r_ns, width_ms, unlike=unlike, odd=odd)

    def _is_wide(self, run: list[_Seen], factor: float) -> bool:
        widths_ms = [b.width_ms for b in run if not isnan(b.width_ms)]
        if not widths_ms or len(self._own_width_ms) < _OWN_BEATS // 4:
            return True
        return median(widths_ms) >= factor * self._own_width_ms.median


def _is_steady(run: list[_Seen]) -> bool:
    """Whether no interval is twice another: a run, not the chance detections of a fibrillation or of noise."""
    intervals = [after.r_ns - before.r_ns for before, after in pairwise(run)]
    return max(intervals) < MAX_INTERVAL_RATIO * max(1, min(intervals))


def _rate(run: list[_Seen]) -> float:
    """Rate of a run in beats a minute."""
    return 60 * (len(run) - 1) * NS_PER_S / max(1, run[-1].r_ns - run[0].r_ns)
