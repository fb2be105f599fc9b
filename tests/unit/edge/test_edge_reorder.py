"""Any small shuffle with repeats comes out in order, each once; holes are not waited for forever."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vitalwire_edge.wearable.reorder import Reorder, Timed
from vitalwire_edge.wire.frames import Frame, Goodbye

NS = 1_000_000_000


def timed(sequence, arrival_ns=0):
    return Timed(arrival_ns, Frame(sequence % 2**32, 0, Goodbye()))


def push(reorder, sequences):
    return [t.frame.sequence for s in sequences for t in reorder.push(timed(s))]


@given(st.integers(0, 2**32 - 1), st.integers(0, 500), st.integers(1, 60))
def test_swaps_and_repeats_come_out_in_order(start, seed, count):
    rng = np.random.default_rng(seed)
    keys = np.arange(count) + rng.uniform(0, 6, count)
    order = [0, *(int(i) for i in np.argsort(keys) if i != 0)]
    shuffled = [start + i for i in order for _ in range(1 + int(rng.random() < 0.2))]
    reorder = Reorder(frames=8)
    out = push(reorder, shuffled) + [t.frame.sequence for t in reorder.flush()]
    assert out == [(start + i) % 2**32 for i in range(count)]
    assert reorder.duplicate == len(shuffled) - count
    assert (reorder.late, reorder.missing) == (0, 0)


def test_a_hole_is_given_up_when_too_much_waits():
    reorder = Reorder(frames=3)
    assert push(reorder, [0, 2, 3, 4]) == [0]
    assert push(reorder, [5]) == [2, 3, 4, 5]
    assert reorder.missing == 1
    assert push(reorder, [1]) == []
    assert reorder.late == 1


def test_a_hole_is_given_up_after_a_second():
    reorder = Reorder(hold_ns=NS)
    assert push(reorder, [0, 2]) == [0]
    assert list(reorder.expire(NS - 1)) == []
    assert [t.frame.sequence for t in reorder.expire(NS)] == [2]


def test_a_device_that_counts_anew_is_followed():
    reorder = Reorder()
    assert push(reorder, [1_000_000, 1_000_001]) == [1_000_000, 1_000_001]
    assert push(reorder, [0, 1]) == [0, 1]
    assert reorder.late == 0


def test_a_repeat_is_told_from_a_late_one():
    reorder = Reorder()
    push(reorder, [10, 11, 12])
    push(reorder, [11, 9])
    assert (reorder.duplicate, reorder.late) == (1, 1)
