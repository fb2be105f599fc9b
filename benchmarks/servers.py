"""The real servers that benchmarks run against, each in its own process, and the processor time that they take."""

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from influx import Influxd, Proxy

# CPUCLOCK_SCHED: the time that the scheduler gave to all threads of a process.
CPU_CLOCK = 2


class BenchmarkError(Exception):
    """A server is missing, or something did not happen in time."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], object], what: str, timeout_s: float, every_s: float = 0.05) -> None:
    """Wait for a condition. Raises `BenchmarkError`."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise BenchmarkError(f"{what} did not happen within {timeout_s:g} s")
        threading.Event().wait(every_s)


def answers(port: int) -> bool:
    """Whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def cpu_s(*pids: int) -> float:
    """Processor time that processes took so far, user and system, to the nanosecond.

    Each process's own CPU clock (`clock_getcpuclockid(3)`, the identifier as Linux forms it): `/proc` counts in ticks
    of 10 ms, and a short run that falls between two of them took none.
    """
    return sum(time.clock_gettime(~pid << 3 | CPU_CLOCK) for pid in pids)


def quiet(pids: list[int], *, below: float = 0.03, window_s: float = 1.5) -> Callable[[], bool]:
    """Tells whether processes took less than `below` of a core over the last `window_s`."""
    seen: deque[tuple[float, float]] = deque()

    def resting() -> bool:
        now = time.monotonic()
        seen.append((now, cpu_s(*pids)))
        while len(seen) > 2 and now - seen[1][0] >= window_s:
            seen.popleft()
        return now - seen[0][0] >= window_s and seen[-1][1] - seen[0][1] < below * (now - seen[0][0])

    return resting


@contextmanager
def mosquitto(folder: Path) -> Iterator[tuple[int, int]]:
    """A broker that queues without end: its port and its process."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise BenchmarkError("mosquitto is not installed: run scripts/servers.sh")
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        "max_queued_messages 0\nmax_inflight_messages 1000\nset_tcp_nodelay true\nlog_type error\n"
    )
    with (folder / "mosquitto.log").open("ab") as log:
        process = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log)
    try:
        until(lambda: answers(port), "the broker's answer", 20)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


_AT_ONCE = {
    "INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION": "1s",
    "INFLUXDB_DATA_COMPACT_FULL_WRITE_COLD_DURATION": "1s",
}
_SETTLED_S = 20.0
_BLOCK = 512
"""Of `st_blocks`: its series files are mostly holes."""


def settled_bytes(folder: Path) -> int:
    """What an InfluxDB that was started with `compact` has on disk once its files change no more."""
    sizes: deque[tuple[float, int]] = deque()

    def still() -> bool:
        now = time.monotonic()
        sizes.append(
            (now, sum(file.stat().st_blocks for file in folder.rglob("*") if file.is_file()) * _BLOCK)
        )
        while sizes[-1][0] - sizes[0][0] > _SETTLED_S:
            sizes.popleft()
        return now - sizes[0][0] > 0.9 * _SETTLED_S and len({size for _, size in sizes}) == 1

    until(still, "InfluxDB's last compaction", 600, every_s=1)
    return sizes[-1][1]


@contextmanager
def influx(folder: Path, *, compact: bool = False) -> Iterator[tuple[Influxd, str, int]]:
    """InfluxDB 1.6, the URL of a proxy in a process of its own that gives it 2.x's way of writing, that process.

    `compact`: it writes what it has in its log into its files, and joins those, as soon as a second brings nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    server = Influxd(folder, _AT_ONCE if compact else None)
    proxy = subprocess.Popen(
        [sys.executable, __file__, str(server.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert proxy.stdout is not None
        url = proxy.stdout.readline().strip()
        if not url:
            raise BenchmarkError("the proxy before InfluxDB did not start")
        yield server, url, proxy.pid
    finally:
        proxy.terminate()
        proxy.wait()
        server.close()


def main() -> int:
    """Be the proxy before an InfluxDB until the other end goes."""
    proxy = Proxy(int(sys.argv[1]))
    proxy.writes = deque(maxlen=0)  # type: ignore[assignment]  # nobody looks at them
    print(proxy.url, flush=True)
    sys.stdin.read()
    proxy.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
