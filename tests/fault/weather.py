"""What goes wrong in one storm: drawn from a seed, the same for the same seed."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

Trouble = Literal[
    "kill gateway",
    "kill cloud",
    "kill broker",
    "hang cloud",
    "cut link",
    "thin link",
    "shuffle link",
    "lock store",
    "fill disk",
    "burst",
    "crowd",
    "swap frames",
    "replay",
    "step gateway clock",
    "step cloud clock",
    "twin",
]
TROUBLES: Final[tuple[Trouble, ...]] = get_args(Trouble)
BROKERS: Final = ("embedded", "mosquitto", "mosquitto with persistence")
SECONDS: Final = 6.0
_DURATIONS_S: Final[dict[Trouble, tuple[float, float]]] = {
    "kill gateway": (0.1, 1.0),
    "kill cloud": (0.1, 1.5),
    "kill broker": (0.1, 1.5),
    "hang cloud": (0.5, 2.0),
    "cut link": (0.3, 3.0),
    "thin link": (3.0, 5.0),
    "shuffle link": (1.0, 3.0),
    "lock store": (0.5, 3.0),
    "fill disk": (0.5, 3.0),
    "burst": (1.0, 3.0),
    "crowd": (0.5, 1.5),
    "swap frames": (1.0, 4.0),
    "replay": (0.0, 0.0),
    "step gateway clock": (0.5, 4.0),
    "step cloud clock": (0.5, 4.0),
    "twin": (1.5, 3.0),
}
_STEPS_S: Final = (-10_800.0, -3600.0, -60.0, -2.0, -0.3, 0.3, 2.0, 60.0, 3600.0, 10_800.0)


@dataclass(frozen=True, slots=True)
class Event:
    """From `at_s` something is wrong for `seconds`; a clock is so far off."""

    at_s: float
    seconds: float
    trouble: Trouble
    step_s: float = 0.0


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
        begin_s = float(rng.uniform(0.3, SECONDS - 1))
        events.append(Event(begin_s, float(rng.uniform(low, high)), trouble, float(rng.choice(_STEPS_S))))
    return Weather(seed, str(rng.choice(BROKERS)), tuple(sorted(events, key=lambda event: event.at_s)))
