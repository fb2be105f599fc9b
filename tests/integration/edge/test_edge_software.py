"""Updates of the gateway's software on real processes: launcher, agent, broker and the cloud's desk for releases."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from gateway_parts import GATEWAY, KEY, SITE, CloudDouble, wait_for
from model_ward import Bus
from release_wheel import Publisher, gateway_wheel, program

from vitalwire_cloud.broker import EmbeddedBroker
from vitalwire_cloud.registry.config import RolloutConfig
from vitalwire_cloud.registry.desk import ModelDesk
from vitalwire_cloud.registry.releases import open_releases, publish_release
from vitalwire_edge.inference.refusal import ArtifactRefusedError
from vitalwire_edge.software import slots
from vitalwire_edge.software.preflight import prove
from vitalwire_edge.software.release import open_release

LAUNCH = [sys.executable, "-m", "vitalwire_edge.software.launcher"]


def unpacked(folder: Path, slot: str, wheel: bytes, version: int) -> None:
    """A slot as the keeper leaves it, as candidate."""
    publisher = Publisher()
    release = open_release(publisher.release(wheel, version), publisher.root.trust, now_ns=None)
    for name, content in release.wheel.files.items():
        path = folder / slot / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    there = slots.SlotRelease(version, release.wheel.software, release.manifest_sha256, release.sha256)
    slots.write_marker(folder, slot, there, release.wheel.record)
    slots.write_boot(folder, slots.Boot(candidate=slot))


def launch(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [*LAUNCH, "--folder", str(folder), "--ready-s", "1", "--", *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("code", "ends_with"),
    [
        ("import a_module_that_is_nowhere", 1),
        ("import time\nwhile True: time.sleep(60)", -signal.SIGALRM),
        (
            "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
            -signal.SIGALRM,
        ),
    ],
    ids=["crashes", "hangs", "spins"],
)
def test_a_release_that_crashes_or_hangs_is_left_after_two_starts(tmp_path, code, ends_with):
    unpacked(tmp_path, "a", program(code), 1)
    assert [launch(tmp_path, "doctor", "--help").returncode for _ in range(2)] == [ends_with, ends_with]
    fallen = launch(tmp_path, "doctor", "--help")
    assert fallen.returncode == 0
    assert b"given up" in fallen.stderr
    assert b"starting the installed software" in fallen.stderr
    boot = slots.read_boot(tmp_path)
    assert boot.candidate is None
    assert boot.failed.release.version == 1


def test_a_slot_shadows_what_is_installed_and_gets_the_arguments(tmp_path):
    code = "import sys, vitalwire_edge\nprint(vitalwire_edge.__file__, sys.argv[1:])"
    unpacked(tmp_path, "b", program(code), 1)
    slots.write_boot(tmp_path, slots.Boot(confirmed="b"))
    done = launch(tmp_path, "edge", "run", "--set", "x=1")
    assert done.stdout.decode().split() == [
        str(tmp_path / "b" / "vitalwire_edge" / "__init__.py"),
        "['edge',", "'run',", "'--set',", "'x=1']",
    ]  # fmt: skip


def test_what_cannot_be_imported_is_found_beside_the_running_software(tmp_path):
    unpacked(tmp_path, "a", program("import a_module_that_is_nowhere"), 1)
    with pytest.raises(ArtifactRefusedError, match="a_module_that_is_nowhere"):
        prove(tmp_path / "a")
    unpacked(tmp_path, "b", program("import time\ntime.sleep(60)"), 1)
    with pytest.raises(ArtifactRefusedError, match="within 1 s"):
        prove(tmp_path / "b", timeout_s=1.0)


class ServiceManager:
    """Starts a command again whenever it ends, as systemd does; keeps the exit codes."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.codes: list[int] = []
        self._command, self._log = command, log
        self._stop = threading.Event()
        self._process: subprocess.Popen | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._log.open("ab") as log:
            while not self._stop.is_set():
                self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
                self.codes.append(self._process.wait())

    def close(self) -> None:
        self._stop.set()
        self._process.terminate()
        self._thread.join(30)


