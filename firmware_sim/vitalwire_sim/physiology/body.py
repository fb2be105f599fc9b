"""One simulated patient: ECG samples in blocks of any size, the true beats in them, and the numbers of each second."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from vitalwire_edge.recordings.recording import Strip, TrueBeat
from vitalwire_sim.physiology.circulation import Circulation
from vitalwire_sim.physiology.fibrillation import Fibrillation
from vitalwire_sim.physiology.patient import Floats, Heart, Patient, heart_of
from vitalwire_sim.physiology.rhythm import Beat, Rhythm
from vitalwire_sim.physiology.wander import Wander
from vitalwire_sim.script import Script

_REACH_BEFORE_S: Final = 0.4
_REACH_AFTER_S: Final = 0.8
_MAINS_HZ: Final = 50.0


@dataclass(frozen=True, slots=True)
class Numbers:
    """Vital signs of one instant as the sensors see them; NaN where a sensor cannot measure.

    `weak` says that the oximeter has hardly any pulse to measure by.
    """

    hr_bpm: float
    spo2_percent: float
    respiration_per_min: float
    temperature_c: float
    systolic_mmhg: float
    diastolic_mmhg: float
    mean_mmhg: float
    weak: bool


class Body:
    """Generates whole seconds in order and serves them in any cut, so the same seed gives the same samples.

    Every part draws from its own random stream, so an episode changes only what it is about.
    """

    def __init__(self, patient: Patient, script: Script, *, fs_hz: int, seed: int) -> None:
        if not 100 <= fs_hz <= 1000:
            raise ValueError(f"fs_hz = {fs_hz}: a simulated ECG has 100 to 1000 Hz")
        streams = np.random.SeedSequence(seed).spawn(6)
        shape, slow, beats, waves, drift, muscle = (np.random.default_rng(s) for s in streams)
        self.fs_hz: Final = fs_hz
        self._patient = patient
        self._script = script
        self._heart: Heart = heart_of(patient, shape)
        self._circulation = Circulation(patient, script, slow)
        self._rhythm = Rhythm(patient, script, self._circulation, beats)
        self._fibrillation = Fibrillation(patient, script, waves)
        self._drift = Wander.band(drift, 0.02, 0.35, slope=1.5)
        self._drift_uv = float(drift.uniform(20, 45))
        self._breath_uv = float(drift.uniform(30, 70))
        self._muscle = muscle
        self._buffer = np.zeros(0)
        self._marks: deque[TrueBeat] = deque()
        self._second = 0
        self._served = 0

    def read(self, count: int) -> Strip:
        """The next `count` samples."""
        first = self._served
        pieces, ready = [self._buffer], self._buffer.size
        while ready < count:
            pieces.append(self._render(self._second))
            self._second += 1
            ready += self.fs_hz
        samples = np.concatenate(pieces)
        self._buffer = samples[count:]
        self._served += count
        return Strip(first, samples[:count], self._beats_before(first + count))

    def numbers(self, second: int) -> Numbers:
        """What the sensors say at `second`, from the beats of the last 10 s and the state of the body.

        Ask within 5 s of what was read. Raises `IndexError` for what is forgotten.
        """
        state = self._circulation.at(second)
        finger, pulseless = state.finger_percent, state.systolic_mmhg < 50
        lost = state.systolic_mmhg < 22
        cuff = np.nan if pulseless else 1.0
        return Numbers(
            hr_bpm=self._counted_rate(float(second)),
            spo2_percent=np.nan if lost else float(np.clip(round(finger), 0, 100)),
            respiration_per_min=float(round(state.respiration_per_min)),
            temperature_c=round(state.temperature_c, 1),
            systolic_mmhg=round(state.systolic_mmhg) * cuff,
            diastolic_mmhg=round(state.diastolic_mmhg) * cuff,
            mean_mmhg=round((state.systolic_mmhg + 2 * state.diastolic_mmhg) / 3) * cuff,
            weak=pulseless,
        )

    def _counted_rate(self, now_s: float) -> float:
        """Rate over the last eight intervals, 0 after 4 s without a beat, NaN while there is nothing to count."""
        if self._script.active("vf", now_s) is not None:
            return np.nan
        times = [beat.time_s for beat in self._rhythm.between(now_s - 10, now_s)][-9:]
        if now_s >= 4 and (not times or now_s - times[-1] >= 4):
            return 0.0
        if len(times) < 2:
            return np.nan
        # The running interval counts once it is longer than the mean, so the number follows a stopping heart.
        mean_s = max((times[-1] - times[0]) / (len(times) - 1), (now_s - times[-1]) / 1.5)
        return float(round(60 / mean_s))

    def _beats_before(self, end: int) -> tuple[TrueBeat, ...]:
        marks = []
        while self._marks and self._marks[0].sample < end:
            marks.append(self._marks.popleft())
        return tuple(marks)

    def _render(self, second: int) -> Floats:
        time_s = second + np.arange(self.fs_hz) / self.fs_hz
        # _circulation interpolates towards the next second, so beats may be drawn that far ahead.
        beats = self._rhythm.between(second - _REACH_AFTER_S, second + 1 + _REACH_BEFORE_S)
        self._marks.extend(
            TrueBeat(round(beat.time_s * self.fs_hz), beat.symbol)
            for beat in beats
            if second <= beat.time_s < second + 1
        )
        breath = self._circulation.breath(time_s)
        heart = self._beat_waves_uv(time_s, beats) + self._fibrillation.at(time_s)
        noise = self._patient.noise_uv * self._muscle.standard_normal(self.fs_hz)
        mains = 0.3 * self._patient.noise_uv * np.sin(2 * np.pi * _MAINS_HZ * time_s)
        baseline = self._breath_uv * breath + self._drift_uv * self._drift.at(time_s)
        values: Floats = heart * (1 - 0.06 * breath) + baseline + noise + mains
        return values

    def _beat_waves_uv(self, time_s: Floats, beats: list[Beat]) -> Floats:
        """Sum of the Gaussians of all beats near: the z equation of McSharry et al., solved on the limit cycle."""
        if not beats:
            return np.zeros_like(time_s)
        centre, width, height = [], [], []
        for beat in beats:
            heart = self._heart
            shape = (
                heart.ectopic if beat.symbol == "V" else heart.normal if beat.atrial else heart.fibrillating
            )
            offset_s, width_s, height_uv = shape.at(beat.rr_s)
            centre.append(beat.time_s + offset_s)
            width.append(width_s)
            height.append(height_uv)
        bumps = np.exp(-0.5 * ((time_s[:, None] - np.concatenate(centre)) / np.concatenate(width)) ** 2)
        values: Floats = bumps @ np.concatenate(height)
        return values
