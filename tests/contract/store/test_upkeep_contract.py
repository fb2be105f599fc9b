"""What every store promises about deleting: what is too old goes, what is erased stays away, minutes are kept."""

import pytest
from stored import FS_HZ, MODEL, SECOND_NS, T0, alarm, beats, item, scores, vitals, wave

from vitalwire_cloud.store.interface import KINDS, Quarantined, SeriesKey
from vitalwire_edge.wire.codes import Code

ECG = int(Code.ECG_I)
MINUTE_NS = 60 * SECOND_NS
BASE = T0 - T0 % MINUTE_NS + MINUTE_NS
END = BASE + 10**6 * SECOND_NS


def fill(store, seconds: int = 10) -> None:
    """Everything that a store keeps, one of each per second from `BASE` on."""
    batch = []
    for n in range(seconds):
        at = BASE + n * SECOND_NS
        of_n = item(alarm(n, "updated", at_ns=at), "alarm")
        batch += [wave(n, start_ns=at), vitals(n, 60.0 + n, time_ns=at), beats(n, at), scores(n, at), of_n]
    store.write(batch, [])


def held(store, start_ns: int = BASE, end_ns: int = END) -> tuple[int, ...]:
    """Waveform samples, numbers, beats, scores and alarms of a span."""
    strips = store.strip("w-1", ECG, start_ns, min(end_ns, start_ns + 3600 * SECOND_NS))
    return (
        sum(s.samples.size for s in strips),
        len(store.vitals("w-1", start_ns, end_ns)),
        len(store.beats("w-1", start_ns, end_ns)),
        len(store.scores("w-1", start_ns, end_ns)),
        len([s for s in store.alarm_messages(0, 999) if start_ns <= s.message.at_ns < end_ns]),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_too_old_goes_and_nothing_else(store, kind):
    fill(store, 130)
    before = held(store)
    store.expire(kind, BASE + 60 * SECOND_NS)
    after = held(store)
    changed = [place for place in range(5) if before[place] != after[place]]
    assert changed == [list(KINDS).index(kind)]
    unit = FS_HZ if kind == "waveform" else 1
    # Blocks that may reach over the limit stay.
    assert before[changed[0]] - after[changed[0]] in (60 * unit, 56 * unit)
    assert held(store, BASE + 60 * SECOND_NS)[1:4] == (70, 70, 70)
    assert store.expire(kind, BASE + 60 * SECOND_NS) == 0


def test_what_expired_stays_committed_and_does_not_come_back(store):
    fill(store, 130)
    for kind in KINDS:
        store.expire(kind, END)
    assert held(store)[:4] == (0, 0, 0, 0)
    assert [c.low_water for c in store.committed("gw-1", "s-1")] == [130] * 5
    assert store.write([wave(3), vitals(3), beats(3, T0)], []).duplicates == 3
    assert held(store)[:4] == (0, 0, 0, 0)


def test_minutes_outlive_their_numbers_and_take_late_ones_in(store):
    fill(store, 130)
    before = store.rollups("w-1", BASE, END)
    assert [(m.count, m.mean) for m in before] == [(60, 89.5), (60, 149.5), (10, 184.5)]
    store.expire("vitals", BASE + 2 * MINUTE_NS)
    assert store.rollups("w-1", BASE, END) == before
    assert len(store.vitals("w-1", BASE, END)) == 10
    store.write([vitals(500, 1000.0, time_ns=BASE + SECOND_NS + 1)], [])
    first, second, _ = store.rollups("w-1", BASE, END)
    assert (first.count, first.high, first.low) == (61, 1000.0, 60.0)
    assert first.mean == pytest.approx((60 * 89.5 + 1000) / 61)
    assert second == before[1]
    store.expire("vitals", BASE + 2 * MINUTE_NS)
    assert store.rollups("w-1", BASE, END)[0] == first


def test_erasing_takes_one_device_in_one_span_and_leaves_a_record(store):
    fill(store, 12)
    store.write([wave(n, start_ns=BASE + n * SECOND_NS, device="w-2") for n in range(12)], [])
    series = SeriesKey("gw-1", "w-1", "ecg", "s-1")
    store.write([], [Quarantined("t", b"secret", "broken", BASE + 4 * SECOND_NS, series, 900)])
    start, end = BASE + 3 * SECOND_NS, BASE + 6 * SECOND_NS
    erasure = store.erase("w-1", start, end, by="dr-x", reason="asked for")
    assert held(store, start, end) == (0, 0, 0, 0, 0)
    assert held(store, BASE, start) == (3 * FS_HZ, 3, 3, 3, 3)
    assert held(store, end) == (6 * FS_HZ, 6, 6, 6, 6)
    (other,) = store.strip("w-2", ECG, BASE, END - 10**6 * SECOND_NS + 60 * SECOND_NS)
    assert other.samples.size == 12 * FS_HZ
    assert store.quarantine(9) == []
    assert {k: v for k, v in erasure.removed.items() if k != "minutes"} == {
        "waveform": 3,
        "vitals": 3,
        "beats": 3,
        "scores": 3,
        "alarms": 3,
        "quarantine": 1,
    }
    assert store.erasures() == [erasure]
    assert (erasure.device, erasure.start_ns, erasure.end_ns, erasure.by) == ("w-1", start, end, "dr-x")
    again = store.write([wave(n, start_ns=BASE + n * SECOND_NS) for n in range(12)], [])
    assert (again.duplicates, again.stored) == (12, [])
    assert held(store, start, end)[0] == 0


def test_a_block_that_reaches_into_the_span_is_erased_whole(store):
    fill(store, 6)
    start = BASE + 2 * SECOND_NS + SECOND_NS // 2
    store.erase("w-1", start, start + SECOND_NS, by="x", reason="y")
    strips = store.strip("w-1", ECG, BASE, BASE + 9 * SECOND_NS)
    assert [((s.start_ns - BASE) / SECOND_NS, s.samples.size) for s in strips] == [(0.0, 500), (4.0, 500)]


def test_the_newest_number_is_the_newest_that_is_left(store):
    fill(store, 10)
    store.erase("w-1", BASE + 5 * SECOND_NS, END, by="x", reason="y")
    assert [v.value for v in store.latest_vitals("w-1")] == [64.0]
    store.erase("w-1", BASE, END, by="x", reason="y")
    assert store.latest_vitals("w-1") == []
    assert store.rollups("w-1", BASE, END) == []
    assert len(store.erasures()) == 2
    assert MODEL not in str(store.scores("w-1", BASE, END))
