"""The gateway's UTC: steps counted, small ones slewed, a clock that was never set not believed."""

import time

import pytest

from vitalwire_edge.clock.gateway_clock import (
    EARLIEST_NS,
    LATEST_NS,
    GatewayClock,
    kernel_synchronised,
    wall_offset_ns,
)

NS = 1_000_000_000


class World:
    def __init__(self):
        self.mono = 1_000 * NS
        self.offset = 1_790_000_000 * NS
        self.synchronised = True

    def clock(self, **options):
        return GatewayClock(
            read_offset=lambda: self.offset,
            read_synchronised=lambda: self.synchronised,
            read_mono=lambda: self.mono,
            **options,
        )


def test_a_step_is_taken_over_and_counted():
    world = World()
    clock = world.clock()
    world.offset += 3600 * NS
    world.mono += NS
    clock.poll()
    assert clock.steps == 1
    assert clock.now().utc_ns == world.mono + world.offset


@pytest.mark.parametrize("error", [100_000_000, -100_000_000])
def test_a_small_error_is_slewed_and_time_never_runs_backwards(error):
    world = World()
    clock = world.clock()
    world.offset += error
    before = clock.now().utc_ns
    for _ in range(400):
        world.mono += NS
        clock.poll()
        now = clock.now().utc_ns
        assert now - before == pytest.approx(NS, rel=0.001)
        before = now
    assert clock.steps == 0
    assert abs(clock.offset_ns - world.offset) <= 1_000_000


def test_reading_noise_moves_nothing():
    world = World()
    clock = world.clock()
    before = clock.offset_ns
    world.offset += 900_000
    world.mono += NS
    clock.poll()
    assert clock.offset_ns == before


@pytest.mark.parametrize("wall", [0, EARLIEST_NS - NS, LATEST_NS + NS])
def test_an_impossible_wall_clock_is_not_synchronised_even_if_trusted(wall):
    world = World()
    world.offset = wall - world.mono
    clock = world.clock(trust_system=True)
    assert not clock.synchronised
    world.offset = 1_790_000_000 * NS
    world.mono += NS
    clock.poll()
    assert clock.synchronised
    assert clock.offset_ns == world.offset


def test_becoming_synchronised_drops_what_was_slewed_before():
    world = World()
    world.synchronised = False
    clock = world.clock()
    assert not clock.synchronised
    assert world.clock(trust_system=True).synchronised
    world.synchronised = True
    world.offset += 400_000_000
    world.mono += NS
    clock.poll()
    assert clock.synchronised
    assert clock.offset_ns == world.offset


def test_this_machine_can_be_asked():
    assert kernel_synchronised() in {True, False}
    assert abs(wall_offset_ns() + time.monotonic_ns() - time.time_ns()) < 50_000_000
