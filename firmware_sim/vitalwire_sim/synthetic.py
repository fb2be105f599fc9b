"""A simulated ECG as a recording, made at once instead of in real time."""

import numpy as np

from vitalwire_edge.recordings.recording import Recording, TrueBeat
from vitalwire_sim.faults.electrodes import Electrodes
from vitalwire_sim.physiology.body import Body
from vitalwire_sim.physiology.patient import Floats
from vitalwire_sim.scenario import Device
from vitalwire_sim.script import Script


def synthetic(device: Device, script: Script, *, seconds: float, seed: int) -> Recording:
    """The first `seconds` of what `device` measures, electrode faults included; its lead is named synthetic."""
    body = Body(device.patient, script, fs_hz=device.fs_hz, seed=seed)
    electrodes = Electrodes(script, fs_hz=device.fs_hz, seed=seed)
    pieces: list[Floats] = []
    beats: list[TrueBeat] = []
    left = round(seconds * device.fs_hz)
    while left > 0:
        strip = body.read(min(left, device.fs_hz))
        pieces.append(electrodes.touch(strip.first_sample, strip.uv)[0])
        beats += strip.beats
        left -= strip.uv.size
    return Recording(
        name=device.name,
        lead=f"{device.lead} synthetic",
        fs_hz=float(device.fs_hz),
        uv=np.concatenate(pieces),
        beats=tuple(beats),
    )
