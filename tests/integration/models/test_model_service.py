"""The gateway's own link and the cloud service carry models beside data, over both brokers' limits."""

import threading
import time

import msgspec
import pytest
import tiny_model as tiny
from gateway_parts import wait_for
from model_gateway import HOST, QUICK, Workshop, build

from vitalwire_cloud.broker import EmbeddedBroker
from vitalwire_cloud.config import CloudConfig
from vitalwire_cloud.config import MqttConfig as CloudMqtt
from vitalwire_cloud.registry import publishing
from vitalwire_cloud.registry.config import ModelsConfig, RolloutConfig
from vitalwire_cloud.registry.gate import Check, Decision
from vitalwire_cloud.registry.ledger import open_ledger
from vitalwire_cloud.service import started
from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.config import MqttConfig
from vitalwire_edge.inference.keys import write_secret
from vitalwire_edge.link.link import Link, Presence
from vitalwire_edge.ota.config import OtaConfig
from vitalwire_edge.ota.keeper import ModelKeeper
from vitalwire_edge.ota.slot import ModelSlot
from vitalwire_edge.ota.updater import Updater
from vitalwire_edge.spool.rows import Entry
from vitalwire_edge.spool.spool import Spool
from vitalwire_edge.wire.messages import GatewayBirth, GatewayStatus, VitalsMessage, VitalValue

KEY = bytes(range(32))
PASSED = Decision((Check("all", passed=True, text="good"),))


class Gateway:
    """Spool, link, keeper and updater wired as an agent wires them; a vital sign and a beat now and then."""

    def __init__(self, folder, port, workshop, shipped):
        self.clock = GatewayClock(trust_system=True)
        self.spool = Spool(folder / "spool.sqlite", self.clock.boot, commit_every_s=0.02)
        config = OtaConfig(folder=str(folder / "models"), probation=QUICK, retry_first_s=0.5)
        self.slot = ModelSlot()
        keeper = ModelKeeper(
            config,
            trust=workshop.root.trust,
            slot=self.slot,
            load=tiny.load,
            build=build,
            now=self.clock.now,
            shipped=(shipped,),
            host=HOST,
        )
        self.updater = Updater(config, keeper, wake=self._wake)
        presence = Presence(self.birth, dict, self.status)
        self.link = Link(
            MqttConfig(port=port, retry_first_s=0.1, status_every_s=0.3),
            "ward",
            "gw-a",
            KEY,
            spool=self.spool,
            clock=self.clock,
            presence=presence,
            models=self.updater,
        )
        self.stop = threading.Event()
        self.sent = 0
        self.spool.start()
        self.updater.start()
        self.link.start()
        self._work = threading.Thread(target=self._serve)
        self._work.start()

    def _wake(self):
        self.link.wake()

    def _serve(self):
        while not self.stop.wait(0.01):
            with self.slot.lease():
                pass
            now = self.clock.now()
            values = (VitalValue(150456, 97.0),)
            message = VitalsMessage(session="", seq=0, flags=0, time_ns=now.utc_ns, values=values)
            self.spool.put(
                Entry("d1", "vitals", message, now.mono_ns, self.clock.offset_ns, synchronised=True)
            )
            self.sent += 1
            self.link.wake()

    def birth(self):
        session = self.spool.session
        return GatewayBirth(session=session, at_ns=1, software="t", clock=self.clock.state, devices=("d1",))

    def status(self):
        return GatewayStatus(
            session=self.spool.session,
            at_ns=1,
            clock=self.clock.state,
            spool_rows=0,
            spool_bytes=0,
            unconfirmed=0,
            counters={},
            devices=(),
        )

    def close(self):
        self.stop.set()
        self._work.join(5)
        wait_for(lambda: self.spool.state.rows == 0, 20)
        self.updater.stop()
        self.link.stop()
        self.spool.close()


@pytest.fixture(scope="module")
def port() -> int:
    return EmbeddedBroker("127.0.0.1", 0).port


def test_the_service_updates_a_gateway_and_loses_none_of_its_data(tmp_path, port):
    workshop = Workshop()
    shipped = workshop.make(1)
    (tmp_path / "cloud" / "keys").mkdir(parents=True)
    (tmp_path / "cloud" / "keys" / "gw-a.key").write_text(KEY.hex())
    write_secret(tmp_path / "signing.key", workshop.signer.to_json())
    config = CloudConfig(
        data_dir=str(tmp_path / "cloud"),
        mqtt=CloudMqtt(port=port),
        models=ModelsConfig(
            rollout=RolloutConfig(offer_every_s=1.0), signing_key_file=str(tmp_path / "signing.key")
        ),
    )
    ledger = open_ledger(tmp_path / "cloud")
    publishing.register(ledger, shipped, workshop.root.trust, now_ns=time.time_ns(), stage="idle")
    with started(config) as running:
        gateway = Gateway(tmp_path, port, workshop, shipped)
        try:
            wait_for(ledger.gateways, 20)
            needs = msgspec.structs.replace(tiny.NEEDS, max_bytes=4_000_000)
            candidate = publishing.Candidate(
                specification=publishing.Specification(name="beat", hardware=needs),
                parts=tiny.parts(2.0, 2.0, ballast=1_000_000),
            )
            publishing.publish(ledger, candidate, PASSED, workshop.signer, now_ns=time.time_ns())
            wait_for(lambda: ledger.model(2).stage == "all", 30)
            (gateway_now,) = ledger.gateways()
            assert gateway_now.running_version == gateway.slot.loaded.version == 2
            # An operator stops it: with a key of its own the service brings the gateway back.
            ledger.set_stage(2, "halted", "an operator said so")
            wait_for(lambda: ledger.gateways()[0].running_version == 3, 30)
            assert gateway.slot.loaded.version == 3
        finally:
            gateway.close()
        (key,) = running.store.committed("gw-a", gateway.spool.session)
        assert (key.stream, key.low_water, key.ranges) == ("vitals", gateway.sent, ())
        assert running.store.quarantine(10) == []
    ledger.close()
