"""Where the desk keeps its alarms: three tables on any database SQLAlchemy knows, an SQLite file by default."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from vitalwire_cloud.alerts.machine import Record, Transition
from vitalwire_cloud.metadata.migrations import Family, NewerSchemaError, made, migrate
from vitalwire_cloud.store.interface import StoreError, StoreUnavailableError

_metadata: Final = sa.MetaData()

_ALARM: Final = sa.Table(
    "alarm",
    _metadata,
    sa.Column("alarm_id", sa.String(128), primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("open", sa.Boolean, nullable=False, index=True),
    sa.Column("raised_ns", sa.BigInteger, nullable=False, index=True),
    sa.Column("record", sa.LargeBinary, nullable=False),
)
_TRANSITION: Final = sa.Table(
    "transition",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("alarm_id", sa.String(128), nullable=False, index=True),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("event", sa.String(16), nullable=False),
    sa.Column("before", sa.String(16)),
    sa.Column("after", sa.String(16), nullable=False),
    sa.Column("by", sa.String(64)),
    sa.Column("note", sa.Text, nullable=False),
)
_PROGRESS: Final = sa.Table(
    "progress",
    _metadata,
    sa.Column("store", sa.String(64), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
)

FAMILY: Final = Family("desk", (made(_metadata),))


class DeskUnavailableError(StoreUnavailableError):
    """The desk's database cannot be used now; alarms wait in the store until it can."""


class AlarmLedger:
    """Records, transitions and how far each store was read. Every method runs inside a `transaction()`.

    Raises `DeskUnavailableError`.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self._engine = sa.create_engine(url, connect_args=_connect_args(url))
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _durable)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Record).decode
        if not read_only:
            with self._translated():
                migrate(self._engine, FAMILY)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """All or nothing."""
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except NewerSchemaError as error:
            raise StoreError(str(error)) from error
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise DeskUnavailableError(f"alarm desk {self._engine.url!r}: {reason}") from error

    def get(self, connection: sa.Connection, alarm_id: str) -> Record | None:
        """One record."""
        row = connection.execute(sa.select(_ALARM.c.record).where(_ALARM.c.alarm_id == alarm_id)).first()
        return None if row is None else self._decode(row[0])

    def records(
        self, connection: sa.Connection, *, open_only: bool, at_most: int | None = None
    ) -> list[Record]:
        """Records, newest first: every open one, or the newest `at_most` of all."""
        query = sa.select(_ALARM.c.record).order_by(_ALARM.c.raised_ns.desc(), _ALARM.c.alarm_id)
        query = query.where(_ALARM.c.open) if open_only else query.limit(at_most)
        return [self._decode(row[0]) for row in connection.execute(query)]

    def of_kind(self, connection: sa.Connection, kind: str) -> list[Record]:
        """Every record of a kind, newest first."""
        query = sa.select(_ALARM.c.record).where(_ALARM.c.kind == kind)
        rows = connection.execute(query.order_by(_ALARM.c.raised_ns.desc(), _ALARM.c.alarm_id))
        return [self._decode(row[0]) for row in rows]

    def put(self, connection: sa.Connection, record: Record, step: Transition) -> None:
        """Keep `record` in its new state and the step that led there."""
        alarm = record.alarm
        values: dict[str, Any] = {
            "kind": alarm.kind,
            "open": alarm.state != "cleared",
            "raised_ns": alarm.raised_ns,
            "record": self._encode(record),
        }
        changed = connection.execute(
            sa.update(_ALARM).where(_ALARM.c.alarm_id == alarm.alarm_id).values(values)
        ).rowcount
        if not changed:
            connection.execute(sa.insert(_ALARM).values(alarm_id=alarm.alarm_id, **values))
        connection.execute(
            sa.insert(_TRANSITION).values(
                alarm_id=step.alarm_id,
                at_ns=step.at_ns,
                event=step.event,
                before=step.before,
                after=step.after,
                by=step.by,
                note=step.note,
            )
        )

    def transitions(self, connection: sa.Connection, alarm_id: str) -> list[Transition]:
        """The audit trail of one alarm, in order."""
        columns = [c for c in _TRANSITION.c if c.name != "id"]
        rows = connection.execute(
            sa.select(*columns).where(_TRANSITION.c.alarm_id == alarm_id).order_by(_TRANSITION.c.id)
        )
        return [Transition(*row) for row in rows]

    def forget(self, connection: sa.Connection, device: str, start_ns: int, end_ns: int) -> int:
        """Delete the alarms of a device raised in [start_ns, end_ns), with their steps; how many those were."""
        within = sa.select(_ALARM.c.record).where(_ALARM.c.raised_ns >= start_ns, _ALARM.c.raised_ns < end_ns)
        alarms = [self._decode(row[0]).alarm for row in connection.execute(within)]
        gone = [alarm.alarm_id for alarm in alarms if alarm.device == device]
        for alarm_id in gone:
            connection.execute(sa.delete(_TRANSITION).where(_TRANSITION.c.alarm_id == alarm_id))
            connection.execute(sa.delete(_ALARM).where(_ALARM.c.alarm_id == alarm_id))
        return len(gone)

    def position(self, connection: sa.Connection, store: str) -> int:
        """How far `store` was read."""
        row = connection.execute(sa.select(_PROGRESS.c.position).where(_PROGRESS.c.store == store)).first()
        return 0 if row is None else int(row[0])

    def advance(self, connection: sa.Connection, store: str, position: int) -> None:
        """Remember that `store` was read up to `position`."""
        changed = connection.execute(
            sa.update(_PROGRESS).where(_PROGRESS.c.store == store).values(position=position)
        ).rowcount
        if not changed:
            connection.execute(sa.insert(_PROGRESS).values(store=store, position=position))

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()


def _connect_args(url: str) -> dict[str, Any]:
    return {"timeout": 5.0} if sa.make_url(url).get_backend_name() == "sqlite" else {}


def _durable(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
