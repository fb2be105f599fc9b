"""The spool keeps what it said it kept: over kills, full disks, damaged files and its own caps."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import msgspec
import pytest
from gateway_parts import wait_for

from vitalwire_edge.spool.file import SpoolFile, open_or_set_aside
from vitalwire_edge.spool.reader import SpoolReader
from vitalwire_edge.spool.rows import Entry, SpoolCorruptError, SpoolError, SpoolFullError
from vitalwire_edge.spool.spool import Spool
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    StreamCommit,
    VitalsMessage,
    VitalValue,
    WaveBlock,
    decode_data,
    decode_json,
)

BOOT = "boot-1"


def wave(device="d1", *, samples=250, mono_ns=None, fill=400):
    now = time.monotonic_ns() if mono_ns is None else mono_ns
    message = WaveBlock(
        session="",
        seq=0,
        flags=0,
        code=131328,
        device_boot=0,
        first_sample=0,
        start_ns=1,
        rate_mhz=250_000,
        scale=1.0,
        count=samples,
        codec=0,
        data=os.urandom(fill),
    )
    return Entry(device, "ecg", message, now, 0, True, 131328, samples)


def alarm(device="d1", *, kind="asystole", phase="raised", kept=b"x"):
    message = AlarmMessage(
        session="",
        seq=0,
        flags=0,
        alarm_id="a",
        kind=kind,
        priority="high",
        category="physiological",
        phase=phase,
        onset_ns=1,
        at_ns=2,
        text="t",
        rule="r",
    )
    return Entry(device, "alarm", message, time.monotonic_ns(), 0, True, open_alarm=(kind, kept))


def vitals(device="d1"):
    message = VitalsMessage(session="", seq=0, flags=0, time_ns=1, values=(VitalValue(147842, 70.0, 0),))
    return Entry(device, "vitals", message, time.monotonic_ns(), 0, True)


class Recorder:
    def __init__(self):
        self.stored = []
        self.confirmed = []

    def on_stored(self, stored):
        self.stored += stored

    def on_confirmed(self, commits):
        self.confirmed += commits


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.sqlite"


def rows(path):
    reader = SpoolReader(path)
    try:
        return reader.alarms(0, 10_000) + reader.others(0, 2**60, 100_000)
    finally:
        reader.close()


def accepted(spool_or_file):
    found = spool_or_file.accepted
    return {(a.device, a.stream): (a.messages, a.samples) for a in (found() if callable(found) else found)}


def test_sequences_run_per_stream_and_outlive_a_restart(path):
    spool = Spool(path, BOOT)
    recorder = Recorder()
    spool.listen(recorder)
    spool.start()
    for _ in range(3):
        for entry in (wave("d1"), wave("d2"), vitals("d1"), alarm("d1")):
            spool.put(entry)
    assert spool.close() == 0
    assert [seq for entry, seq in recorder.stored if (entry.device, entry.stream) == ("d1", "ecg")] == [
        0,
        1,
        2,
    ]
    again = Spool(path, BOOT)
    assert again.session == spool.session
    assert accepted(again)["d1", "ecg"] == (3, 750)
    again.start()
    again.put(wave("d1"))
    again.close()
    found = [row for row in rows(path) if (row.device, row.stream) == ("d1", "ecg")]
    assert [row.seq for row in found] == [0, 1, 2, 3]
    messages = [decode_data(row.payload) for row in found]
    assert [(m.session, m.seq) for m in messages] == [(spool.session, n) for n in range(4)]
    stored_alarm = decode_json(rows(path)[0].payload, AlarmMessage)
    assert (stored_alarm.session, stored_alarm.seq) == (spool.session, 0)


def test_only_what_is_committed_leaves(path):
    file = SpoolFile(path, BOOT)
    file.append([wave() for _ in range(10)] + [wave("d2")])
    file.confirm([StreamCommit("d1", "ecg", "another session", 10)])
    assert file.rows == 11
    file.confirm([StreamCommit("d1", "ecg", file.session, 3, ((5, 6), (9, 9)))])
    assert sorted(row.seq for row in rows(path) if row.device == "d1") == [3, 4, 7, 8]
    assert file.rows == 5
    file.close()
    assert SpoolFile(path, BOOT).rows == 5


def test_open_alarms_are_remembered_until_they_end(path):
    file = SpoolFile(path, BOOT)
    file.append([alarm(kept=b"one"), alarm(kind="vf", kept=b"two")])
    file.append([alarm(phase="updated", kept=b"three"), alarm(kind="vf", phase="cleared", kept=None)])
    file.close()
    assert SpoolFile(path, BOOT).open_alarms() == [("d1", b"three")]


def test_the_size_cap_takes_the_oldest_waveform_first_and_says_so(path):
    spool = Spool(path, BOOT, max_bytes=1024**2)
    spool.start()
    spool.put(alarm())
    spool.put(vitals())
    for _ in range(2500):
        spool.put(wave(fill=1000))
    wait_for(lambda: spool.counters["evicted_size_ecg_rows"] >= 1024, what="eviction")
    wait_for(lambda: spool.written and spool.state.used_bytes <= 1024**2 and spool.state.rows)
    spool.close()
    kept = rows(path)
    assert {row.stream for row in kept} == {"ecg", "vitals", "alarm"}
    seqs = [row.seq for row in kept if row.stream == "ecg"]
    assert seqs == list(range(seqs[0], 2500))
    reader = SpoolReader(path)
    skips = sorted(reader.skips(1000), key=lambda skip: skip.first)
    reader.close()
    assert skips[0].first == 0
    assert sum(s.last - s.first + 1 for s in skips) == seqs[0] == spool.counters["evicted_size_ecg_rows"]
    assert sum(s.samples for s in skips) == 250 * seqs[0] == spool.counters["evicted_size_ecg_samples"]
    total = next(a for a in spool.accepted if a.stream == "ecg")
    assert (total.messages, total.evicted_messages) == (2500, seqs[0])


def test_a_committed_skip_is_forgotten(path):
    file = SpoolFile(path, BOOT)
    file.append([wave() for _ in range(4)])
    assert file.evict("ecg", "size", sparing={1}) == (3, 750)
    reader = SpoolReader(path)
    assert [(s.first, s.last, s.samples, s.reason) for s in reader.skips(9)] == [(1, 3, 750, "size")]
    file.confirm([StreamCommit("d1", "ecg", file.session, 3)])
    assert len(reader.skips(9)) == 1
    file.confirm([StreamCommit("d1", "ecg", file.session, 4)])
    assert reader.skips(9) == []
    reader.close()


def test_the_age_cap_spares_alarms(path):
    spool = Spool(path, BOOT, max_age_s=60)
    old = time.monotonic_ns() - 61 * 10**9
    spool.start()
    for entry in (wave(mono_ns=old), wave(), alarm()):
        spool.put(entry)
    wait_for(lambda: spool.counters["evicted_age_ecg_rows"] == 1)
    spool.close()
    assert [(row.stream, row.seq) for row in rows(path)] == [("alarm", 0), ("ecg", 1)]


@pytest.mark.parametrize(("believed", "kept"), [(True, 1), (False, 2)])
def test_a_clock_that_is_not_believed_ages_nothing_of_another_boot(path, believed, kept):
    now_ns = time.time_ns()
    file = SpoolFile(path, "boot-0")
    file.append([msgspec.structs.replace(wave(), offset_ns=now_ns - time.monotonic_ns())])
    file.close()
    in_2036_ns = now_ns + 10 * 365 * 86_400 * 10**9
    spool = Spool(path, BOOT, max_age_s=60, believed_utc_ns=lambda: in_2036_ns if believed else None)
    spool.start()
    spool.put(wave())
    assert spool.close() == 0
    assert len(rows(path)) == kept


@pytest.mark.parametrize("damage", ["text", "middle", "empty meta"])
def test_a_damaged_file_is_set_aside_and_a_new_session_begins(path, damage):
    file = SpoolFile(path, BOOT)
    file.append([wave(fill=3000) for _ in range(300)])
    before = file.session
    file.shrink_log()
    file.close()
    match damage:
        case "text":
            path.write_text("this is no database, it is a longer piece of text than the header of one\n" * 20)
        case "middle":
            with path.open("r+b") as raw:
                raw.seek(4096)
                raw.write(os.urandom(40 * 4096))
        case _:
            with sqlite3.connect(path) as db:
                db.execute("DELETE FROM meta")
            db.close()
    spool = Spool(path, BOOT)
    assert spool.session != before
    assert spool.counters["spool_set_aside"] == 1
    assert len(list(path.parent.glob("spool.sqlite.corrupt-*"))) >= 1
    spool.start()
    spool.put(wave())
    assert spool.close() == 0
    assert len(rows(path)) == 1


def test_a_newer_format_is_refused_and_left_alone(path):
    SpoolFile(path, BOOT).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(SpoolError, match=r"format 99.*install that version"):
        Spool(path, BOOT)
    assert path.exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SpoolError, match="nowhere"):
        Spool(tmp_path / "nowhere" / "spool.sqlite", BOOT)


def in_a_process(script, path, **options):
    """Start `script` with this module importable; its arguments are the path and nothing else."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(here), str(here.parents[1])))}
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, **options)


