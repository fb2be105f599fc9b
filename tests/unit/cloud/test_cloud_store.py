"""What the embedded store promises: all or nothing, once, cut at gaps, and a reason when it cannot."""

import sqlite3
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import FS_HZ, SECOND_NS, T0, alarm, beats, item, vitals, wave

from vitalwire_cloud.store import schema
from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.interface import Quarantined, SeriesKey, StoreError, StoreUnavailableError
from vitalwire_cloud.store.ranges import RangeSet
from vitalwire_cloud.store.reading import FILE_NAME, StoreReader
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import ChannelInfo, DeviceBirth, Skip

ECG = int(Code.ECG_I)


@pytest.fixture
def store(tmp_path):
    opened = EmbeddedStore(tmp_path)
    yield opened
    opened.close()


def samples_of(store, start_s: float, end_s: float) -> list[tuple[float, int]]:
    segments = store.strip("w-1", ECG, T0 + round(start_s * SECOND_NS), T0 + round(end_s * SECOND_NS))
    return [((s.start_ns - T0) / SECOND_NS, s.samples.size) for s in segments]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8)), max_size=30))
def test_ranges_are_the_set_they_stand_for(spans):
    held = RangeSet()
    plain: set[int] = set()
    for first, length in spans:
        held.add(first, first + length)
        plain |= set(range(first, first + length + 1))
    assert {n for first, last in held.ranges() for n in range(first, last + 1)} == plain
    assert held.count() == len(plain)
    assert all(b[0] - a[1] > 1 for a, b in zip(held.ranges(), held.ranges()[1:], strict=False))
    assert held.low_water() == next(n for n in range(100) if n not in plain)
    assert all((n in held) == (n in plain) for n in range(80))
    assert [r for r in held.ranges() if r[0] > held.low_water()] == held.above_low_water()


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match=r"5\.\.4"):
        RangeSet().add(5, 4)


def test_a_strip_is_what_was_written_in_the_channels_unit(store):
    store.write([wave(n) for n in range(20)], [])
    (segment,) = store.strip("w-1", ECG, T0 + 5 * SECOND_NS, T0 + 15 * SECOND_NS)
    assert segment.start_ns == T0 + 5 * SECOND_NS
    assert segment.rate_hz == FS_HZ
    assert segment.samples.dtype == np.float32
    np.testing.assert_array_equal(segment.samples, 2.0 * (np.arange(5 * FS_HZ, 15 * FS_HZ) % 1000))


@settings(deadline=None)
@given(st.integers(0, 2500), st.integers(0, 2500))
def test_any_strip_holds_exactly_the_samples_of_its_time(shared_store, first, length):
    step_ns = SECOND_NS // FS_HZ
    segments = shared_store.strip("w-1", ECG, T0 + first * step_ns, T0 + (first + length) * step_ns)
    held = np.concatenate([s.samples for s in segments]) if segments else np.zeros(0)
    expected = np.arange(first, min(first + length, 2500))
    np.testing.assert_array_equal(held, 2.0 * (expected % 1000))


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    opened = EmbeddedStore(tmp_path_factory.mktemp("store"))
    opened.write([wave(n) for n in range(10)], [])
    yield opened
    opened.close()


def test_a_gap_in_the_sample_counter_cuts_and_jitter_of_the_clock_does_not(store):
    jitter = [0, 3_000_000, -4_000_000, 2_000_000]
    store.write([wave(n, start_ns=T0 + n * SECOND_NS + jitter[n % 4]) for n in range(4)], [])
    store.write([wave(n) for n in range(6, 8)], [])
    assert samples_of(store, -1, 20) == [(0.0, 1000), (6.0, 500)]
    assert store.counts().conflicts == 0


def test_a_restarted_device_begins_a_new_segment(store):
    store.write([wave(0), wave(1, device_boot=1, first_sample=0)], [])
    assert samples_of(store, 0, 5) == [(0.0, 250), (1.0, 250)]


def test_electrodes_off_stand_apart(store):
    store.write([wave(0), wave(1, flags=4), wave(2)], [])
    found = store.strip("w-1", ECG, T0, T0 + 5 * SECOND_NS)
    assert [s.flags for s in found] == [0, 4, 0]


def test_a_strip_longer_than_an_hour_is_refused(store):
    with pytest.raises(StoreError, match="at most 3600 s"):
        store.strip("w-1", ECG, 0, 3601 * SECOND_NS)


def test_the_same_message_twice_changes_nothing(store):
    store.write([wave(0), vitals(0), beats(0, T0), item(alarm(0, "raised"), "alarm")], [])
    before = store.audit()
    result = store.write([wave(0), vitals(0), beats(0, T0), item(alarm(0, "raised"), "alarm")], [])
    assert (result.stored, result.duplicates, result.conflicts) == ([], 4, 0)
    assert store.audit() == before
    assert store.counts().duplicates == 4


def test_the_same_message_twice_in_one_batch_is_stored_once(store):
    result = store.write([wave(0), wave(0)], [])
    assert (len(result.stored), result.duplicates) == (1, 1)


