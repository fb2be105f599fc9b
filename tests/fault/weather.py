"""What goes wrong in one storm: drawn from a seed, the same for the same seed."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

Trouble = Literal[
    "kill gateway",
    "kill cloud",
    "kill broker",
    "hang cloud",
    "cut link",
    "thin link",
    "lock store",
    "burst",
    "replay",
]
TROUBLES: Final[tuple[Trouble, ...]] = (
    "kill gateway",
    "kill cloud",
    "kill broker",
    "hang cloud",
    "cut link",
    "thin link",
    "lock store",
    "burst",
    "replay",
)
BROKERS: Final = ("embedded", "mosquitto", "mosquitto with persistence")
SECONDS: Final = 10.0
_DURATIONS_S: Final[dict[Trouble, tuple[float, float]]] = {
    "kill gateway": (0.1, 1.0),
    "kill cloud": (0.1, 2.0),
    "kill broker": (0.1, 2.0),
    "hang cloud": (0.5, 2.5),
    "cut link": (0.3, 5.0),
    "thin link": (3.0, 7.0),
    "lock store": (0.5, 4.0),
    "burst": (1.0, 3.0),
    "replay": (0.0, 0.0),
}


@dataclass(frozen=True, slots=True)
class Event:
    """From `at_s` something is wrong for `seconds`."""

    at_s: float
    seconds: float
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Weather:
    """One storm: which broker, and what happens when."""

    seed: int
    broker: str
    events: tuple[Event, ...]

    def count(self, trouble: Trouble) -> int:
        """How often one kind of trouble comes."""
        return sum(event.trouble == trouble for event in self.events)


def weather(seed: int) -> Weather:
    """Draw a storm of three to six troubles."""
    rng = np.random.default_rng(seed)
    events = []
    for trouble in rng.choice(np.asarray(TROUBLES), size=int(rng.integers(3, 7))):
        low, high = _DURATIONS_S[trouble]
        events.append(Event(float(rng.uniform(0.5, SECONDS - 1)), float(rng.uniform(low, high)), trouble))
    return Weather(seed, str(rng.choice(BROKERS)), tuple(sorted(events, key=lambda event: event.at_s)))
