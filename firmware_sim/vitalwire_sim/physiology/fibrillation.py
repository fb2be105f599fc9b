"""The ECG of fibrillation, which has no beats: coarse waves of the ventricles, f-waves of the atria."""

import numpy as np

from vitalwire_sim.physiology.patient import Floats, Patient
from vitalwire_sim.physiology.wander import Wander
from vitalwire_sim.script import Script


class Fibrillation:
    """Both kinds, as oscillators modulated in amplitude and frequency, in closed form.

    f-waves after Stridh & Sornmo, IEEE TBME 48(1), 2001: a sawtooth of three harmonics around 6.5 Hz whose frequency
    and amplitude swing slowly. Ventricular fibrillation takes the same form around 5.3 Hz, within the 4-7 Hz that
    Clayton, Murray & Campbell, J Cardiovasc Electrophysiol 6, 1995, describe for human recordings, with random
    instead of sinusoidal modulation, and gets finer over minutes.
    """

    def __init__(self, patient: Patient, script: Script, rng: np.random.Generator) -> None:
        self._script = script
        self._gain = patient.amplitude
        self._ventricle_rate = Wander.band(rng, 0.08, 0.7, size=10)
        self._ventricle_size = Wander.band(rng, 0.1, 0.8, size=10)
        self._ventricle_rest = Wander.around(rng, 5.3, 0.7, 24)
        self._atrium = rng.uniform(0, 2 * np.pi, size=3)
        self._f_wave_uv = float(rng.uniform(55, 85))
        self._f_wave_hz = float(rng.uniform(5.8, 7.2))

    def at(self, time_s: Floats) -> Floats:
        """Fibrillatory part of the ECG in uV at each time (n,)."""
        low, high = float(time_s[0]), float(time_s[-1]) + 1e-9
        total = np.zeros_like(time_s)
        for episode in self._script.between("vf", low, high):
            fade = np.exp(-np.maximum(time_s - episode.start_s, 0) / 240)
            edge = _edges(time_s, episode.start_s, episode.end_s, 0.15)
            total += edge * fade * episode.strength * self._ventricular_uv(time_s)
        for episode in self._script.between("af", low, high):
            edge = _edges(time_s, episode.start_s, episode.end_s, 0.5)
            total += edge * self._atrial_uv(time_s)
        return total

    def _ventricular_uv(self, time_s: Floats) -> Floats:
        phase = 2 * np.pi * (5.3 * time_s + 0.5 * self._ventricle_rate.integral(time_s))
        size = 430 * self._gain * np.exp(0.3 * self._ventricle_size.at(time_s))
        wave = np.cos(phase) + 0.22 * np.cos(2 * phase + 0.8) + 0.3 * self._ventricle_rest.at(time_s)
        values: Floats = size * wave
        return values

    def _atrial_uv(self, time_s: Floats) -> Floats:
        swing = 1 + 0.3 * np.sin(2 * np.pi * 0.08 * time_s + self._atrium[0])
        drift = 0.2 / 0.23 * np.sin(2 * np.pi * 0.23 * time_s + self._atrium[1])
        phase = 2 * np.pi * self._f_wave_hz * time_s + drift + self._atrium[2]
        values = np.zeros_like(time_s)
        for harmonic in (1, 2, 3):
            values -= 2 / (harmonic * np.pi) * np.sin(harmonic * phase)
        f_waves: Floats = self._f_wave_uv * self._gain * swing * values
        return f_waves


def _edges(time_s: Floats, start_s: float, end_s: float, ramp_s: float) -> Floats:
    """1 inside, with linear ramps of `ramp_s` inside the edges, 0 outside."""
    values: Floats = np.clip(np.minimum(time_s - start_s, end_s - time_s) / ramp_s, 0, 1)
    return values
