"""Cutting keeps every sample, once, and never joins what does not belong together."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vitalwire_edge.wearable.waveform import BlockCutter


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 120), st.booleans()), max_size=40),
    st.integers(1, 100),
)
def test_every_sample_once(pieces, size):
    cutter = BlockCutter(size)
    blocks, sample, sent = [], 0, []
    for gap, count, lead_off in pieces:
        sample += gap
        values = np.arange(sample, sample + count).astype(np.int16)
        blocks += cutter.push(sample, values, lead_off=lead_off)
        sent += [(n, lead_off) for n in range(sample, sample + count)]
        sample += count
    blocks += cutter.flush()
    got = [(b.first_sample + i, b.lead_off) for b in blocks for i in range(b.samples.size)]
    assert got == sent
    assert all(
        np.array_equal(b.samples, np.arange(b.first_sample, b.first_sample + b.samples.size)) for b in blocks
    )
    assert all(0 < b.samples.size <= size for b in blocks)
    for before, after in pairwise(blocks):
        assert after.after_gap == (after.first_sample != before.first_sample + before.samples.size)


def test_overlap_is_dropped_and_counted():
    cutter = BlockCutter(10)
    cutter.push(0, np.arange(8, dtype=np.int16), lead_off=False)
    blocks = cutter.push(5, np.arange(5, 15, dtype=np.int16), lead_off=False)
    assert [b.samples.tolist() for b in blocks] == [list(range(10))]
    assert cutter.overlapped == 3
    assert cutter.push(2, np.arange(2, 6, dtype=np.int16), lead_off=False) == []
    assert cutter.overlapped == 7
    assert cutter.flush()[0].samples.tolist() == list(range(10, 15))
