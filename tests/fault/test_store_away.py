"""A store that is away for minutes: nothing is acknowledged, little is tried, memory stays bounded, all is stored."""

import pytest
from stored import wave

from vitalwire_cloud.config import IngestConfig
from vitalwire_cloud.ingest.bulk import Delivery, Inbox
from vitalwire_cloud.ingest.commits import CommitTeller
from vitalwire_cloud.ingest.keys import KeyRing
from vitalwire_cloud.ingest.pipeline import Pipeline
from vitalwire_cloud.live import LiveHub
from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.interface import StoreUnavailableError
from vitalwire_edge.wire.messages import encode_data

MINUTES_S = 600.0
QUEUED = 100
RECEIVED_NS = 1_800_000_000 * 10**9


class Away:
    """A real store behind a disk that is missing until `back_s` of a simulated clock; it counts who asks meanwhile."""

    def __init__(self, store: EmbeddedStore, back_s: float) -> None:
        self._store = store
        self.back_s = back_s
        self.now_s = 0.0
        self.asked = 0
        self.queued: list[int] = []

    def write(self, items, quarantined):
        if self.now_s < self.back_s:
            self.asked += 1
            raise StoreUnavailableError("the disk is missing")
        return self._store.write(items, quarantined)

    def __getattr__(self, name: str):
        return getattr(self._store, name)


class Patience:
    """In place of the event that ends ingest: waiting costs simulated time only, and the broker goes on delivering."""

    def __init__(self, store: Away, link: "Link") -> None:
        self._store = store
        self._link = link
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def wait(self, seconds: float) -> bool:
        self._store.now_s += seconds
        self._link.deliver_what_fits(round(seconds * 20))
        assert self._link.acknowledged == []
        return self._set


class Link:
    """A broker that has more to deliver than fits."""

    connected = True
    connection = 1

    def __init__(self, messages: int) -> None:
        self.queue = Inbox(QUEUED)
        self.acknowledged: list[int] = []
        self.left = [
            Delivery("v1/ward-3/gw-1/w-1/ecg", encode_data(wave(seq).message), False, RECEIVED_NS, 1, seq + 1)
            for seq in range(messages)
        ]

    def deliver_what_fits(self, most: int) -> None:
        for _ in range(most):
            if not self.left or self.queue.full():
                return
            self.queue.put_nowait(self.left.pop(0))

    def acknowledge(self, batch: list[Delivery]) -> None:
        self.acknowledged += [delivery.mid for delivery in batch]
        self.deliver_what_fits(len(batch))

    def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        return bool(topic and payload) and (expiry_s is None or expiry_s > 0)


class Nobody:
    def gateway_seen(self, site: str, gateway: str) -> None:
        assert (site, gateway) == ("ward-3", "gw-1")


@pytest.mark.parametrize("minutes", [1, 10])
def test_minutes_without_a_store_cost_nothing_but_time(tmp_path, minutes):
    real = EmbeddedStore(tmp_path)
    store, link = Away(real, 60.0 * minutes), Link(1000)
    pipeline = Pipeline(
        link=link,
        store=store,
        teller=CommitTeller(store, link, KeyRing(tmp_path), interval_s=0.05),
        hub=LiveHub(),
        watcher=Nobody(),
        config=IngestConfig(linger_s=0.0, batch_messages=50),
    )
    pipeline._stop = Patience(store, link)
    link.deliver_what_fits(QUEUED)
    for _ in range(1000 // 50 + 1):
        batch = pipeline._take()
        assert len(batch) <= 50
        if batch:
            assert pipeline._process(batch)
    assert store.now_s >= 60.0 * minutes
    assert minutes * 60 / 5 <= store.asked <= minutes * 60 / 2.5 + 10, "pauses grow to seconds and no further"
    assert link.acknowledged == list(range(1, 1001))
    (audit,) = real.audit()
    assert (audit.messages, audit.samples) == (1000, 250_000)
    assert pipeline.problem() is None
    real.close()
