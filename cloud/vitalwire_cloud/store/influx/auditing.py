"""Reading the server back to prove what it holds. Points of batches that never became committed do not count."""

# Queries are put together from `name` and `literal`, which quote, and from numbers.
# ruff: noqa: S608

import base64
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from vitalwire_cloud.store.auditing import WaveRow, count_waves, with_skips
from vitalwire_cloud.store.influx import ledger as tables
from vitalwire_cloud.store.influx.ledger import Ledger
from vitalwire_cloud.store.influx.points import BEAT, OWNER, SCORE, STATUS, VITALS, WAVE, channel_code, whole
from vitalwire_cloud.store.influx.server import InfluxServer, literal, name
from vitalwire_cloud.store.interface import SeriesKey, StreamAudit
from vitalwire_cloud.store.ranges import RangeSet
from vitalwire_cloud.store.segments import duration_ns

_PAGE: Final = 5000
_FIRST_NS: Final = 0
_MESSAGES: Final = {VITALS: "vitals", BEAT: "beat", SCORE: "score"}


def audit(server: InfluxServer, ledger: Ledger) -> list[StreamAudit]:
    """Every stream of the store, counted. Raises `StoreError` for a block that does not decode."""
    with ledger.reading() as connection:
        held = _held(connection)
        alarms = connection.execute(
            sa.select(
                tables.SERIES.c.gateway,
                tables.SERIES.c.device,
                tables.ALARM.c.stored_ns - tables.ALARM.c.at_ns,
            ).join_from(tables.ALARM, tables.SERIES, tables.SERIES.c.id == tables.ALARM.c.series)
        ).all()
        skips = connection.execute(
            sa.select(
                tables.SERIES.c.gateway,
                tables.SERIES.c.device,
                tables.SERIES.c.stream,
                sa.func.sum(tables.SKIP.c.samples),
            )
            .join_from(tables.SKIP, tables.SERIES, tables.SERIES.c.id == tables.SKIP.c.series)
            .group_by(tables.SERIES.c.gateway, tables.SERIES.c.device, tables.SERIES.c.stream)
        ).all()
    found = count_waves(_waves(server, held))
    for measurement, stream in _MESSAGES.items():
        found += _messages(server, held, measurement, stream)
    late: dict[tuple[str, str], list[float]] = defaultdict(list)
    for gateway, device, late_ns in alarms:
        late[gateway, device].append(late_ns / 1e6)
    found += [
        StreamAudit(g, d, "alarm", 0, len(each), len(each), 0, 0, each) for (g, d), each in late.items()
    ]
    return with_skips(found, {(g, d, stream): int(samples) for g, d, stream, samples in skips})


def _held(connection: sa.Connection) -> dict[SeriesKey, RangeSet]:
    held: dict[SeriesKey, RangeSet] = {}
    series = tables.SERIES.c
    for gateway, device, stream, session, first, last in connection.execute(
        sa.select(
            series.gateway,
            series.device,
            series.stream,
            series.session,
            tables.LEDGER.c.first,
            tables.LEDGER.c.last,
        ).join_from(tables.LEDGER, tables.SERIES, series.id == tables.LEDGER.c.series)
    ):
        held.setdefault(SeriesKey(gateway, device, stream, session), RangeSet()).add(first, last)
    return held


def _points(
    server: InfluxServer, held: dict[SeriesKey, RangeSet], measurement: str, stream: Any
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Device, time and record of each committed point, page by page."""
    for device in sorted({key.device for key in held if key.stream == stream}):
        after = _FIRST_NS - 1
        while True:
            page = server.records(
                f"SELECT * FROM {name(measurement)} WHERE device = {literal(device)} AND time > {after}"
                f" ORDER BY time LIMIT {_PAGE}"
            )
            # Channels share times, so a page ends before its last time unless it is the last page.
            if len(page) == _PAGE:
                page = [record for record in page if record["time"] != page[-1]["time"]]
            for record in page:
                if not whole(record, OWNER):
                    continue
                key = SeriesKey(record["gateway"], device, stream, record["session"])
                if key in held and record["seq"] in held[key]:
                    yield device, record["time"] - (record.get("moved_ns") or 0), record
            if not page:
                break
            after = page[-1]["time"]


def _waves(server: InfluxServer, held: dict[SeriesKey, RangeSet]) -> Iterator[WaveRow]:
    for device, start_ns, r in _points(server, held, WAVE, "ecg"):
        yield (
            r["gateway"],
            device,
            channel_code(r["channel"]),
            r["boot"],
            r["first"],
            r["count"],
            r["rate_mhz"],
            start_ns,
            start_ns + duration_ns(r["count"], r["rate_mhz"]),
            r["stored_ns"],
            r["codec"],
            base64.b64decode(r["data"]),
        )


def _messages(
    server: InfluxServer, held: dict[SeriesKey, RangeSet], measurement: str, stream: str
) -> list[StreamAudit]:
    newest: dict[tuple[str, str, str, int], int] = {}
    stored: dict[tuple[str, str, str, int], int] = {}
    values: Counter[tuple[str, int, str]] = Counter()
    owner: dict[tuple[str, int, str], str] = {}
    for device, time_ns, record in _points(server, held, measurement, stream):
        key = (record["gateway"], device, record["session"], record["seq"])
        newest[key] = max(newest.get(key, 0), time_ns)
        stored[key] = record["stored_ns"]
        names = (
            [n for n, v in record.items() if n.endswith(STATUS) and v is not None]
            if stream == "vitals"
            else [""]
        )
        for each in names:
            values[device, time_ns, each] += 1
            owner.setdefault((device, time_ns, each), record["gateway"])
    repeated = Counter((owner[value], value[0]) for value, count in values.items() if count > 1)
    late: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (gateway, device, session, seq), time_ns in newest.items():
        late[gateway, device].append((stored[gateway, device, session, seq] - time_ns) / 1e6)
    return [
        StreamAudit(g, d, stream, 0, len(each), len(each), repeated[g, d], 0, each)
        for (g, d), each in late.items()
    ]
