"""Electrodes that fall off, and electrodes that are pulled on."""

from typing import Final

import numpy as np

from vitalwire_sim.physiology.patient import Floats
from vitalwire_sim.physiology.wander import Wander
from vitalwire_sim.script import Script

_RAIL_UV: Final = 40_000.0
_MOTION_UV: Final = 550.0


class Electrodes:
    """Adds to an ECG what its electrodes do to it. In closed form, so the same for any cut into blocks.

    Motion resembles the electrode-motion record of the MIT-BIH noise stress test database (Moody et al., Computers in
    Cardiology 11, 1984): power falls with frequency from 0.4 to 12 Hz, so part of it lies where the QRS lies, and it
    comes in bursts. A lead that is off is an open input: it sits near the rail and picks up mains.
    """

    def __init__(self, script: Script, *, fs_hz: float, seed: int) -> None:
        rng = np.random.default_rng(np.random.SeedSequence([seed, 0xE1EC]))
        self._script = script
        self._fs_hz = fs_hz
        self._pull = Wander.band(rng, 0.4, 12, slope=1.2, size=48)
        self._tremor = Wander.band(rng, 15, 45, size=48)
        self._burst = Wander.band(rng, 0.1, 0.9, size=12)

    def touch(self, first_sample: int, uv: Floats) -> tuple[Floats, bool]:
        """`uv` (n,) as the device's input sees it, and whether its lead-off detection fires."""
        time_s = (first_sample + np.arange(uv.size)) / self._fs_hz
        low, high = first_sample / self._fs_hz, (first_sample + uv.size) / self._fs_hz
        for episode in self._script.between("motion", low, high):
            inside = (time_s >= episode.start_s) & (time_s < episode.end_s)
            size = _MOTION_UV * episode.strength * np.clip(1 + self._burst.at(time_s), 0.2, 2.5)
            noise = size * (self._pull.at(time_s) + 0.15 * self._tremor.at(time_s))
            uv = uv + np.where(inside, noise, 0)
        off = False
        for episode in self._script.between("lead_off", low, high):
            inside = (time_s >= episode.start_s) & (time_s < episode.end_s)
            off = off or bool(inside.any())
            uv = np.where(inside, _RAIL_UV + 200 * np.sin(2 * np.pi * 50 * time_s), uv)
        return uv, off
