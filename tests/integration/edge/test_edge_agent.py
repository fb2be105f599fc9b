"""`vitalwire edge run` as a process, from a wearable's socket to what a cloud commits."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from gateway_parts import (
    GATEWAY,
    KEY,
    SITE,
    CloudDouble,
    FrameMaker,
    WearableSocket,
    free_port,
    mosquitto,
    wait_for,
)

from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.frames import Reading, Vitals
from vitalwire_edge.wire.messages import DeviceDeath, Flag, GatewayDeath

COMMAND = (sys.executable, "-c", "from vitalwire_edge.cli import main; main()", "edge", "run")


class EdgeProcess:
    def __init__(self, folder, broker_port, *settings, arguments=()):
        self.folder = folder
        (folder / "key").write_text(KEY.hex())
        self.port, self.health = free_port(), free_port()
        self.counters = folder / "counters.json"
        command = [
            *COMMAND,
            *("--site", SITE, "--gateway", GATEWAY),
            *("--broker", f"127.0.0.1:{broker_port}", "--listen", f"127.0.0.1:{self.port}"),
            *("--spool", str(folder / "spool.sqlite"), "--health-port", str(self.health)),
            *("--counters", str(self.counters)),
            *("--set", f"key_file={folder / 'key'}", "--set", "mqtt.retry_max_s=0.5"),
            *(part for setting in settings for part in ("--set", setting)),
            *arguments,
        ]
        self.log = (folder / "log").open("ab")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stderr=self.log, env=environment)
        wait_for(
            lambda: self.ask("readyz") == "ok\n" or self.process.poll() is not None, 60, "becoming ready"
        )

    def ask(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/{path}", timeout=2) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, OSError):
            return None

    def trouble(self):
        """What the readiness probe names."""
        try:
            return self.ask_strictly("readyz")
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def ask_strictly(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/{path}", timeout=2) as answer:
            return answer.read().decode()

    def accepted(self):
        if not self.counters.exists():
            return {}
        report = json.loads(self.counters.read_text())
        return {name: device["accepted"] for name, device in report["devices"].items()}

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(20)
        self.log.close()
        return code

    def said(self):
        return (self.folder / "log").read_text()


@pytest.fixture
def edge_with(tmp_path):
    made = []

    def make(port, *settings):
        made.append(EdgeProcess(tmp_path, port, *settings))
        return made[-1]

    yield make
    for edge in made:
        edge.end(signal.SIGKILL)


def test_from_a_wearable_to_the_cloud_and_a_clean_end(tmp_path, edge_with):
    with mosquitto(tmp_path) as port:
        cloud = CloudDouble(port)
        edge = edge_with(port, "clock.trust_system=true", "telemetry.simulated=true")
        maker = FrameMaker()
        wearable = WearableSocket(("127.0.0.1", edge.port))
        wearable.send(maker.hello(), maker.frame(Vitals((Reading(Code.SPO2, 97.0),))))
        for _ in range(50):
            wearable.send(maker.wave(50))
        wait_for(lambda: cloud.samples("chest-1") >= 2250)
        wait_for(lambda: edge.accepted().get("chest-1", {}).get("ecg", 0) >= 2250)
        metrics = edge.ask("metrics")
        assert 'vitalwire_edge_accepted_total{device="chest-1",stream="ecg"}' in metrics
        assert edge.ask("healthz") == "ok\n"
        assert edge.end() == 0
        wearable.close()
        wait_for(lambda: any(isinstance(d, GatewayDeath) and d.expected for d in cloud.deaths))
        assert any(isinstance(d, DeviceDeath) and d.reason == "closed" for d in cloud.deaths)
        assert cloud.samples("chest-1") == 2500
        accepted = edge.accepted()["chest-1"]
        assert accepted["ecg"] == 2500
        assert accepted["vitals"] == len(cloud.messages["chest-1", "vitals"])
        assert accepted["beat"] == len(cloud.messages["chest-1", "beat"])
        report = json.loads(edge.counters.read_text())
        assert report["spool_rows"] == 0
        assert report["devices"]["chest-1"]["ecg_samples"] == {str(int(Code.ECG_UNSPECIFIED)): 2500}
        assert report["devices"]["chest-1"]["bytes_published"] > 2500
        assert not any(m.flags & Flag.UNSYNCHRONISED for m in cloud.blocks("chest-1"))
        cloud.close()


def test_killed_and_started_again_everything_accepted_arrives_once(tmp_path, edge_with):
    with mosquitto(tmp_path) as port:
        edge = edge_with(port, "clock.trust_system=true")
        maker = FrameMaker()
        wearable = WearableSocket(("127.0.0.1", edge.port))
        wearable.send(maker.hello())
        for _ in range(50):
            wearable.send(maker.wave(50))
        wait_for(lambda: edge.accepted().get("chest-1", {}).get("ecg", 0) >= 2000, what="acceptance")
        edge.end(signal.SIGKILL)
        wearable.close()
        told = edge.accepted()["chest-1"]["ecg"]
        cloud = CloudDouble(port)
        edge = edge_with(port, "clock.trust_system=true", "alarms.technical.silent_s=2")
        wait_for(lambda: edge.accepted().get("chest-1", {}).get("ecg", 0) >= told)
        accepted = edge.accepted()["chest-1"]["ecg"]
        wait_for(lambda: cloud.samples("chest-1") == accepted, what="the backlog")
        wait_for(lambda: json.loads(edge.counters.read_text())["spool_rows"] == 0, what="commits")
        assert cloud.samples("chest-1") == accepted >= told
        assert all(m.flags & Flag.HISTORY for m in cloud.blocks("chest-1"))
        # It was there before and did not come back.
        wait_for(
            lambda: ("device_silent", "raised") in {(a.kind, a.phase) for a in cloud.alarms("chest-1")},
            what="the silent wearable's alarm",
        )
        wearable = WearableSocket(("127.0.0.1", edge.port))
        wearable.send(maker.hello(), maker.wave(50), maker.goodbye())
        wait_for(
            lambda: ("device_silent", "cleared") in {(a.kind, a.phase) for a in cloud.alarms("chest-1")},
            what="the end of that alarm",
        )
        wait_for(
            lambda: json.loads((tmp_path / "spool.sqlite.wearables.json").read_text())["devices"] == [],
            what="the goodbye",
        )
        wearable.close()
        cloud.close()


def test_an_asystole_without_a_cloud_is_announced_here(edge_with):
    edge = edge_with(1, "announce.after_s=1")
    maker = FrameMaker()
    wearable = WearableSocket(("127.0.0.1", edge.port))
    wearable.send(maker.hello())
    for _ in range(60):
        wearable.send(maker.wave(50))
    for _ in range(60):
        frame = maker.wave(50)
        frame.payload.samples[:] = 0
        wearable.send(frame)
    wait_for(lambda: '"alarm_not_confirmed"' in edge.said(), what="the announcement")
    assert '"kind": "asystole"' in edge.said()
    assert edge.end() == 0
    wearable.close()


@pytest.mark.parametrize(
    ("settings", "code", "named"),
    [
        (["spool.pth=x"], 2, "did you mean 'spool.path'"),
        (["key_file=/nonexistent/key"], 2, "/nonexistent/key"),
        (["mqtt.keepalive_s=0"], 2, "keepalive_s"),
    ],
)
def test_what_cannot_run_says_why_and_how_it_ends(edge_with, settings, code, named):
    edge = edge_with(1, *settings)
    assert edge.end() == code
    assert named in edge.said()
    assert "Traceback" not in edge.said()


def test_a_spool_that_cannot_be_opened_is_told(tmp_path, edge_with):
    (tmp_path / "spool.sqlite").mkdir()
    edge = edge_with(1)
    assert edge.end() == 1
    assert str(tmp_path / "spool.sqlite") in edge.said()
    assert "Traceback" not in edge.said()


@pytest.mark.parametrize("flag", ["--listen", "--health-port"])
def test_a_busy_port_is_told(tmp_path, flag):
    (tmp_path / "key").write_text(KEY.hex())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"--listen": "127.0.0.1:0", "--health-port": "0"}
        ports[flag] = ports[flag].removesuffix("0") + str(port)
        command = [*COMMAND, *(part for pair in ports.items() for part in pair)]
        command += ["--set", f"key_file={tmp_path / 'key'}", "--spool", str(tmp_path / "spool")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f":{port}" in done.stderr
    assert f"with {flag}" in done.stderr
    assert "Traceback" not in done.stderr
