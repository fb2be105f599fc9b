"""Drift, jitter, late bunches, impossible clocks: the mapping stays close, increasing and continuous."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitalwire_edge.clock.device_clock import SLEW, EnvelopeClock

NS = 1_000_000_000
BLOCK = NS // 5
SAMPLE = NS // 250


def play(
    clock, *, seconds, ppm, jitter_ns, delay_ns=2_000_000, start_x=0, start_y=10**15, seed=0, bunches=()
):
    """Frames every 200 ms of a device whose clock runs `ppm` slow; returns (x, true y, mapped y of each frame)."""
    rng = np.random.default_rng(seed)
    xs, truth, mapped = [], [], []
    last_arrival = 0
    for i in range(int(seconds * 5)):
        x = start_x + i * BLOCK
        y = start_y + round((x - start_x) * (1 + ppm * 1e-6))
        arrival = y + delay_ns + round(abs(rng.standard_normal()) * jitter_ns)
        for since, until in bunches:
            if since <= (x - start_x) / NS < until:
                arrival = max(arrival, start_y + round(until * NS))
        last_arrival = max(last_arrival, arrival)
        assert clock.observe(x, last_arrival)
        xs.append(x)
        truth.append(y)
        mapped.append(clock.map(x))
    return np.array(xs), np.array(truth), np.array(mapped)


@pytest.mark.parametrize("ppm", [-200, -50, 0, 50, 200, 1000])
def test_drift_is_followed_to_a_fraction_of_a_sample(ppm):
    clock = EnvelopeClock()
    _, truth, mapped = play(clock, seconds=180, ppm=ppm, jitter_ns=15_000_000)
    settled = (mapped - truth)[-300:]
    assert np.abs(settled - 2_000_000).max() < 2_500_000
    assert clock.skew_ppm == pytest.approx(ppm, abs=40)


@given(
    ppm=st.floats(-500, 500),
    jitter_ms=st.floats(0, 80),
    seed=st.integers(0, 1000),
    bunch=st.floats(5, 50),
    length=st.floats(0, 8),
)
@settings(max_examples=25, deadline=None)
def test_blocks_stay_in_order_and_contiguous(ppm, jitter_ms, seed, bunch, length):
    clock = EnvelopeClock()
    _, _, mapped = play(
        clock, seconds=60, ppm=ppm, jitter_ns=jitter_ms * 1e6, seed=seed, bunches=[(bunch, bunch + length)]
    )
    steps = np.diff(mapped)
    assert steps.min() > 0
    # A block of 200 ms may be shorter or longer by what the rates allow: far below one sample.
    assert np.abs(steps - BLOCK).max() < SAMPLE / 4


def test_a_bunch_after_a_pause_does_not_move_the_line():
    clock = EnvelopeClock()
    _, truth, mapped = play(clock, seconds=120, ppm=30, jitter_ns=3_000_000, bunches=[(60, 68)])
    assert np.abs((mapped - truth)[150:] - 2_000_000).max() < 3_000_000


def test_a_slow_first_arrival_is_corrected_by_slewing_only():
    clock = EnvelopeClock()
    clock.observe(0, 200_000_000)
    before = clock.map(0)
    for i in range(1, 400):
        clock.observe(i * BLOCK, i * BLOCK + 2_000_000)
        now = clock.map(i * BLOCK)
        assert (now - before) / BLOCK == pytest.approx(1, abs=2 * SLEW + 1e-6)
        before = now
    assert before - 399 * BLOCK < 175_000_000


def test_a_gap_in_the_data_allows_the_jump_that_slewing_would_take_minutes_for():
    clock = EnvelopeClock()
    clock.observe(0, 200_000_000)
    clock.observe(BLOCK, BLOCK + 2_000_000)
    clock.align(2 * BLOCK, not_before_ns=0)
    assert clock.map(2 * BLOCK) == pytest.approx(2 * BLOCK + 2_000_000, abs=100_000)


def test_a_gap_never_jumps_into_what_is_already_told():
    clock = EnvelopeClock()
    clock.observe(0, 200_000_000)
    told = clock.map(BLOCK)
    clock.observe(BLOCK, BLOCK + 2_000_000)
    clock.align(BLOCK + 1, not_before_ns=told)
    assert clock.map(BLOCK + 1) >= told


def test_one_impossible_moment_is_refused_and_a_lasting_one_believed():
    clock = EnvelopeClock()
    play(clock, seconds=10, ppm=0, jitter_ns=0)
    year = 365 * 86400 * NS
    base = 10**15 + 10 * NS
    assert not clock.observe(10 * NS + year, base)
    assert clock.observe(10 * NS + BLOCK, base + BLOCK + 2_000_000)
    answers = [clock.observe(10 * NS + year + i * BLOCK, base + (i + 2) * BLOCK) for i in range(8)]
    assert answers == [False] * 4 + [True] * 4
    assert clock.resets == 1


def test_a_clock_that_starts_at_the_end_of_time_is_as_good_as_any():
    clock = EnvelopeClock()
    start = (2**64 - 10**9) * 1000
    _, truth, mapped = play(clock, seconds=30, ppm=20, jitter_ns=1_000_000, start_x=start)
    assert np.abs(mapped - truth).max() < 10_000_000


def test_a_sample_counter_may_not_lag_its_device():
    clock = EnvelopeClock(late_ns=NS)
    assert clock.observe(0, 0)
    assert clock.observe(NS, NS)
    assert not clock.observe(NS + BLOCK, 5 * NS)
