"""Band-limited random processes in closed form: their value at any time needs no history."""

import numpy as np

from vitalwire_sim.physiology.patient import Floats


class Wander:
    """Zero-mean, unit-variance process: a sum of cosines with random phases (as the RR process of McSharry et al.).

    `frequency_hz` and `weight` (relative power) have shape (k,).
    """

    def __init__(self, rng: np.random.Generator, frequency_hz: Floats, weight: Floats) -> None:
        self._omega = 2 * np.pi * frequency_hz
        self._phase = rng.uniform(0, 2 * np.pi, frequency_hz.size)
        self._amplitude = np.sqrt(2 * weight / weight.sum())

    @classmethod
    def around(cls, rng: np.random.Generator, centre_hz: float, sd_hz: float, size: int = 16) -> "Wander":
        """Gaussian spectrum at `centre_hz`."""
        frequency = np.abs(rng.normal(centre_hz, sd_hz, size))
        return cls(rng, frequency, np.ones(size))

    @classmethod
    def band(
        cls, rng: np.random.Generator, low_hz: float, high_hz: float, *, slope: float = 0, size: int = 16
    ) -> "Wander":
        """Power proportional to `frequency ** -slope` from `low_hz` to `high_hz`."""
        edges = np.linspace(low_hz, high_hz, size + 1)
        frequency = rng.uniform(edges[:-1], edges[1:])
        return cls(rng, frequency, frequency**-slope)

    def at(self, time_s: Floats) -> Floats:
        """Value at each time, shape of `time_s` (n,)."""
        values: Floats = np.cos(time_s[:, None] * self._omega + self._phase) @ self._amplitude
        return values

    def one(self, time_s: float) -> float:
        """Value at one time."""
        return float(self.at(np.array([time_s]))[0])

    def integral(self, time_s: Floats) -> Floats:
        """Integral over time up to a constant, for use as a phase."""
        values: Floats = np.sin(time_s[:, None] * self._omega + self._phase) @ (self._amplitude / self._omega)
        return values
