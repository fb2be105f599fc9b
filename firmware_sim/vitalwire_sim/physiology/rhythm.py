"""Which beats there are: a sinus node with variability, and what takes over from it.

Sinus intervals follow the bimodal spectrum of McSharry et al., IEEE TBME 50(3), 2003: a low-frequency (Mayer wave)
band at 0.1 Hz as a sum of cosines with random phases, and respiratory sinus arrhythmia, whose band here is driven by
the simulated breathing itself instead of a second random band, so that it moves with the respiration rate.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from vitalwire_sim.physiology.circulation import Circulation
from vitalwire_sim.physiology.patient import Patient
from vitalwire_sim.physiology.wander import Wander
from vitalwire_sim.script import Occurrence, Script

Symbol = Literal["N", "V"]
"""MIT-BIH symbols: conducted from above (also in fibrillation of the atria), premature or run from a ventricle."""

_RUN_EVERY_S: Final = 8.0
_RESUME_S: Final = 0.6
_KEEP_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Beat:
    """A beat with its R peak at `time_s`, `rr_s` after the one before; `atrial` says that a P wave leads it."""

    time_s: float
    rr_s: float
    symbol: Symbol
    atrial: bool


class Rhythm:
    """Draws beats one after the other. Keeps those of the last 20 s."""

    def __init__(
        self, patient: Patient, script: Script, circulation: Circulation, rng: np.random.Generator
    ) -> None:
        self._patient = patient
        self._script = script
        self._circulation = circulation
        self._rng = rng
        self._low = Wander.around(rng, 0.1, 0.01)
        self._slow = Wander.around(rng, 0.02, 0.008)
        self._beats: deque[Beat] = deque()
        self._pause_s: float | None = None
        self._run_left = 0
        self._run_next_s = -np.inf
        rr_s = 60 / patient.hr_bpm
        start_s = float(rng.uniform(0.2, 0.2 + rr_s))
        silent = script.silent_until(start_s)
        self._beats.append(Beat(start_s if silent is None else silent + _RESUME_S, rr_s, "N", atrial=True))

    def between(self, low_s: float, high_s: float) -> list[Beat]:
        """Beats with `low_s <= time_s < high_s`; `low_s` at most 15 s behind the furthest `high_s` asked for."""
        while self._beats[-1].time_s < high_s:
            self._beats.append(self._after(self._beats[-1]))
        while self._beats[0].time_s < high_s - _KEEP_S and len(self._beats) > 2:
            self._beats.popleft()
        return [beat for beat in self._beats if low_s <= beat.time_s < high_s]

    def sinus_interval_s(self, time_s: float) -> float:
        """Interval that the sinus node would make at `time_s`."""
        rr_s = 60 / self._circulation.hr_bpm(time_s)
        ratio = self._patient.lf_hf
        breath = float(self._circulation.breath(np.array([time_s]))[0])
        # Expiration lengthens the interval; a sine has half the variance of its squared amplitude.
        unit = np.sqrt(0.9 / (1 + ratio)) * -np.sqrt(2) * breath
        unit += np.sqrt(0.9 * ratio / (1 + ratio)) * self._low.one(time_s)
        unit += np.sqrt(0.1) * self._slow.one(time_s)
        # Variability shrinks with the interval (fast hearts are regular).
        sd_s = self._patient.sdnn_ms / 1000 * min(rr_s * self._patient.hr_bpm / 60, 1.3) ** 1.5
        return float(np.clip(rr_s + sd_s * unit, 0.3, 3.0))

    def _after(self, last: Beat) -> Beat:
        beat = self._candidate(last)
        entering = self._script.rhythm_starting(last.time_s, beat.time_s)
        if entering is not None and entering.kind == "vt":
            time_s = max(entering.start_s, last.time_s + 0.3)
            beat = Beat(time_s, time_s - last.time_s, "V", atrial=False)
        silent = self._script.silent_until(beat.time_s)
        if silent is None and entering is not None:
            silent = self._script.silent_until(entering.start_s)
        if silent is not None:
            self._pause_s, self._run_left = None, 0
            beat = Beat(silent + _RESUME_S, 60 / self._patient.hr_bpm, "N", atrial=True)
        return beat

    def _candidate(self, last: Beat) -> Beat:
        rhythm = self._script.rhythm(last.time_s)
        match rhythm.kind if rhythm is not None else None:
            case "vt":
                assert rhythm is not None
                return self._ventricular(last, rhythm)
            case "af":
                assert rhythm is not None
                return self._fibrillating(last, rhythm)
            case "pvc_run":
                assert rhythm is not None
                return self._sinus_with_runs(last, rhythm)
        return self._sinus(last, self._patient.pvc_per_min)

    def _ventricular(self, last: Beat, episode: Occurrence) -> Beat:
        rr_s = 60 / (150 + 30 * episode.strength) * float(self._rng.normal(1, 0.015))
        return Beat(last.time_s + rr_s, rr_s, "V", atrial=False)

    def _fibrillating(self, last: Beat, episode: Occurrence) -> Beat:
        """Intervals without memory, log-normal, as conduction through the node of a fibrillating atrium makes them."""
        mean_s = 60 / (self._circulation.hr_bpm(last.time_s) + 32 * episode.strength)
        rr_s = float(np.clip(mean_s * self._rng.lognormal(-0.02, 0.21), 0.36, 1.8))
        return Beat(last.time_s + rr_s, rr_s, "N", atrial=False)

    def _sinus_with_runs(self, last: Beat, episode: Occurrence) -> Beat:
        if self._run_left > 0:
            self._run_left -= 1
            rr_s = 0.42 * float(self._rng.normal(1, 0.03))
            return Beat(last.time_s + rr_s, rr_s, "V", atrial=False)
        if last.symbol == "N" and last.time_s >= max(self._run_next_s, episode.start_s):
            self._run_next_s = last.time_s + _RUN_EVERY_S
            self._run_left = min(max(round(3 * episode.strength), 2), 4) - 1
            return self._premature(last)
        return self._sinus(last, 0.0)

    def _sinus(self, last: Beat, pvc_per_min: float) -> Beat:
        self._run_left = 0
        if last.symbol == "V":
            time_s = max(self._pause_s or 0.0, last.time_s + 0.65)
            self._pause_s = None
            return Beat(time_s, time_s - last.time_s, "N", atrial=True)
        rr_s = self.sinus_interval_s(last.time_s)
        if self._rng.random() < pvc_per_min * rr_s / 60:
            return self._premature(last)
        return Beat(last.time_s + rr_s, rr_s, "N", atrial=True)

    def _premature(self, last: Beat) -> Beat:
        """An ectopic that leaves the sinus node alone: the next conducted beat keeps to the sinus node's time."""
        sinus_s = self.sinus_interval_s(last.time_s)
        rr_s = max(sinus_s * float(self._rng.normal(0.62, 0.03)), 0.32)
        self._pause_s = last.time_s + 2 * sinus_s
        return Beat(last.time_s + rr_s, rr_s, "V", atrial=False)