def test_a_disk_that_takes_no_more_gives_up_waveform_and_keeps_alarms(path):
    """RLIMIT_FSIZE: no file of the process may grow, so writes fail as on a full disk, until it is lifted."""
    script = """
        import json, pathlib, resource, signal, sys
        from test_edge_spool import BOOT, Spool, alarm, wait_for, wave
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        spool = Spool(pathlib.Path(sys.argv[1]), BOOT, pending_rows=300)
        spool.start()
        spool.put(wave())
        wait_for(lambda: spool.written)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        for _ in range(1000):
            spool.put(wave(fill=2000))
        for _ in range(50):
            spool.put(alarm())
        wait_for(lambda: spool.state.problem is not None)
        problem, pending = spool.state.problem, spool.state.pending
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_for(lambda: spool.written and spool.state.problem is None)
        unwritten = spool.close()
        print(json.dumps([problem, pending, unwritten, dict(spool.counters)]))
    """
    process = in_a_process(script, path)
    said, _ = process.communicate(timeout=60)
    problem, pending, unwritten, counters = json.loads(said.splitlines()[-1])
    assert "free space on its disk" in problem
    assert pending <= 300
    assert unwritten == 0
    assert counters["unspooled_ecg_rows"] >= 700
    assert "unspooled_alarm_rows" not in counters
    kept = rows(path)
    assert sum(row.stream == "alarm" for row in kept) == 50
    file = SpoolFile(path, BOOT)
    ecg = next(a for a in file.accepted() if a.stream == "ecg")
    file.close()
    assert ecg.messages + counters["unspooled_ecg_rows"] == 1001
    assert sum(row.stream == "ecg" for row in kept) == ecg.messages - ecg.evicted_messages


