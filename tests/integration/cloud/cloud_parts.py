"""Real brokers and the real service, each in its own process on a free port, for tests."""

import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

COMMAND = [sys.executable, "-m", "vitalwire_edge"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s:g} s"
        threading.Event().wait(0.05)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class BrokerProcess:
    """An embedded or mosquitto broker that can be killed and started again on its port."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.port = free_port()
        if kind == "embedded":
            self._command = [*COMMAND, "broker", "run", "--port", str(self.port)]
        else:
            program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
            assert program, "mosquitto is not installed: run scripts/servers.sh"
            config = folder / "mosquitto.conf"
            config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
            self._command = [program, "-c", str(config)]
        self._log = (folder / "broker.log").open("ab")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stderr=self._log, stdout=self._log)
        wait_for(lambda: answers(self.port), "the broker's answer")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        self._log.close()


class CloudProcess:
    """`vitalwire cloud run` on a folder, with what it answers."""

    def __init__(self, broker: BrokerProcess, folder: Path, *settings: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.keys = folder / "keys"
        self.keys.mkdir(parents=True, exist_ok=True)
        self.web = free_port()
        self.log = folder / "cloud.log"
        self._settings = settings
        self._broker = broker

    def start(self, *settings: str, ready: bool = True) -> None:
        command = [
            *COMMAND, "cloud", "run", "--broker", f"127.0.0.1:{self._broker.port}", "--data-dir", str(self.data),
            "--web", f"127.0.0.1:{self.web}", "--keys-dir", str(self.keys),
        ]  # fmt: skip
        for setting in (*self._settings, *settings):
            command += ["--set", setting]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        if ready:
            wait_for(lambda: self.get("/readyz")[0] == 200, "readiness")

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def post(self, path: str, body: dict[str, object]) -> tuple[int, str]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.web}{path}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def alarms(self, *, open_only: bool = True) -> list[dict]:
        status, body = self.get(f"/api/v1/alarms?open={str(open_only).lower()}")
        assert status == 200, body
        return json.loads(body)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "cloud", *words, "--data-dir", str(self.data)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def audit(self) -> dict:
        done = self.command("audit", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stream(self, name: str, device: str = "w-1") -> dict:
        found = [s for s in self.audit()["streams"] if (s["device"], s["stream"]) == (device, name)]
        assert len(found) == 1, found
        return found[0]

    def new_key(self, gateway: str = "gw-1") -> bytes:
        key = secrets.token_bytes(32)
        (self.keys / f"{gateway}.key").write_text(key.hex())
        return key
