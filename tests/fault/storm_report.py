"""What many storms came to, on disk after each of them, so that a run that was cut off says how far it got."""

import dataclasses
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

from provenance import provenance


class Played(Protocol):
    """What one storm left (`storm.Outcome`)."""

    seed: int
    broker: str
    troubles: dict[str, int]
    stored_samples: int
    lost_at_kills: int
    repeated_messages: int
    alarms: int
    settle_s: float
    grown_kib: dict[str, int]
    longest_queues: dict[str, float]
    shuffled: int
    thin_s: float
    thin_whole_s: float
    cpu_s: float
    problems: tuple[str, ...]


class Report:
    """Sums up outcomes as they come. `storms` have ended, `not_held` of them had problems."""

    def __init__(self, command: str, wanted: int) -> None:
        self._from = provenance(command)
        self._began_s = time.monotonic()
        self._wanted = wanted
        self._sums: Counter[str] = Counter()
        self._troubles: Counter[str] = Counter()
        self._brokers: Counter[str] = Counter()
        self._grown: dict[str, int] = {}
        self._queues: dict[str, float] = {}
        self._settle_s = 0.0
        self._cpu_s = 0.0
        self._thin_s = 0.0
        self._thin_whole_s = 0.0
        self.storms = 0
        self.not_held: list[dict[str, Any]] = []

    def add(self, outcome: Played) -> None:
        """One more."""
        self.storms += 1
        self._troubles.update(outcome.troubles)
        self._brokers[outcome.broker] += 1
        for name in ("stored_samples", "lost_at_kills", "repeated_messages", "alarms", "shuffled"):
            self._sums[name] += getattr(outcome, name)
        self._settle_s = max(self._settle_s, outcome.settle_s)
        self._cpu_s += outcome.cpu_s
        self._thin_s += outcome.thin_s
        self._thin_whole_s += outcome.thin_whole_s
        for name, grown in outcome.grown_kib.items():
            self._grown[name] = max(self._grown.get(name, 0), grown)
        for name, longest in outcome.longest_queues.items():
            self._queues[name] = max(self._queues.get(name, 0.0), longest)
        if outcome.problems:
            assert dataclasses.is_dataclass(outcome)
            self.not_held.append(dataclasses.asdict(outcome))  # type: ignore[arg-type]

    def fail(self, seed: int, why: str) -> None:
        """One more that could not even be judged."""
        self.storms += 1
        self.not_held.append({"seed": seed, "problems": [why]})

    def summary(self) -> dict[str, Any]:
        """Everything so far."""
        return {
            **self._from,
            "wall_s": round(time.monotonic() - self._began_s),
            "storms_wanted": self._wanted,
            "storms": self.storms,
            "held": self.storms - len(self.not_held),
            "samples_stored": self._sums["stored_samples"],
            "lost_at_gateway_power_cuts": self._sums["lost_at_kills"],
            "alarms": self._sums["alarms"],
            "messages_dropped_as_repeated": self._sums["repeated_messages"],
            "messages_shuffled": self._sums["shuffled"],
            "thin_link_up_share": round(self._thin_whole_s / self._thin_s, 4) if self._thin_s else None,
            "settle_s_max": self._settle_s,
            "grown_mib_max": {name: round(kib / 1024, 1) for name, kib in sorted(self._grown.items())},
            "longest_queues": dict(sorted(self._queues.items())),
            "cpu_s_per_storm": round(self._cpu_s / self.storms, 2) if self.storms else None,
            "troubles": dict(sorted(self._troubles.items())),
            "brokers": dict(sorted(self._brokers.items())),
            "not_held": sorted(self.not_held, key=lambda outcome: outcome["seed"]),
        }

    def text(self) -> str:
        """The summary as it is written."""
        return json.dumps(self.summary(), indent=1) + "\n"

    def write(self, path: Path) -> None:
        """Replace the report on disk."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(self.text())
        fresh.replace(path)
