"""The InfluxDB store: points on the server first, then the ledger says that they are committed.

A batch that fails between the two leaves points that nobody counts. The gateway sends it again, the same points are
written at the same times with the same fields, and nothing is there twice.
"""

# Queries are put together from `name` and `literal`, which quote, and from numbers.
# ruff: noqa: S608

import base64
import threading
import time
from collections.abc import Collection
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from prometheus_client import Histogram

from vitalwire_cloud.store.influx import auditing, upkeep
from vitalwire_cloud.store.influx import ledger as tables
from vitalwire_cloud.store.influx.ledger import Ledger, LedgerBatch
from vitalwire_cloud.store.influx.placing import MAX_MOVED_NS, place
from vitalwire_cloud.store.influx.points import (
    BEAT,
    MINUTES,
    SCORE,
    STATUS,
    VITALS,
    WAVE,
    WHOLE,
    Point,
    SeriesName,
    channel_code,
    channel_name,
    points_of,
    whole,
)
from vitalwire_cloud.store.influx.server import InfluxServer, ServerAddress, literal, name
from vitalwire_cloud.store.interface import (
    DeviceRecord,
    Erasure,
    Item,
    Kind,
    Quarantined,
    Replayed,
    Rollup,
    Segment,
    SeriesKey,
    StoreCounts,
    StoredAlarm,
    StoredBeat,
    StoredScore,
    StoreError,
    StoreUnavailableError,
    StreamAudit,
    VitalPoint,
    WriteResult,
)
from vitalwire_cloud.store.ranges import RangeSet, commit_of
from vitalwire_cloud.store.reading import MAX_BLOCK_NS, MAX_STRIP_NS, counts_of
from vitalwire_cloud.store.segments import Block, assemble
from vitalwire_edge.wire.codes import ValueStatus
from vitalwire_edge.wire.messages import AlarmMessage, DeviceBirth, Skip, StreamCommit

_MINUTE_NS: Final = 60_000_000_000
_PROBE_EVERY_S: Final = 2.0
_COUNTED: Final = frozenset({WAVE, VITALS, BEAT, SCORE})
"""Measurements in which two points of one time are a conflict; alarms may well coincide."""

_WRITE_S: Final = Histogram(
    "vitalwire_influxdb_write_seconds",
    "One batch from the ledger's lock to committed",
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)


