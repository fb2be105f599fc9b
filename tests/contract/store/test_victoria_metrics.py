"""The numbers of our line protocol in Debian's VictoriaMetrics, and why it can be no store: what it does with the rest.

Operators who keep metrics there may send vital signs to it too. Strings become 0, times lose what is below a
millisecond, and garbage is answered as if it had been taken, so nothing that must be confirmed may rest on it.
"""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from stored import SECOND_NS, vitals, wave

from vitalwire_cloud.store.influx.points import VITALS, WAVE, points_of

RECENT_NS = (time.time_ns() // SECOND_NS - 600) * SECOND_NS
"""It keeps a month: times of the tests' own past would be too old for it."""


class VictoriaMetrics:
    """The real server in its own process."""

    def __init__(self, folder) -> None:
        program = shutil.which("victoria-metrics")
        assert program, "victoria-metrics is not installed: run scripts/servers.sh"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{probe.getsockname()[1]}"
        command = [program, f"-httpListenAddr={self._address}", f"-storageDataPath={folder / 'data'}"]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)

    def write(self, text: str) -> int:
        """HTTP status of a write."""
        return self._ask("/write", text.encode())[0]

    def numbers(self, measurement: str, field: str) -> list[tuple[int, float]]:
        """Points (milliseconds, value) of a field, in order of time."""
        self._ask("/internal/force_flush")
        match = urllib.parse.quote(f"{measurement}_{field}")
        _, found = self._ask(f"/api/v1/export?match[]={match}")
        series = [json.loads(line) for line in found.splitlines()]
        return sorted(
            pair for each in series for pair in zip(each["timestamps"], each["values"], strict=True)
        )

    def _answers(self) -> bool:
        try:
            return self._ask("/health")[0] == 200
        except OSError:
            return False

    def _ask(self, path: str, data: bytes | None = None) -> tuple[int, bytes]:
        with urllib.request.urlopen(f"http://{self._address}{path}", data, timeout=10) as answer:
            return answer.status, answer.read()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = VictoriaMetrics(tmp_path_factory.mktemp("victoria"))
    yield running
    running.close()


def _lines(*items) -> str:
    return "\n".join(point.line(point.time_ns) for item in items for point in points_of(item, RECENT_NS))


def test_the_numbers_of_vital_signs_are_taken_whole(server):
    sent = [vitals(k, 60.0 + k / 8, time_ns=RECENT_NS + k * SECOND_NS) for k in range(300)]
    assert server.write(_lines(*sent)) == 204
    kept = server.numbers(VITALS, "heart_rate")
    assert kept == [((RECENT_NS + k * SECOND_NS) // 1_000_000, 60.0 + k / 8) for k in range(300)]
    assert server.numbers(VITALS, "seq") == [(at, float(k)) for k, (at, _) in enumerate(kept)]


def test_strings_become_zero_so_neither_waveforms_nor_owners_survive(server):
    assert server.write(_lines(wave(1, start_ns=RECENT_NS))) == 204
    assert server.numbers(WAVE, "count") == [(RECENT_NS // 1_000_000, 250.0)]
    for field in ("data", "session", "gateway"):
        assert server.numbers(WAVE, field) == [(RECENT_NS // 1_000_000, 0.0)]


def test_two_times_within_a_millisecond_become_one(server):
    twice = [vitals(seq, 50.0 + seq, time_ns=RECENT_NS + 700 * SECOND_NS // 10 + seq) for seq in (1, 2)]
    device = _lines(*twice).replace("device=w-1", "device=w-2")
    assert server.write(device) == 204
    assert len({at for at, _ in server.numbers('{device="w-2",__name__="vitals', 'heart_rate"}')}) == 1


def test_garbage_is_answered_as_if_it_were_taken(server):
    assert server.write("this is no line protocol") == 204
    with pytest.raises(urllib.error.HTTPError):
        server._ask("/no/such/path")
