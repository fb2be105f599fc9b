"""The shipped beat model on real recordings through the whole agent, and an update that comes while beats do."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import wfdb
from gateway_parts import GATEWAY, KEY, SITE, wait_for

from vitalwire_edge.agent import Agent
from vitalwire_edge.config import (
    ClockConfig,
    EdgeConfig,
    MqttConfig,
    SourcesConfig,
    SpoolConfig,
    TelemetryConfig,
)
from vitalwire_edge.inference import shipped
from vitalwire_edge.inference.artifact import open_artifact, pack, sha256
from vitalwire_edge.inference.calibration import window_limit
from vitalwire_edge.inference.keys import Root, Trust
from vitalwire_edge.ota.config import OtaConfig
from vitalwire_edge.signal.beats import BEFORE, WINDOW
from vitalwire_edge.sources.config import TcpConfig
from vitalwire_edge.sources.inbox import Arrived, Closed, Opened
from vitalwire_edge.spool.reader import SpoolReader
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.frames import Frame, Hello, Wave, WaveChannel
from vitalwire_edge.wire.messages import AlarmMessage, BeatsMessage, ScoresMessage, decode_data, decode_json
from vitalwire_edge.wire.models import (
    CHUNK_BYTES,
    ModelChunk,
    ModelOffer,
    ModelReport,
    ModelRequest,
    chunk_count,
    decode_from_gateway,
    encode_model,
)

FS_HZ = 360
SCALE_UV = 2.5
DEVICE = "chest-1"
LABEL_NS = 150_000_000


class Channel:
    label = "test"

    def close(self) -> None:
        raise AssertionError("the gateway refused the wearable")


class Patient:
    """A record played to an agent as fast as it takes it, with the arrival times of real time."""

    def __init__(self, agent: Agent, record: Path, seconds: float) -> None:
        self.agent = agent
        signal = wfdb.rdrecord(str(record), sampto=round(seconds * FS_HZ), channels=[0]).p_signal[:, 0]
        self.counts = np.round(signal * 1000 / SCALE_UV).astype(np.int16)
        self.start_ns = time.monotonic_ns()
        self.channel = Channel()
        self.sequence = 0
        self.sample = 0
        agent.door.handle(Opened(self.channel))
        self.send(Hello(DEVICE, 1, (WaveChannel(Code.ECG_UNSPECIFIED, FS_HZ * 1000, SCALE_UV),)))

    def play(self, until_s: float, meanwhile=lambda: None) -> None:
        """Up to `until_s` of the record, a fifth of a second at a time."""
        until = min(round(until_s * FS_HZ), self.counts.size)
        while self.sample < until:
            block = self.counts[self.sample : self.sample + 72]
            first, self.sample = self.sample, self.sample + block.size
            self.send(Wave(0, first, block, False))
            self.agent.door.tick(self.now_ns)
            meanwhile()

    @property
    def now_ns(self) -> int:
        return self.start_ns + self.sample * 1_000_000_000 // FS_HZ + 3_000_000

    def send(self, payload) -> None:
        frame = Frame(self.sequence, self.sample * 1_000_000 // FS_HZ, payload)
        self.sequence += 1
        self.agent.door.handle(Arrived(self.channel, self.now_ns, (frame,)))

    def leave(self) -> None:
        self.agent.door.handle(Closed(self.channel, "done"))


@pytest.fixture
def agent_in(tmp_path) -> Iterator:
    made = []

    def make(**sections) -> Agent:
        (tmp_path / "key").write_text(KEY.hex())
        config = EdgeConfig(
            site=SITE,
            gateway=GATEWAY,
            key_file=str(tmp_path / "key"),
            drain_s=2.0,
            mqtt=MqttConfig(port=1),
            spool=SpoolConfig(path=str(tmp_path / "spool.sqlite"), pending_rows=100_000),
            sources=SourcesConfig(tcp=TcpConfig(port=0)),
            clock=ClockConfig(trust_system=True),
            telemetry=TelemetryConfig(simulated=True, not_paced=(DEVICE,)),
            **sections,
        )
        agent = Agent(config)
        agent.start()
        made.append(agent)
        return agent

    def end(agent: Agent) -> None:
        made.remove(agent)
        stop = threading.Event()
        stop.set()
        agent.run(stop)

    make.end = end
    yield make
    for agent in made:
        end(agent)


def spooled(folder: Path):
    """What lies in the spool: scores, beats, alarms."""
    reader = SpoolReader(folder / "spool.sqlite")
    rows = reader.others(0, 2**60, 10**6)
    scores = [decode_data(row.payload) for row in rows if row.stream == "score"]
    beats = [decode_data(row.payload) for row in rows if row.stream == "beat"]
    alarms = [decode_json(row.payload, AlarmMessage) for row in reader.every_alarm()]
    reader.close()
    assert all(isinstance(message, ScoresMessage) for message in scores)
    assert all(isinstance(message, BeatsMessage) for message in beats)
    return scores, beats, alarms


def test_ectopic_beats_of_a_real_patient_raise_alerts_within_the_budget(tmp_path, recordings, agent_in):
    minutes = 12
    agent = agent_in()
    patient = Patient(agent, recordings / "mitdb" / "119", minutes * 60)
    patient.play(minutes * 60)
    patient.leave()
    agent_in.end(agent)
    scores, beats, alarms = spooled(tmp_path)
    marks = [mark for message in scores for mark in message.scores]
    r_ns = [beat.r_ns for message in beats for beat in message.beats]
    assert len(marks) > 0.98 * len(r_ns) > 600
    known = [mark.score for mark in marks if mark.score is not None]
    assert len(known) > 0.9 * len(marks)
    labels = wfdb.rdann(str(recordings / "mitdb" / "119"), "atr", sampto=patient.counts.size)
    ectopic_ns = np.array(
        [s * 1e9 / FS_HZ for s, label in zip(labels.sample, labels.symbol, strict=True) if label == "V"]
    )
    raised = [alarm for alarm in alarms if alarm.kind == "beat_anomaly" and alarm.phase == "raised"]
    assert 1 <= len(raised) <= window_limit(6.0, minutes * 60)
    begin_ns = agent.clock.utc_ns(patient.start_ns)
    for alarm in raised:
        assert (alarm.priority, alarm.category) == ("low", "physiological")
        evidence = alarm.evidence
        assert evidence is not None
        assert evidence.version == agent.models.state.version
        assert len(evidence.observed_uv) == len(evidence.expected_uv) == WINDOW
        assert max(map(abs, evidence.observed_uv[BEFORE - 5 : BEFORE + 6])) > 300
        assert np.corrcoef(evidence.observed_uv, evidence.expected_uv)[0, 1] < 0.999
        assert np.abs(ectopic_ns - (evidence.r_ns - begin_ns)).min() < 1.2e9, (
            "the alert is not about an ectopic beat"
        )
    assert len([a for a in alarms if a.kind == "beat_anomaly" and a.phase == "cleared"]) >= len(raised) - 1
    report = agent.report()
    assert report.counters["beats_scored"] == len(known)
    assert report.counters["model_alerts"] == len(raised)
    assert report.model is not None
    assert report.model.conduct.failed == report.model.conduct.missed == 0


class Cloud:
    """Offers an artifact to an agent's models and answers what they ask for."""

    def __init__(self, agent: Agent, data: bytes) -> None:
        self.agent = agent
        self.data = data
        self.reports: list[ModelReport] = []

    def offer(self, trust: Trust) -> None:
        artifact = open_artifact(self.data, trust, now_ns=None)
        manifest = artifact.manifest
        size = len(self.data)
        offer = ModelOffer(
            manifest.name,
            manifest.version,
            artifact.manifest_sha256,
            artifact.sha256,
            size,
            chunk_count(size),
        )
        self.agent.models.receive(encode_model(offer))

    def answer(self) -> None:
        for payload in self.agent.models.take():
            match decode_from_gateway(payload):
                case ModelReport() as report:
                    self.reports.append(report)
                case ModelRequest(chunks=chunks):
                    for index in chunks:
                        part = self.data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
                        self.agent.models.receive(encode_model(ModelChunk(sha256(self.data), index, part)))


