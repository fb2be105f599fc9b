"""What staff say in the cloud changes the NEWS2 that a gateway reports: real service, mosquitto and agent."""

import threading
import time
from contextlib import contextmanager

import pytest
from gateway_parts import GATEWAY, KEY, SITE, FrameMaker, WearableSocket, free_port, mosquitto, wait_for
from litestar.testing import TestClient
from typer.testing import CliRunner

from vitalwire_cloud.config import CloudConfig
from vitalwire_cloud.config import MqttConfig as CloudMqtt
from vitalwire_cloud.patient_commands import app as patient
from vitalwire_cloud.service import started
from vitalwire_cloud.web import create_app
from vitalwire_edge.agent import Agent
from vitalwire_edge.alarms import AlarmConfig
from vitalwire_edge.alarms.config import News2Config
from vitalwire_edge.config import ClockConfig, EdgeConfig, MqttConfig, ScoringConfig, SpoolConfig
from vitalwire_edge.sources.config import SourcesConfig, TcpConfig
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.frames import Reading, Vitals
from vitalwire_edge.wire.messages import StaffState

DEVICE = "chest-1"
WELL = {
    Code.SPO2: 97.0,
    Code.RESPIRATION_RATE: 16.0,
    Code.SYSTOLIC: 120.0,
    Code.HEART_RATE: 70.0,
    Code.TEMPERATURE: 36.8,
}


@contextmanager
def gateway(folder, port, listen):
    (folder / "key").write_text(KEY.hex())
    quick = News2Config(min_data_s=0, rise_s=0.5, fall_s=0.5)
    agent = Agent(
        EdgeConfig(
            site=SITE,
            gateway=GATEWAY,
            key_file=str(folder / "key"),
            drain_s=0.2,
            mqtt=MqttConfig(port=port, status_every_s=0.5),
            spool=SpoolConfig(path=str(folder / "spool.sqlite")),
            sources=SourcesConfig(tcp=TcpConfig(port=listen)),
            clock=ClockConfig(trust_system=True),
            scoring=ScoringConfig(enabled=False),
            alarms=AlarmConfig(news2=quick),
        )
    )
    agent.start()
    stop = threading.Event()
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    try:
        yield agent
    finally:
        stop.set()
        thread.join(20)


@contextmanager
def worn(listen):
    """A wearable whose patient is well by the numbers, told every half second."""
    wearable, maker, stop = WearableSocket(("127.0.0.1", listen)), FrameMaker(DEVICE), threading.Event()

    def tell():
        wearable.send(maker.hello())
        while not stop.wait(0.5):
            maker.skip(125)
            wearable.send(maker.frame(Vitals(tuple(Reading(code, value) for code, value in WELL.items()))))

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)
        wearable.close()


@pytest.fixture
def cloud(tmp_path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / f"{GATEWAY}.key").write_text(KEY.hex())
    with mosquitto(tmp_path) as port:
        config = CloudConfig(
            data_dir=str(tmp_path / "data"), keys_dir=str(tmp_path / "keys"), mqtt=CloudMqtt(port=port)
        )
        with started(config) as running:
            yield running, port


@pytest.fixture
def shown(cloud):
    """The score of the wearable as the cloud's API tells it."""
    running, _ = cloud
    app = create_app(store=running.store, desk=running.desk, hub=running.hub, info=running)
    with TestClient(app, base_url="http://127.0.0.1") as client:

        def ask():
            devices = client.get("/api/v1/devices").json()
            return devices[0]["news2"] if devices else None

        yield ask


def test_what_staff_say_reaches_the_score_of_the_gateway_and_goes_with_the_wearer(cloud, shown, tmp_path):
    running, port = cloud

    def run(*words):
        done = CliRunner().invoke(patient, [*words, "--by", "N. B", "--data-dir", str(tmp_path / "data")])
        assert done.exit_code == 0, done.output
        return done.output.strip()

    def score():
        found = agent.door.wearables[DEVICE]._alarms.news2
        return "" if found is None else found.text

    def reported():
        raised = [each.message for each in running.store.alarm_messages(0, 99)]
        return [each.text for each in raised if each.kind == "news2"]

    def told():
        """The score in words, once the cloud has one."""
        return "" if (found := shown()) is None else found["text"]

    def paced():
        return running.store.devices()[0].birth.paced

    listen = free_port()
    with gateway(tmp_path, port, listen) as agent, worn(listen):
        wait_for(lambda: any(each.device == DEVICE for each in running.store.devices()), what="the wearable")
        wait_for(lambda: told() == "NEWS2 incomplete, at least 0", what="the score in the cloud")
        assert shown()["missing"] == ["oxygen", "consciousness"]
        one = run("admit")
        run("assign", DEVICE, one)
        run("observe", DEVICE, "--consciousness", "voice", "--oxygen", "yes")
        run("paced", one, "yes")
        # By the numbers alone it is "at least 0", which raises nothing.
        wait_for(lambda: "NEWS2 5: urgent response" in reported(), what="the score with what staff said")
        wait_for(lambda: told() == "NEWS2 5", what="the score with what staff said, in the cloud")
        score_now = shown()
        assert (score_now["band"], score_now["missing"], score_now["scale"]) == ("medium", [], 1)
        well = dict.fromkeys(("respiration", "spo2", "systolic", "pulse", "temperature"), 0)
        assert score_now["points"] == well | {"oxygen": 2, "consciousness": 3}
        assert 0 <= time.time_ns() - score_now["at_ns"] < 10_000_000_000
        wait_for(lambda: paced() == "yes", what="the pacemaker in the birth")
        wait_for(lambda: running.orders.words()[0].done_ns is not None, what="the confirmation")
        (bedside,) = running.patients.bedsides()
        assert running.orders.delivered((SITE, GATEWAY, DEVICE), bedside)[1]
        assert agent.staff.said(DEVICE) == bedside.state()
    wait_for(lambda: shown() is None, what="no score once nobody tells one")
    with gateway(tmp_path, port, listen) as agent:
        with worn(listen):
            wait_for(
                lambda: DEVICE in agent.door.wearables and score() == "NEWS2 5",
                what="the score after a restart",
            )
            wait_for(lambda: told() == "NEWS2 5", what="the score after a restart in the cloud")
            run("transfer", DEVICE, run("admit"))
            wait_for(lambda: score() == "NEWS2 incomplete, at least 0", what="the next patient's score")
            wait_for(lambda: told() == "NEWS2 incomplete, at least 0", what="that score in the cloud")
            wait_for(lambda: paced() == "unknown", what="the next patient's birth")
            assert agent.staff.said(DEVICE) == StaffState()
        wait_for(lambda: shown() is None, what="no score of a wearable that is away")
