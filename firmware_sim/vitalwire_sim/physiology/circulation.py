"""The slow state of the body, one step a second: what heart, lungs and vessels are set to.

Couplings: fever raises heart rate by 10 /min per degree (Liebermeister's rule) and respiration by 2.5 /min per
degree; low oxygen raises heart rate by 1.2 /min and respiration by 0.6 /min per percent of saturation lost
(hypoxic ventilatory and chemoreflex response, order of magnitude); without a pumping heart arterial pressure
falls with a time constant of 4 s to the mean filling pressure (Schipke et al., Am J Physiol 285:H2510, 2003),
saturation at the finger follows late and breathing fades.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from vitalwire_sim.physiology.patient import Floats, Patient
from vitalwire_sim.physiology.wander import Wander
from vitalwire_sim.script import Script

_FILLING_MMHG: Final = 12.0
_TRANSPORT_S: Final = 6
"""Lung to finger."""

_TACHYCARDIA_BPM: Final = 165.0
_BRADYCARDIA_BPM: Final = 30.0
_DESATURATED_PERCENT: Final = 14.0
_FEVER_C: Final = 2.8


@dataclass(frozen=True, slots=True)
class State:
    """The body at one second. `finger_percent` is what a pulse oximeter can see, `pump` the share of normal output.

    `breath_rad` is the phase of breathing and `depth` the share of a normal breath.
    """

    hr_bpm: float
    respiration_per_min: float
    breath_rad: float
    depth: float
    saturation_percent: float
    finger_percent: float
    temperature_c: float
    systolic_mmhg: float
    diastolic_mmhg: float
    pump: float


class Circulation:
    """Steps the state of `patient` through `script`. Keeps the last minute of states."""

    def __init__(self, patient: Patient, script: Script, rng: np.random.Generator) -> None:
        self._patient = patient
        self._script = script
        self._breath_wander = Wander.around(rng, 0.02, 0.01, 8)
        self._pressure_wander = Wander.around(rng, 0.008, 0.004, 8)
        self._oxygen_wander = Wander.around(rng, 0.01, 0.006, 8)
        self._saturation: deque[float] = deque([patient.spo2_percent] * _TRANSPORT_S, maxlen=_TRANSPORT_S)
        first = State(
            hr_bpm=patient.hr_bpm,
            respiration_per_min=patient.respiration_per_min,
            breath_rad=float(rng.uniform(0, 2 * np.pi)),
            depth=1.0,
            saturation_percent=patient.spo2_percent,
            finger_percent=patient.spo2_percent,
            temperature_c=patient.temperature_c,
            systolic_mmhg=patient.systolic_mmhg,
            diastolic_mmhg=patient.diastolic_mmhg,
            pump=1.0,
        )
        self._states: deque[State] = deque([first], maxlen=64)
        self._next = 1

    def at(self, second: int) -> State:
        """State at `second`. Raises `IndexError` for one that is more than a minute behind the newest."""
        while self._next <= second:
            self._states.append(self._step(self._states[-1], float(self._next)))
            self._next += 1
        return self._states[second - self._next]

    def hr_bpm(self, time_s: float) -> float:
        """Heart rate that the sinus node is set to, between seconds interpolated."""
        second = int(time_s)
        after = self.at(second + 1).hr_bpm
        before = self.at(second).hr_bpm
        return before + (after - before) * (time_s - second)

    def breath(self, time_s: Floats) -> Floats:
        """Breathing at each time inside one second (n,): -1 to 1 times its depth, inspiration positive."""
        second = int(time_s[0])
        after, before = self.at(second + 1), self.at(second)
        part = time_s - second
        phase = before.breath_rad + (after.breath_rad - before.breath_rad) * part
        depth = before.depth + (after.depth - before.depth) * part
        values: Floats = depth * np.sin(phase)
        return values

    def _step(self, last: State, time_s: float) -> State:
        patient, script = self._patient, self._script
        temperature = self._temperature(last, time_s)
        fever = max(temperature - patient.temperature_c, 0.0)
        saturation = self._oxygen(last, time_s)
        self._saturation.append(saturation)
        debt = max(patient.spo2_percent - last.saturation_percent, 0.0)
        hr = self._rate(last, time_s, patient.hr_bpm + 10 * fever + min(1.2 * debt, 40))
        pump = self._pump(time_s, last)
        alive = last.systolic_mmhg > 50
        wanted = patient.respiration_per_min + 2.5 * fever + min(0.6 * debt, 16)
        wanted *= 1 + 0.05 * self._breath_wander.one(time_s)
        respiration = _approach(last.respiration_per_min, wanted if alive else 0.0, 5 if alive else 12)
        swing = 1 + 0.02 * self._pressure_wander.one(time_s)
        tau = 4.0 if pump < 0.5 else 3.0
        systolic = _FILLING_MMHG + (patient.systolic_mmhg * swing - _FILLING_MMHG) * pump
        diastolic = _FILLING_MMHG + (patient.diastolic_mmhg * swing - _FILLING_MMHG) * pump
        silent = script.silent_until(time_s) is not None
        return State(
            hr_bpm=hr,
            respiration_per_min=respiration,
            breath_rad=last.breath_rad + 2 * np.pi * respiration / 60,
            depth=_approach(last.depth, 1.0 if alive else 0.0, 4.0),
            saturation_percent=saturation,
            # Without a pulse no blood arrives, so the finger stays behind the lung.
            finger_percent=_approach(last.finger_percent, self._saturation[0], 40.0 if silent else 3.0),
            temperature_c=temperature,
            systolic_mmhg=_approach(last.systolic_mmhg, systolic, tau),
            diastolic_mmhg=_approach(last.diastolic_mmhg, diastolic, tau),
            pump=pump,
        )

    def _temperature(self, last: State, time_s: float) -> float:
        fever = self._script.active("fever", time_s)
        base = self._patient.temperature_c
        if fever is not None:
            return _approach(last.temperature_c, base + _FEVER_C * fever.strength, fever.onset_s)
        over = self._script.latest("fever", time_s)
        return _approach(last.temperature_c, base, over.onset_s if over is not None else 900)

    def _oxygen(self, last: State, time_s: float) -> float:
        base = min(self._patient.spo2_percent + 0.4 * self._oxygen_wander.one(time_s), 100.0)
        episode = self._script.active("desaturation", time_s)
        if episode is not None:
            low = max(base - _DESATURATED_PERCENT * episode.strength, 50)
            return _approach(last.saturation_percent, low, episode.onset_s)
        if last.pump < 0.2:
            return max(last.saturation_percent - 0.6, 40)
        return _approach(last.saturation_percent, base, 5.0)

    def _rate(self, last: State, time_s: float, wanted: float) -> float:
        tau = 4.0
        for kind, extreme in (("tachycardia", _TACHYCARDIA_BPM), ("bradycardia", _BRADYCARDIA_BPM)):
            episode = self._script.active(kind, time_s)
            if episode is not None:
                wanted = self._patient.hr_bpm + (extreme - self._patient.hr_bpm) * episode.strength
                tau = episode.onset_s
        return float(np.clip(_approach(last.hr_bpm, wanted, tau), 20, 220))

    def _pump(self, time_s: float, last: State) -> float:
        rhythm = self._script.rhythm(time_s)
        match rhythm.kind if rhythm is not None else None:
            case "vf" | "asystole":
                return 0.0
            case "vt":
                return 0.68
            case "af":
                return 0.94
        if last.hr_bpm < 45:
            return 0.85
        return 0.92 if last.hr_bpm > 140 else 1.0


def _approach(value: float, target: float, tau_s: float) -> float:
    """First-order lag over one second."""
    return target + (value - target) * float(np.exp(-1 / tau_s)) if tau_s > 0 else target
