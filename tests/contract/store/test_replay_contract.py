"""What was set aside can be tried again in every store: once, in its place, or it stays with its reason."""

import pytest
from stored import SECOND_NS, T0, alarm, item, vitals, wave

from vitalwire_cloud.ingest.replay import every, one, replay
from vitalwire_cloud.store.interface import Quarantined, SeriesKey, StoreError
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import DeviceBirth, encode_data, encode_json

HOUR_NS = 3600 * SECOND_NS


def aside(found, *, placed: bool = True, site: str = "ward", topic: str | None = None) -> Quarantined:
    """`found` as ingest sets it aside."""
    message = found.message
    payload = encode_json(message) if found.stream == "alarm" else encode_data(message)
    place = (found.series, found.seq) if placed else (None, None)
    where = topic or f"v1/{site}/{found.gateway}/{found.device}/{found.stream}"
    return Quarantined(where, payload, "a fault", T0, *place)


def tried(store) -> list[tuple[str, str | None]]:
    return [(o.what, o.reason) for o in replay(store, list(every(store)), max_future_ns=HOUR_NS)]


def test_what_was_set_aside_is_stored_in_its_place_and_only_once(store):
    store.write([wave(0), wave(2)], [aside(wave(1)), aside(item(alarm(0, "raised"), "alarm"))])
    kept = list(every(store))
    assert [q.number for q in kept] == sorted(q.number for q in kept)
    assert one(store, kept[1].number) == kept[1]
    before = store.committed("gw-1", "s-1")
    assert tried(store) == [("stored", None)] * 2
    again = [o.what for o in replay(store, kept, max_future_ns=HOUR_NS)]
    assert again == ["gone", "gone"]
    (segment,) = store.strip("w-1", int(Code.ECG_I), T0, T0 + 5 * SECOND_NS)
    assert segment.samples.size == 750
    assert [a.message.seq for a in store.alarm_messages(0, 9)] == [0]
    assert store.committed("gw-1", "s-1") == before
    assert store.write([wave(1)], []).duplicates == 1
    counts = store.counts()
    assert (counts.quarantined, counts.quarantine_held, counts.quarantine_replayed) == (2, 0, 2)
    assert counts.conflicts == 0


def test_what_came_by_itself_meanwhile_is_known(store):
    store.write([], [aside(vitals(0), placed=False)])
    store.write([vitals(0)], [])
    assert tried(store) == [("known", None)]
    assert len(store.vitals("w-1", T0, T0 + SECOND_NS)) == 1
    assert list(every(store)) == []


def test_what_is_still_wrong_stays_with_its_reason_and_holds_nobody_up(store):
    series = SeriesKey("gw-1", "w-1", "vitals", "s-1")
    store.write(
        [],
        [
            Quarantined("v1/ward/gw-1/w-1/vitals", b"nonsense", "broken", T0, series, 7),
            Quarantined("v1/ward/gw-1/birth", b"{}", "broken", T0),
            aside(vitals(1)),
        ],
    )
    (first, reason), (second, _), third = tried(store)
    assert (first, second, third) == ("refused", "refused", ("stored", None))
    assert reason
    assert [q.reason for q in every(store)] == ["broken", "broken"]
    (number, _) = (q.number for q in every(store))
    assert store.discard(number)
    assert not store.discard(number)
    counts = store.counts()
    assert (counts.quarantined, counts.quarantine_held, counts.quarantine_discarded) == (3, 1, 1)
    (commit,) = store.committed("gw-1", "s-1")
    assert commit.ranges == ((1, 1), (7, 7))


def test_a_birth_is_taken_and_a_second_site_is_not(store):
    birth = DeviceBirth(session="s-1", at_ns=T0, device_boot=0, simulated=True, channels=())
    store.write(
        [],
        [
            Quarantined("v1/ward/gw-1/w-1/birth", encode_json(birth), "a fault", T0),
            aside(vitals(0), site="elsewhere"),
        ],
    )
    (born, _), (other, reason) = tried(store)
    assert (born, other) == ("stored", "refused")
    assert "known at site 'ward'" in reason
    assert [record.device for record in store.devices()] == ["w-1"]


def test_a_store_that_refuses_again_keeps_the_message(store, monkeypatch):
    store.write([], [aside(wave(3))])
    with monkeypatch.context() as patched:

        def refuse(number, found):
            raise StoreError(f"no room for {found.seq} of {number}")

        patched.setattr(store, "replay", refuse)
        assert tried(store) == [("refused", "refused by the store: no room for 3 of 1")]
    assert tried(store) == [("stored", None)]


@pytest.mark.parametrize("open_store", ["embedded"], indirect=True)
def test_a_fault_in_the_middle_of_a_replay_undoes_all_of_it(store):
    store.write([wave(0)], [aside(vitals(0))])
    store._connection.execute(
        "CREATE TRIGGER fault BEFORE INSERT ON vital BEGIN SELECT RAISE(ABORT, 'a fault of the disk'); END"
    )
    ((what, reason),) = tried(store)
    assert what == "refused"
    assert "a fault of the disk" in reason
    assert [q.seq for q in every(store)] == [0]
    store._connection.execute("DROP TRIGGER fault")
    assert tried(store) == [("stored", None)]
    assert [p.value for p in store.vitals("w-1", T0, T0 + SECOND_NS)] == [70.0]
