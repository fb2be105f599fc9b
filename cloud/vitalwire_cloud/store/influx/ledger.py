"""What InfluxDB cannot say: which messages are committed, in which order alarms came, what was set aside.

Tables on SQLite or PostgreSQL. A batch runs in one transaction that ends after the server has its points, so whatever
the ledger calls committed is stored, and workers that share a ledger take turns where their batches meet.
"""

# Statements are put together from marks for parameters only.
# ruff: noqa: S608

import secrets
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from vitalwire_cloud.metadata.migrations import Family, NewerSchemaError, made, migrate
from vitalwire_cloud.store.influx.memory import Memory
from vitalwire_cloud.store.influx.points import SeriesName, series_name
from vitalwire_cloud.store.interface import Erasure, Quarantined, SeriesKey, StoreError, StoreUnavailableError
from vitalwire_cloud.store.ranges import RangeSet, commit_of
from vitalwire_edge.wire.messages import AlarmMessage, DeviceBirth, Skip, StreamCommit, encode_json

FORMAT_VERSION: Final = 1
_CHUNK: Final = 150
_BUSY_TIMEOUT_S: Final = 30.0

_metadata: Final = sa.MetaData()
_BIG: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(key: str, *, primary: bool = False) -> "sa.Column[str]":
    return sa.Column(key, sa.Text, primary_key=primary, nullable=False)


def _number(key: str, *, primary: bool = False) -> "sa.Column[int]":
    return sa.Column(key, sa.BigInteger, primary_key=primary, nullable=False, autoincrement=False)


META: Final = sa.Table("meta", _metadata, _text("key", primary=True), _text("value"))
SERIES: Final = sa.Table(
    "series",
    _metadata,
    sa.Column("id", _BIG, primary_key=True, autoincrement=True),
    _text("gateway"),
    _text("device"),
    _text("stream"),
    _text("session"),
    sa.UniqueConstraint("gateway", "device", "stream", "session"),
)
LEDGER: Final = sa.Table(
    "ledger", _metadata, _number("series", primary=True), _number("first", primary=True), _number("last")
)
NEWEST: Final = sa.Table(
    "newest",
    _metadata,
    _text("measurement", primary=True),
    _text("device", primary=True),
    _text("channel", primary=True),
    _number("newest_ns"),
)
ALARM: Final = sa.Table(
    "alarm",
    _metadata,
    _number("position", primary=True),
    _number("series"),
    _number("seq"),
    _text("alarm_id"),
    _number("at_ns"),
    sa.Column("body", sa.LargeBinary, nullable=False),
    _number("stored_ns"),
    sa.UniqueConstraint("series", "seq"),
)
SKIP: Final = sa.Table(
    "skip",
    _metadata,
    _number("series", primary=True),
    _number("first", primary=True),
    _number("last", primary=True),
    _number("samples"),
    _text("reason"),
    _number("stored_ns"),
)
CONFLICT: Final = sa.Table(
    "conflict",
    _metadata,
    _text("measurement", primary=True),
    _text("channel", primary=True),
    _number("time_ns", primary=True),
    _number("series", primary=True),
    _number("seq", primary=True),
)
QUARANTINE: Final = sa.Table(
    "quarantine",
    _metadata,
    sa.Column("id", _BIG, primary_key=True, autoincrement=True),
    _text("topic"),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    _text("reason"),
    _number("received_ns"),
    sa.Column("gateway", sa.Text),
    sa.Column("device", sa.Text),
    sa.Column("stream", sa.Text),
    sa.Column("session", sa.Text),
    sa.Column("seq", sa.BigInteger),
)
DEVICE: Final = sa.Table(
    "device",
    _metadata,
    _text("device", primary=True),
    _text("site"),
    _text("gateway"),
    sa.Column("birth", sa.LargeBinary, nullable=False),
)
ERASURE: Final = sa.Table(
    "erasure",
    _metadata,
    sa.Column("id", _BIG, primary_key=True, autoincrement=True),
    _number("at_ns"),
    _text("device"),
    _number("start_ns"),
    _number("end_ns"),
    _text("by"),
    _text("reason"),
    sa.Column("removed", sa.LargeBinary, nullable=False),
)
TALLY: Final = sa.Table("tally", _metadata, _text("name", primary=True), _number("value"))

