"""Seven bad artifacts, one after the other, to a real gateway over a real broker while its wearables stream."""

import dataclasses
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import msgspec
import pytest
from gateway_parts import GATEWAY, KEY, SITE, CloudDouble, free_port, wait_for

from vitalwire_cloud.broker import EmbeddedBroker
from vitalwire_edge.agent import Agent
from vitalwire_edge.config import ClockConfig, EdgeConfig, MqttConfig, SourcesConfig, SpoolConfig
from vitalwire_edge.inference import container
from vitalwire_edge.inference.artifact import MANIFEST, SELF_TEST, SIGNATURE, Manifest, pack, sha256
from vitalwire_edge.inference.container import ContainerError
from vitalwire_edge.inference.keys import Root
from vitalwire_edge.inference.selftest import pack_vectors, unpack_vectors
from vitalwire_edge.ota.config import OtaConfig, ProbationConfig
from vitalwire_edge.ota.gateway import shipped_folder
from vitalwire_edge.sources.config import TcpConfig
from vitalwire_sim.demo.witness import Witness

SECONDS = 22
DEVICES = ("w-1", "w-2", "w-3")
SCENARIO = f"""
site = "{SITE}"
title = "Three calm patients"
seconds = {SECONDS}
gateways = ["{GATEWAY}"]
""" + "".join(
    f"""
[[devices]]
name = "{name}"
gateway = "{GATEWAY}"
patient = {{ hr_bpm = {rate} }}
"""
    for name, rate in zip(DEVICES, (80, 95, 110), strict=True)
)


class Maker:
    """Signs artifacts with the parts of the shipped model."""

    def __init__(self) -> None:
        self.root = Root.new()
        self.signer = self.root.delegate(now_ns=time.time_ns(), expires_ns=None)
        parts = container.read((shipped_folder() / "beat-1.vwm").read_bytes())
        self.shipped = msgspec.json.decode(parts[MANIFEST], type=Manifest)
        self.parts = {name: data for name, data in parts.items() if name not in (MANIFEST, SIGNATURE)}

    def make(self, version: int, *, parts=None, signer=None, needs=None, expires_ns=None) -> bytes:
        manifest = Manifest(
            name="beat",
            version=version,
            created_ns=time.time_ns(),
            expires_ns=expires_ns,
            hardware=msgspec.structs.replace(self.shipped.hardware, **(needs or {})),
        )
        return pack({**self.parts, **(parts or {})}, manifest, signer or self.signer)

    def bad(self) -> dict[str, tuple[bytes, int]]:
        """Files by the reason that they must be refused for, with the version that they are offered as."""
        own = unpack_vectors(self.parts[SELF_TEST])
        wrong = pack_vectors(dataclasses.replace(own, outputs=tuple(each + 1.0 for each in own.outputs)))
        forger = self.root.delegate(now_ns=time.time_ns(), expires_ns=None)
        stranger = Root.new().delegate(now_ns=time.time_ns(), expires_ns=None)
        signed = self.make(3)
        parts = container.read(signed)
        other = container.read(self.make(3, signer=forger))
        return {
            "truncated": (signed[:-1000], 2),
            "wrong_signature": (container.write({**parts, SIGNATURE: other[SIGNATURE]}), 3),
            "unknown_key": (self.make(4, signer=stranger), 4),
            "wrong_hardware": (self.make(5, needs={"arch": ("riscv64",)}), 5),
            "older_version": (self.make(1), 6),
            "expired": (self.make(7, expires_ns=time.time_ns() - 10**9), 7),
            "self_test_off": (self.make(8, parts={SELF_TEST: wrong}), 8),
            "too_slow": (self.make(9, needs={"max_p99_us": 1}), 9),
        }


def identity(file: bytes) -> str:
    """Hash of the manifest; of a file that has none to read, what a liar would say."""
    try:
        return sha256(container.read(file)[MANIFEST])
    except ContainerError:
        return "0" * 64


@dataclass
class Running:
    """An agent on a thread."""

    agent: Agent
    stop: threading.Event
    thread: threading.Thread

    def end(self) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


