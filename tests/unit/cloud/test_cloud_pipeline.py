"""The writing thread on its own, with a real store: what cannot be stored is set aside alone, order is kept."""

import sqlite3
import threading
import time

import pytest
from stored import T0, vitals, wave

from vitalwire_cloud.config import IngestConfig
from vitalwire_cloud.ingest.bulk import Delivery, Inbox
from vitalwire_cloud.ingest.commits import CommitTeller
from vitalwire_cloud.ingest.keys import KeyRing
from vitalwire_cloud.ingest.pipeline import Pipeline
from vitalwire_cloud.live import LiveHub, WaveEvent
from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.interface import StoreError
from vitalwire_cloud.store.reading import FILE_NAME
from vitalwire_edge.wire.messages import (
    ClockState,
    DeviceBirth,
    GatewayBirth,
    decode_data,
    encode_data,
    encode_json,
)

HEAD = "v1/ward-3/gw-1"


class Link:
    """Deliveries in, acknowledgements out, in place of a broker."""

    connected = True
    connection = 1

    def __init__(self) -> None:
        self.queue = Inbox(1000)
        self.acknowledged: list[int] = []
        self.count = 0

    def acknowledge(self, batch: list[Delivery]) -> None:
        self.acknowledged += [delivery.mid for delivery in batch]

    def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        assert topic.startswith(HEAD)
        assert payload
        assert expiry_s is None or expiry_s > 0
        return True

    def deliver(self, topic: str, payload: bytes) -> None:
        self.count += 1
        self.queue.put(Delivery(f"{HEAD}/{topic}", payload, False, time.time_ns(), 1, self.count))


class Watcher:
    def __init__(self) -> None:
        self.seen = 0

    def gateway_seen(self, site: str, gateway: str) -> None:
        assert (site, gateway) == ("ward-3", "gw-1")
        self.seen += 1

    def gateway_gone(self, gateway: str, *, expected: bool) -> None:
        raise AssertionError((gateway, expected))

    def gateway_is(self, gateway: str, *, session: str, boot: str) -> None:
        assert (gateway, session, boot) == ("gw-1", "s", "b")

    def wake(self) -> None:
        raise AssertionError("no alarm was stored")


class Hub(LiveHub):
    watched = True

    def __init__(self) -> None:
        super().__init__()
        self.events: list[object] = []

    def publish(self, events):
        self.events += events


@pytest.fixture
def at_work(tmp_path):
    store, link, hub = EmbeddedStore(tmp_path), Link(), Hub()
    store._connection.execute("PRAGMA busy_timeout = 20")
    pipeline = Pipeline(
        link=link,
        store=store,
        teller=CommitTeller(store, link, KeyRing(tmp_path), interval_s=0.05),
        hub=hub,
        watcher=Watcher(),
        config=IngestConfig(linger_s=0.1),
    )
    yield pipeline, store, link, hub
    pipeline.stop(10)
    store.close()


def until(condition, what):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.01)


def test_one_message_the_store_refuses_is_set_aside_and_its_neighbours_are_stored(at_work):
    pipeline, store, link, hub = at_work
    twice_the_same_code = vitals(0).message
    values = twice_the_same_code.values * 2
    poison = type(twice_the_same_code)(session="s-1", seq=0, flags=0, time_ns=T0, values=values)
    never_ends = wave(1, start_ns=2**63 - 1, flags=1).message
    for topic, message in (
        ("w-1/ecg", wave(0).message),
        ("w-1/vitals", poison),
        ("w-1/ecg", never_ends),
        ("w-1/vitals", vitals(1).message),
        ("w-1/ecg", wave(2).message),
    ):
        link.deliver(topic, encode_data(message))
    pipeline.start()
    until(lambda: len(link.acknowledged) == 5, "acknowledgements")
    assert {(a.stream, a.messages) for a in store.audit()} == {("ecg", 2), ("vitals", 1)}
    assert sorted(q.seq for q in store.quarantine(9)) == [0, 1]
    assert all("refused by the store" in q.reason for q in store.quarantine(9))
    assert all(decode_data(q.payload).seq == q.seq for q in store.quarantine(9))
    assert {c.stream: c.low_water for c in store.committed("gw-1", "s-1")} == {"ecg": 3, "vitals": 2}
    assert len([e for e in hub.events if isinstance(e, WaveEvent)]) == 2
    assert pipeline.failure() is None


def test_a_birth_the_store_refuses_ends_nothing(at_work, monkeypatch):
    pipeline, store, link, _ = at_work
    register = store.register

    def refuse_one(site, gateway, device, birth):
        if device == "w-1":
            raise StoreError("not this one")
        register(site, gateway, device, birth)

    monkeypatch.setattr(store, "register", refuse_one)
    birth = DeviceBirth(session="s", at_ns=T0, device_boot=7, simulated=True, channels=())
    link.deliver("w-1/birth", encode_json(birth))
    link.deliver("w-2/birth", encode_json(birth))
    pipeline.start()
    until(lambda: len(link.acknowledged) == 2, "acknowledgements")
    assert [d.device for d in store.devices()] == ["w-2"]
    assert [q.reason for q in store.quarantine(9)] == ["refused by the store: not this one"]
    assert pipeline.failure() is None


def test_nothing_is_acknowledged_while_the_store_is_locked_and_everything_after(at_work, tmp_path):
    pipeline, store, link, hub = at_work
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pipeline.start()
    for seq in range(20):
        link.deliver("w-1/ecg", encode_data(wave(seq).message))
    until(lambda: pipeline.problem() is not None, "the problem is told")
    assert "locked" in (pipeline.problem() or "")
    assert link.acknowledged == []
    assert hub.events == []
    other.execute("ROLLBACK")
    other.close()
    until(lambda: len(link.acknowledged) == 20, "acknowledgements")
    assert link.acknowledged == sorted(link.acknowledged), "brokers want acknowledgements in order"
    assert pipeline.problem() is None
    assert store.audit()[0].samples == 20 * 250


def test_stopping_while_the_store_is_away_ends_without_acknowledging(at_work, tmp_path):
    pipeline, _, link, _ = at_work
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pipeline.start()
    link.deliver("w-1/ecg", encode_data(wave(0).message))
    until(lambda: pipeline.problem() is not None, "the problem is told")
    assert pipeline.stop(10)
    assert link.acknowledged == []
    other.execute("ROLLBACK")
    other.close()


def test_what_is_queued_is_stored_before_the_end(at_work):
    pipeline, store, link, _ = at_work
    for seq in range(700):
        link.deliver("w-1/ecg", encode_data(wave(seq).message))
    pipeline.start()
    assert pipeline.stop(10)
    assert len(link.acknowledged) == 700
    assert store.audit()[0].messages == 700


def test_a_retained_birth_is_no_sign_of_life(at_work):
    pipeline, _, link, hub = at_work
    clock = ClockState(boot="b", synchronised=True, offset_ns=0)
    birth = encode_json(GatewayBirth(session="s", at_ns=T0, software="1", clock=clock, devices=()))
    link.queue.put(Delivery(f"{HEAD}/birth", birth, True, T0, 1, 1))
    pipeline.start()
    until(lambda: link.acknowledged == [1], "acknowledgement")
    assert pipeline._watcher.seen == 0
    link.queue.put(Delivery(f"{HEAD}/birth", birth, False, T0, 1, 2))
    until(lambda: pipeline._watcher.seen == 1, "a sign of life")
    until(lambda: len(hub.events) == 1, "one link event")