def test_a_model_that_comes_while_beats_do_takes_over_between_two_of_them(tmp_path, recordings, agent_in):
    artifact = open_artifact(shipped.first(), shipped.trust(), now_ns=None)
    root = Root.new()
    (tmp_path / "trust.json").write_bytes(root.trust.to_json())
    manifest = msgspec.structs.replace(
        artifact.manifest, version=99, parent_hash=artifact.manifest_sha256, names_model=None
    )
    newer = pack(artifact.parts, manifest, root.delegate(now_ns=1, expires_ns=None))
    agent = agent_in(models=OtaConfig(trust_files=(str(tmp_path / "trust.json"),)))
    assert agent.models.state.version < 99
    cloud = Cloud(agent, newer)
    agent.link.stop()
    patient = Patient(agent, recordings / "mitdb" / "119", 240)
    patient.play(60)
    assert agent.models.state.conduct.scored > 30
    cloud.offer(root.trust)
    patient.play(150, lambda: (cloud.answer(), time.sleep(0.01 if agent.models.state.version < 99 else 0)))
    wait_for(lambda: (cloud.answer(), agent.models.state.version == 99)[1], what="the swap")
    patient.play(240)
    assert agent.models.state.version == 99
    assert agent.models.state.on_probation
    agent.models.connected()
    wait_for(lambda: (cloud.answer(), cloud.reports)[1], what="the report")
    assert cloud.reports[-1].version == 99
    assert cloud.reports[-1].beats_missed_in_swap == 0
    patient.leave()
    gauges = agent.gauges()
    assert gauges["model_version"] == 99
    assert gauges["model_on_probation"] == 1
    assert gauges["model_scored"] > 60
    agent_in.end(agent)
    scores, beats, _ = spooled(tmp_path)
    versions = [message.version for message in scores]
    assert versions == sorted(versions)
    assert set(versions) == {artifact.manifest.version, 99}
    marks = [mark for message in scores for mark in message.scores]
    r_ns = [beat.r_ns for message in beats for beat in message.beats]
    assert [mark.r_ns for mark in marks] == r_ns[: len(marks)]
    first = next(k for k, mark in enumerate(marks) if mark.score is not None)
    assert sum(mark.score is None for mark in marks[first:]) < 0.1 * len(marks)


