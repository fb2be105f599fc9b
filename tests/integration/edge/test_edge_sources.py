"""One gateway process with a serial line, a replay and TCP at once, under a service manager's eyes."""

import json
import os
import socket
import threading
import tty
import urllib.request

import numpy as np
import pytest
from gateway_parts import CloudDouble, FrameMaker, WearableSocket, mosquitto, wait_for
from test_edge_agent import EdgeProcess

from vitalwire_edge.wire.frames import encode


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        heard = []
        thread = threading.Thread(target=_listen, args=(end, heard), daemon=True)
        thread.start()
        yield heard
        end.settimeout(0)
        thread.join(5)


def _listen(end, heard):
    end.settimeout(0.1)
    while end.gettimeout():
        try:
            heard.append(end.recv(100))
        except (TimeoutError, BlockingIOError):
            continue


def unplug(line, *ends):
    line.unlink()
    for end in ends:
        os.close(end)


def test_three_ways_in_at_once(tmp_path, manager, monkeypatch):
    master, slave = os.openpty()
    tty.setraw(slave)
    line = tmp_path / "ttyUSB0"
    line.symlink_to(os.ttyname(slave))
    rows = "\n".join(f"{n / 250:.3f},{np.sin(n / 20):.3f}" for n in range(900))
    (tmp_path / "record.csv").write_text(f"time_s,II [mV]\n{rows}\n")
    monkeypatch.setenv("VITALWIRE_EDGE_SOURCES__SERIAL__ENABLED", "true")
    settings = tmp_path / "edge.toml"
    settings.write_text(f'[sources.serial]\nports = ["{line}"]\n')
    with mosquitto(tmp_path) as port:
        cloud = CloudDouble(port)
        # Not before: mosquitto speaks to the service manager too.
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        edge = EdgeProcess(
            tmp_path,
            port,
            "clock.trust_system=true",
            arguments=(
                "--config",
                str(settings),
                "--file",
                str(tmp_path / "record.csv"),
                "--device",
                "replay-1",
            ),
        )
        try:
            wait_for(lambda: len(manager) >= 2)
            assert manager[:2] == [b"READY=1", b"WATCHDOG=1"]
            by_line, by_tcp = FrameMaker("line-1"), FrameMaker("tcp-1")
            wearable = WearableSocket(("127.0.0.1", edge.port))
            wearable.send(by_tcp.hello())
            os.write(master, encode(by_line.hello()))
            for _ in range(20):
                wearable.send(by_tcp.wave(50))
                os.write(master, encode(by_line.wave(50)))
            wait_for(lambda: cloud.samples("line-1") >= 750 and cloud.samples("tcp-1") >= 750)
            wait_for(lambda: cloud.samples("replay-1") == 900, what="the whole recording")
            assert {birth.simulated for birth in cloud.births if hasattr(birth, "simulated")} == {True}
            told = json.loads(edge.ask("status.json"))
            assert {s["kind"]: s["connected"] for s in told["sources"]} == {"tcp": 1, "serial": 1, "file": 0}
            assert {d["device"] for d in told["devices"]} == {"line-1", "tcp-1", "replay-1"}
            assert told["link"]["up"]
            with urllib.request.urlopen(f"http://127.0.0.1:{edge.health}/", timeout=2) as page:
                assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
                assert "line-1" in page.read().decode()
            unplug(line, master, slave)
            wait_for(lambda: "ttyUSB0" in (edge.trouble() or ""), what="the readiness probe telling of it")
            wait_for(
                lambda: (
                    f'vitalwire_edge_source_up{{source="serial",where="{line} at 460800 baud"}} 0.0'
                    in edge.ask("metrics")
                )
            )
            before = cloud.samples("tcp-1")
            for _ in range(10):
                wearable.send(by_tcp.wave(50))
            wait_for(lambda: cloud.samples("tcp-1") >= before + 250, what="TCP going on")
            assert edge.ask("healthz") == "ok\n"
            assert edge.end() == 0
            wearable.close()
            wait_for(lambda: b"STOPPING=1" in manager)
            assert set(manager[1:]) == {b"WATCHDOG=1", b"STOPPING=1"}
        finally:
            edge.end(9)
            cloud.close()
