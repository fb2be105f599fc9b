"""The one thread that writes: batches from the queue into the store, then everything that may only happen after."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from vitalwire_cloud import metrics
from vitalwire_cloud.config import IngestConfig
from vitalwire_cloud.ingest.bulk import Delivery
from vitalwire_cloud.ingest.commits import CommitTeller
from vitalwire_cloud.ingest.decoding import Accepted, Notice, read, topic_of
from vitalwire_cloud.ingest.link import BrokerLink
from vitalwire_cloud.ingest.notices import link_events, live_events
from vitalwire_cloud.live import LiveEvent, LiveHub
from vitalwire_cloud.store.interface import (
    Item,
    Quarantined,
    SeriesKey,
    Store,
    StoreError,
    StoreUnavailableError,
    WriteResult,
)
from vitalwire_edge.wire import rice
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    DeviceBirth,
    Flag,
    GatewayBirth,
    GatewayDeath,
    GatewayStatus,
    WaveBlock,
    encode_data,
    encode_json,
)
from vitalwire_edge.wire.topics import Topic, TopicError, parse

log = structlog.get_logger()

_FOR_DESKS: Final = ("/model-state", "/software-state", "/cmd-done")
_IDLE_S: Final = 0.1
_FIRST_RETRY_S: Final = 0.2
_LAST_RETRY_S: Final = 5.0


class Watcher(Protocol):
    """Who wants to know that gateways live and that alarms were stored; nothing here may block or raise."""

    def gateway_seen(self, site: str, gateway: str) -> None:
        """A gateway said something."""

    def gateway_gone(self, gateway: str, *, expected: bool) -> None:
        """A gateway said goodbye, or the broker lost it."""

    def gateway_is(self, gateway: str, *, session: str, boot: str) -> None:
        """A gateway said which spool and which machine it is."""

    def wake(self) -> None:
        """Alarm messages were stored."""


class ModelWatcher(Protocol):
    """Who keeps gateways in models, software and orders; nothing here may block or raise."""

    def gateway_seen(self, site: str, gateway: str) -> None:
        """A gateway said something."""

    def heard(self, topic: str, payload: bytes) -> None:
        """A gateway asked for chunks, reported what became of something, or did what it was told."""


class Pipeline:
    """Decode, store, acknowledge, confirm, in this order, on a thread of its own.

    While the store cannot write, one batch is held and tried again with growing pauses; nothing is acknowledged, the
    queue fills up to its bound and the broker or the gateways keep the rest.
    """

    def __init__(
        self,
        *,
        link: BrokerLink,
        store: Store,
        teller: CommitTeller,
        hub: LiveHub,
        watcher: Watcher,
        config: IngestConfig,
        models: ModelWatcher | None = None,
        revoked: Callable[[str], bool] | None = None,
    ) -> None:
        """`revoked` says of a gateway's name that nothing is taken from it any more."""
        self._revoked = revoked
        self._models = models
        self._link = link
        self._store = store
        self._teller = teller
        self._hub = hub
        self._watcher = watcher
        self._config = config
        self._stop = threading.Event()
        self._problem: str | None = None
        self._failure: str | None = None
        self._sites: dict[str, str] = {}
        self._devices: set[tuple[str, str]] = set()
        self._greeted = 0
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)

    def start(self) -> None:
        """Learn what the store knows and begin. Raises `StoreError`."""
        rice.warm()
        for record in self._store.devices():
            self._sites[record.gateway] = record.site
            self._devices.add((record.gateway, record.device))
        # Asked for, not told: while a batch waits for the store nothing is taken, and just then it fills.
        metrics.QUEUE.set_function(self._link.queue.qsize)
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Write what is queued, then end; False when the store would not take it in time."""
        self._stop.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def problem(self) -> str | None:
        """None when stored data flows, else why not."""
        return self._failure or self._problem

    def failure(self) -> str | None:
        """Why the thread ended although nobody asked it to."""
        if self._failure is None and not self._thread.is_alive() and not self._stop.is_set():
            return "ingest is not running"
        return self._failure

    def _run(self) -> None:
        try:
            while not (self._stop.is_set() and self._link.queue.empty()):
                self._greet()
                batch = self._take()
                if batch and not self._process(batch):
                    return
                self._tell()
            self._tell()
        except Exception as error:
            # A defect of ours. The service ends with it: a supervisor's restart loses nothing, carrying on might.
            self._failure = f"ingest failed: {error!r}"
            log.exception("ingest_failed")

    def _greet(self) -> None:
        """After each connect: known gateways say their births again, whatever was said meanwhile."""
        if self._link.connected and self._greeted != self._link.connection:
            self._greeted = self._link.connection
            for gateway, site in self._sites.items():
                self._teller.ask_rebirth(site, gateway, "connected")

    def _tell(self) -> None:
        try:
            self._teller.tell()
        except StoreUnavailableError as error:
            log.warning("commits_delayed", error=str(error))

    def _take(self) -> list[Delivery]:
        """Next batch: what comes until the linger is over, so that one commit carries many messages."""
        return self._link.queue.take(
            self._config.batch_messages, idle_s=_IDLE_S, linger_s=self._config.linger_s
        )

    def _process(self, batch: list[Delivery]) -> bool:
        """One batch from bytes to acknowledged; False when the service stops before the store took it."""
        accepted, quarantined, notices = self._decode(batch)
        result = self._store_all(accepted, quarantined, notices)
        if result is None:
            return False
        self._link.acknowledge(batch)
        self._after(result, accepted, quarantined, notices)
        return True

    def _decode(self, batch: list[Delivery]) -> tuple[list[Accepted], list[Quarantined], list[Notice]]:
        accepted: list[Accepted] = []
        quarantined: list[Quarantined] = []
        notices: list[Notice] = []
        received: Counter[str] = Counter()
        seen: set[tuple[str, str]] = set()
        max_future_ns = round(self._config.max_future_s * 1e9)
        for delivery in batch:
            if self._from_revoked(delivery.topic):
                metrics.DROPPED.labels("revoked gateway").inc()
                continue
            if delivery.topic.endswith(_FOR_DESKS):
                # Not data and not state of a stream: gateways say it again, so nothing is kept of it here.
                if self._models is not None:
                    self._models.heard(delivery.topic, delivery.payload)
                continue
            what = read(
                delivery.topic,
                delivery.payload,
                received_ns=delivery.received_ns,
                max_future_ns=max_future_ns,
                retained=delivery.retained,
            )
            if not isinstance(what, Quarantined):
                what = self._same_site(what, delivery)
            match what:
                case Accepted():
                    received[what.item.stream] += 1
                    accepted.append(what)
                    seen.add((self._sites[what.item.gateway], what.item.gateway))
                case Notice():
                    received[what.topic.verb] += 1
                    notices.append(what)
                    if not what.retained and not isinstance(what.message, GatewayDeath):
                        seen.add((what.topic.site, what.topic.gateway))
                case Quarantined():
                    quarantined.append(what)
                    log.warning("message_quarantined", topic=what.topic, reason=what.reason, seq=what.seq)
        for verb, count in received.items():
            metrics.RECEIVED.labels(verb).inc(count)
        for site, gateway in seen:
            self._watcher.gateway_seen(site, gateway)
            if self._models is not None:
                self._models.gateway_seen(site, gateway)
        return accepted, quarantined, notices

    def _from_revoked(self, topic: str) -> bool:
        if self._revoked is None:
            return False
        try:
            return self._revoked(topic_of(topic).gateway)
        except TopicError:
            return False

    def _same_site(self, what: Accepted | Notice, delivery: Delivery) -> Accepted | Notice | Quarantined:
        """Gateways are told apart by name alone, so one name must not appear at two sites."""
        topic = topic_of(delivery.topic)
        site = self._sites.setdefault(topic.gateway, topic.site)
        if site == topic.site:
            return what
        reason = f"gateway {topic.gateway!r} is known at site {site!r}: names must be unique over all sites"
        return Quarantined(delivery.topic, delivery.payload, reason, delivery.received_ns)

    def _store_all(
        self, accepted: list[Accepted], quarantined: list[Quarantined], notices: list[Notice]
    ) -> WriteResult | None:
        """Write until it is written; None when the service stops first."""
        pause_s = _FIRST_RETRY_S
        result: WriteResult | None = None
        while True:
            try:
                if result is None:
                    result = self._write([each.item for each in accepted], quarantined)
                self._register(notices)
            except StoreUnavailableError as error:
                metrics.STORE_FAILURES.inc()
                if self._problem is None:
                    log.warning("store_unavailable", error=str(error), held=len(accepted))
                self._problem = str(error)
                if self._stop.wait(pause_s * random.uniform(0.5, 1.0)):
                    log.warning(
                        "stopped_with_unstored_messages",
                        held=len(accepted),
                        effect="gateways send them again",
                    )
                    return None
                pause_s = min(2 * pause_s, _LAST_RETRY_S)
            else:
                if self._problem is not None:
                    log.info("store_available")
                self._problem = None
                return result

    def _write(self, items: list[Item], quarantined: list[Quarantined]) -> WriteResult:
        if not items and not quarantined:
            return WriteResult()
        try:
            return self._store.write(items, quarantined)
        except StoreUnavailableError:
            raise
        except StoreError:
            # One of them cannot be stored. Alone each shows whether it is the one, and only that one is set aside.
            result = self._store.write([], quarantined)
            for item in items:
                self._write_alone(item, result)
            return result

    def _write_alone(self, item: Item, result: WriteResult) -> None:
        try:
            one = self._store.write([item], [])
        except StoreUnavailableError:
            raise
        except StoreError as error:
            log.warning(
                "message_refused_by_store",
                device=item.device,
                stream=item.stream,
                seq=item.seq,
                error=str(error),
            )
            reason = f"refused by the store: {error}"
            site = self._sites[item.gateway]
            refused = Quarantined(
                str(Topic(site, item.gateway, item.device, item.stream)),
                _payload(item),
                reason,
                item.received_ns,
                item.series,
                item.seq,
            )
            self._store.write([], [refused])
            return
        result.stored += one.stored
        result.duplicates += one.duplicates
        result.conflicts += one.conflicts

    def _register(self, notices: list[Notice]) -> None:
        for notice in notices:
            topic, message = notice.topic, notice.message
            if not isinstance(message, DeviceBirth) or topic.device is None:
                continue
            try:
                self._store.register(topic.site, topic.gateway, topic.device, message)
            except StoreUnavailableError:
                raise
            except StoreError as error:
                log.warning("birth_refused_by_store", device=topic.device, error=str(error))
                self._store.write(
                    [],
                    [
                        Quarantined(
                            str(topic), encode_json(message), f"refused by the store: {error}", time.time_ns()
                        )
                    ],
                )
            else:
                self._devices.add((topic.gateway, topic.device))

    def _after(
        self,
        result: WriteResult,
        accepted: list[Accepted],
        quarantined: list[Quarantined],
        notices: list[Notice],
    ) -> None:
        """What may only happen once the batch is durable."""
        metrics.DUPLICATES.inc(result.duplicates)
        metrics.CONFLICTS.inc(result.conflicts)
        metrics.QUARANTINED.inc(len(quarantined))
        now_ns = time.time_ns()
        for stream, count in Counter(item.stream for item in result.stored).items():
            metrics.STORED.labels(stream).inc(count)
        for item in result.stored:
            _observe_latency(item, now_ns)
        for series, messages in Counter(each.item.series for each in accepted).items():
            self._confirm(series, messages)
            if (series.gateway, series.device) not in self._devices:
                self._teller.ask_rebirth(self._sites[series.gateway], series.gateway, "unknown device")
        for message in quarantined:
            if message.series is not None and message.seq is not None:
                self._confirm(message.series, 1, message.topic)
        events: list[LiveEvent] = live_events(result.stored, accepted) if self._hub.watched else []
        for notice in notices:
            self._notice(notice)
            if not notice.retained:
                events += link_events(notice, now_ns)
        if events:
            self._hub.publish(events)
        if any(item.stream == "alarm" for item in result.stored):
            self._watcher.wake()

    def _confirm(self, series: SeriesKey, messages: int, topic: str | None = None) -> None:
        site = self._sites.get(series.gateway)
        if site is None and topic is not None:
            try:
                site = parse(topic).site
            except TopicError:
                return
        if site is not None:
            self._teller.note(site, series, messages)

    def _notice(self, notice: Notice) -> None:
        topic, message = notice.topic, notice.message
        if isinstance(message, GatewayBirth | GatewayStatus) and not notice.retained:
            self._watcher.gateway_is(topic.gateway, session=message.session, boot=message.clock.boot)
        match message:
            case GatewayBirth():
                self._teller.note_all(topic.site, topic.gateway, message.session)
                log.info("gateway_born", gateway=topic.gateway, devices=len(message.devices))
            case GatewayDeath() if not notice.retained:
                self._watcher.gateway_gone(topic.gateway, expected=message.expected)
                log.info("gateway_gone", gateway=topic.gateway, expected=message.expected)
            case _:
                return


def _payload(item: Item) -> bytes:
    """A message as its gateway sent it, so that what is set aside can be replayed."""
    message = item.message
    return encode_json(message) if isinstance(message, AlarmMessage) else encode_data(message)


def _observe_latency(item: Item, now_ns: int) -> None:
    block = item.message
    if isinstance(block, WaveBlock) and not block.flags & (Flag.HISTORY | Flag.UNSYNCHRONISED):
        end_ns = block.start_ns + block.count * 1_000_000_000_000 // block.rate_mhz
        metrics.LATENCY_S.observe(max(now_ns - end_ns, 0) / 1e9)
