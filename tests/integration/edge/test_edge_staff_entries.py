"""What staff say in the cloud changes the NEWS2 that a gateway reports: real service, mosquitto and agent."""

import threading
from contextlib import contextmanager

import pytest
from gateway_parts import GATEWAY, KEY, SITE, FrameMaker, WearableSocket, free_port, mosquitto, wait_for
from typer.testing import CliRunner

from vitalwire_cloud.config import CloudConfig
from vitalwire_cloud.config import MqttConfig as CloudMqtt
from vitalwire_cloud.patient_commands import app as patient
from vitalwire_cloud.service import started
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


def test_what_staff_say_reaches_the_score_of_the_gateway_and_goes_with_the_wearer(cloud, tmp_path):
    running, port = cloud

    def run(*words):
        done = CliRunner().invoke(patient, [*words, "--by", "N. B", "--data-dir", str(tmp_path / "data")])
        assert done.exit_code == 0, done.output
        return done.output.strip()

    def score():
        found = agent.door.wearables[DEVICE]._alarms.news2
        return "" if found is None else found.text

    def reported():
        told = [each.message for each in running.store.alarm_messages(0, 99)]
        return [each.text for each in told if each.kind == "news2"]

    def paced():
        return running.store.devices()[0].birth.paced

    listen = free_port()
    with gateway(tmp_path, port, listen) as agent, worn(listen):
        wait_for(lambda: any(each.device == DEVICE for each in running.store.devices()), what="the wearable")
        one = run("admit")
        run("assign", DEVICE, one)
        run("observe", DEVICE, "--consciousness", "voice", "--oxygen", "yes")
        run("paced", one, "yes")
        # By the numbers alone it is "at least 0", which raises nothing.
        wait_for(lambda: "NEWS2 5: urgent response" in reported(), what="the score with what staff said")
        wait_for(lambda: paced() == "yes", what="the pacemaker in the birth")
        wait_for(lambda: running.orders.words()[0].done_ns is not None, what="the confirmation")
        (bedside,) = running.patients.bedsides()
        assert running.orders.delivered((SITE, GATEWAY, DEVICE), bedside)[1]
        assert agent.staff.said(DEVICE) == bedside.state()
    with gateway(tmp_path, port, listen) as agent, worn(listen):
        wait_for(
            lambda: DEVICE in agent.door.wearables and score() == "NEWS2 5", what="the score after a restart"
        )
        run("transfer", DEVICE, run("admit"))
        wait_for(lambda: score() == "NEWS2 incomplete, at least 0", what="the next patient's score")
        wait_for(lambda: paced() == "unknown", what="the next patient's birth")
        assert agent.staff.said(DEVICE) == StaffState()
