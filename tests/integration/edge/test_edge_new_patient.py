"""A wearable that goes to another patient: the real agent forgets the one before, once, and confirms until heard."""

import threading
import time

import msgspec
import pytest
from gateway_parts import GATEWAY, KEY, SITE, FrameMaker, wait_for
from model_ward import Bus

from vitalwire_cloud.broker import EmbeddedBroker
from vitalwire_cloud.order_desk import OrderDesk
from vitalwire_cloud.orders import new_patient, open_orders
from vitalwire_edge.agent import Agent
from vitalwire_edge.alarms import AlarmConfig
from vitalwire_edge.config import ClockConfig, EdgeConfig, MqttConfig, SpoolConfig, TelemetryConfig
from vitalwire_edge.sources.config import SourcesConfig, TcpConfig
from vitalwire_edge.sources.inbox import Arrived, Opened
from vitalwire_edge.spool.reader import SpoolReader
from vitalwire_edge.wearable.patient import Baselines
from vitalwire_edge.wire.messages import AlarmMessage, Command, decode_json
from vitalwire_edge.wire.topics import TopicError

DEVICE = "chest-1"


class Channel:
    label = "test"

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> int:
    return EmbeddedBroker("127.0.0.1", 0).port


@pytest.fixture
def config(tmp_path, port) -> EdgeConfig:
    (tmp_path / "key").write_text(KEY.hex())
    return EdgeConfig(
        site=SITE,
        gateway=GATEWAY,
        key_file=str(tmp_path / "key"),
        drain_s=0.2,
        mqtt=MqttConfig(port=port, status_every_s=0.5),
        spool=SpoolConfig(path=str(tmp_path / "spool.sqlite"), pending_rows=100_000),
        sources=SourcesConfig(tcp=TcpConfig(port=0)),
        clock=ClockConfig(trust_system=True),
        telemetry=TelemetryConfig(simulated=True, not_paced=(DEVICE,)),
        alarms=AlarmConfig(),
    )


