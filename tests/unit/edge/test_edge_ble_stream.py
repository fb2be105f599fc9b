"""Minutes of a strap's stream, its own clock and rate included, through the pipeline of every wearable."""

from itertools import pairwise

import ble_captures as captures
import numpy as np
import pytest
from test_edge_wearable import START, Bed

from vitalwire_edge.sources.ble import heart_rate, polar
from vitalwire_edge.sources.ble.translation import Translation
from vitalwire_edge.wearable.reorder import Timed
from vitalwire_edge.wire.codes import Code

NS = 1_000_000_000
BLOCK_NS = 560_808_939
"""From one captured notification to the next: the strap's 130 Hz is 130.17 Hz."""


class Strap:
    """Sends the captured blocks again and again, its clock going on; arrivals are late by up to 60 ms."""

    def __init__(self, bed):
        self.bed = bed
        self.translation = Translation("chest-1", 7)
        self.rng = np.random.default_rng(3)
        self.true_ns = START
        self.clock_ns = int.from_bytes(captures.POLAR_ECG[0][1:9], "little")
        self.sent = 0
        self.at = []

    def connect(self):
        hello = self.translation.hello(self.true_ns, ecg=True)
        self.bed.now_ns = self.true_ns
        if self.bed.wearable.connected:
            self.bed.wearable.leave("closed")
        self.bed.wearable.greet(Timed(self.true_ns, hello))

    def block(self, *, heard=True):
        self.true_ns += BLOCK_NS
        self.clock_ns += BLOCK_NS
        captured = captures.POLAR_ECG[self.sent % 2]
        self.sent += 1
        if not heard:
            return
        arrival_ns = self.true_ns + int(self.rng.uniform(3e6, 60e6))
        block = polar.ecg_block(captured[:1] + self.clock_ns.to_bytes(8, "little") + captured[9:])
        frame = self.translation.ecg(arrival_ns, block)
        self.at.append((frame.payload.first_sample + 73, self.true_ns))
        rate = heart_rate.heart_rate_measurement(captures.POLAR_H7)
        for said in (frame, self.translation.heart_rate(arrival_ns, rate, Code.HEART_RATE)):
            self.bed.now_ns = arrival_ns
            self.bed.wearable.take(Timed(arrival_ns, said))
        self.bed.wearable.tick(arrival_ns)


@pytest.fixture
def strap():
    bed = Bed()
    made = Strap(bed)
    made.connect()
    return made


def stored(bed):
    return [entry for entry in bed.entries if entry.stream == "ecg"]


def test_nothing_is_dropped_and_the_times_are_right(strap):
    for _ in range(120):
        strap.block()
    strap.bed.wearable.flush()
    assert strap.bed.wearable.losses() == {}
    assert sum(entry.samples for entry in stored(strap.bed)) == 120 * 73
    ends = dict(strap.at)
    late_ms = [
        (entry.mono_ns - np.interp(entry.message.first_sample, list(ends), list(ends.values()))) / 1e6
        for entry in stored(strap.bed)[10:]
    ]
    assert max(late_ms) - min(late_ms) < 40
    assert -5 < np.median(late_ms) < 60
    rates = [m.values[0].value for m in strap.bed.of("vitals")]
    assert set(rates) == {60.0}


def test_lost_notifications_and_a_new_clock_are_gaps_of_their_length(strap):
    for number in range(60):
        strap.block(heard=number not in (20, 21, 22))
    strap.true_ns += 10 * NS
    strap.clock_ns = 1_000_000
    strap.connect()
    for _ in range(40):
        strap.block()
    strap.bed.wearable.flush()
    blocks = stored(strap.bed)
    assert sum(entry.samples for entry in blocks) == 97 * 73
    assert "impossible_counter" not in strap.bed.wearable.losses()
    jumps = [
        (b.mono_ns - (a.mono_ns + a.samples * NS // 130)) / 1e9
        for a, b in pairwise(blocks)
        if b.message.first_sample != a.message.first_sample + a.samples
    ]
    assert jumps == [pytest.approx(3 * 0.5608, abs=0.1), pytest.approx(10.0, abs=0.2)]
    assert {entry.message.device_boot for entry in blocks} == {7}


def test_after_an_hour_away_the_counter_begins_again(strap):
    for _ in range(40):
        strap.block()
    strap.true_ns += 3600 * NS
    strap.connect()
    for _ in range(40):
        strap.block()
    strap.bed.wearable.flush()
    blocks = stored(strap.bed)
    assert strap.bed.wearable.losses() == {}
    assert sum(entry.samples for entry in blocks) == 80 * 73
    assert {entry.message.device_boot for entry in blocks} == {7, 8}
    first = next(entry for entry in blocks if entry.message.device_boot == 8)
    assert first.message.first_sample == 0
    assert (first.mono_ns - START) / NS == pytest.approx(3600 + 40 * BLOCK_NS / NS, abs=0.2)
