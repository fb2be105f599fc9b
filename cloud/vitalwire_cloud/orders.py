"""Orders to gateways that must be carried out, however long the gateway is away: a new patient, what staff say of one.

An order is in the book, on disk, before anybody is told of it. Both kinds share one count for each wearable, and what
staff say goes with the next new patient.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from vitalwire_cloud.metadata.entries import Bedside
from vitalwire_cloud.metadata.migrations import NewerSchemaError, migrate
from vitalwire_cloud.metadata.steps import ORDERS
from vitalwire_edge.wire.messages import StaffState
from vitalwire_edge.wire.topics import identifier

_metadata: Final = sa.MetaData()
_ORDER: Final = sa.Table(
    "new_patient",
    _metadata,
    sa.Column("site", sa.String(32), primary_key=True),
    sa.Column("gateway", sa.String(32), primary_key=True),
    sa.Column("device", sa.String(32), primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("done_ns", sa.BigInteger),
)
_WORD: Final = sa.Table(
    "staff_word",
    _metadata,
    sa.Column("site", sa.String(32), primary_key=True),
    sa.Column("gateway", sa.String(32), primary_key=True),
    sa.Column("device", sa.String(32), primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("said", sa.Text, nullable=False),
    sa.Column("done_ns", sa.BigInteger),
)

Place = tuple[str, str, str]
"""Site, gateway, device."""

_NOTHING: Final = StaffState()


class OrderError(Exception):
    """The book of orders cannot be used; the message says why."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Forget the patient of `device`. `number` is when it was asked for (ns), and grows; `done_ns` when it was done."""

    site: str
    gateway: str
    device: str
    number: int
    done_ns: int | None