_ENTERING: Final = (
    'INSERT INTO ledger (series, "first", "last") VALUES (?, ?, ?)'
    ' ON CONFLICT (series, "first") DO UPDATE SET "last" = excluded."last"'
)
_LEAVING: Final = 'DELETE FROM ledger WHERE series = ? AND "first" = ?'
_FILLING: Final = (
    "INSERT INTO newest (measurement, device, channel, newest_ns) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (measurement, device, channel) DO UPDATE SET newest_ns = excluded.newest_ns"
    " WHERE excluded.newest_ns > newest.newest_ns"
)

FAMILY: Final = Family("ledger", (made(_metadata),))


class Ledger:
    """The ledger at an SQLAlchemy URL; its tables are made if absent. Thread-safe.

    Raises `StoreUnavailableError` when the database cannot be used, `StoreError` when it is of a newer format.
    """

    def __init__(self, url: str, *, quarantine_rows: int = 10_000) -> None:
        self._quarantine_rows = quarantine_rows
        self._alone = threading.RLock()
        self._memory = Memory()
        try:
            parsed = sa.make_url(url)
            options: dict[str, Any] = {}
            if parsed.get_backend_name() == "sqlite":
                if parsed.database:
                    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
                options = {"connect_args": {"timeout": _BUSY_TIMEOUT_S}}
            self._writer = sa.create_engine(parsed, **options)
            self._reader = sa.create_engine(parsed, **options).execution_options(isolation_level="AUTOCOMMIT")
        except (SQLAlchemyError, OSError, ModuleNotFoundError) as error:
            raise StoreError(f"store.influxdb.ledger_url cannot be used: {error}") from error
        self._shown = parsed.render_as_string(hide_password=True)
        self.lite = parsed.get_backend_name() == "sqlite"
        # Three statements a batch, for which SQLAlchemy would put parameters together one row at a time.
        self.mark = "?" if self._writer.dialect.paramstyle == "qmark" else "%s"
        self.entering, self.leaving, self.filling = (
            each.replace("?", self.mark) for each in (_ENTERING, _LEAVING, _FILLING)
        )
        if self.lite:
            sa.event.listen(self._writer, "connect", _durable)
            sa.event.listen(self._writer, "begin", _begin_immediately)
        with self._guarded():
            migrate(self._writer, FAMILY)
        with self._guarded(), self._writer.begin() as connection:
            self.add(connection, META, [{"key": "store_id", "value": secrets.token_hex(8)}])
            self.add(connection, META, [{"key": "format", "value": str(FORMAT_VERSION)}])
            found = connection.scalar(sa.select(META.c.value).where(META.c.key == "format"))
            if int(found or 0) > FORMAT_VERSION:
                raise StoreError(
                    f"ledger {self._shown} has format {found}, this software reads up to {FORMAT_VERSION}: "
                    "update vitalwire"
                )

    @contextmanager
    def batch(self) -> Iterator["LedgerBatch"]:
        """One transaction: committed on leaving, nothing of it kept when anything raises."""
        with self._guarded(), self._alone:
            try:
                with self._writer.begin() as connection:
                    self._memory.begin(connection, lite=self.lite)
                    yield LedgerBatch(connection, self, self._memory)
            except BaseException:
                self._memory.forget()
                raise

    def remembered(self, keys: Collection[SeriesKey]) -> list[StreamCommit] | None:
        """What is committed of series, if that is known without asking the database."""
        with self._alone:
            held = self._memory.held
            if not all(key in held for key in keys) or not self._memory.current():
                return None
            return [commit_of(key, held[key]) for key in keys]

    def committed(self, gateway: str, session: str) -> dict[SeriesKey, RangeSet]:
        """What is committed of every series of a gateway's session, as the database has it."""
        with self.reading() as connection:
            rows = connection.execute(
                sa.select(SERIES.c.device, SERIES.c.stream, LEDGER.c.first, LEDGER.c.last)
                .join_from(SERIES, LEDGER, SERIES.c.id == LEDGER.c.series)
                .where(SERIES.c.gateway == gateway, SERIES.c.session == session)
                .order_by(SERIES.c.device, SERIES.c.stream, LEDGER.c.first)
            ).all()
        found: dict[SeriesKey, RangeSet] = {}
        for device, stream, first, last in rows:
            found.setdefault(SeriesKey(gateway, device, stream, session), RangeSet()).add(first, last)
        return found

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to look with."""
        with self._guarded(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except NewerSchemaError as error:
            raise StoreError(str(error)) from error
        except (sa.exc.IntegrityError, sa.exc.DataError, OverflowError) as error:
            raise StoreError(f"ledger {self._shown} cannot hold a message: {error}") from error
        except SQLAlchemyError as error:
            raise StoreUnavailableError(
                f"ledger {self._shown}: {str(error).splitlines()[0]}; start it, or correct store.influxdb.ledger_url"
            ) from error

    def add(self, connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> int:
        """Insert rows that are not there yet; returns how many were new."""
        if not rows:
            return 0
        insert = sqlite.insert if self.lite else postgresql.insert
        return sum(
            connection.execute(insert(table).values(row).on_conflict_do_nothing()).rowcount for row in rows
        )

    @property
    def quarantine_rows(self) -> int:
        """How many messages are kept that were set aside."""
        return self._quarantine_rows

    def close(self) -> None:
        """Let go of connections."""
        self._writer.dispose()
        self._reader.dispose()


class LedgerBatch:
    """What one batch asks of the ledger and enters into it."""

    def __init__(self, connection: sa.Connection, ledger: Ledger, memory: Memory) -> None:
        self._connection = connection
        self._ledger = ledger
        self._memory = memory
        self._touched: set[SeriesKey] = set()

    def open(self, keys: set[SeriesKey]) -> None:
        """Hold these series until the transaction ends, and learn what is committed of them."""
        memory = self._memory
        unknown = [key for key in keys if key not in memory.held]
        if not unknown:
            return
        self._number([key for key in unknown if key not in memory.ids])
        by_id = {memory.ids[key]: key for key in unknown}
        ranges: dict[SeriesKey, list[tuple[int, int]]] = {key: [] for key in unknown}
        for part in _chunks(sorted(by_id)):
            marks = ", ".join([self._ledger.mark] * len(part))
            for series, first, last in self._connection.exec_driver_sql(
                f'SELECT series, "first", "last" FROM ledger WHERE series IN ({marks}) ORDER BY series, "first"',
                tuple(part),
            ):
                ranges[by_id[series]].append((first, last))
        for key, found in ranges.items():
            memory.held[key] = RangeSet(found)
            memory.written[key] = found

    def _number(self, keys: list[SeriesKey]) -> None:
        """Learn the numbers of series, which are given to those that have none, and hold their rows."""
        wanted = sorted(keys, key=_order)
        columns = (SERIES.c.gateway, SERIES.c.device, SERIES.c.stream, SERIES.c.session)
        for attempt in (1, 2):
            missing = [key for key in wanted if key not in self._memory.ids]
            if attempt == 2:
                self._ledger.add(self._connection, SERIES, [_row(key) for key in missing])
            for part in _chunks(missing):
                chosen = (
                    sa.select(SERIES.c.id, *columns)
                    .where(sa.tuple_(*columns).in_([_order(key) for key in part]))
                    .order_by(SERIES.c.id)
                    .with_for_update()
                )
                for row_id, gateway, device, stream, session in self._connection.execute(chosen):
                    self._memory.ids[SeriesKey(gateway, device, stream, session)] = row_id

    def holds(self, key: SeriesKey, seq: int) -> bool:
        """Whether a message of an open series is committed."""
        return seq in self._memory.held[key]

    def commit(self, key: SeriesKey, first: int, last: int) -> None:
        """Count `first..last` of an open series as committed; `finish` enters it."""
        self._memory.held[key].add(first, last)
        self._touched.add(key)

    def newest(self, series: Collection[SeriesName]) -> dict[SeriesName, int]:
        """Up to where series of the server were filled; it may tell of others too."""
        memory = self._memory.newest
        unknown = [each for each in series if each not in memory]
        wanted = sorted((each.measurement, each.device, each.channel) for each in unknown)
        columns = (NEWEST.c.measurement, NEWEST.c.device, NEWEST.c.channel)
        memory.update(dict.fromkeys(unknown, 0))
        for part in _chunks(wanted):
            chosen = sa.select(NEWEST).where(sa.tuple_(*columns).in_(part)).order_by(*columns)
            for measurement, device, channel, newest_ns in self._connection.execute(chosen.with_for_update()):
                memory[series_name(measurement, device, channel)] = newest_ns
        return memory

    def fill(self, filled: dict[SeriesName, int]) -> None:
        """Remember up to where series are filled now."""
        rows = sorted((each.measurement, each.device, each.channel, at) for each, at in filled.items())
        if rows:
            self._connection.exec_driver_sql(self._ledger.filling, rows)
            self._memory.newest.update(filled)

    def add_alarm(self, key: SeriesKey, message: AlarmMessage, stored_ns: int) -> None:
        """Enter an alarm message at the next position."""
        self._tally("alarm_position", 1)
        position = self._connection.scalar(sa.select(TALLY.c.value).where(TALLY.c.name == "alarm_position"))
        self._connection.execute(
            ALARM.insert(),
            {
                "position": position,
                "series": self._memory.ids[key],
                "seq": message.seq,
                "alarm_id": message.alarm_id,
                "at_ns": message.at_ns,
                "body": encode_json(message),
                "stored_ns": stored_ns,
            },
        )

    def add_skip(self, key: SeriesKey, skip: Skip, stored_ns: int) -> bool:
        """Enter what a gateway gave up; False when that was known."""
        row = {
            "series": self._memory.ids[key],
            "first": skip.first,
            "last": skip.last,
            "samples": skip.samples,
            "reason": skip.reason,
            "stored_ns": stored_ns,
        }
        self.commit(key, skip.first, skip.last)
        return self._ledger.add(self._connection, SKIP, [row]) == 1

    def add_conflict(self, key: SeriesKey, seq: int, measurement: str, channel: str, time_ns: int) -> None:
        """Count a message whose time others hold."""
        row = {
            "measurement": measurement,
            "channel": channel,
            "time_ns": time_ns,
            "series": self._memory.ids[key],
            "seq": seq,
        }
        self._ledger.add(self._connection, CONFLICT, [row])

    def set_aside(self, messages: list[Quarantined]) -> None:
        """Keep messages that cannot be stored; the series of those whose place is known must be open."""
        for message in messages:
            key = message.series
            place: dict[str, Any] = {} if key is None else _row(key)
            if key is not None and message.seq is not None:
                if self.holds(key, message.seq):
                    continue
                self.commit(key, message.seq, message.seq)
            self._connection.execute(
                QUARANTINE.insert(),
                {
                    "topic": message.topic,
                    "payload": message.payload,
                    "reason": message.reason,
                    "received_ns": message.received_ns,
                    "seq": message.seq,
                    **place,
                },
            )
        if messages:
            limit = sa.select(QUARANTINE.c.id).order_by(QUARANTINE.c.id.desc()).limit(1)
            oldest_kept = limit.offset(self._ledger.quarantine_rows).scalar_subquery()
            dropped = self._connection.execute(
                QUARANTINE.delete().where(QUARANTINE.c.id <= oldest_kept)
            ).rowcount
            self._tally("quarantine_dropped", dropped)

    def aside(self, number: int) -> Quarantined | None:
        """A message that was set aside, held until the transaction ends."""
        chosen = sa.select(QUARANTINE).where(QUARANTINE.c.id == number).with_for_update()
        row = self._connection.execute(chosen).one_or_none()
        return None if row is None else quarantined(row)

    def discard(self, number: int, how: str) -> bool:
        """Keep a message aside no longer, counted by how that came; False when it was gone."""
        gone = self._connection.execute(QUARANTINE.delete().where(QUARANTINE.c.id == number)).rowcount
        self._tally(f"quarantine_{how}", gone)
        return gone == 1

    def remember(self, site: str, gateway: str, device: str, birth: DeviceBirth) -> None:
        """Keep the last birth of a device."""
        self._connection.execute(DEVICE.delete().where(DEVICE.c.device == device))
        self._connection.execute(
            DEVICE.insert(), {"device": device, "site": site, "gateway": gateway, "birth": encode_json(birth)}
        )

    def erase(self, device: str, start_ns: int, end_ns: int) -> dict[str, int]:
        """Delete what is kept here of a device in [start_ns, end_ns) and return how much, by what it was."""
        series = sa.select(SERIES.c.id).where(SERIES.c.device == device)
        within = (ALARM.c.at_ns >= start_ns, ALARM.c.at_ns < end_ns)
        alarms = self._connection.execute(ALARM.delete().where(ALARM.c.series.in_(series), *within)).rowcount
        column = QUARANTINE.c.received_ns
        quarantine = self._connection.execute(
            QUARANTINE.delete().where(QUARANTINE.c.device == device, column >= start_ns, column < end_ns)
        ).rowcount
        return {"alarms": alarms, "quarantine": quarantine}

    def record(self, erasure: Erasure) -> None:
        """Keep that something was erased."""
        row = asdict(erasure) | {"removed": msgspec.json.encode(erasure.removed)}
        self._connection.execute(ERASURE.insert(), row)

    def finish(self, duplicates: int) -> None:
        """Enter what is committed now."""
        self._tally("duplicates", duplicates)
        gone: list[tuple[int, int]] = []
        fresh: list[tuple[int, int, int]] = []
        memory = self._memory
        for key in self._touched:
            now, before, series = memory.held[key].ranges(), memory.written[key], memory.ids[key]
            firsts = {first for first, _ in now}
            gone += [(series, first) for first, _ in before if first not in firsts]
            fresh += [(series, *each) for each in set(now).difference(before)]
            memory.written[key] = now
        if gone:
            self._connection.exec_driver_sql(self._ledger.leaving, gone)
        if fresh:
            self._connection.exec_driver_sql(self._ledger.entering, sorted(fresh))

    def _tally(self, name: str, by: int) -> None:
        if not by:
            return
        insert = (sqlite.insert if self._ledger.lite else postgresql.insert)(TALLY)
        self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=[TALLY.c.name], set_={"value": TALLY.c.value + insert.excluded.value}
            ),
            {"name": name, "value": by},
        )


def quarantined(row: Any) -> Quarantined:
    """A row of what was set aside."""
    series = None if row.gateway is None else SeriesKey(row.gateway, row.device, row.stream, row.session)
    return Quarantined(row.topic, row.payload, row.reason, row.received_ns, series, row.seq, row.id)


def _order(key: SeriesKey) -> tuple[str, str, str, str]:
    return (key.gateway, key.device, key.stream, key.session)


def _row(key: SeriesKey) -> dict[str, str]:
    return {"gateway": key.gateway, "device": key.device, "stream": key.stream, "session": key.session}


def _chunks(values: list[Any]) -> Iterable[list[Any]]:
    return (values[at : at + _CHUNK] for at in range(0, len(values), _CHUNK))


def _durable(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _begin_immediately(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