class Cloud:
    """Commits what comes, and works on releases."""

    def __init__(self, folder: Path, port: int) -> None:
        self.double = CloudDouble(port)
        self.ledger = open_releases(folder)
        config = RolloutConfig(offer_every_s=1.0)
        self.desk = ModelDesk(self.ledger, self._publish, {GATEWAY: KEY}.get, config=config, kind="software")
        self.bus = Bus(
            port, "releases", [f"v1/{SITE}/+/software-state", f"v1/{SITE}/+/status"], self._hear, lambda: None
        )
        self.desk.start()

    def _publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        return self.bus.publish(topic, payload, expiry_s=expiry_s)

    def _hear(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/status"):
            self.desk.gateway_seen(SITE, GATEWAY)
        else:
            self.desk.heard(topic, payload)

    def said(self, state: str, version: int):
        found = [each.report for each in self.ledger.reports()]
        return next((r for r in found if (r.state, r.version) == (state, version)), None)

    def close(self) -> None:
        self.desk.stop()
        self.bus.close()
        self.double.close()
        self.ledger.close()


@pytest.mark.timeout(600)
def test_a_gateway_updates_itself_over_a_broker_and_comes_back_from_a_release_that_does_not_start(tmp_path):
    port = EmbeddedBroker("127.0.0.1", 0).port
    publisher = Publisher()
    (tmp_path / "trust.json").write_bytes(publisher.root.trust.to_json())
    (tmp_path / "key").write_text(KEY.hex())
    cloud = Cloud(tmp_path / "cloud", port)
    config = tmp_path / "edge.toml"
    config.write_text(
        f'site = "{SITE}"\ngateway = "{GATEWAY}"\nkey_file = "{tmp_path / "key"}"\ndrain_s = 0.1\n'
        f'[models]\ntrust_files = ["{tmp_path / "trust.json"}"]\n'
        f"[mqtt]\nport = {port}\nstatus_every_s = 0.5\n[sources.tcp]\nport = 0\n"
        f'[spool]\npath = "{tmp_path / "spool.sqlite"}"\n[clock]\ntrust_system = true\n'
    )
    command = [*LAUNCH, "--folder", str(tmp_path / "software"), "--", "edge", "run", "--config", str(config)]
    manager = ServiceManager(command, tmp_path / "log")
    try:
        wait_for(lambda: cloud.double.births, 60, "the installed software")
        publish_release(cloud.ledger, gateway_wheel("0.1.0+ota1"), publisher.signer, now_ns=time.time_ns())
        wait_for(lambda: cloud.said("running", 1), 280, "the first release")
        assert manager.codes == [75]
        wait_for(lambda: cloud.double.births[-1].software == "0.1.0+ota1", 20, "its birth")
        broken = b"import sys\nif 'run' in sys.argv: raise RuntimeError\nfrom vitalwire_edge.cli import main\nmain()\n"
        publish_release(
            cloud.ledger,
            gateway_wheel("0.1.0+ota2", __main__=broken),
            publisher.signer,
            now_ns=time.time_ns(),
        )
        report = wait_for(lambda: cloud.said("refused", 2), 280, "the way back") or cloud.said("refused", 2)
        assert (report.reason, report.running_version) == ("crashed", 1)
        assert "started 2 times" in report.detail
        assert manager.codes[1:] == [75, 1, 1]
        wait_for(lambda: cloud.ledger.model(2).stage == "halted", 20, "the end of the rollout")
        assert slots.read_boot(tmp_path / "software") == slots.Boot(confirmed="a")
    finally:
        manager.close()
        cloud.close()
        print((tmp_path / "log").read_text()[-3000:])  # noqa: T201 - shown where the test fails
