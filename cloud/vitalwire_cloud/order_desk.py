"""Says orders to gateways until they are done.

While an order is not done it is said again to a gateway that is there, sealed with the gateway's key; the gateway does
it once, durably, and says so until it is heard. What staff say waits until the order before it is done.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from vitalwire_cloud.metadata.entries import Bedside
from vitalwire_cloud.orders import Order, OrderBook, OrderError, Place, StaffWord
from vitalwire_cloud.registry.desk import Publish
from vitalwire_edge.wire.messages import Command, MessageError, Obeyed, decode_json, encode_json, seal, unseal
from vitalwire_edge.wire.topics import TopicError, gateway_topic, parse

log = structlog.get_logger()

_QUEUED: Final = 1024
_TURN_S: Final = 0.5
_AGAIN_S: Final = 5.0
_REMIND_S: Final = 3600.0
_REFRESH_S: Final = 1.0
_PRESENT_S: Final = 60.0
_EXPIRY_S: Final = 30
_KNOWN: Final = 10_000


class OrderDesk:
    """Says the orders of `book` that are not done to gateways that are there, on a thread of its own.

    `bedsides` tells what is known at the bedside of every wearable that gateways have, and may raise `OrderError`. What
    a gateway knows of it already it hears again every hour, should it have lost its disk.
    """

    def __init__(
        self,
        book: OrderBook,
        publish: Publish,
        key_of: Callable[[str], bytes | None],
        *,
        again_s: float = _AGAIN_S,
        bedsides: Callable[[], Mapping[Place, Bedside]] | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._book = book
        self._publish = publish
        self._key_of = key_of
        self._again_s = again_s
        self._bedsides = bedsides
        self._looked_s = float("-inf")
        self._queue: queue.Queue[tuple[str, bytes]] = queue.Queue(_QUEUED)
        self._seeing = threading.Lock()
        self._seen_s: dict[tuple[str, str], float] = {}
        self._said_s: dict[tuple[str, Place], tuple[int, float]] = {}
        self._failed = False
        self._blind = False
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
        if self._book.done(*where, obeyed.order, now_ns=time.time_ns(), kind=obeyed.command):
            log.info(
                "order_done",
                site=topic.site,
                gateway=topic.gateway,
                device=obeyed.device,
                order=obeyed.command,
            )

    def _say(self) -> None:
        now = time.monotonic()
        if self._bedsides is not None and now - self._looked_s >= _REFRESH_S:
            self._looked_s = now
            self._look(self._bedsides)
        with self._seeing:
            present = {where for where, seen in self._seen_s.items() if now - seen < _PRESENT_S}
        due: list[tuple[Order | StaffWord, float]] = []
        orders = self._book.orders(pending=True)
        first = {(each.site, each.gateway, each.device) for each in orders}
        due += [(order, self._again_s) for order in orders]
        due += [
            (word, self._again_s if word.done_ns is None else _REMIND_S)
            for word in self._book.words()
            if (word.site, word.gateway, word.device) not in first
        ]
        for order, again_s in due:
            what = type(order).__name__, (order.site, order.gateway, order.device)
            number, said_s = self._said_s.get(what, (0, 0.0))
            key = self._key_of(order.gateway)
            waits = number == order.number and now - said_s < again_s
            if key is not None and not waits and (order.site, order.gateway) in present:
                self._said_s[what] = order.number, now
                self._tell(order, key)

    def _look(self, bedsides: Callable[[], Mapping[Place, Bedside]]) -> None:
        """Bring the book up to date; a register that is away holds up no order that stands there."""
        try:
            found = bedsides()
        except OrderError as error:
            if not self._blind:
                log.error("bedsides_unknown", reason=str(error))  # noqa: TRY400 - the text says it
            self._blind = True
            return
        self._blind = False
        self.counters["staff_words"] += self._book.bring_up(found, now_ns=time.time_ns())

    def _tell(self, order: Order | StaffWord, key: bytes) -> None:
        now_ns = time.time_ns()
        command = Command(
            command="new_patient" if isinstance(order, Order) else "staff",
            at_ns=now_ns,
            expires_ns=now_ns + _EXPIRY_S * 1_000_000_000,
            device=order.device,
            order=order.number,
            staff=None if isinstance(order, Order) else order.staff,
        )
        topic = gateway_topic(order.site, order.gateway, "cmd")
        if self._publish(topic, seal(key, topic, encode_json(command)), expiry_s=_EXPIRY_S):
            self.counters["said"] += 1
