"""What a wearable measures and says, as timed payloads; no socket and no waiting here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.recordings.recording import Strip, TrueBeat
from vitalwire_edge.wire.codes import Code, ValueStatus
from vitalwire_edge.wire.frames import Hello, Payload, Reading, Status, Vitals, Wave, WaveChannel
from vitalwire_sim.faults.electrodes import Electrodes
from vitalwire_sim.physiology.body import Body, Numbers
from vitalwire_sim.physiology.patient import Floats
from vitalwire_sim.scenario import Device
from vitalwire_sim.script import Script

BLOCK_S: Final = 0.2
STATUS_EVERY_S: Final = 3
_BATTERY_START: Final = 96.0
_BATTERY_PER_H: Final = 1.5
_INT16_MAX: Final = 32767


class EcgSource(Protocol):
    """Where samples come from; a strip shorter than asked for is the last one."""

    def read(self, count: int) -> Strip:
        """The next `count` samples."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """A payload and the device time at which it is complete: for a wave, the time of the sample after its last."""

    device_s: float
    payload: Payload


@dataclass(frozen=True, slots=True)
class Moment:
    """What one block of time brings: payloads in order, true beats, samples that do not exist in the recording."""

    end_s: float
    said: tuple[Said, ...]
    beats: tuple[TrueBeat, ...]
    missing: int


class Wearable:
    """Steps through time in blocks of 0.2 s: a wave each, vitals each second, status every 3 s.

    `simulates_heart` is false when `ecg` is a recording: then the device sends no heart rate of its own, because
    nothing but the simulated patient, who is another, could say one.
    """

    def __init__(
        self, device: Device, script: Script, ecg: EcgSource, body: Body, *, fs_hz: float, seed: int
    ) -> None:
        self.fs_hz: Final = fs_hz
        self._device = device
        self._script = script
        self._ecg = ecg
        self._body = body
        self._simulates_heart = ecg is body
        self._electrodes = Electrodes(script, fs_hz=fs_hz, seed=seed)
        self._rng = np.random.default_rng(np.random.SeedSequence([seed, 0x57A7]))

    def hello(self, boot: int) -> Hello:
        """What the device announces."""
        channel = WaveChannel(self._device.lead_code, round(self.fs_hz * 1000), self._device.scale_uv)
        return Hello(self._device.name, boot, (channel,))

    def moments(self, seconds: float | None) -> Iterator[Moment]:
        """Everything of a run of `seconds` (None: until the source ends)."""
        last_sample = None if seconds is None else round(seconds * self.fs_hz)
        step, first = 0, 0
        while last_sample is None or first < last_sample:
            step += 1
            end = round(step * BLOCK_S * self.fs_hz)
            end = end if last_sample is None else min(end, last_sample)
            strip = self._ecg.read(end - first)
            if strip.uv.size == 0:
                return
            end_s = (first + strip.uv.size) / self.fs_hz
            uv, lead_off = self._electrodes.touch(first, strip.uv)
            said = [
                Said((w.first_sample + w.samples.size) / self.fs_hz, w)
                for w in self._waves(first, uv, lead_off)
            ]
            said += [Said(end_s, payload) for payload in self._slow(first / self.fs_hz, end_s)]
            yield Moment(end_s, tuple(said), strip.beats, int(np.isnan(uv).sum()))
            first += strip.uv.size
            if first < end:
                return

    def _waves(self, first: int, uv: Floats, lead_off: bool) -> Iterator[Wave]:
        """Runs of samples that exist: a gap in a recording is a gap in the counter, never a made-up value."""
        for start, end in _runs(np.isfinite(uv)):
            steps = np.rint(uv[start:end] / self._device.scale_uv)
            samples: NDArray[np.int16] = np.clip(steps, -_INT16_MAX, _INT16_MAX).astype(np.int16)
            yield Wave(0, first + start, samples, lead_off)

    def _slow(self, start_s: float, end_s: float) -> Iterator[Payload]:
        """Vitals and status of the seconds that end in `start_s < t <= end_s`."""
        # Blocks are cut at whole samples, so a second may fall a fraction of a sample behind a block's end.
        for second in range(int(start_s + 1e-9) + 1, int(end_s + 1e-9) + 1):
            yield self._vitals(second)
            if second % STATUS_EVERY_S == 0:
                yield self._status(float(second))

    def _vitals(self, second: int) -> Vitals:
        numbers = self._body.numbers(second)
        off = self._script.active("lead_off", second) is not None
        readings = []
        if self._simulates_heart:
            readings.append(_electrical(Code.HEART_RATE, numbers.hr_bpm, off=off))
        readings.append(_oxygen(numbers))
        readings.append(_electrical(Code.RESPIRATION_RATE, numbers.respiration_per_min, off=off))
        readings.append(_plain(Code.TEMPERATURE, numbers.temperature_c))
        if second % self._device.nibp_every_s == min(10, self._device.nibp_every_s - 1):
            readings.append(_plain(Code.SYSTOLIC, numbers.systolic_mmhg))
            readings.append(_plain(Code.DIASTOLIC, numbers.diastolic_mmhg))
            readings.append(_plain(Code.MEAN_PRESSURE, numbers.mean_mmhg))
        return Vitals(tuple(readings))

    def _status(self, time_s: float) -> Status:
        battery = max(_BATTERY_START - _BATTERY_PER_H * time_s / 3600, 20)
        low = self._script.active("low_battery", time_s)
        if low is not None:
            battery = max(12 - 8 * low.strength, 1)
        return Status(round(battery), int(np.clip(self._rng.normal(-62, 3), -100, -30)), 0)


def _runs(good: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Start and end of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], good, [False])).astype(np.int8)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        yield int(start), int(end)


def _plain(code: Code, value: float) -> Reading:
    return Reading(code, value, ValueStatus.INVALID if np.isnan(value) else ValueStatus.OK)


def _electrical(code: Code, value: float, *, off: bool) -> Reading:
    """A number that comes from the ECG electrodes: nothing without them."""
    return Reading(code, float("nan"), ValueStatus.SENSOR_OFF) if off else _plain(code, value)


def _oxygen(numbers: Numbers) -> Reading:
    reading = _plain(Code.SPO2, numbers.spo2_percent)
    if numbers.weak and reading.status is ValueStatus.OK:
        return Reading(Code.SPO2, reading.value, ValueStatus.QUESTIONABLE)
    return reading