def started(folder, port: int, listen: int, trust) -> Running:
    (folder / "key").write_text(KEY.hex())
    (folder / "trust.json").write_bytes(trust.to_json())
    config = EdgeConfig(
        site=SITE,
        gateway=GATEWAY,
        key_file=str(folder / "key"),
        mqtt=MqttConfig(port=port, retry_max_s=0.5),
        spool=SpoolConfig(path=str(folder / "spool.sqlite")),
        sources=SourcesConfig(tcp=TcpConfig(port=listen)),
        clock=ClockConfig(trust_system=True),
        models=OtaConfig(
            trust_files=(str(folder / "trust.json"),),
            probation=ProbationConfig(beats=6, seconds=0.5, early_beats=5),
            retry_first_s=0.5,
        ),
    )
    agent = Agent(config)
    stop = threading.Event()
    agent.start()
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    return Running(agent, stop, thread)


@pytest.fixture
def wearables(tmp_path):
    """Starts the wearables of the scenario; what they were is ended with the test."""
    processes = []
    (tmp_path / "beds.toml").write_text(SCENARIO)

    def start(listen: int) -> list[subprocess.Popen]:
        begin = str(time.time_ns() + 1_500_000_000)
        for name in DEVICES:
            flags = ["--scenario", str(tmp_path / "beds.toml"), "--device", name, "--start-at", begin]
            flags += ["--gateway-address", f"127.0.0.1:{listen}", "--seconds", str(SECONDS)]
            command = [sys.executable, "-m", "vitalwire_edge", "sim", "run", *flags]
            processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        return processes

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_each_is_refused_with_its_reason_and_the_stream_and_its_scores_go_on(tmp_path, wearables):
    port, listen = EmbeddedBroker("127.0.0.1", 0).port, free_port()
    maker = Maker()
    bad, good = maker.bad(), maker.make(20)
    cloud = CloudDouble(port)
    heard = []
    witness = Witness(port, SITE, {GATEWAY: KEY}, lambda _gateway, report: heard.append(report))
    running = started(tmp_path, port, listen, maker.root.trust)

    def refusal(file: bytes):
        # What the gateway remembers it says again; what lay in the moment it says once.
        return next((r for r in heard if r.sha256 == sha256(file) and r.state == "refused"), None)

    def scored() -> int:
        return running.agent.models.state.conduct.scored

    try:
        processes = wearables(listen)
        wait_for(lambda: scored() >= 3, 30, "the first scores")
        for reason, (file, version) in bad.items():
            before = scored()
            witness.offer(GATEWAY, file, version=version, identity=identity(file))
            wait_for(lambda file=file: refusal(file), 10, reason)
            told = refusal(file)
            assert (told.reason, told.version, told.running_version) == (reason, version, 1), told
            assert running.agent.models.state.version == 1
            wait_for(lambda before=before: scored() > before, 10, "the next score")
        witness.offer(GATEWAY, good, version=20, identity=identity(good))
        wait_for(lambda: heard[-1].state == "running" and heard[-1].version == 20, 15, "the good one")
        assert heard[-1].beats_missed_in_swap == 0
        for process in processes:
            assert process.wait(60) == 0
        conduct = running.agent.models.state.conduct
        assert (conduct.missed, conduct.failed) == (0, 0)
    finally:
        running.end()
        witness.close()
    accepted = {name: device.accepted for name, device in running.agent.report().devices.items()}
    for name in DEVICES:
        assert cloud.samples(name) == accepted[name]["ecg"] == SECONDS * 250
        for stream, count in accepted[name].items():
            if stream != "ecg":
                assert len(cloud.messages[name, stream]) == count
        assert_every_beat_has_its_score(cloud, name)
    assert cloud.skips == []
    cloud.close()


def assert_every_beat_has_its_score(cloud: CloudDouble, name: str) -> None:
    """From the first score on. The last beat has no whole window, the one before it no interval to the next."""
    beats = sorted(beat.r_ns for m in cloud.messages[name, "beat"].values() for beat in m.beats)
    marks = {mark.r_ns: mark for m in cloud.messages[name, "score"].values() for mark in m.scores}
    first = min(at for at, mark in marks.items() if mark.score is not None)
    due = [at for at in beats[:-2] if at >= first]
    assert len(due) > 15
    assert [at for at in due if at not in marks or marks[at].score is None] == []
    versions = [m.version for _, m in sorted(cloud.messages[name, "score"].items())]
    assert versions == sorted(versions)
    assert set(versions) == {1, 20}
