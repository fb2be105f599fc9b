"""Deleting from InfluxDB: what is too old, minutes of vital signs kept before, and what somebody asked to be erased."""

# Queries are put together from `name` and `literal`, which quote, and from numbers.
# ruff: noqa: S608

from collections.abc import Callable, Iterable
from typing import Final

from vitalwire_cloud.store.influx.points import (
    ALARM,
    BEAT,
    MINUTES,
    SCORE,
    VITALS,
    WAVE,
    channel_name,
    minute_line,
)
from vitalwire_cloud.store.influx.server import InfluxServer, literal, name
from vitalwire_cloud.store.interface import Kind, Rollup
from vitalwire_cloud.store.reading import MAX_BLOCK_NS
from vitalwire_cloud.store.segments import duration_ns

_MINUTE_NS: Final = 60_000_000_000
_DAY_NS: Final = 86_400_000_000_000
MEASUREMENTS: Final[dict[Kind, str]] = {"waveform": WAVE, "vitals": VITALS, "beats": BEAT, "scores": SCORE}

Minutes = Callable[[str, int, int], list[Rollup]]
"""Minutes of a device that begin in [start, end)."""


def expire(
    server: InfluxServer, kind: Kind, before_ns: int, *, devices: Iterable[str], minutes: Minutes
) -> int:
    """Delete the points of a kind that ended before a time and return how many those were."""
    server.must_delete()
    measurement = MEASUREMENTS[kind]
    if kind == "waveform":
        before_ns -= MAX_BLOCK_NS
    if kind == "vitals":
        # A minute is kept whole or computed whole.
        before_ns -= before_ns % _MINUTE_NS
        for device in devices:
            _keep_minutes(server, device, before_ns, minutes)
    count = _count(server, measurement, f"time < {before_ns}")
    if count:
        server.delete([measurement], None, 0, before_ns)
    return count


def _keep_minutes(server: InfluxServer, device: str, before_ns: int, minutes: Minutes) -> None:
    where = f"device = {literal(device)} AND time < {before_ns}"
    oldest = server.records(f'SELECT first("seq") FROM {name(VITALS)} WHERE {where}')
    if not oldest:
        return
    at_ns = oldest[0]["time"] // _MINUTE_NS * _MINUTE_NS
    while at_ns < before_ns:
        end_ns = min(at_ns + _DAY_NS, before_ns)
        server.write([minute_line(device, channel_name(m.code), m) for m in minutes(device, at_ns, end_ns)])
        at_ns = end_ns


def erase(server: InfluxServer, device: str, start_ns: int, end_ns: int) -> dict[str, int]:
    """Delete every point of a device in [start_ns, end_ns) and return how many, by what they were."""
    server.must_delete()
    spans = {
        "waveform": (WAVE, _first_block(server, device, start_ns), end_ns),
        "vitals": (VITALS, start_ns, end_ns),
        "beats": (BEAT, start_ns, end_ns),
        "scores": (SCORE, start_ns, end_ns),
        "minutes": (MINUTES, start_ns // _MINUTE_NS * _MINUTE_NS, end_ns),
        "alarm_points": (ALARM, start_ns, end_ns),
    }
    removed: dict[str, int] = {}
    for kind, (measurement, first_ns, last_ns) in spans.items():
        where = f"device = {literal(device)} AND time >= {first_ns} AND time < {last_ns}"
        removed[kind] = _count(server, measurement, where)
        server.delete([measurement], device, first_ns, last_ns)
    return removed


def _first_block(server: InfluxServer, device: str, start_ns: int) -> int:
    """Start of the first block that reaches beyond `start_ns`."""
    before = server.records(
        f'SELECT "count","rate_mhz" FROM {name(WAVE)} WHERE device = {literal(device)}'
        f" AND time > {start_ns - MAX_BLOCK_NS} AND time < {start_ns}"
    )
    reaching = [r["time"] for r in before if r["time"] + duration_ns(r["count"], r["rate_mhz"]) > start_ns]
    return min(reaching, default=start_ns)


def _count(server: InfluxServer, measurement: str, where: str) -> int:
    field = "n" if measurement == MINUTES else "seq"
    found = server.records(f"SELECT count({name(field)}) AS n FROM {name(measurement)} WHERE {where}")
    return sum(int(record["n"]) for record in found)