def test_an_agent_that_starts_again_knows_its_patient(tmp_path, recordings, agent_in):
    agent = agent_in()
    patient = Patient(agent, recordings / "mitdb" / "119", 90)
    patient.play(90)
    patient.leave()
    agent_in.end(agent)
    assert (tmp_path / "spool.sqlite.patients" / f"{DEVICE}.msgpack").stat().st_size < 40_000
    again = agent_in()
    patient = Patient(again, recordings / "mitdb" / "119", 30)
    patient.play(20)
    kept = again.baselines.load(DEVICE)
    assert kept is not None
    reference = again.door.wearables[DEVICE]._scoring._reference.current
    assert reference.count > 90
    assert kept.reference().current.scale_uv == pytest.approx(reference.scale_uv, rel=0.1)
    assert kept.model == again.models.state.manifest_sha256


def test_a_model_folder_that_cannot_be_used_never_stops_the_stream(tmp_path, recordings, agent_in):
    (tmp_path / "blocked").write_text("")
    agent = agent_in(models=OtaConfig(folder=str(tmp_path / "blocked")))
    assert agent.live() is None
    patient = Patient(agent, recordings / "mitdb" / "119", 20)
    patient.play(20)
    patient.leave()
    report = agent.report()
    assert report.model is not None
    assert "blocked" in report.model.problem
    assert report.counters["beats_missed"] > 2
    agent_in.end(agent)
    scores, beats, _ = spooled(tmp_path)
    assert not scores
    assert beats
