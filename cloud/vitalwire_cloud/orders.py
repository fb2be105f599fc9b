"""Orders to gateways that must be carried out, however long the gateway is away: forget the patient of a wearable.

An order is in the book, on disk, before anybody is told of it. While it is not done it is said again to a gateway that
is there, sealed with the gateway's key; the gateway does it once, durably, and says so until it is heard.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from vitalwire_cloud.metadata.migrations import Family, NewerSchemaError, made, migrate
from vitalwire_cloud.registry.desk import Publish
from vitalwire_edge.wire.messages import (
    Command,
    MessageError,
    Obeyed,
    decode_json,
    encode_json,
    seal,
    unseal,
)
from vitalwire_edge.wire.topics import TopicError, gateway_topic, identifier, parse

log = structlog.get_logger()

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
FAMILY: Final = Family("orders", (made(_metadata),))

_QUEUED: Final = 1024
_TURN_S: Final = 0.5
_AGAIN_S: Final = 5.0
_PRESENT_S: Final = 60.0
_EXPIRY_S: Final = 30
_KNOWN: Final = 10_000


class OrderError(Exception):
    """The book of orders cannot be used; the message says why."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Forget the patient of `device`. `number` is when it was asked for (ns), and grows; `done_ns` when it was done."""

    site: str
    gateway: str
    device: str
    number: int
    done_ns: int | None


class OrderBook:
    """The newest order for each wearable, behind `url`. Raises `OrderError`."""

    def __init__(self, url: str) -> None:
        is_sqlite = sa.make_url(url).get_backend_name() == "sqlite"
        self._engine = sa.create_engine(url, connect_args={"timeout": 5.0} if is_sqlite else {})
        if is_sqlite:
            sa.event.listen(self._engine, "connect", _durable)
        with self._translated():
            migrate(self._engine, FAMILY)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def new_patient(self, site: str, gateway: str, device: str, *, now_ns: int) -> int:
        """Order that what is known of the patient of `device` be forgotten; returns the order's number."""
        which = self._which(site, gateway, device)
        with self._transaction() as db:
            last = db.execute(sa.select(_ORDER.c.number).where(which)).scalar()
            # Numbers grow for each wearable, whatever the clock here does: a gateway does each once.
            number = max(now_ns, (last or 0) + 1)
            if last is None:
                db.execute(
                    sa.insert(_ORDER).values(
                        site=site, gateway=gateway, device=device, number=number, done_ns=None
                    )
                )
            else:
                db.execute(sa.update(_ORDER).where(which).values(number=number, done_ns=None))
        return number

    def done(self, site: str, gateway: str, device: str, number: int, *, now_ns: int) -> bool:
        """An order was carried out; False where it is not one that was waited for."""
        waiting = sa.and_(
            self._which(site, gateway, device), _ORDER.c.number == number, _ORDER.c.done_ns.is_(None)
        )
        with self._transaction() as db:
            return bool(db.execute(sa.update(_ORDER).where(waiting).values(done_ns=now_ns)).rowcount)

    def orders(self, *, pending: bool = False) -> list[Order]:
        """Every order, or those that are not done."""
        query = sa.select(_ORDER).order_by(_ORDER.c.number)
        if pending:
            query = query.where(_ORDER.c.done_ns.is_(None))
        with self._transaction() as db:
            return [Order(**row._mapping) for row in db.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name

    def _which(self, site: str, gateway: str, device: str) -> sa.ColumnElement[bool]:
        return sa.and_(_ORDER.c.site == site, _ORDER.c.gateway == gateway, _ORDER.c.device == device)

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


class OrderDesk:
    """Says the orders of `book` that are not done to gateways that are there, on a thread of its own."""

    def __init__(
        self,
        book: OrderBook,
        publish: Publish,
        key_of: Callable[[str], bytes | None],
        *,
        again_s: float = _AGAIN_S,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._book = book
        self._publish = publish
        self._key_of = key_of
        self._again_s = again_s
        self._queue: queue.Queue[tuple[str, bytes]] = queue.Queue(_QUEUED)
        self._seeing = threading.Lock()
        self._seen_s: dict[tuple[str, str], float] = {}
        self._said_s: dict[int, float] = {}
        self._failed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)

    @property
    def book(self) -> OrderBook:
        """What it works on."""
        return self._book

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout_s)

    def gateway_seen(self, site: str, gateway: str) -> None:
        """A gateway said something. Any thread, never waits long."""
        with self._seeing:
            if len(self._seen_s) < _KNOWN or (site, gateway) in self._seen_s:
                self._seen_s[site, gateway] = time.monotonic()

    def heard(self, topic: str, payload: bytes) -> None:
        """A gateway says that it did something. Any thread, never waits: it is asked again."""
        try:
            self._queue.put_nowait((topic, payload))
        except queue.Full:
            self.counters["dropped"] += 1

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                try:
                    topic, payload = self._queue.get(timeout=_TURN_S)
                except queue.Empty:
                    self._say()
                else:
                    self._hear(topic, payload)
                self._failed = False
            except (MessageError, TopicError) as error:
                self.counters["rejected"] += 1
                log.warning("order_message_rejected", reason=str(error))
            except OrderError as error:
                if not self._failed:
                    log.error("orders_unavailable", reason=str(error))  # noqa: TRY400 - the text says it
                self._failed = True

    def _hear(self, topic_text: str, sealed: bytes) -> None:
        topic = parse(topic_text)
        key = self._key_of(topic.gateway)
        if key is None:
            return
        obeyed = decode_json(unseal(key, topic_text, sealed), Obeyed)
        where = (topic.site, topic.gateway, obeyed.device)
        if self._book.done(*where, obeyed.order, now_ns=time.time_ns()):
            self._said_s.pop(obeyed.order, None)
            log.info("order_done", site=topic.site, gateway=topic.gateway, device=obeyed.device)

    def _say(self) -> None:
        now = time.monotonic()
        with self._seeing:
            present = {where for where, seen in self._seen_s.items() if now - seen < _PRESENT_S}
        for order in self._book.orders(pending=True):
            due = now - self._said_s.get(order.number, float("-inf")) >= self._again_s
            key = self._key_of(order.gateway)
            if key is not None and due and (order.site, order.gateway) in present:
                self._said_s[order.number] = now
                self._tell(order, key)

    def _tell(self, order: Order, key: bytes) -> None:
        now_ns = time.time_ns()
        command = Command(
            command="new_patient",
            at_ns=now_ns,
            expires_ns=now_ns + _EXPIRY_S * 1_000_000_000,
            device=order.device,
            order=order.number,
        )
        topic = gateway_topic(order.site, order.gateway, "cmd")
        if self._publish(topic, seal(key, topic, encode_json(command)), expiry_s=_EXPIRY_S):
            self.counters["said"] += 1


def _durable(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
