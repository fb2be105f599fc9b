"""Where a point may stand: a point with the time of another one would overwrite it, so a conflict moves beside it."""

# Queries are put together from `name` and `literal`, which quote, and from numbers.
# ruff: noqa: S608

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from vitalwire_cloud.store.influx.points import OWNER, VITALS, WAVE, WHOLE, Point, SeriesName, whole
from vitalwire_cloud.store.influx.server import InfluxServer, literal, name
from vitalwire_cloud.store.reading import MAX_BLOCK_NS
from vitalwire_cloud.store.segments import duration_ns
from vitalwire_edge.wire.messages import WaveBlock

MAX_MOVED_NS: Final = 1_000_000
"""Room that reads leave for points that were moved."""

_FAR_NS: Final = 60_000_000_000
_Owner = tuple[str, str, int, int]
"""Gateway, session, sequence, place."""


@dataclass(frozen=True, slots=True)
class _Occupant:
    owner: _Owner
    start_ns: int
    end_ns: int
    boot: int = 0
    first: int = 0
    count: int = 0
    names: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Taken:
    """What stands in one series: by the time of its point, and by who it is."""

    by_time: dict[int, _Occupant] = field(default_factory=dict)
    by_owner: dict[_Owner, int] = field(default_factory=dict)
    in_order: list[tuple[int, int]] = field(default_factory=list)

    def add(self, time_ns: int, occupant: _Occupant) -> None:
        if time_ns not in self.by_time:
            insort(self.in_order, (occupant.start_ns, time_ns))
        self.by_time[time_ns] = occupant
        self.by_owner[occupant.owner] = time_ns

    def near(self, start_ns: int, end_ns: int) -> Iterable[_Occupant]:
        """Who may hold a part of [start_ns, end_ns)."""
        first = bisect_left(self.in_order, (start_ns - MAX_BLOCK_NS, 0))
        last = bisect_left(self.in_order, (end_ns, 0))
        return [self.by_time[time_ns] for _, time_ns in self.in_order[first:last]]


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A point with the time it is written at; `conflict` when other samples already hold its time."""

    point: Point
    time_ns: int
    conflict: bool


def place(server: InfluxServer, points: list[Point], newest: dict[SeriesName, int]) -> list[Placed]:
    """A place for each point. `newest` says up to where each series was filled; only what begins before is looked up.

    A point that stands there already, left by a batch that never became committed, keeps its place.
    """
    disturbed = _disturbed(points, newest)
    placed = [Placed(p, p.time_ns, False) for p in points if p.series not in disturbed]
    return (
        placed + _beside(server, [p for p in points if p.series in disturbed], newest)
        if disturbed
        else placed
    )


def _disturbed(points: list[Point], newest: dict[SeriesName, int]) -> set[SeriesName]:
    """Series in which some point begins before the end of another: nothing else can clash or be there already."""
    disturbed: set[SeriesName] = set()
    filled: dict[SeriesName, int] = {}
    for point in points:
        series = point.series
        end_ns = filled.get(series)
        if end_ns is None:
            end_ns = newest.get(series, 0)
        if point.time_ns < end_ns:
            disturbed.add(series)
        filled[series] = max(end_ns, point.end_ns, point.time_ns + 1)
    return disturbed


def _beside(server: InfluxServer, points: list[Point], newest: dict[SeriesName, int]) -> list[Placed]:
    """Places of points that others may stand in the way of."""
    taken: dict[SeriesName, _Taken] = defaultdict(_Taken)
    _look_up(server, [p for p in points if p.time_ns < newest.get(p.series, 0)], taken)
    placed = []
    for point in points:
        here = taken[point.series]
        mine = _occupant(point)
        conflict = any(
            _clash(mine, other)
            for other in here.near(mine.start_ns, mine.end_ns)
            if other.owner != mine.owner
        )
        at_ns = here.by_owner.get(mine.owner, point.time_ns)
        while at_ns in here.by_time and here.by_time[at_ns].owner != mine.owner:
            at_ns += 1
        here.add(at_ns, mine)
        placed.append(Placed(point, at_ns, conflict))
    return placed


def _clash(mine: _Occupant, other: _Occupant) -> bool:
    """Whether both hold samples of one time; in one boot the counters decide, since clock models jitter."""
    if not mine.count:
        return mine.start_ns == other.start_ns and (not mine.names or bool(mine.names & other.names))
    if min(mine.end_ns, other.end_ns) <= max(mine.start_ns, other.start_ns):
        return False
    if mine.boot == other.boot:
        shared = min(mine.first + mine.count, other.first + other.count) - max(mine.first, other.first)
        return shared > 0 or mine.start_ns == other.start_ns
    sample_ns = (mine.end_ns - mine.start_ns) // mine.count
    return min(mine.end_ns, other.end_ns) - max(mine.start_ns, other.start_ns) > sample_ns


def _occupant(point: Point) -> _Occupant:
    item = point.item
    owner = (item.gateway, item.session, item.seq, point.place)
    block = item.message
    if isinstance(block, WaveBlock):
        counters = (block.device_boot, block.first_sample, block.count)
        return _Occupant(owner, point.time_ns, point.end_ns, *counters)
    return _Occupant(owner, point.time_ns, point.end_ns, names=point.names)


def _look_up(server: InfluxServer, late: list[Point], taken: dict[SeriesName, _Taken]) -> None:
    asked: list[SeriesName] = []
    statements: list[str] = []
    by_series: dict[SeriesName, list[Point]] = defaultdict(list)
    for point in late:
        by_series[point.series].append(point)
    for series, points in by_series.items():
        for first_ns, last_ns in _stretches(points):
            asked.append(series)
            statements.append(_statement(series, first_ns, last_ns))
    for series, tables in zip(asked, server.query(statements) if statements else [], strict=True):
        for table in tables:
            for record in table.records():
                needed = (*OWNER, *WHOLE[WAVE][:4]) if series.measurement == WAVE else OWNER
                if whole(record, needed):
                    taken[series].add(record["time"], _stored(series, record))


def _stretches(points: list[Point]) -> Iterable[tuple[int, int]]:
    """Spans of time that hold the points, apart where nothing lies between."""
    spans: list[tuple[int, int]] = []
    for point in sorted(points, key=lambda p: p.time_ns):
        if spans and point.time_ns - spans[-1][1] < _FAR_NS:
            spans[-1] = (spans[-1][0], max(spans[-1][1], point.end_ns))
        else:
            spans.append((point.time_ns, point.end_ns))
    return spans


def _statement(series: SeriesName, first_ns: int, last_ns: int) -> str:
    reach_ns = MAX_BLOCK_NS if series.measurement == WAVE else 0
    if series.measurement == WAVE:
        fields = '"gateway","session","seq","moved_ns","boot","first","count","rate_mhz"'
    elif series.measurement == VITALS:
        fields = "*"
    else:
        fields = '"gateway","session","seq","moved_ns","place"'
    where = f"device = {literal(series.device)}"
    if series.channel:
        where += f" AND channel = {literal(series.channel)}"
    return (
        f"SELECT {fields} FROM {name(series.measurement)} WHERE {where}"
        f" AND time >= {first_ns - reach_ns} AND time < {last_ns + MAX_MOVED_NS}"
    )


def _stored(series: SeriesName, record: dict[str, Any]) -> _Occupant:
    owner = (record["gateway"], record["session"], int(record["seq"]), int(record.get("place") or 0))
    start_ns = record["time"] - int(record.get("moved_ns") or 0)
    if series.measurement == WAVE:
        count = int(record["count"])
        end_ns = start_ns + duration_ns(count, int(record["rate_mhz"]))
        return _Occupant(owner, start_ns, end_ns, int(record["boot"]), int(record["first"]), count)
    names = frozenset(
        n.removesuffix("_status") for n, v in record.items() if n.endswith("_status") and v is not None
    )
    return _Occupant(owner, start_ns, start_ns + 1, names=names)
