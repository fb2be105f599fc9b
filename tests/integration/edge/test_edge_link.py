"""The link against real brokers: nothing is lost to a cut cable, nothing is deleted but what is committed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from gateway_parts import GATEWAY, KEY, SITE, Cable, CloudDouble, mosquitto, wait_for
from test_edge_spool import alarm, vitals, wave

from vitalwire_cloud.broker import EmbeddedBroker
from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.config import MqttConfig
from vitalwire_edge.link.connection import Connection
from vitalwire_edge.link.link import Link, Presence
from vitalwire_edge.spool.rows import SpoolCorruptError
from vitalwire_edge.spool.spool import Spool
from vitalwire_edge.wire.messages import (
    Command,
    DeviceBirth,
    DeviceDeath,
    Flag,
    GatewayBirth,
    GatewayDeath,
    GatewayStatus,
    StreamCommit,
)

FAST = {
    "retry_first_s": 0.1,
    "retry_max_s": 0.3,
    "status_every_s": 0.3,
    "resend_after_s": 1.0,
    "backlog_rows_s": 2000.0,
}


class Gateway:
    """A spool and a link, without wearables."""

    def __init__(self, folder, port, **mqtt):
        self.clock = GatewayClock(trust_system=True)
        self.spool = Spool(folder / "spool.sqlite", self.clock.boot, commit_every_s=0.02)
        self.devices: dict[str, DeviceBirth | DeviceDeath] = {"d1": self.birth()}
        presence = Presence(self.gateway_birth, lambda: dict(self.devices), self.status)
        config = MqttConfig(port=port, **{**FAST, **mqtt})
        self.link = Link(config, SITE, GATEWAY, KEY, spool=self.spool, clock=self.clock, presence=presence)
        self.spool.listen(self)
        self.spool.start()
        self.link.start()

    def on_stored(self, _stored):
        self.link.wake()

    def on_confirmed(self, _commits):
        self.link.wake()

    def birth(self):
        return DeviceBirth(session=self.spool.session, at_ns=1, device_boot=0, simulated=True, channels=())

    def gateway_birth(self):
        return GatewayBirth(
            session=self.spool.session, at_ns=1, software="t", clock=self.clock.state, devices=("d1",)
        )

    def status(self):
        state = self.spool.state
        return GatewayStatus(
            session=state.session,
            at_ns=1,
            clock=self.clock.state,
            spool_rows=state.rows,
            spool_bytes=state.used_bytes,
            unconfirmed=self.link.unconfirmed,
            counters={},
            devices=(),
        )

    def close(self):
        self.link.stop()
        self.spool.close()


@contextmanager
def broker_of(kind, folder) -> Iterator[int]:
    if kind == "mosquitto":
        with mosquitto(folder) as port:
            yield port
    else:
        yield EmbeddedBroker("127.0.0.1", 0).port


@pytest.fixture(params=["embedded", "mosquitto"])
def broker(request, tmp_path) -> Iterator[int]:
    with broker_of(request.param, tmp_path) as port:
        yield port


@pytest.fixture
def gateway_on(tmp_path):
    made = []

    def make(port, **mqtt):
        made.append(Gateway(tmp_path, port, **mqtt))
        return made[-1]

    yield make
    for gateway in made:
        gateway.close()


def test_births_of_a_full_house_mind_what_the_broker_can_take(tmp_path, monkeypatch):
    most = []
    publish = Connection.publish

    def counted(self, topic, payload, **options):
        mid = publish(self, topic, payload, **options)
        if options.get("qos", 1):
            most.append(len(gateway.link._unacknowledged) + 1)
        return mid

    with mosquitto(tmp_path) as port:
        cloud = CloudDouble(port)
        gateway = Gateway(tmp_path, port, unacknowledged_max=3)
        monkeypatch.setattr(Connection, "publish", counted)
        names = [f"d{n}" for n in range(40)]
        gateway.devices |= {name: gateway.birth() for name in names}
        gateway.spool.put(wave(0))
        born = lambda: sum(isinstance(each, DeviceBirth) for each in cloud.births)  # noqa: E731
        wait_for(lambda: born() >= 40, what="every birth")
        cloud.command(Command(command="rebirth", at_ns=1, expires_ns=2**62))
        wait_for(lambda: born() >= 80, what="every birth again")
        wait_for(lambda: gateway.link.unconfirmed == 0 and gateway.spool.state.rows == 0, what="the data")
        assert max(most) <= 3
        gateway.link.stop()
        wait_for(
            lambda: any(isinstance(d, GatewayDeath) and d.expected for d in cloud.deaths), what="goodbye"
        )
        gateway.spool.close()
        cloud.close()


@pytest.fixture
def cloud_on():
    made = []

    def make(port, **options):
        made.append(CloudDouble(port, **options))
        return made[-1]

    yield make
    for cloud in made:
        cloud.close()


def test_births_data_commits_and_an_expected_death(broker, gateway_on, cloud_on):
    cloud = cloud_on(broker)
    gateway = gateway_on(broker)
    wait_for(lambda: len(cloud.births) == 2, what="births")
    assert isinstance(cloud.births[0], GatewayBirth)
    assert isinstance(cloud.births[1], DeviceBirth)
    for _ in range(40):
        gateway.spool.put(wave())
        gateway.spool.put(vitals())
    gateway.spool.put(alarm())
    wait_for(lambda: gateway.spool.idle, what="everything committed")
    assert sorted(cloud.messages["d1", "ecg"]) == list(range(40))
    assert sorted(cloud.messages["d1", "vitals"]) == list(range(40))
    assert len(cloud.alarms("d1")) == 1
    assert gateway.link.unconfirmed == 0
    assert not any(m.flags & Flag.HISTORY for m in cloud.blocks("d1"))
    wait_for(lambda: cloud.statuses >= 2, what="statuses")
    gateway.devices["d1"] = DeviceDeath(session=gateway.spool.session, at_ns=2, reason="closed")
    wait_for(lambda: any(isinstance(death, DeviceDeath) for death in cloud.deaths), what="device death")
    gateway.link.stop()
    wait_for(lambda: any(isinstance(d, GatewayDeath) and d.expected for d in cloud.deaths), what="goodbye")


def test_a_cut_cable_loses_nothing_and_keeps_the_order(broker, gateway_on, cloud_on):
    cloud = cloud_on(broker)
    cable = Cable(broker)
    gateway = gateway_on(cable.port)
    for n in range(3):
        for _ in range(30):
            gateway.spool.put(wave())
        if n == 0:
            wait_for(lambda: cloud.samples("d1") > 0)
        wait_for(lambda: gateway.spool.written)
        if n < 2:
            cable.cut()
            wait_for(lambda: not gateway.link.up, what="noticing the cut")
            for _ in range(30):
                gateway.spool.put(wave())
            gateway.spool.put(alarm())
            wait_for(lambda: gateway.spool.written)
            cable.mend()
            wait_for(lambda: gateway.link.up, what="coming back")
    wait_for(lambda: gateway.spool.idle, 30, "everything committed")
    assert sorted(cloud.messages["d1", "ecg"]) == list(range(150))
    assert len(cloud.alarms("d1")) == 2
    assert gateway.link.counters["connects"] == 3
    wait_for(lambda: sum(isinstance(birth, GatewayBirth) for birth in cloud.births) == 3)
    cable.close()


def test_without_a_commit_nothing_leaves_the_spool_and_all_is_sent_again(broker, gateway_on, cloud_on):
    cloud = cloud_on(broker, commit=False)
    gateway = gateway_on(broker)
    for _ in range(5):
        gateway.spool.put(wave())
    wait_for(lambda: cloud.repeats >= 5, what="resending")
    assert gateway.spool.state.rows == 5 or gateway.spool._file.rows == 5
    assert gateway.link.unconfirmed == 5
    cloud.tell()
    wait_for(lambda: gateway.spool.idle)


def test_the_account_of_unconfirmed_messages_is_bounded_but_for_alarms(broker, gateway_on, cloud_on):
    cloud = cloud_on(broker, commit=False)
    gateway = gateway_on(broker, unconfirmed_max=16, resend_after_s=60.0)
    for _ in range(60):
        gateway.spool.put(wave())
    wait_for(lambda: len(cloud.messages["d1", "ecg"]) == 16)
    gateway.spool.put(alarm())
    wait_for(lambda: cloud.alarms("d1"), what="the alarm")
    assert len(cloud.messages["d1", "ecg"]) == 16
    cloud.commit = True
    cloud.tell()
    wait_for(lambda: gateway.spool.idle, what="everything committed")


def test_commits_and_commands_under_another_key_are_ignored(broker, gateway_on, cloud_on):
    cloud = cloud_on(broker, key=bytes(32))
    gateway = gateway_on(broker, resend_after_s=60.0)
    gateway.spool.put(wave())
    wait_for(lambda: gateway.link.counters["sealed_rejected"] >= 1)
    births = len(cloud.births)
    now = time.time_ns()
    cloud.command(Command(command="rebirth", at_ns=now, expires_ns=now + 10**10))
    wait_for(lambda: gateway.link.counters["sealed_rejected"] >= 3)
    assert gateway.spool._file.rows == 1
    assert gateway.link.counters["rebirths"] == 0
    assert len(cloud.births) == births
    cloud.key = KEY
    cloud.tell()
    wait_for(lambda: gateway.spool.idle)


def test_rebirth_says_everything_again_and_an_expired_one_does_not(broker, gateway_on, cloud_on):
    cloud = cloud_on(broker, commit=False)
    gateway = gateway_on(broker, resend_after_s=600.0)
    gateway.spool.put(wave())
    wait_for(lambda: cloud.samples("d1"))
    wait_for(lambda: len(cloud.births) == 2)
    now = time.time_ns()
    cloud.command(Command(command="rebirth", at_ns=now - 2 * 10**9, expires_ns=now - 10**9))
    wait_for(lambda: gateway.link.counters["commands_expired"] == 1)
    cloud.command(Command(command="rebirth", at_ns=now, expires_ns=now + 10**10))
    wait_for(lambda: len(cloud.births) == 4, what="births again")
    wait_for(lambda: cloud.repeats >= 1, what="what a restarted cloud may have lost")


def test_a_backlog_is_history_and_live_data_does_not_wait_for_it(broker, gateway_on, cloud_on):
    old = time.monotonic_ns() - 60 * 10**9
    gateway = gateway_on(1, backlog_rows_s=50.0)
    for _ in range(300):
        gateway.spool.put(wave(mono_ns=old))
    wait_for(lambda: gateway.spool.written)
    gateway.close()
    cloud = cloud_on(broker)
    gateway = gateway_on(broker, backlog_rows_s=50.0)
    wait_for(lambda: cloud.samples("d1") > 0)
    gateway.spool.put(wave())
    wait_for(lambda: 300 in cloud.messages["d1", "ecg"], what="the live block")
    assert len(cloud.messages["d1", "ecg"]) < 250
    wait_for(lambda: gateway.spool.idle, 20, "everything committed")
    flags = {seq: m.flags for seq, m in cloud.messages["d1", "ecg"].items()}
    assert flags.pop(300) == 0
    assert set(flags.values()) == {int(Flag.HISTORY)}


def test_evicted_ranges_are_announced(broker, gateway_on, cloud_on):
    gateway = gateway_on(1)
    for _ in range(6):
        gateway.spool.put(wave())
    wait_for(lambda: gateway.spool.written)
    gateway.close()
    gateway.spool._file = type(gateway.spool._file)(gateway.spool.path, gateway.clock.boot)
    gateway.spool._file.evict("ecg", "size", sparing={5, 6})
    gateway.spool._file.close()
    cloud = cloud_on(broker)
    gateway = gateway_on(broker)
    wait_for(lambda: gateway.spool.idle)
    wait_for(lambda: cloud.skips)
    device, stream, skip = cloud.skips[0]
    assert (device, stream, skip.first, skip.last, skip.samples) == ("d1", "ecg", 0, 3, 1000)
    assert sorted(cloud.messages["d1", "ecg"]) == [4, 5]
    until = time.monotonic() + 3
    while time.monotonic() < until and gateway.link._reader.skips(1):
        time.sleep(0.02)
    assert gateway.link._reader.skips(1) == []


def test_a_publish_that_the_broker_denies_is_no_success(tmp_path, gateway_on, cloud_on):
    acl = (
        f"topic read v1/#\ntopic write v1/{SITE}/{GATEWAY}/birth\ntopic write v1/{SITE}/{GATEWAY}/committed\n"
    )
    with mosquitto(tmp_path, acl=acl) as port:
        cloud = cloud_on(port)
        gateway = gateway_on(port)
        gateway.spool.put(wave())
        wait_for(lambda: gateway.link.counters["publish_refused"] >= 2, what="noticing the refusal")
        assert gateway.spool._file.rows == 1
        assert not cloud.messages["d1", "ecg"]


def test_a_broken_connection_sends_the_will(tmp_path, gateway_on, cloud_on):
    with mosquitto(tmp_path) as port:
        cloud = cloud_on(port)
        cable = Cable(port)
        gateway = gateway_on(cable.port)
        wait_for(lambda: gateway.link.up and cloud.births)
        cable.cut()
        wait_for(
            lambda: any(isinstance(d, GatewayDeath) and not d.expected for d in cloud.deaths), what="the will"
        )
        cable.close()


def test_nobody_listening_is_waited_out_with_growing_pauses(gateway_on):
    gateway = gateway_on(1, retry_first_s=0.05, retry_max_s=0.2)
    wait_for(lambda: gateway.link.counters["connect_failures"] >= 4)
    assert gateway.link.alive()
    assert not gateway.link.up


def test_a_new_session_after_a_broken_spool_is_born_anew(broker, gateway_on, cloud_on):
    cloud = cloud_on(broker)
    gateway = gateway_on(broker)
    gateway.spool.put(wave())
    wait_for(lambda: gateway.spool.idle)
    first = gateway.spool.session

    def damaged(_commits):
        raise SpoolCorruptError("damaged")

    gateway.spool._file.confirm = damaged
    gateway.spool.confirm((StreamCommit("d1", "ecg", first, 1),))
    wait_for(lambda: gateway.spool.session != first)
    gateway.spool.put(wave())
    wait_for(
        lambda: cloud.births[-1].session == gateway.spool.session or cloud.births[-2].session != first, 20
    )
    wait_for(lambda: gateway.spool.idle, 20)
