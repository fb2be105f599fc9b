"""Updates over a real broker: models travel in chunks, gateways go on scoring, bad ones change nothing."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import model_ward
import msgspec
import pytest
import tiny_model as tiny
from model_gateway import NOW_NS, Workshop, chunk
from model_ward import SITE, Bus, LiveGateway

from vitalwire_cloud.broker import EmbeddedBroker
from vitalwire_cloud.registry import publishing
from vitalwire_cloud.registry.config import RolloutConfig
from vitalwire_cloud.registry.desk import ModelDesk
from vitalwire_cloud.registry.gate import Check, Decision
from vitalwire_cloud.registry.ledger import open_ledger
from vitalwire_edge.inference import container
from vitalwire_edge.inference.artifact import pack
from vitalwire_edge.wire.messages import MAX_MESSAGE_BYTES, seal, unseal
from vitalwire_edge.wire.models import (
    ModelChunk,
    ModelOffer,
    ModelReport,
    decode_to_gateway,
    encode_model,
)
from vitalwire_edge.wire.topics import gateway_topic

PASSED = Decision((Check("all", passed=True, text="good"),))
LARGE = 3_000_000
LARGE_NEEDS = msgspec.structs.replace(tiny.NEEDS, max_bytes=4_000_000)


def until(condition, what: str, seconds: float = 30.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.02)
    return found


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture(scope="module")
def port() -> int:
    return EmbeddedBroker("127.0.0.1", 0).port


class Cloud:
    """Ledger and desk on the broker; `on_chunk` hears of every chunk before it is sent."""

    def __init__(self, folder: Path, port: int, workshop: Workshop, *, first: int = 1, signer=None) -> None:
        self.keys = {name: name.encode().ljust(32, b"k")[:32] for name in ("a", "b", "c")}
        self.chunks: list[int] = []
        self.on_chunk = lambda _count: None
        self.workshop = workshop
        self.ledger = open_ledger(folder)
        config = RolloutConfig(first=first, offer_every_s=1.0)
        self.desk = ModelDesk(self.ledger, self._publish, self.keys.get, config=config, signer=signer)
        filters = [f"v1/{SITE}/+/model-state"]
        self.bus = Bus(port, f"cloud-{folder.name}", filters, self.desk.heard, lambda: None)
        publishing.register(
            self.ledger, workshop.make(1), workshop.root.trust, now_ns=time.time_ns(), stage="idle"
        )
        self.desk.start()

    def _publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        message = decode_to_gateway(unseal(self.keys[topic.split("/")[2]], topic, payload))
        if isinstance(message, ModelChunk):
            self.chunks.append(message.index)
            self.on_chunk(len(self.chunks))
        return self.bus.publish(topic, payload, expiry_s=expiry_s)

    def publish(self, b: float, *, ballast: int = 0):
        specification = publishing.Specification(name="beat", hardware=LARGE_NEEDS)
        parts = tiny.parts(2.0, b, ballast=ballast)
        candidate = publishing.Candidate(specification=specification, parts=parts)
        return publishing.publish(self.ledger, candidate, PASSED, self.workshop.signer, now_ns=time.time_ns())

    def offer_unasked(self, name: str, data: bytes, offer: ModelOffer) -> None:
        """Offer and serve a file past the registry, as a broken or hostile cloud would."""
        topic = gateway_topic(SITE, name, "model")
        chunks = [chunk(data, index) for index in range(offer.chunks)]
        for message in (offer, *chunks):
            self.bus.publish(topic, seal(self.keys[name], topic, encode_model(message)))

    def said(self, state: str, **wanted) -> list[ModelReport]:
        found = [each.report for each in self.ledger.reports() if each.report.state == state]
        return [r for r in found if all(getattr(r, name) == value for name, value in wanted.items())]

    def close(self) -> None:
        self.desk.stop()
        self.bus.close()
        self.ledger.close()


@pytest.fixture
def cloud(tmp_path, port, workshop):
    cloud = Cloud(tmp_path / "cloud", port, workshop)
    yield cloud
    cloud.close()


@pytest.fixture
def gateway(tmp_path, port, workshop, cloud):
    live = LiveGateway(
        tmp_path / "a", port, "a", cloud.keys["a"], workshop.root.trust, workshop.make(1), sick=frozenset({9})
    )
    yield live
    live.close()


def test_an_update_over_the_air_misses_no_beat(cloud, gateway):
    until(lambda: gateway.versions[1] > 50, "the shipped model scores")
    model = cloud.publish(2.0, ballast=LARGE)
    report = until(lambda: cloud.said("running", version=2), "version 2 is confirmed")[0]
    assert report.manifest_sha256 == model.manifest_sha256
    assert report.beats_missed_in_swap == 0
    assert report.swapped_at_ns > model.published_ns
    assert report.p99_us > 0
    (before,) = cloud.said("candidate", version=2)
    assert before.running_version == 2
    until(lambda: cloud.ledger.model(2).stage == "all", "the first gateway confirmed")
    assert gateway.versions[None] == 0
    assert gateway.versions[1] > 0
    assert gateway.versions[2] > 0
    assert cloud.desk.counters["offers"] == 1
    assert sorted(cloud.chunks) == list(range(len(set(cloud.chunks)))), "every chunk went once"
    assert max(cloud.bus.largest, 60 * 1024) == cloud.bus.largest <= MAX_MESSAGE_BYTES


def bad_files(workshop: Workshop) -> list[tuple[bytes, str]]:
    """Bad files of version 2 to 6 with what they are refused for."""
    good = container.read(workshop.make(2))
    changed = good["manifest.json"].replace(b'"created_ns":1', b'"created_ns":2')
    other = msgspec.structs.replace(tiny.NEEDS, arch=("riscv64",))
    slow = msgspec.structs.replace(tiny.NEEDS, max_p99_us=1)
    heavy = pack(tiny.parts(ballast=1_500_000), tiny.manifest(6, hardware=slow), workshop.signer)
    return [
        (workshop.make(2)[:-50], "truncated"),
        (container.write(good | {"manifest.json": changed}), "wrong_signature"),
        (container.write(good | {"beat.int8.tflite": tiny.tflite(7, 7)}), "hash_mismatch"),
        (Workshop().make(2), "unknown_key"),
        (workshop.make(3, hardware=other), "wrong_hardware"),
        (workshop.make(4, expires_ns=NOW_NS // 2), "expired"),
        (workshop.make(5, off=1.0), "self_test_off"),
        (heavy, "too_slow"),
        (workshop.make(1, a=3.0), "older_version"),
    ]


def test_bad_files_are_refused_over_the_air_and_scoring_goes_on(cloud, gateway, workshop, monkeypatch):
    real = tiny.load

    def lame(model: bytes, runtime: str):
        run = real(model, runtime)
        return lambda inputs: [run(inputs) for _ in range(30)][-1]

    monkeypatch.setattr(gateway.keeper, "_load", lame)
    until(lambda: gateway.versions[1] > 20, "the shipped model scores")
    for data, reason in bad_files(workshop):
        cloud.offer_unasked("a", data, workshop.claim(data))
        report = until(lambda why=reason: cloud.said("refused", reason=why), f"refused as {reason}")[0]
        assert report.running_version == 1
        assert report.detail
    scored = gateway.versions[1]
    until(lambda: gateway.versions[1] > scored + 20, "the shipped model still scores")
    assert set(gateway.versions) == {1}
    monkeypatch.undo()
    assert cloud.publish(2.0).version == 2
    until(lambda: cloud.said("running", version=2), "a good one is taken afterwards")


def test_a_forged_seal_moves_nothing(cloud, gateway, workshop):
    until(lambda: gateway.versions[1] > 5, "the shipped model scores")
    data = workshop.make(2)
    topic = gateway_topic(SITE, "a", "model")
    cloud.bus.publish(topic, seal(b"x" * 32, topic, encode_model(workshop.offer(data))))
    until(lambda: gateway.updater.counters["sealed_rejected"] == 1, "the forged offer was heard")
    up = gateway_topic(SITE, "a", "model-state")
    rejected = cloud.desk.counters["rejected"]
    cloud.bus.publish(up, seal(b"x" * 32, up, b"lies"))
    until(lambda: cloud.desk.counters["rejected"] == rejected + 1, "the forged report was heard")
    assert gateway.version == 1
    assert cloud.chunks == []


def test_a_worse_model_goes_back_by_itself_and_stops_the_rollout(tmp_path, port, workshop):
    cloud = Cloud(tmp_path / "cloud", port, workshop)
    live = [
        LiveGateway(
            tmp_path / name,
            port,
            name,
            cloud.keys[name],
            workshop.root.trust,
            workshop.make(1),
            sick=frozenset({2}),
        )
        for name in ("a", "b")
    ]
    try:
        until(lambda: len(cloud.ledger.gateways()) == 2, "both gateways reported")
        cloud.publish(2.0)
        until(lambda: cloud.said("refused", reason="worse", running_version=1), "it went back")
        until(lambda: cloud.ledger.model(2).stage == "halted", "the rollout stopped")
        assert "ward/a: worse" in cloud.ledger.model(2).why
        assert [each.version for each in live] == [1, 1]
        assert live[1].versions[2] == live[1].versions[-1] == 0, "the second gateway never had it"
        cloud.publish(3.0)
        until(lambda: [each.version for each in live] == [3, 3], "a better one goes to both")
    finally:
        for each in live:
            each.close()
        cloud.close()


def test_a_rollout_goes_to_a_few_then_to_all_and_back_at_once(tmp_path, port, workshop):
    cloud = Cloud(tmp_path / "cloud", port, workshop)
    live = {
        name: LiveGateway(
            tmp_path / name, port, name, cloud.keys[name], workshop.root.trust, workshop.make(1)
        )
        for name in ("a", "b", "c")
    }
    try:
        until(lambda: len(cloud.ledger.gateways()) == 3, "all gateways reported")
        cloud.publish(2.0)
        until(lambda: cloud.said("running", version=2), "the first gateway confirmed it")
        until(lambda: len(cloud.said("running", version=2)) == 3, "all run it")
        times = {
            each.gateway: each.received_ns for each in cloud.ledger.reports() if each.report.version == 2
        }
        assert min(times, key=times.__getitem__) == "a"
        publishing.rollback(cloud.ledger, 1, workshop.signer, now_ns=time.time_ns(), why="a test")
        until(lambda: len(cloud.said("running", version=3)) == 3, "all went back by a higher version")
        assert cloud.ledger.model(3).manifest.names_model == cloud.ledger.model(1).manifest_sha256
        assert all(each.versions[None] == 0 for each in live.values())
    finally:
        for each in live.values():
            each.close()
        cloud.close()


def test_gateways_left_on_a_stopped_model_are_brought_back(tmp_path, port, workshop):
    cloud = Cloud(tmp_path / "cloud", port, workshop, signer=workshop.signer)
    live = LiveGateway(tmp_path / "a", port, "a", cloud.keys["a"], workshop.root.trust, workshop.make(1))
    try:
        until(cloud.ledger.gateways, "it reported")
        cloud.publish(2.0)
        until(lambda: cloud.said("running", version=2), "it runs version 2")
        cloud.ledger.set_stage(2, "halted", "refused elsewhere")
        until(lambda: cloud.said("running", version=3), "it was brought back")
        assert cloud.ledger.model(3).manifest.names_model == cloud.ledger.model(1).manifest_sha256
        assert "1 gateways still ran version 2" in cloud.ledger.model(3).why
    finally:
        live.close()
        cloud.close()


class Process:
    """A gateway in a process of its own, over folders that outlive it."""

    def __init__(self, folder: Path, port: int, cloud: Cloud, workshop: Workshop) -> None:
        folder.mkdir()
        (folder / "trust.json").write_bytes(workshop.root.trust.to_json())
        (folder / "shipped.vwm").write_bytes(workshop.make(1))
        self.journal = folder / "journal"
        told = {
            "folder": str(folder / "models"),
            "port": port,
            "name": "a",
            "key": cloud.keys["a"].hex(),
            "trust": str(folder / "trust.json"),
            "shipped": str(folder / "shipped.vwm"),
            "journal": str(self.journal),
        }
        self._told = folder / "told.json"
        self._told.write_text(json.dumps(told))
        self.start()

    def start(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, model_ward.__file__, str(self._told)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> None:
        assert self._process.wait(10) == -9

    def versions(self) -> Counter[str]:
        return Counter(self.journal.read_text().split()) if self.journal.exists() else Counter()


def test_kill_9_during_the_download_resumes_where_it_stopped(tmp_path, port, workshop, cloud):
    process = Process(tmp_path / "gateway", port, cloud, workshop)
    try:
        until(lambda: process.versions()["1"] > 20, "the shipped model scores")
        killed_at = 20
        cloud.on_chunk = lambda count: process.kill() if count == killed_at else None
        model = cloud.publish(2.0, ballast=LARGE)
        process.wait()
        assert not cloud.said("candidate", version=2)
        before = len(cloud.chunks)
        process.start()
        until(lambda: cloud.said("running", version=2), "the update ends after the restart")
        again = cloud.chunks[before:]
        count = -(-model.size // (60 * 1024))
        assert set(cloud.chunks) == set(range(count))
        assert len(again) <= count - killed_at + 16, "at most a window of chunks is fetched twice"
        assert 0 not in again
        versions = process.versions()
        assert set(versions) == {"1", "2"}
    finally:
        process.kill()
        process.wait()


def test_kill_9_on_probation_starts_again_with_the_candidate(tmp_path, port, workshop, cloud):
    process = Process(tmp_path / "gateway", port, cloud, workshop)
    try:
        until(lambda: process.versions()["1"] > 20, "the shipped model scores")
        cloud.publish(2.0)
        until(lambda: process.versions()["2"] > 0, "the candidate scores")
        process.kill()
        process.wait()
        process.start()
        until(lambda: cloud.said("running", version=2), "it is confirmed after the restart")
        assert set(process.versions()) == {"1", "2"}
    finally:
        process.kill()
        process.wait()
