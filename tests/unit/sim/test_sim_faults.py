"""Faults do what they say, and are counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitalwire_edge.wire.frames import Frame, FrameDecoder, Goodbye, Hello, Vitals, Wave
from vitalwire_sim.faults.clock import DRIFT_PPM, DeviceClock
from vitalwire_sim.faults.electrodes import Electrodes
from vitalwire_sim.faults.radio import Radio
from vitalwire_sim.scenario import RadioFaults
from vitalwire_sim.script import Occurrence, Script

FS = 250


def frames(count: int) -> list[Frame]:
    return [
        Frame(n, (n + 1) * 200_000, Wave(0, n * 50, np.full(50, n, dtype=np.int16))) for n in range(count)
    ]


def received(radio: Radio, sent: list[Frame]):
    out = [s for frame in sent for s in radio.send(frame)] + radio.flush()
    decoder = FrameDecoder()
    return out, [f.sequence for f in decoder.feed(b"".join(s.data for s in out))], decoder.counters


def test_a_good_radio_changes_nothing():
    out, sequences, _ = received(Radio(Script(), RadioFaults(), seed=1), frames(200))
    assert sequences == list(range(200))
    assert not any(s.dropped or s.repeated for s in out)


def test_dropped_frames_are_lost_only_inside_the_episode_and_all_counted():
    radio = Radio(Script([Occurrence("frame_drop", 10, 30)]), RadioFaults(), seed=1)
    out, sequences, _ = received(radio, frames(200))
    lost = [s.frame.sequence for s in out if s.dropped]
    assert sorted([*lost, *sequences]) == list(range(200))
    assert 10 < len(lost) < 45
    assert all(10.0 < (n + 1) * 0.2 <= 30.01 for n in lost)


def test_reordered_frames_all_arrive_at_most_three_places_late():
    radio = Radio(Script([Occurrence("frame_reorder", 0, 30)]), RadioFaults(), seed=1)
    _, sequences, _ = received(radio, frames(200))
    assert sorted(sequences) == list(range(200))
    assert sequences != list(range(200))
    assert sequences[155:] == list(range(155, 200))
    late = [max(sequences[: i + 1]) - n for i, n in enumerate(sequences)]
    assert 1 <= max(late) <= 6


def test_corrupt_frames_are_rejected_by_the_crc_and_counted_as_dropped():
    out, sequences, counters = received(Radio(Script(), RadioFaults(corrupt=0.2), seed=2), frames(200))
    broken = [s.frame.sequence for s in out if s.dropped]
    assert len(broken) > 20
    assert sorted([*sequences, *broken]) == list(range(200))
    assert counters.bad_crc >= 0.8 * len(broken)


def test_duplicates_are_byte_for_byte_and_counted():
    out, sequences, _ = received(Radio(Script(), RadioFaults(duplicate=0.2), seed=2), frames(200))
    assert sorted(set(sequences)) == list(range(200))
    assert len(sequences) - 200 == sum(s.repeated for s in out) > 20


def test_hello_and_goodbye_pass_and_flush_what_is_held():
    radio = Radio(
        Script([Occurrence("frame_drop", 0, 9, 2), Occurrence("frame_reorder", 0, 9, 2)]),
        RadioFaults(),
        seed=1,
    )
    for n in range(50):
        (hello,) = radio.send(Frame(n, 1_000_000, Hello("d", 0, ())))[-1:]
        assert hello.data
        assert radio.send(Frame(n, 1_000_000, Goodbye()))[-1].data
    assert radio.flush() == []


@given(st.integers(-500, 500), st.lists(st.floats(0.1, 50), min_size=2, max_size=6), st.floats(0, 300))
def test_the_clock_maps_back_and_forth(ppm, gaps, at_s):
    edges = np.cumsum(gaps)
    plan = Script(Occurrence("clock_drift", a, b) for a, b in zip(edges[:-1:2], edges[1::2], strict=False))
    clock = DeviceClock(ppm, plan)
    assert clock.device_s(clock.true_ns(at_s)) == pytest.approx(at_s, abs=1e-6)
    assert clock.true_ns(at_s + 1) > clock.true_ns(at_s)


def test_the_clock_gains_what_the_script_says():
    clock = DeviceClock(0, Script([Occurrence("clock_drift", 10, 110, strength=2)]))
    assert clock.true_ns(10) == 10_000_000_000
    fast_ns = 100e9 - (clock.true_ns(110) - clock.true_ns(10))
    assert fast_ns == pytest.approx(100e9 * 2 * DRIFT_PPM * 1e-6, rel=0.01)
    assert clock.true_ns(210) - clock.true_ns(110) == pytest.approx(100e9)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=12))
def test_electrode_faults_are_the_same_for_any_cut(sizes):
    plan = Script([Occurrence("motion", 1, 4), Occurrence("lead_off", 3, 6)])
    uv = np.zeros(sum(sizes))
    whole, _ = Electrodes(plan, fs_hz=FS, seed=1).touch(0, uv)
    electrodes, at, pieces = Electrodes(plan, fs_hz=FS, seed=1), 0, []
    for size in sizes:
        pieces.append(electrodes.touch(at, uv[at : at + size])[0])
        at += size
    assert np.allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_motion_disturbs_the_qrs_band_only_while_it_lasts():
    plan = Script([Occurrence("motion", 2, 6)])
    uv, off = Electrodes(plan, fs_hz=FS, seed=1).touch(0, np.zeros(8 * FS))
    assert not off
    assert not uv[: 2 * FS].any()
    assert not uv[6 * FS :].any()
    spectrum = np.abs(np.fft.rfft(uv[2 * FS : 6 * FS])) ** 2
    frequency_hz = np.fft.rfftfreq(4 * FS, 1 / FS)
    assert uv.std() > 200
    assert spectrum[(frequency_hz > 4) & (frequency_hz < 13)].sum() > 0.05 * spectrum.sum()


def test_a_lead_that_is_off_sits_at_the_rail_and_is_flagged():
    plan = Script([Occurrence("lead_off", 2, 6)])
    electrodes = Electrodes(plan, fs_hz=FS, seed=1)
    assert electrodes.touch(0, np.zeros(FS))[1] is False
    uv, off = electrodes.touch(3 * FS, np.zeros(FS))
    assert off is True
    assert uv.min() > 30_000


def test_vitals_frames_are_dropped_too():
    radio = Radio(Script([Occurrence("frame_drop", 0, 1000)]), RadioFaults(), seed=1)
    out = [s for n in range(400) for s in radio.send(Frame(n, n * 1_000_000 + 2000, Vitals(())))]
    assert 60 < sum(s.dropped for s in out) < 140
