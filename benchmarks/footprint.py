"""What a gateway takes: memory, flash and processor of the real `edge run` with 1, 8 and 32 wearables at 250 Hz.

Every gateway is a process of its own with a spool on disk and a link to a broker, behind which a cloud commits what
comes. Wearables send over TCP in real time. Memory is VmRSS and VmHWM, flash what the kernel sent to the block device
for the process (`write_bytes` of /proc/PID/io) after the first 20 s, by the hour. With `--prepare` also the peak
of what proves a new release beside the running one, with nothing compiled yet.

    python benchmarks/footprint.py --wearables 1 8 32 --seconds 180 --commit-ms 100 1000 --prepare
"""

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from gateway_parts import KEY, SITE, CloudDouble, FrameMaker, answers, free_port  # noqa: E402

from vitalwire_cloud.broker import EmbeddedBroker  # noqa: E402
from vitalwire_cloud.config import IngestConfig  # noqa: E402
from vitalwire_edge.wire.frames import encode  # noqa: E402

SETTLE_S = 20.0
START_S = 300.0
FRAME_S = 0.2
COMMITTED_EVERY_S = IngestConfig().commit_interval_s


@dataclass
class Gateway:
    """A running gateway and its wearables."""

    process: subprocess.Popen[bytes]
    folder: Path
    wearables: int
    commit_ms: int
    port: int


def start(folder: Path, broker: int, *, wearables: int, commit_ms: int) -> Gateway:
    """A gateway as a service manager would start it."""
    name = f"gw-{wearables}-{commit_ms}"
    place = folder / name
    place.mkdir()
    (place / "key").write_text(KEY.hex())
    port = free_port()
    command = [
        sys.executable, "-m", "vitalwire_edge", "edge", "run", "--site", SITE, "--gateway", "gw1",
        "--broker", f"127.0.0.1:{broker}", "--listen", f"127.0.0.1:{port}", "--spool", str(place / "spool.sqlite"),
        "--set", f"key_file={place / 'key'}", "--set", "clock.trust_system=true",
        "--set", "telemetry.simulated=true", "--set", f"spool.commit_every_ms={commit_ms}",
    ]  # fmt: skip
    log = (place / "log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log)
    return Gateway(process, place, wearables, commit_ms, port)


def feed(gateway: Gateway, stop: threading.Event) -> None:
    """All wearables of a gateway, in real time, until `stop`."""
    makers = [FrameMaker(f"chest-{number}") for number in range(gateway.wearables)]
    sockets = [socket.create_connection(("127.0.0.1", gateway.port), 10) for _ in makers]
    for maker, wire in zip(makers, sockets, strict=True):
        wire.sendall(encode(maker.hello()))
    due = time.monotonic()
    while not stop.is_set():
        for maker, wire in zip(makers, sockets, strict=True):
            wire.sendall(encode(maker.wave(50)))
        due += FRAME_S
        stop.wait(max(0.0, due - time.monotonic()))
    for wire in sockets:
        wire.close()


def commit(clouds: list[CloudDouble], stop: threading.Event) -> None:
    """Say what is committed as often as the service does; a double would do so after each message."""
    while not stop.wait(COMMITTED_EVERY_S):
        for cloud in clouds:
            cloud.tell()


def look(gateway: Gateway) -> dict[str, float]:
    """Memory, bytes written and processor time of the process so far."""
    place = Path("/proc") / str(gateway.process.pid)
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    io = dict(line.split(": ") for line in (place / "io").read_text().splitlines())
    ticks = (place / "stat").read_text().rpartition(")")[2].split()
    return {
        "rss_mib": int(status["VmRSS"].split()[0]) / 1024,
        "peak_mib": int(status["VmHWM"].split()[0]) / 1024,
        "write_bytes": float(io["write_bytes"]),
        "cpu_s": (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK"),
        "at_s": time.monotonic(),
    }


def measure(folder: Path, wearables: list[int], commit_ms: list[int], seconds: float) -> list[dict[str, Any]]:
    """One gateway at a time for each number of wearables would take long: those of one commit time run together."""
    rows: list[dict[str, Any]] = []
    for every_ms in commit_ms:
        clouds, gateways, threads = [], [], []
        stop = threading.Event()
        for count in wearables:
            broker = EmbeddedBroker("127.0.0.1", 0).port
            clouds.append(CloudDouble(broker, commit=False))
            gateways.append(start(folder, broker, wearables=count, commit_ms=every_ms))
        for gateway in gateways:
            until = time.monotonic() + START_S
            while not answers(gateway.port):
                if gateway.process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"gateway did not start: {(gateway.folder / 'log').read_text()[-2000:]}")
                time.sleep(0.2)
        for gateway in gateways:
            threads.append(threading.Thread(target=feed, args=(gateway, stop)))
            threads[-1].start()
        threads.append(threading.Thread(target=commit, args=(clouds, stop)))
        threads[-1].start()
        stop.wait(SETTLE_S)
        before = [look(gateway) for gateway in gateways]
        stop.wait(seconds)
        after = [look(gateway) for gateway in gateways]
        stop.set()
        for thread in threads:
            thread.join()
        for gateway, cloud, then, now in zip(gateways, clouds, before, after, strict=True):
            spent_s = now["at_s"] - then["at_s"]
            spool = sum(p.stat().st_size for p in gateway.folder.glob("spool.sqlite*") if p.is_file())
            rows.append(
                {
                    "wearables": gateway.wearables,
                    "commit_ms": every_ms,
                    "rss_mib": round(now["rss_mib"], 1),
                    "peak_mib": round(now["peak_mib"], 1),
                    "flash_mib_per_hour": round(
                        (now["write_bytes"] - then["write_bytes"]) / spent_s * 3600 / 2**20, 1
                    ),
                    "spool_mib": round(spool / 2**20, 2),
                    "core_percent": round((now["cpu_s"] - then["cpu_s"]) / spent_s * 100, 1),
                    "samples_committed": sum(
                        cloud.samples(f"chest-{number}") for number in range(gateway.wearables)
                    ),
                }
            )
            gateway.process.terminate()
            gateway.process.wait(60)
            cloud.close()
    return rows


def prepare_peak_mib(folder: Path) -> float:
    """Peak memory of proving a release with nothing compiled yet."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "numba")}
    subprocess.run([sys.executable, "-m", "vitalwire_edge", "edge", "prepare"], env=environment, check=True)
    return round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1)


def main() -> None:
    """Measure and print a table; `--json` writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wearables", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--commit-ms", type=int, nargs="+", default=[100])
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument(
        "--folder", type=Path, help="on the disk whose writes count; a temporary one by default"
    )
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=told.folder) as folder:
        proving = prepare_peak_mib(Path(folder)) if told.prepare else None
        rows = measure(Path(folder), told.wearables, told.commit_ms, told.seconds)
    names = list(rows[0])
    print("  ".join(names))
    for row in rows:
        print("  ".join(f"{row[name]:>{len(name)}}" for name in names))
    if proving is not None:
        print(f"proving a release, nothing compiled: {proving} MiB at its peak")
    if told.json is not None:
        told.json.write_text(json.dumps({"rows": rows, "prepare_peak_mib": proving}, indent=1) + "\n")


if __name__ == "__main__":
    main()