class InfluxStore:
    """Store on an InfluxDB server (1.8 and later, 2.x with a database mapping, 3 Core), its ledger at an SQL URL.

    Thread-safe; any number of processes may share both. Opening does not need the server: until it answers `ready`
    says why not and `write` raises `StoreUnavailableError`.
    """

    def __init__(self, address: ServerAddress, ledger_url: str, *, quarantine_rows: int = 10_000) -> None:
        self.server = InfluxServer(address)
        self.ledger = Ledger(ledger_url, quarantine_rows=quarantine_rows)
        self._lock = threading.Lock()
        self._problem: str | None = None
        self._probed_s = -_PROBE_EVERY_S

    def write(self, items: list[Item], quarantined: list[Quarantined]) -> WriteResult:
        """Store a batch and its ledger entries.

        Raises `StoreUnavailableError` or `StoreError`: then nothing of it counts as stored.
        """
        with self._lock, _WRITE_S.time():
            try:
                with self.ledger.batch() as batch:
                    result = self._write(batch, items, quarantined)
            except StoreUnavailableError as error:
                self._problem = str(error)
                self._probed_s = time.monotonic()
                raise
            self._problem = None
            return result

    def _write(self, batch: LedgerBatch, items: list[Item], quarantined: list[Quarantined]) -> WriteResult:
        result = WriteResult()
        stored_ns = time.time_ns()
        batch.open({i.series for i in items} | {q.series for q in quarantined if q.series is not None})
        points: list[Point] = []
        for item in items:
            _enter(batch, item, stored_ns, points, result)
        result.conflicts = self._place_and_send(batch, points)
        batch.set_aside(quarantined)
        batch.finish(result.duplicates)
        return result

    def replay(self, number: int, item: Item) -> Replayed:
        """Store what was set aside as `number` and keep it aside no longer. Raises as `write` does."""
        with self._lock, self.ledger.batch() as batch:
            aside = batch.aside(number)
            if aside is None:
                return "gone"
            batch.open({item.series})
            points: list[Point] = []
            result = WriteResult()
            # What was set aside with its place known holds that place itself.
            own = aside.series == item.series and aside.seq == item.seq
            _enter(batch, item, time.time_ns(), points, result, own=own)
            self._place_and_send(batch, points)
            batch.discard(number, "replayed")
            batch.finish(0)
            return "stored" if result.stored else "known"

    def discard(self, number: int, *, replayed: bool = False) -> bool:
        """Keep a message aside no longer; False when it was gone. Raises as `write` does."""
        with self._lock, self.ledger.batch() as batch:
            return batch.discard(number, "replayed" if replayed else "discarded")

    def _place_and_send(self, batch: LedgerBatch, points: list[Point]) -> int:
        if not points:
            return 0
        newest = batch.newest({point.series for point in points})
        placed = place(self.server, points, newest)
        conflicts = 0
        filled: dict[SeriesName, int] = {}
        for each in placed:
            point = each.point
            before_ns = filled.get(point.series) or newest.get(point.series, 0)
            filled[point.series] = max(before_ns, point.end_ns, each.time_ns + 1)
            if each.conflict and point.series.measurement in _COUNTED:
                conflicts += 1
                where = (point.series.measurement, point.series.channel, point.time_ns)
                batch.add_conflict(point.item.series, point.item.seq, *where)
        self.server.write([each.point.line(each.time_ns) for each in placed])
        batch.fill(filled)
        return conflicts

    def register(self, site: str, gateway: str, device: str, birth: DeviceBirth) -> None:
        """Remember a device and its channels from its birth. Raises as `write` does."""
        with self.ledger.batch() as batch:
            batch.remember(site, gateway, device, birth)

    def expire(self, kind: Kind, before_ns: int) -> int:
        """Delete what ended before a time; minutes of vital signs are written down first."""
        return upkeep.expire(
            self.server, kind, before_ns, devices=self._known_devices(), minutes=self.rollups
        )

    def _known_devices(self) -> list[str]:
        with self.ledger.reading() as connection:
            return list(connection.scalars(sa.select(tables.SERIES.c.device).distinct()))

    def erase(self, device: str, start_ns: int, end_ns: int, *, by: str, reason: str) -> Erasure:
        """Delete everything of a device in [start_ns, end_ns) and keep a record of that."""
        removed = upkeep.erase(self.server, device, start_ns, end_ns)
        with self.ledger.batch() as batch:
            removed |= batch.erase(device, start_ns, end_ns)
            removed.pop("alarm_points")
            erasure = Erasure(time.time_ns(), device, start_ns, end_ns, by, reason, removed)
            batch.record(erasure)
        return erasure

    def erasures(self) -> list[Erasure]:
        """What was erased, in order."""
        columns = [column for column in tables.ERASURE.c if column.name != "id"]
        with self.ledger.reading() as connection:
            rows = connection.execute(sa.select(*columns).order_by(tables.ERASURE.c.id)).all()
        return [
            Erasure(
                at_ns, device, start_ns, end_ns, by, reason, msgspec.json.decode(removed, type=dict[str, int])
            )
            for at_ns, device, start_ns, end_ns, by, reason, removed in rows
        ]

    def committed(self, gateway: str, session: str) -> list[StreamCommit]:
        """What is stored of every stream of a gateway's session."""
        return [commit_of(key, held) for key, held in self.ledger.committed(gateway, session).items()]

    def held(self, keys: Collection[SeriesKey]) -> list[StreamCommit]:
        """What is stored of these series, as it is now; of one that is not known nothing is said."""
        remembered = self.ledger.remembered(keys)
        if remembered is not None:
            return remembered
        found: dict[SeriesKey, RangeSet] = {}
        for gateway, session in {(key.gateway, key.session) for key in keys}:
            found |= self.ledger.committed(gateway, session)
        return [commit_of(key, found[key]) for key in keys if key in found]

    def devices(self) -> list[DeviceRecord]:
        """Every device with its last birth, by site, gateway and name."""
        with self.ledger.reading() as connection:
            columns = tables.DEVICE.c
            rows = connection.execute(
                sa.select(columns.site, columns.gateway, columns.device, columns.birth)
                .order_by(columns.site, columns.gateway, columns.device)
            ).all()  # fmt: skip
        return [
            DeviceRecord(s, g, d, msgspec.json.decode(birth, type=DeviceBirth)) for s, g, d, birth in rows
        ]

    def strip(self, device: str, code: int, start_ns: int, end_ns: int) -> list[Segment]:
        """Waveform of [start_ns, end_ns) in order of time, cut at gaps. Raises `StoreError` beyond an hour."""
        if end_ns - start_ns > MAX_STRIP_NS:
            raise StoreError(f"a strip of {(end_ns - start_ns) / 1e9:.0f} s: ask for at most 3600 s at once")
        records = self.server.records(
            'SELECT "boot","first","count","rate_mhz","scale","flags","codec","data","moved_ns"'
            f" FROM {name(WAVE)} WHERE device = {literal(device)} AND channel = {literal(channel_name(code))}"
            f" AND time > {start_ns - MAX_BLOCK_NS} AND time < {end_ns + MAX_MOVED_NS}"
        )
        blocks = [
            Block(
                r["time"] - (r["moved_ns"] or 0),
                r["boot"],
                r["first"],
                r["count"],
                r["rate_mhz"],
                float(r["scale"]),
                r["flags"],
                r["codec"],
                base64.b64decode(r["data"]),
            )
            for r in records
            if whole(r, WHOLE[WAVE])
        ]
        return assemble(blocks, start_ns, end_ns)

    def vitals(self, device: str, start_ns: int, end_ns: int) -> list[VitalPoint]:
        """Numbers of [start_ns, end_ns) in order of time."""
        found = []
        for time_ns, record in self._marks(VITALS, device, start_ns, end_ns):
            for key, status in record.items():
                name_of = key.removesuffix(STATUS)
                arrived = status != ValueStatus.OK or record.get(name_of) is not None
                if key.endswith(STATUS) and status is not None and arrived:
                    found.append(_number(time_ns, name_of, record, status))
        return sorted(found, key=lambda point: (point.time_ns, point.code))

    def _marks(
        self, measurement: str, device: str, start_ns: int, end_ns: int
    ) -> list[tuple[int, dict[str, Any]]]:
        """Points of [start_ns, end_ns) with the time they stand for."""
        records = self.server.records(
            f"SELECT * FROM {name(measurement)} WHERE device = {literal(device)}"
            f" AND time >= {start_ns} AND time < {end_ns + MAX_MOVED_NS}"
        )
        timed = [
            (record["time"] - (record.get("moved_ns") or 0), record)
            for record in records
            if whole(record, WHOLE[measurement])
        ]
        return sorted(
            ((at, record) for at, record in timed if start_ns <= at < end_ns), key=lambda each: each[0]
        )

    def _vital_fields(self) -> dict[str, str]:
        """Fields of numbers that were ever stored, of any device, with their types."""
        found = self.server.records(f"SHOW FIELD KEYS FROM {name(VITALS)}")
        return {str(record["fieldKey"]): str(record["fieldType"]) for record in sorted(found, key=str)}

    def latest_vitals(self, device: str) -> list[VitalPoint]:
        """The newest number of each code."""
        keys = self._vital_fields()
        names = [key.removesuffix(STATUS) for key in keys if key.endswith(STATUS)]
        statements = [
            f"SELECT last({name(each + STATUS)}) AS status, "
            + (f"{name(each)} AS value" if each in keys else '"seq" AS nothing')
            + f', "moved_ns" FROM {name(VITALS)} WHERE device = {literal(device)}'
            for each in names
        ]
        found = []
        for each, answer in zip(names, self.server.query(statements) if statements else [], strict=True):
            for table in answer:
                for r in table.records():
                    time_ns = r["time"] - (r.get("moved_ns") or 0)
                    found.append(_number(time_ns, each, {each: r.get("value")}, r["status"]))
        return sorted(found, key=lambda point: point.code)

    def rollups(self, device: str, start_ns: int, end_ns: int) -> list[Rollup]:
        """Minutes that begin in [start_ns, end_ns): counted from the numbers, or kept from before those expired."""
        first_ns = -(-start_ns // _MINUTE_NS) * _MINUTE_NS
        last_ns = -(-end_ns // _MINUTE_NS) * _MINUTE_NS
        where = f"device = {literal(device)} AND time >= {first_ns} AND time < {last_ns}"
        numbers = [key for key, kind in self._vital_fields().items() if kind == "float"]
        statements = [
            f"SELECT count({name(n)}) AS n, mean({name(n)}) AS mean, min({name(n)}) AS low, max({name(n)}) AS high"
            f" FROM {name(VITALS)} WHERE {where} GROUP BY time(1m) fill(none)"
            for n in numbers
        ]
        kept = f"SELECT n, mean, low, high, channel FROM {name(MINUTES)} WHERE {where}"
        found: dict[tuple[int, int], Rollup] = {}
        answers = self.server.query([kept, *statements])
        for each, answer in zip(["", *numbers], answers, strict=True):
            for table in answer:
                for r in table.records():
                    if r["n"]:
                        code = channel_code(each or r["channel"])
                        minute = Rollup(
                            r["time"], code, int(r["n"]), float(r["mean"]), float(r["low"]), float(r["high"])
                        )
                        found[r["time"], code] = _joined(found.get((r["time"], code)), minute)
        return [found[key] for key in sorted(found)]

    def beats(self, device: str, start_ns: int, end_ns: int) -> list[StoredBeat]:
        """Beats of [start_ns, end_ns) in order of time."""
        return [
            StoredBeat(
                at,
                r.get("rr_ms"),
                r.get("amplitude_uv"),
                r.get("width_ms"),
                float(r["quality"]),
                bool(r["wide"]),
            )
            for at, r in self._marks(BEAT, device, start_ns, end_ns)
        ]

    def scores(self, device: str, start_ns: int, end_ns: int) -> list[StoredScore]:
        """Beat scores of [start_ns, end_ns) in order of time."""
        return [
            StoredScore(
                at,
                r.get("score"),
                r.get("shape"),
                r.get("timing"),
                r.get("amplitude"),
                float(r["threshold"]),
                r["model"],
                r["version"],
            )
            for at, r in self._marks(SCORE, device, start_ns, end_ns)
        ]

    def alarm_messages(self, after: int, limit: int) -> list[StoredAlarm]:
        """At most `limit` alarm messages behind position `after`, in order."""
        alarm, series = tables.ALARM.c, tables.SERIES.c
        with self.ledger.reading() as connection:
            rows = connection.execute(
                sa.select(alarm.position, series.gateway, series.device, alarm.body, alarm.stored_ns)
                .join_from(tables.ALARM, tables.SERIES, series.id == alarm.series)
                .where(alarm.position > after)
                .order_by(alarm.position)
                .limit(limit)
            ).all()
        return [
            StoredAlarm(position, gateway, device, msgspec.json.decode(body, type=AlarmMessage), stored_ns)
            for position, gateway, device, body, stored_ns in rows
        ]

    def quarantine(self, limit: int) -> list[Quarantined]:
        """The newest messages that were set aside, newest first."""
        return self._set_aside(
            sa.select(tables.QUARANTINE).order_by(tables.QUARANTINE.c.id.desc()).limit(limit)
        )

    def set_aside(self, after: int, limit: int) -> list[Quarantined]:
        """At most `limit` messages that were set aside, behind number `after`, oldest first."""
        number = tables.QUARANTINE.c.id
        return self._set_aside(
            sa.select(tables.QUARANTINE).where(number > after).order_by(number).limit(limit)
        )

    def _set_aside(self, which: sa.Select[Any]) -> list[Quarantined]:
        with self.ledger.reading() as connection:
            return [tables.quarantined(row) for row in connection.execute(which)]

    def counts(self) -> StoreCounts:
        """Totals of what was not stored as it came."""
        with self.ledger.reading() as connection:
            tally = {row.name: int(row.value) for row in connection.execute(sa.select(tables.TALLY))}
            conflicts = connection.scalar(sa.select(sa.func.count()).select_from(tables.CONFLICT)) or 0
            held = connection.scalar(sa.select(sa.func.count()).select_from(tables.QUARANTINE)) or 0
        return counts_of(tally, conflicts=conflicts, held=held)

    def identity(self) -> str:
        """Random name of this store, drawn when its ledger was made."""
        with self.ledger.reading() as connection:
            found = connection.scalar(sa.select(tables.META.c.value).where(tables.META.c.key == "store_id"))
        return str(found)

    def audit(self) -> list[StreamAudit]:
        """Read everything back, decode every block and count it."""
        return auditing.audit(self.server, self.ledger)

    def ready(self) -> str | None:
        """None when a write would work now, else why not; the server is asked every few seconds at most."""
        now = time.monotonic()
        if now - self._probed_s >= _PROBE_EVERY_S:
            self._probed_s = now
            try:
                self.server.check()
            except StoreError as error:
                self._problem = str(error)
            else:
                self._problem = None
        return self._problem

    def close(self) -> None:
        """Let go of connections."""
        self.server.close()
        self.ledger.close()


def _enter(
    batch: LedgerBatch,
    item: Item,
    stored_ns: int,
    points: list[Point],
    result: WriteResult,
    *,
    own: bool = False,
) -> None:
    """Enter an item and its `points` unless its place is taken by anything but itself (`own`)."""
    key, message = item.series, item.message
    if isinstance(message, Skip):
        new = batch.add_skip(key, message, stored_ns)
    elif new := own or not batch.holds(key, item.seq):
        points += points_of(item, stored_ns)
        if isinstance(message, AlarmMessage):
            batch.add_alarm(key, message, stored_ns)
        batch.commit(key, item.seq, item.seq)
    if new:
        result.stored.append(item)
    else:
        result.duplicates += 1


def _joined(kept: Rollup | None, counted: Rollup) -> Rollup:
    """A minute that is kept and also has numbers: those came late, unless they are the ones that it was made of."""
    if kept is None or counted.count >= kept.count:
        return counted
    count = kept.count + counted.count
    mean = (kept.mean * kept.count + counted.mean * counted.count) / count
    low, high = min(kept.low, counted.low), max(kept.high, counted.high)
    return Rollup(kept.minute_ns, kept.code, count, mean, low, high)


def _number(time_ns: int, channel: str, record: dict[str, Any], status: int) -> VitalPoint:
    value = record.get(channel)
    return VitalPoint(time_ns, channel_code(channel), None if value is None else float(value), int(status))
