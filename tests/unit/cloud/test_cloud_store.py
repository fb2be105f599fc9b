"""What the embedded store promises: all or nothing, once, cut at gaps, and a reason when it cannot."""

import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import FS_HZ, SECOND_NS, T0, beats, scores, wave

from vitalwire_cloud.store import schema
from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.interface import StoreError, StoreUnavailableError
from vitalwire_cloud.store.ranges import RangeSet
from vitalwire_cloud.store.reading import FILE_NAME, StoreReader
from vitalwire_edge.wire.codes import Code

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
    with pytest.raises(StoreError, match="install that version"):
        EmbeddedStore(newer)


def test_an_older_file_is_brought_up_to_date_in_one_step(tmp_path):
    first = pytest.MonkeyPatch()
    first.setattr(schema, "FORMAT_VERSION", 1)
    old = EmbeddedStore(tmp_path)
    old.write([wave(0), beats(0, T0)], [])
    old.close()
    first.undo()
    with pytest.raises(StoreError, match="start the service once"):
        StoreReader(tmp_path)
    store = EmbeddedStore(tmp_path)
    store.write([scores(0, T0)], [])
    assert [beat.r_ns for beat in store.beats("w-1", T0, T0 + 1)] == [T0]
    assert [score.r_ns for score in store.scores("w-1", T0, T0 + 1)] == [T0]
    assert store.erasures() == []
    assert samples_of(store, 0, 1) == [(0.0, 250)]
    store.close()