def test_a_full_database_makes_room_by_itself_and_announces_it(path):
    spool = Spool(path, BOOT)
    spool._file._db.execute("PRAGMA max_page_count = 200")
    spool.start()
    for _ in range(600):
        spool.put(wave(fill=2000))
        spool.put(alarm(kept=None))
    wait_for(lambda: spool.counters["evicted_disk_ecg_rows"], what="eviction")
    wait_for(lambda: spool.written, what="everything written")
    spool.close()
    kept = rows(path)
    assert sum(row.stream == "alarm" for row in kept) == 600
    reader = SpoolReader(path)
    skipped = sum(skip.last - skip.first + 1 for skip in reader.skips(1000))
    reader.close()
    assert skipped == spool.counters["evicted_disk_ecg_rows"]
    assert skipped + sum(row.stream == "ecg" for row in kept) == 600


def test_nothing_that_was_reported_stored_is_lost_to_kill_9(path):
    """A process reports each stored sequence on its pipe; killed in the middle, the file holds at least those."""
    script = """
        import sys, pathlib
        from test_edge_spool import BOOT, Spool, wave
        class Teller:
            def on_stored(self, stored):
                sys.stdout.write("".join(f"{seq}\\n" for _, seq in stored))
                sys.stdout.flush()
            def on_confirmed(self, commits):
                pass
        spool = Spool(pathlib.Path(sys.argv[1]), BOOT, commit_every_s=0.005, commit_rows=20)
        spool.listen(Teller())
        spool.start()
        while True:
            if spool.written:
                for _ in range(30):
                    spool.put(wave())
    """
    process = in_a_process(script, path)
    reported = []
    reader = threading.Thread(target=lambda: reported.extend(int(line) for line in process.stdout))
    reader.start()
    wait_for(lambda: len(reported) > 300)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reader.join()
    process.stdout.close()
    file = SpoolFile(path, BOOT)
    held = [row.seq for row in rows(path)]
    assert held == list(range(len(held)))
    assert len(held) >= len(reported) > 300
    assert accepted(file) == {("d1", "ecg"): (len(held), 250 * len(held))}
    file.append([wave()])
    assert rows(path)[-1].seq == len(held)


