"""What every store promises: all or nothing, once, cut at gaps, and a reason when it cannot."""

import threading
from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored import FS_HZ, MODEL, SECOND_NS, T0, alarm, beats, item, scores, vitals, wave

from vitalwire_cloud.store.interface import Quarantined, SeriesKey, StoreError, StoreUnavailableError
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import ChannelInfo, DeviceBirth, Skip

ECG = int(Code.ECG_I)


def samples_of(store, start_s: float, end_s: float) -> list[tuple[float, int]]:
    segments = store.strip("w-1", ECG, T0 + round(start_s * SECOND_NS), T0 + round(end_s * SECOND_NS))
    return [((s.start_ns - T0) / SECOND_NS, s.samples.size) for s in segments]


def test_a_strip_is_what_was_written_in_the_channels_unit(store):
    store.write([wave(n) for n in range(20)], [])
    (segment,) = store.strip("w-1", ECG, T0 + 5 * SECOND_NS, T0 + 15 * SECOND_NS)
    assert segment.start_ns == T0 + 5 * SECOND_NS
    assert segment.rate_hz == FS_HZ
    assert segment.samples.dtype == np.float32
    np.testing.assert_array_equal(segment.samples, 2.0 * (np.arange(5 * FS_HZ, 15 * FS_HZ) % 1000))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2500), st.integers(0, 2500))
def test_any_strip_holds_exactly_the_samples_of_its_time(shared_store, first, length):
    step_ns = SECOND_NS // FS_HZ
    segments = shared_store.strip("w-1", ECG, T0 + first * step_ns, T0 + (first + length) * step_ns)
    held = np.concatenate([s.samples for s in segments]) if segments else np.zeros(0)
    expected = np.arange(first, min(first + length, 2500))
    np.testing.assert_array_equal(held, 2.0 * (expected % 1000))


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


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(12)))
def test_what_is_committed_does_not_depend_on_the_order(new_store, order):
    with new_store() as store:
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


def test_a_gateway_is_told_of_the_streams_it_asks_for_and_of_no_other(open_store):
    with closing(open_store()) as store:
        store.write([wave(0), wave(2), vitals(0), wave(4, session="s-2")], [])
    with closing(open_store()) as store:
        known = [wave(0).series, wave(0, session="s-2").series]
        absent = SeriesKey("gw-1", "w-9", "ecg", "s-1")
        before = store.held([*known, absent])
        assert [(c.session, c.low_water, c.ranges) for c in before] == [
            ("s-1", 1, ((2, 2),)),
            ("s-2", 0, ((4, 4),)),
        ]
        store.write([wave(1), beats(0, T0)], [])
        assert [(c.stream, c.low_water) for c in store.held([*known, beats(0, T0).series])] == [
            ("ecg", 3),
            ("ecg", 0),
            ("beat", 1),
        ]


def test_quarantine_is_bounded_and_says_how_many_it_dropped(open_store):
    store = open_store(quarantine_rows=5)
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


def test_everything_is_there_after_closing_and_opening_again(open_store):
    store = open_store()
    store.write([wave(n) for n in (0, 1, 3)] + [item(alarm(0, "raised"), "alarm")], [])
    before = (store.audit(), store.committed("gw-1", "s-1"), store.identity(), store.alarm_messages(0, 9))
    store.close()
    store = open_store()
    assert (
        store.audit(),
        store.committed("gw-1", "s-1"),
        store.identity(),
        store.alarm_messages(0, 9),
    ) == before
    assert store.write([wave(3)], []).duplicates == 1
    store.close()


def test_scores_read_back_with_their_model(store):
    store.write([scores(0, T0), scores(1, T0 + 5, None), scores(2, T0 + 9)], [])
    first, abstained = store.scores("w-1", T0, T0 + 9)
    assert (first.score, first.threshold, first.model, first.version) == (3.5, 4.0, MODEL, 2)
    assert (first.shape, first.timing, first.amplitude) == (1.0, 2.0, 0.5)
    assert (abstained.score, abstained.shape) == (None, None)
    again = store.write([scores(0, T0), scores(7, T0)], [])
    assert (again.duplicates, again.conflicts) == (1, 1)
    audit = next(a for a in store.audit() if a.stream == "score")
    assert (audit.messages, audit.duplicated) == (4, 1)


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