class Cloud:
    """The book of orders and its desk on the broker."""

    def __init__(self, folder, port: int) -> None:
        self.book = open_orders(folder)
        self.desk = OrderDesk(self.book, self._publish, {GATEWAY: KEY}.get, again_s=0.3)
        self.deaf = False
        self.bus = Bus(
            port, "orders", [f"v1/{SITE}/+/cmd-done", f"v1/{SITE}/+/status"], self._hear, lambda: None
        )
        self.desk.start()

    def _publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        return self.bus.publish(topic, payload, expiry_s=expiry_s)

    def _hear(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/status"):
            self.desk.gateway_seen(SITE, GATEWAY)
        elif not self.deaf:
            self.desk.heard(topic, payload)

    @property
    def done(self) -> bool:
        return not self.book.orders(pending=True)

    def close(self) -> None:
        self.desk.stop()
        self.bus.close()
        self.book.close()


@pytest.fixture
def cloud(tmp_path, port):
    cloud = Cloud(tmp_path / "cloud", port)
    yield cloud
    cloud.close()


class Gateway:
    """The agent with its own thread; `wear` sends seconds of ECG into it at once."""

    def __init__(self, config: EdgeConfig) -> None:
        self.agent = Agent(config)
        self.agent.start()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.agent.run, args=(self._stop,))
        self.channel, self.maker = Channel(), FrameMaker(DEVICE)
        self.start_ns = time.monotonic_ns() - 10**11
        self.agent.door.handle(Opened(self.channel))
        self._send(self.maker.hello())

    def _send(self, *frames) -> None:
        at_ns = self.start_ns + self.maker.sample * 4_000_000
        self.agent.door.handle(Arrived(self.channel, at_ns, frames))

    def wear(self, seconds: int) -> None:
        for _ in range(seconds * 5):
            self._send(self.maker.wave(50))

    @property
    def scoring(self):
        return self.agent.door.wearables[DEVICE]._scoring

    def run(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if not self._thread.is_alive():
            self._thread.start()
        self._thread.join(20)


def baseline_of(config: EdgeConfig):
    return Baselines(config.patient_folder).load(DEVICE)


def test_a_gateway_that_was_away_forgets_the_patient_once_and_confirms_until_it_is_heard(
    config, cloud, tmp_path
):
    gateway = Gateway(config)
    gateway.wear(100)
    assert gateway.scoring._reference.current.count > 40
    gateway.scoring.keep()
    gateway.close()
    assert baseline_of(config) is not None
    # Ordered while the gateway is off; the confirmation is lost at first.
    number = new_patient(tmp_path / "cloud", SITE, GATEWAY, DEVICE)
    cloud.deaf = True
    again = Gateway(config)
    again.wear(3)
    assert again.scoring._kept is not None
    assert again.scoring._reference.current is not None
    again.run()
    wait_for(lambda: again.agent.report().counters.get("patients_forgotten"), what="the order")
    assert baseline_of(config) is None
    assert again.scoring._kept is None
    assert again.scoring._reference.current is None
    said = cloud.desk.counters["said"]
    wait_for(lambda: cloud.desk.counters["said"] > said + 1, what="the order again")
    cloud.deaf = False
    wait_for(lambda: cloud.done, what="the confirmation")
    (order,) = cloud.book.orders()
    assert (order.number, order.device) == (number, DEVICE)
    assert again.agent.report().counters["patients_forgotten"] == 1
    again.close()
    assert baseline_of(config) is None


def test_an_order_that_was_done_costs_the_new_patient_nothing_after_a_restart(config):
    gateway = Gateway(config)
    order = Command(command="new_patient", at_ns=1, expires_ns=2, device=DEVICE, order=7)
    gateway.agent.orders.obey(order)
    gateway.wear(100)
    gateway.scoring.keep()
    gateway.close()
    kept = baseline_of(config)
    assert kept is not None
    again = Gateway(config)
    again.agent.orders.obey(order)
    assert len(again.agent.orders.take()) == 1
    assert again.agent.orders.take() == []
    assert baseline_of(config) == kept
    again.agent.orders.obey(msgspec.structs.replace(order, order=8))
    assert baseline_of(config) is None
    again.close()


def test_alarms_of_the_patient_before_end_with_him(config, tmp_path):
    gateway = Gateway(config)
    gateway.wear(20)
    wearable = gateway.agent.door.wearables[DEVICE]
    gateway.maker.skip(250)
    wearable.tick(gateway.start_ns + gateway.maker.sample * 4_000_000 + 60 * 10**9)
    opened = [change.kind for change in wearable._alarms._engine.open_alarms()]
    assert opened
    counted = dict(wearable.counts())
    gateway.agent._renew_patient(DEVICE, lambda: None)
    assert wearable._alarms._engine.open_alarms() == ()
    assert wearable.counts()["beats_scored"] == counted["beats_scored"]
    gateway.close()
    reader = SpoolReader(tmp_path / "spool.sqlite")
    alarms = [decode_json(row.payload, AlarmMessage) for row in reader.every_alarm()]
    reader.close()
    ended = [alarm for alarm in alarms if alarm.phase == "cleared"]
    assert {alarm.kind for alarm in ended} >= set(opened)
    assert all(alarm.text == "Ended: another patient" for alarm in ended if alarm.kind in opened)


def test_a_disk_that_cannot_forget_confirms_nothing_and_is_asked_again(config, monkeypatch):
    gateway = Gateway(config)
    gateway.wear(30)
    order = Command(command="new_patient", at_ns=1, expires_ns=2, device=DEVICE, order=7)

    def fail(_device: str) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(gateway.agent.baselines, "forget", fail)
        gateway.agent.orders.obey(order)
        assert gateway.agent.orders.take() == []
    gateway.wear(2)
    gateway.agent.orders.obey(order)
    assert len(gateway.agent.orders.take()) == 1
    gateway.close()


def test_orders_grow_and_names_are_checked(tmp_path):
    with pytest.raises(TopicError):
        new_patient(tmp_path, SITE, GATEWAY, "../../etc")
    book = open_orders(tmp_path)
    first = book.new_patient(SITE, GATEWAY, DEVICE, now_ns=100)
    second = book.new_patient(SITE, GATEWAY, DEVICE, now_ns=50)
    assert second == first + 1
    assert not book.done(SITE, GATEWAY, DEVICE, first, now_ns=200)
    assert book.done(SITE, GATEWAY, DEVICE, second, now_ns=200)
    assert book.orders(pending=True) == []
    book.close()
