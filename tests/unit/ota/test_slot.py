"""A swap happens between two beats; every beat is scored by one whole model or counted as missed."""

import threading
import time

import pytest

from vitalwire_edge.ota.slot import Conduct, Loaded, ModelSlot


def loaded(name: str, version: int, slow_us: float = 1e9) -> Loaded[str]:
    return Loaded(name, f"{version:064x}", version, slow_us)


def beat(slot: ModelSlot[str]) -> str | None:
    with slot.lease() as at_work:
        return None if at_work is None else at_work.model


def test_without_a_model_a_beat_is_missed_and_counted():
    slot = ModelSlot()
    assert beat(slot) is None
    assert slot.conduct == Conduct(beats=1, missed=1)


def test_a_swap_changes_the_model_and_the_generation_and_tells_what_the_old_one_did():
    slot = ModelSlot()
    slot.swap(loaded("a", 1))
    first = slot.loaded.generation
    assert beat(slot) == "a"
    slot.abstain()
    assert slot.swap(loaded("b", 2)) == Conduct(beats=2, scored=1, abstained=1)
    assert beat(slot) == "b"
    assert slot.loaded.generation > first
    assert slot.conduct == Conduct(beats=1, scored=1)
    assert slot.beats_missed_in_swap == 0


def test_a_beat_in_progress_ends_with_the_model_it_began_with():
    slot = ModelSlot()
    slot.swap(loaded("a", 1))
    inside, go_on = threading.Event(), threading.Event()
    seen = []

    def score():
        with slot.lease() as at_work:
            inside.set()
            assert go_on.wait(5)
            seen.append((at_work.model, slot.loaded.model))

    scorer = threading.Thread(target=score)
    swapper = threading.Thread(target=slot.swap, args=(loaded("b", 2),))
    scorer.start()
    assert inside.wait(5)
    swapper.start()
    swapper.join(0.05)
    assert swapper.is_alive()
    go_on.set()
    scorer.join(5)
    swapper.join(5)
    assert seen == [("a", "a")]
    assert slot.loaded.model == "b"


def test_beats_that_find_no_model_during_a_swap_are_told_until_the_first_scored_one():
    slot = ModelSlot(patience_s=0.001)
    slot.swap(None)
    assert [beat(slot), beat(slot)] == [None, None]
    assert slot.beats_missed_in_swap == 2
    slot.swap(loaded("a", 1))
    assert slot.beats_missed_in_swap == 0
    with slot.lease():
        other = threading.Thread(target=beat, args=(slot,))
        other.start()
        other.join(5)
    assert slot.beats_missed_in_swap == 1
    beat(slot)
    assert slot.beats_missed_in_swap == 1


def test_errors_and_slow_beats_are_counted_and_errors_go_on():
    ticks = iter([0, 5_000, 10_000, 500_000])
    slot = ModelSlot(clock_ns=lambda: next(ticks))
    slot.swap(loaded("a", 1, slow_us=100))
    beat(slot)
    beat(slot)
    slot._clock_ns = lambda: 0
    with pytest.raises(ZeroDivisionError), slot.lease():
        raise ZeroDivisionError
    assert slot.conduct == Conduct(beats=3, scored=2, slow=1, failed=1)


def test_swapping_while_scoring_at_full_speed_misses_nothing():
    slot = ModelSlot(patience_s=2.0)
    slot.swap(loaded("0", 1))
    stop = threading.Event()
    scored: list[str] = []

    def score():
        while not stop.is_set():
            scored.append(beat(slot))
            stop.wait(0.0001)

    scorer = threading.Thread(target=score)
    scorer.start()
    told = []
    for number in range(1, 60):
        slot.swap(loaded(str(number), number + 1))
        until = time.monotonic() + 10
        while scored[-1:] != [str(number)]:
            assert time.monotonic() < until, f"model {number} never scored"
            stop.wait(0.0005)
        told.append(slot.beats_missed_in_swap)
    stop.set()
    scorer.join(5)
    assert None not in scored
    assert set(told) == {0}
    assert [int(name) for name in scored] == sorted(int(name) for name in scored)
