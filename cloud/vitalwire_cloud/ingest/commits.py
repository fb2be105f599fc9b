"""Telling gateways what is stored, and asking them to say who they are."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import structlog

from vitalwire_cloud import metrics
from vitalwire_cloud.ingest.keys import KeyRing
from vitalwire_cloud.store.interface import SeriesKey, Store
from vitalwire_edge.wire.messages import (
    Command,
    Committed,
    StreamCommit,
    encode_committed,
    encode_json,
    seal,
)
from vitalwire_edge.wire.topics import gateway_topic

log = structlog.get_logger()

MAX_RANGES: Final = 100
"""Ranges told of one stream at once; the lowest ones, which are the next that a gateway may let go of."""

MAX_STREAMS: Final = 16
"""Streams in one message: with all their ranges they stay below 64 KiB."""

_MANY: Final = 128
"""Messages after which a gateway hears at once: an eighth of the window that it leaves unconfirmed."""

REBIRTH_EVERY_S: Final = 5.0
_COMMAND_LIFE_S: Final = 30


class Publisher(Protocol):
    """Where messages to gateways go."""

    def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        """Whether the message is on its way."""


class CommitTeller:
    """Publishes to each gateway what the store holds of its streams, at most every `interval_s`.

    A gateway that catches up hears sooner: it sends no more than a window of messages that are not confirmed.
    A stream stays due until a message about it is on its way; ranges are read from the store at that moment, so
    nothing is ever confirmed that is not durable.
    """

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        keys: KeyRing,
        *,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._keys = keys
        self._interval_s = interval_s
        self._clock = clock
        self._due: dict[tuple[str, str], Counter[SeriesKey]] = defaultdict(Counter)
        self._whole: set[tuple[str, str, str]] = set()
        self._told_s: dict[str, float] = {}
        self._asked_s: dict[str, float] = {}

    def note(self, site: str, series: SeriesKey, messages: int = 1) -> None:
        """So many messages of `series` were stored, or came again and so were not heard of."""
        self._due[site, series.gateway][series] += messages

    def note_all(self, site: str, gateway: str, session: str) -> None:
        """A gateway was born: tell it everything of its session."""
        self._whole.add((site, gateway, session))

    def tell(self) -> None:
        """Publish what is due."""
        for site, gateway, session in list(self._whole):
            if self._publish(site, gateway, self._store.committed(gateway, session)):
                self._whole.discard((site, gateway, session))
        now = self._clock()
        for (site, gateway), streams in list(self._due.items()):
            soon = now - self._told_s.get(gateway, -self._interval_s) < self._interval_s
            if soon and streams.total() < _MANY:
                continue
            self._told_s[gateway] = now
            if self._publish(site, gateway, self._store.held(sorted(streams, key=_in_order))):
                del self._due[site, gateway]

    def _publish(self, site: str, gateway: str, streams: list[StreamCommit]) -> bool:
        key = self._keys.get(gateway)
        if key is None:
            return True
        topic = gateway_topic(site, gateway, "committed")
        for part in _parts(streams):
            payload = encode_committed(Committed(time.time_ns(), part))
            if not self._publisher.publish(topic, seal(key, topic, payload)):
                return False
            metrics.COMMITS.inc()
        return True

    def ask_rebirth(self, site: str, gateway: str, reason: str) -> None:
        """Ask a gateway for its births, at most every few seconds."""
        now = self._clock()
        if now - self._asked_s.get(gateway, -REBIRTH_EVERY_S) < REBIRTH_EVERY_S:
            return
        key = self._keys.get(gateway)
        if key is None:
            return
        now_ns = time.time_ns()
        command = Command(
            command="rebirth", at_ns=now_ns, expires_ns=now_ns + _COMMAND_LIFE_S * 1_000_000_000
        )
        topic = gateway_topic(site, gateway, "cmd")
        if self._publisher.publish(topic, seal(key, topic, encode_json(command)), expiry_s=_COMMAND_LIFE_S):
            self._asked_s[gateway] = now
            metrics.REBIRTHS.inc()
            log.info("rebirth_asked", gateway=gateway, reason=reason)


def _parts(streams: list[StreamCommit]) -> Iterable[tuple[StreamCommit, ...]]:
    short = [StreamCommit(s.device, s.stream, s.session, s.low_water, s.ranges[:MAX_RANGES]) for s in streams]
    # A gateway that has nothing stored yet hears an empty list, so it knows that somebody listens.
    for at in range(0, max(len(short), 1), MAX_STREAMS):
        yield tuple(short[at : at + MAX_STREAMS])


def _in_order(series: SeriesKey) -> tuple[str, str, str]:
    return (series.session, series.device, series.stream)
