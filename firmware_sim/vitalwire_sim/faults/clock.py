"""The device's own clock, which no one sets: it starts at 0 with the first sample and runs a little fast or slow."""

import bisect
from typing import Final

from vitalwire_sim.script import Script

DRIFT_PPM: Final = 300.0
"""Extra drift of a `clock_drift` episode of strength 1; a cheap crystal in the cold is off by about 100 ppm."""


class DeviceClock:
    """Maps device time to true time. `ppm` is how much too fast it runs, plus what the script adds."""

    def __init__(self, ppm: float, script: Script) -> None:
        cuts = [0.0]
        rates = [ppm]
        for episode in script.occurrences:
            if episode.kind == "clock_drift":
                cuts += [episode.start_s, episode.end_s]
                rates += [ppm + DRIFT_PPM * episode.strength, ppm]
        self._cuts_s = cuts
        self._rates = [1e9 / (1 + rate * 1e-6) for rate in rates]
        self._true_ns = [0.0]
        for index in range(1, len(cuts)):
            self._true_ns.append(self._true_ns[-1] + (cuts[index] - cuts[index - 1]) * self._rates[index - 1])

    def true_ns(self, device_s: float) -> int:
        """Nanoseconds that have really passed when the device's clock shows `device_s`."""
        index = bisect.bisect_right(self._cuts_s, device_s) - 1
        return round(self._true_ns[index] + (device_s - self._cuts_s[index]) * self._rates[index])

    def device_s(self, true_ns: int) -> float:
        """What the device's clock shows after `true_ns`."""
        index = max(bisect.bisect_right(self._true_ns, true_ns) - 1, 0)
        return self._cuts_s[index] + (true_ns - self._true_ns[index]) / self._rates[index]
