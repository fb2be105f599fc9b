"""What was set aside, once more: through the same checks into the same store, each message by itself."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from vitalwire_cloud.ingest.decoding import Accepted, Notice, read
from vitalwire_cloud.store.interface import (
    Quarantined,
    Replayed,
    Store,
    StoreError,
    StoreReading,
    StoreUnavailableError,
)
from vitalwire_edge.wire.messages import DeviceBirth
from vitalwire_edge.wire.topics import parse

_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of message `number`.

    `stored`, `known` (it was stored already), `gone` (nobody keeps it any more), or `refused` with the reason; a
    refused one stays where it is.
    """

    number: int
    topic: str
    what: Replayed | Literal["refused"]
    reason: str | None = None


def every(store: StoreReading) -> Iterator[Quarantined]:
    """All that is set aside when this begins, oldest first, read in pages."""
    newest = store.quarantine(1)
    last, after = newest[0].number if newest else 0, 0
    while after < last:
        page = store.set_aside(after, _PAGE)
        if not page:
            return
        yield from (message for message in page if message.number <= last)
        after = page[-1].number


def one(store: StoreReading, number: int) -> Quarantined | None:
    """The message of that number, if it is kept."""
    found = store.set_aside(number - 1, 1)
    return found[0] if found and found[0].number == number else None


def replay(store: Store, messages: Iterable[Quarantined], *, max_future_ns: int) -> Iterator[Outcome]:
    """Try each again, judged as if it came now. Raises `StoreUnavailableError`; what came before it stays done."""
    sites = {record.gateway: record.site for record in store.devices()}
    for message in messages:
        yield _again(store, message, sites, max_future_ns)


def _again(store: Store, message: Quarantined, sites: dict[str, str], max_future_ns: int) -> Outcome:
    found = read(message.topic, message.payload, received_ns=time.time_ns(), max_future_ns=max_future_ns)
    if isinstance(found, Quarantined):
        return Outcome(message.number, message.topic, "refused", found.reason)
    topic = parse(message.topic)
    site = sites.setdefault(topic.gateway, topic.site)
    if site != topic.site:
        reason = f"gateway {topic.gateway!r} is known at site {site!r}: names must be unique over all sites"
        return Outcome(message.number, message.topic, "refused", reason)
    try:
        return _taken(store, message, found)
    except StoreUnavailableError:
        raise
    except StoreError as error:
        return Outcome(message.number, message.topic, "refused", f"refused by the store: {error}")


def _taken(store: Store, message: Quarantined, found: Accepted | Notice) -> Outcome:
    if isinstance(found, Accepted):
        return Outcome(message.number, message.topic, store.replay(message.number, found.item))
    topic = found.topic
    if not isinstance(found.message, DeviceBirth) or topic.device is None:
        reason = "state of a gateway, which says it again: there is nothing to store, discard it"
        return Outcome(message.number, message.topic, "refused", reason)
    # A newer birth may have come since; it stands, this one is done with.
    if (topic.gateway, topic.device) in {(known.gateway, known.device) for known in store.devices()}:
        return Outcome(
            message.number, message.topic, "known" if store.discard(message.number, replayed=True) else "gone"
        )
    store.register(topic.site, topic.gateway, topic.device, found.message)
    return Outcome(
        message.number, message.topic, "stored" if store.discard(message.number, replayed=True) else "gone"
    )