class StaffWord(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway is to know of what staff said of the wearer of `device`; `number` as in `Order`."""

    site: str
    gateway: str
    device: str
    number: int
    said: str
    done_ns: int | None

    @property
    def staff(self) -> StaffState:
        """What was said."""
        return msgspec.json.decode(self.said, type=StaffState)


class OrderBook:
    """The newest orders for each wearable, behind `url`. Raises `OrderError`."""

    def __init__(self, url: str) -> None:
        is_sqlite = sa.make_url(url).get_backend_name() == "sqlite"
        self._engine = sa.create_engine(url, connect_args={"timeout": 5.0} if is_sqlite else {})
        if is_sqlite:
            sa.event.listen(self._engine, "connect", _durable)
        with self._translated():
            migrate(self._engine, ORDERS)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def new_patient(self, site: str, gateway: str, device: str, *, now_ns: int) -> int:
        """Order that what is known of the patient of `device` be forgotten; returns the order's number."""
        which = _at(_ORDER, site, gateway, device)
        with self._changing() as db:
            last = db.execute(sa.select(_ORDER.c.number).where(which)).scalar()
            # Numbers grow for each wearable, whatever the clock here does: a gateway does each once.
            mine = _at(_WORD, site, gateway, device)
            word = db.execute(sa.select(_WORD.c.number).where(mine)).scalar()
            number = max(now_ns, max(last or 0, word or 0) + 1)
            db.execute(sa.delete(_WORD).where(mine))
            if last is None:
                db.execute(
                    sa.insert(_ORDER).values(
                        site=site, gateway=gateway, device=device, number=number, done_ns=None
                    )
                )
            else:
                db.execute(sa.update(_ORDER).where(which).values(number=number, done_ns=None))
        return number

    def done(
        self,
        site: str,
        gateway: str,
        device: str,
        number: int,
        *,
        now_ns: int,
        kind: Literal["new_patient", "staff"] = "new_patient",
    ) -> bool:
        """An order was carried out; False where it is not one that was waited for."""
        table = _ORDER if kind == "new_patient" else _WORD
        place = _at(table, site, gateway, device)
        waiting = sa.and_(place, table.c.number == number, table.c.done_ns.is_(None))
        with self._transaction() as db:
            return bool(db.execute(sa.update(table).where(waiting).values(done_ns=now_ns)).rowcount)

    def bring_up(self, bedsides: Mapping[Place, Bedside], *, now_ns: int) -> int:
        """Have gateways know this of the wearers of devices, and nothing of those of others; returns how many learn.

        An entry that is older than the last new patient of its wearable was said of somebody else.
        """
        with self._changing() as db:
            forgot = {
                (row.site, row.gateway, row.device): row.number for row in db.execute(sa.select(_ORDER))
            }
            words = {(word.site, word.gateway, word.device): word for word in _words(db)}
            wanted = {
                place: bedside.state(after_ns=forgot.get(place, 0)) for place, bedside in bedsides.items()
            }
            changed = 0
            for place in {*wanted, *words}:
                said, word = wanted.get(place, _NOTHING), words.get(place)
                if said == (_NOTHING if word is None else word.staff):
                    continue
                number = max(now_ns, max(forgot.get(place, 0), 0 if word is None else word.number) + 1)
                db.execute(sa.delete(_WORD).where(_at(_WORD, *place)))
                told = StaffWord(
                    site=place[0],
                    gateway=place[1],
                    device=place[2],
                    number=number,
                    said=msgspec.json.encode(said).decode(),
                    done_ns=None,
                )
                db.execute(sa.insert(_WORD).values(msgspec.to_builtins(told)))
                changed += 1
        return changed

    def delivered(self, place: Place, bedside: Bedside | None) -> tuple[int, bool]:
        """Since when entries of a wearable's wearer count, and whether its gateway knows all that is known of it."""
        with self._transaction() as db:
            order = db.execute(sa.select(_ORDER).where(_at(_ORDER, *place))).first()
            word = next(
                (each for each in _words(db) if (each.site, each.gateway, each.device) == place), None
            )
        after_ns = 0 if order is None else order.number
        wanted = _NOTHING if bedside is None else bedside.state(after_ns=after_ns)
        if order is not None and order.done_ns is None:
            return after_ns, False
        if word is None:
            return after_ns, wanted == _NOTHING
        return after_ns, word.staff == wanted and word.done_ns is not None

    def words(self) -> list[StaffWord]:
        """What each gateway is to know of what staff said, and whether it does."""
        with self._transaction() as db:
            return _words(db)

    def orders(self, *, pending: bool = False) -> list[Order]:
        """Every order, or those that are not done."""
        query = sa.select(_ORDER).order_by(_ORDER.c.number)
        if pending:
            query = query.where(_ORDER.c.done_ns.is_(None))
        with self._transaction() as db:
            return [Order(**row._mapping) for row in db.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name

    @contextmanager
    def _changing(self) -> Iterator[sa.Connection]:
        """One change at a time, so that what was read still holds when it is written."""
        with self._transaction() as db:
            if db.dialect.name == "sqlite":
                db.exec_driver_sql("BEGIN IMMEDIATE")
            yield db

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except NewerSchemaError as error:
            raise OrderError(str(error)) from error
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise OrderError(f"orders {self._engine.url!r}: {reason}") from error


def _words(db: sa.Connection) -> list[StaffWord]:
    rows = db.execute(sa.select(_WORD).order_by(_WORD.c.number))
    return [StaffWord(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def _at(table: sa.Table, site: str, gateway: str, device: str) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.site == site, table.c.gateway == gateway, table.c.device == device)


def open_orders(data_dir: Path) -> OrderBook:
    """The orders of a service's data folder. Raises `OrderError`."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OrderError(f"data folder {data_dir}: {error.strerror}") from error
    return OrderBook(f"sqlite:///{(data_dir / 'orders.sqlite').absolute()}")


def new_patient(data_dir: Path, site: str, gateway: str, device: str) -> int:
    """Order that a wearable's patient be forgotten; the service of `data_dir` sees to it until it is done.

    Raises `OrderError`, and `TopicError` for names that are none.
    """
    for name, what in ((site, "site"), (gateway, "gateway"), (device, "device")):
        identifier(name, what)
    with closing(open_orders(data_dir)) as book:
        return book.new_patient(site, gateway, device, now_ns=time.time_ns())


def _durable(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