def test_another_sequence_at_the_same_time_is_kept_and_counted(store):
    store.write([wave(0), vitals(0), beats(0, T0)], [])
    other = [wave(7, first_sample=0, start_ns=T0), vitals(7, time_ns=T0), beats(7, T0)]
    result = store.write(other, [])
    assert (len(result.stored), result.conflicts) == (3, 3)
    assert store.counts().conflicts == 3
    found = {a.stream: a for a in store.audit()}
    assert (found["ecg"].samples, found["ecg"].duplicated) == (250, 250)
    assert found["vitals"].duplicated == 1
    assert found["beat"].duplicated == 1


def test_two_sessions_with_the_same_samples_are_found_by_the_audit(store):
    store.write([wave(n) for n in range(4)], [])
    store.write([wave(n, session="s-2") for n in range(4)], [])
    (found,) = store.audit()
    assert (found.messages, found.samples, found.duplicated) == (8, 1000, 1000)


def test_a_boot_number_that_comes_again_later_is_not_a_duplicate(store):
    store.write([wave(0), wave(1, first_sample=0, start_ns=T0 + 3600 * SECOND_NS)], [])
    (found,) = store.audit()
    assert (found.samples, found.duplicated) == (500, 0)
    assert store.counts().conflicts == 0


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(12)))
def test_what_is_committed_does_not_depend_on_the_order(tmp_path_factory, order):
    store = EmbeddedStore(tmp_path_factory.mktemp("order"))
    for n, seq in enumerate(order):
        store.write([wave(seq)], [])
        (commit,) = store.committed("gw-1", "s-1")
        done = set(order[: n + 1])
        assert commit.low_water == next(i for i in range(13) if i not in done)
        assert {i for a, b in commit.ranges for i in range(a, b + 1)} == {
            i for i in done if i > commit.low_water
        }
    assert store.committed("gw-1", "another") == []
    assert samples_of(store, 0, 12) == [(0.0, 3000)]
    store.close()


def test_skips_and_quarantine_count_as_committed_where_their_place_is_known(store):
    series = SeriesKey("gw-1", "w-1", "ecg", "s-1")
    store.write(
        [item(Skip(session="s-1", first=0, last=4, samples=1250, reason="age"), "ecg"), wave(5)],
        [Quarantined("t", b"x", "broken", T0, series, 6), Quarantined("t", b"y", "unknown", T0)],
    )
    (commit,) = store.committed("gw-1", "s-1")
    assert (commit.low_water, commit.ranges) == (7, ())
    assert [(q.payload, q.seq) for q in store.quarantine(10)] == [(b"y", None), (b"x", 6)]
    (found,) = store.audit()
    assert (found.samples, found.skipped) == (250, 1250)


def test_quarantine_is_bounded_and_says_how_many_it_dropped(tmp_path):
    store = EmbeddedStore(tmp_path, quarantine_rows=5)
    for n in range(4):
        store.write([], [Quarantined("t", bytes([n, k]), "r", T0) for k in range(3)])
    assert [q.payload for q in store.quarantine(10)] == [
        b"\x03\x02",
        b"\x03\x01",
        b"\x03\x00",
        b"\x02\x02",
        b"\x02\x01",
    ]
    counts = store.counts()
    assert (counts.quarantined, counts.quarantine_dropped) == (12, 7)
    store.close()


def test_minutes_are_kept_while_numbers_arrive_also_late_ones(store):
    base = T0 - T0 % (60 * SECOND_NS)
    for seq, (offset_s, value) in enumerate([(0, 60.0), (59, 80.0), (60, 100.0), (30, 70.0), (31, None)]):
        store.write([vitals(seq, value, time_ns=base + offset_s * SECOND_NS)], [])
    first, second = store.rollups("w-1", base, base + 120 * SECOND_NS)
    assert (first.count, first.mean, first.low, first.high) == (3, 70.0, 60.0, 80.0)
    assert (second.count, second.mean) == (1, 100.0)
    (latest,) = store.latest_vitals("w-1")
    assert latest.value == 100.0
    points = store.vitals("w-1", base, base + 60 * SECOND_NS)
    assert [p.value for p in points] == [60.0, 70.0, None, 80.0]


def test_beats_read_back_in_order(store):
    store.write([beats(0, T0 + 3 * SECOND_NS, T0 + 4 * SECOND_NS), beats(1, T0)], [])
    assert [b.r_ns - T0 for b in store.beats("w-1", T0, T0 + 4 * SECOND_NS)] == [0, 3 * SECOND_NS]


def test_a_device_is_remembered_by_its_last_birth(store):
    channel = ChannelInfo(code=ECG, name="I", unit="uV", rate_mhz=250_000, scale=2.0)
    for boot in (1, 2):
        birth = DeviceBirth(session="s", at_ns=T0, device_boot=boot, simulated=True, channels=(channel,))
        store.register("ward-3", "gw-1", "w-1", birth)
    (record,) = store.devices()
    assert (record.site, record.gateway, record.device, record.birth.device_boot) == (
        "ward-3",
        "gw-1",
        "w-1",
        2,
    )