def test_an_entry_that_cannot_be_written_does_not_block_the_others(path):
    spool = Spool(path, BOOT, commit_every_s=0.5)
    recorder = Recorder()
    spool.listen(recorder)
    spool.start()
    for entry in (wave(), wave(mono_ns=2**70), wave(), alarm()):
        spool.put(entry)
    assert spool.close() == 0
    assert spool.counters["unusable_ecg_rows"] == 1
    assert [row.seq for row in rows(path) if row.stream == "ecg"] == [0, 1]
    assert [seq for entry, seq in recorder.stored if entry.stream == "ecg"] == [0, 1]


def test_confirming_reaches_the_listeners_and_only_for_this_session(path):
    spool = Spool(path, BOOT)
    recorder = Recorder()
    spool.listen(recorder)
    spool.start()
    spool.put(alarm())
    spool.confirm((StreamCommit("d1", "alarm", "another", 1), StreamCommit("d1", "alarm", spool.session, 1)))
    wait_for(lambda: recorder.confirmed)
    spool.close()
    assert [c.session for c in recorder.confirmed] == [spool.session]


def test_a_file_that_breaks_while_running_costs_its_rows_not_the_gateway(path):
    spool = Spool(path, BOOT)
    before = spool.session
    spool.start()
    for _ in range(400):
        spool.put(wave(fill=2000))
    wait_for(lambda: spool.written)
    for suffix in ("", "-wal"):
        name = path.with_name(path.name + suffix)
        with name.open("r+b") as raw:
            raw.write(os.urandom(max(name.stat().st_size, 4096)))
    until = time.monotonic() + 20
    while spool.session == before and time.monotonic() < until:
        spool.put(wave(fill=2000))
        time.sleep(0.01)
    assert spool.session != before
    spool.put(alarm())
    assert spool.close() == 0
    assert any(row.stream == "alarm" for row in rows(path))
    assert spool.counters["spool_set_aside"] == 1


def test_a_damaged_spool_that_cannot_be_replaced_at_once_is_replaced_when_it_can(path, monkeypatch):
    spool = Spool(path, BOOT)
    before = spool.session
    spool.start()
    spool.put(wave())
    wait_for(lambda: spool.written)
    tries = []

    def no_room_yet(*where):
        tries.append(where)
        if len(tries) == 1:
            raise SpoolFullError("no space left")
        return open_or_set_aside(*where)

    def broken(_entries):
        raise SpoolCorruptError("malformed")

    monkeypatch.setattr("vitalwire_edge.spool.spool.open_or_set_aside", no_room_yet)
    monkeypatch.setattr(spool._file, "append", broken)
    spool.put(alarm())
    wait_for(lambda: tries)
    wait_for(lambda: spool.state.problem is not None)
    assert spool.alive()
    assert "no space left" in spool.state.problem
    wait_for(lambda: spool.session != before)
    wait_for(lambda: spool.written)
    wait_for(lambda: spool.state.problem is None)
    assert spool.close() == 0
    assert [row.stream for row in rows(path)] == ["alarm"]
    assert spool.counters["spool_set_aside"] == 1


def test_every_alarm_in_a_long_backlog_is_read(path):
    file = SpoolFile(path, BOOT)
    file.append([alarm() for _ in range(600)])
    file.close()
    reader = SpoolReader(path)
    assert [row.seq for row in reader.every_alarm()] == list(range(600))
    reader.close()


def test_what_waits_to_be_let_go_is_one_transaction(path, monkeypatch):
    spool = Spool(path, BOOT, commit_every_s=0.01)
    for _ in range(20):
        spool.put(wave())
    for low_water in range(1, 21):
        spool.confirm((StreamCommit("d1", "ecg", spool.session, low_water),))
    calls = []
    real = spool._file.confirm
    monkeypatch.setattr(spool._file, "confirm", lambda commits: calls.append(real(commits)))
    spool.start()
    assert spool.close() == 0
    assert calls == [20]
    assert rows(path) == []
