"""What is going to happen to one device, on its own clock."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from vitalwire_sim.kinds import KINDS, RHYTHMS, SILENT, Kind

FOREVER_S: Final = 86_400.0
"""How far a repeating script is written out for a run without an end; calm afterwards."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An episode with its times in seconds since the device's first sample; `end_s` is exclusive."""

    kind: str
    start_s: float
    end_s: float
    strength: float = 1.0
    onset_s: float = 0.0

    @property
    def nature(self) -> Kind:
        """What kind of episode it is."""
        return KINDS[self.kind]


class Script:
    """Looks up occurrences by kind and time. Occurrences of one kind must not overlap."""

    def __init__(self, occurrences: Iterable[Occurrence] = ()) -> None:
        self.occurrences: Final = tuple(sorted(occurrences, key=lambda o: (o.start_s, o.kind)))
        self._by_kind: dict[str, tuple[list[float], list[Occurrence]]] = {}
        for occurrence in self.occurrences:
            starts, listed = self._by_kind.setdefault(occurrence.kind, ([], []))
            starts.append(occurrence.start_s)
            listed.append(occurrence)

    def active(self, kind: str, time_s: float) -> Occurrence | None:
        """Occurrence of `kind` that covers `time_s`."""
        latest = self.latest(kind, time_s)
        return latest if latest is not None and time_s < latest.end_s else None

    def latest(self, kind: str, time_s: float) -> Occurrence | None:
        """Occurrence of `kind` that started last at or before `time_s`, over or not."""
        starts, listed = self._by_kind.get(kind, ([], []))
        index = bisect.bisect_right(starts, time_s) - 1
        return listed[index] if index >= 0 else None

    def between(self, kind: str, low_s: float, high_s: float) -> tuple[Occurrence, ...]:
        """Occurrences of `kind` that touch `low_s <= t < high_s`."""
        starts, listed = self._by_kind.get(kind, ([], []))
        last = bisect.bisect_left(starts, high_s)
        first = max(bisect.bisect_right(starts, low_s) - 1, 0)
        return tuple(o for o in listed[first:last] if o.end_s > low_s)

    def rhythm(self, time_s: float) -> Occurrence | None:
        """The rhythm episode at `time_s`; None is sinus rhythm."""
        return next((o for kind in RHYTHMS if (o := self.active(kind, time_s)) is not None), None)

    def rhythm_starting(self, after_s: float, until_s: float) -> Occurrence | None:
        """First rhythm episode with `after_s < start <= until_s`."""
        found = None
        for kind in RHYTHMS:
            starts, listed = self._by_kind.get(kind, ([], []))
            index = bisect.bisect_right(starts, after_s)
            if (
                index < len(starts)
                and starts[index] <= until_s
                and (found is None or starts[index] < found.start_s)
            ):
                found = listed[index]
        return found

    def silent_until(self, time_s: float) -> float | None:
        """When beats return, where a rhythm without beats covers `time_s`."""
        end_s = None
        while (
            silent := next((o for kind in SILENT if (o := self.active(kind, time_s)) is not None), None)
        ) is not None:
            end_s = time_s = silent.end_s
        return end_s