def test_a_batch_that_cannot_be_stored_whole_is_not_stored_at_all(store):
    too_big = wave(1, device_boot=2**63)
    with pytest.raises(StoreError) as refused:
        store.write([wave(0), too_big], [])
    assert not isinstance(refused.value, StoreUnavailableError)
    assert store.audit() == []
    assert store.committed("gw-1", "s-1") == []
    assert len(store.write([wave(0)], []).stored) == 1
    assert store.ready() is None


def test_a_full_store_says_so_keeps_what_it_has_and_goes_on_with_room(tmp_path):
    rng = np.random.default_rng(1)
    noise = rng.integers(-30000, 30000, FS_HZ).astype(np.int16)
    store = EmbeddedStore(tmp_path, max_bytes=512 * 1024)
    written = 0

    def fill() -> None:
        nonlocal written
        while written < 5000:
            store.write([wave(written, noise)], [])
            written += 1

    with pytest.raises(StoreUnavailableError, match=r"full.*max_bytes"):
        fill()
    assert store.ready() is not None
    assert store.committed("gw-1", "s-1")[0].low_water == written
    store.close()
    store = EmbeddedStore(tmp_path)
    assert store.ready() is None
    store.write([wave(k, noise) for k in range(written + 5)], [])
    (found,) = store.audit()
    assert (found.samples, found.duplicated) == ((written + 5) * FS_HZ, 0)
    store.close()


def test_a_store_locked_by_somebody_else_is_unavailable_not_broken(store, tmp_path):
    store._connection.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked"):
        store.write([wave(0)], [])
    assert store.ready() is not None
    other.execute("ROLLBACK")
    other.close()
    assert len(store.write([wave(0)], []).stored) == 1
    assert store.ready() is None


def test_one_process_at_a_time_writes_and_anybody_reads(store, tmp_path):
    store.write([wave(0)], [])
    with pytest.raises(StoreUnavailableError, match="one service at a time"):
        EmbeddedStore(tmp_path)
    reader = StoreReader(tmp_path)
    assert reader.audit() == store.audit()
    assert reader.identity() == store.identity()
    with pytest.raises(StoreUnavailableError, match="readonly"), reader._reading() as connection:
        connection.execute("DELETE FROM wave")
    reader.close()
    assert samples_of(store, 0, 1) == [(0.0, 250)]


def test_everything_is_there_after_closing_and_opening_again(tmp_path):
    store = EmbeddedStore(tmp_path)
    store.write([wave(n) for n in (0, 1, 3)] + [item(alarm(0, "raised"), "alarm")], [])
    before = (store.audit(), store.committed("gw-1", "s-1"), store.identity(), store.alarm_messages(0, 9))
    store.close()
    store = EmbeddedStore(tmp_path)
    assert (
        store.audit(),
        store.committed("gw-1", "s-1"),
        store.identity(),
        store.alarm_messages(0, 9),
    ) == before
    assert store.write([wave(3)], []).duplicates == 1
    store.close()


def test_files_of_something_else_and_of_the_future_are_refused(tmp_path):
    foreign = sqlite3.connect(tmp_path / FILE_NAME)
    foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()
    with pytest.raises(StoreError, match="something else"):
        EmbeddedStore(tmp_path)
    newer = tmp_path / "newer"
    EmbeddedStore(newer).close()
    raw = sqlite3.connect(newer / FILE_NAME)
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(StoreError, match="update vitalwire"):
        EmbeddedStore(newer)


def test_an_older_file_is_brought_up_to_date_in_one_step(tmp_path, monkeypatch):
    EmbeddedStore(tmp_path).close()
    monkeypatch.setattr(schema, "FORMAT_VERSION", 2)
    monkeypatch.setitem(
        schema.MIGRATIONS, 1, lambda connection: connection.execute("ALTER TABLE device ADD COLUMN note TEXT")
    )
    with pytest.raises(StoreError, match="start the service once"):
        StoreReader(tmp_path)
    store = EmbeddedStore(tmp_path)
    with store._reading() as connection:
        assert connection.execute("SELECT note FROM device").fetchall() == []
    store.close()


def test_readers_and_the_writer_do_not_wait_for_each_other(store):
    store.write([wave(0)], [])
    failures: list[BaseException] = []
    sizes: list[int] = []

    def read() -> None:
        try:
            for _ in range(40):
                found = samples_of(store, 0, 200)
                sizes.append(sum(size for _, size in found))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(1, 100):
        store.write([wave(n)], [])
    for thread in threads:
        thread.join()
    assert not failures
    assert all(size % 250 == 0 and size > 0 for size in sizes)
    assert samples_of(store, 0, 200) == [(0.0, 25_000)]


def test_alarm_messages_come_in_the_order_they_were_stored(store):
    store.write([item(alarm(n, "updated"), "alarm") for n in (3, 1, 2)], [])
    found = store.alarm_messages(0, 2)
    assert [s.message.seq for s in found] == [3, 1]
    assert [s.message.seq for s in store.alarm_messages(found[-1].position, 9)] == [2]
