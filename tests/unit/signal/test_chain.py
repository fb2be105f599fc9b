import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vitalwire_edge.signal.chain import ChainOutput, EcgChain, SampleBlockError, SampleOverlapError

BLOCKS = (1, 7, 36, 250, 3600)


def run(
    x_uv: NDArray[np.float32],
    *,
    fs_hz: float,
    edges: list[int] | None = None,
    block: int = 250,
    first: int = 0,
) -> ChainOutput:
    chain = EcgChain(fs_hz=fs_hz)
    out = ChainOutput([], [], [])
    cuts = edges or [*range(0, x_uv.size, block), x_uv.size]
    for a, b in itertools.pairwise(cuts):
        part = chain.push(first + a, x_uv[a:b])
        out.beats.extend(part.beats)
        out.seconds.extend(part.seconds)
        out.windows.extend(part.windows)
    return out


def assert_same(a: ChainOutput, b: ChainOutput) -> None:
    assert repr(a.beats) == repr(b.beats)  # NaN equals NaN in text, and floats are printed in full
    assert [w.sample for w in a.windows] == [w.sample for w in b.windows]
    for left, right in zip(a.windows, b.windows, strict=True):
        np.testing.assert_array_equal(left.ecg_uv, right.ecg_uv)
        assert (left.reference is None) == (right.reference is None)
        if left.reference is not None and right.reference is not None:
            np.testing.assert_array_equal(left.reference.beat_uv, right.reference.beat_uv)
    for one, two in zip(a.seconds, b.seconds, strict=True):
        assert (one.first_sample, one.valid, one.flat, one.saturated) == (
            two.first_sample,
            two.valid,
            two.flat,
            two.saturated,
        )
        np.testing.assert_array_equal(one.quality, two.quality)
        np.testing.assert_array_equal(one.ecg_uv, two.ecg_uv)


@pytest.fixture(scope="module")
def real_minute(recordings: Path) -> NDArray[np.float32]:
    record = wfdb.rdrecord(str(recordings / "mitdb" / "208"), sampfrom=360 * 60, sampto=360 * 120)
    x = (record.p_signal[:, 0] * 1000).astype(np.float32)
    x[360 * 30 : 360 * 31] = np.nan
    return x


@pytest.fixture(scope="module")
def real_minute_whole(real_minute: NDArray[np.float32]) -> ChainOutput:
    return run(real_minute, fs_hz=360.0, block=real_minute.size, first=12_345)


@pytest.mark.parametrize("block", BLOCKS)
def test_block_size_never_changes_the_output(real_minute, real_minute_whole, block: int) -> None:
    assert len(real_minute_whole.beats) > 80
    assert_same(run(real_minute, fs_hz=360.0, block=block, first=12_345), real_minute_whole)


@given(cuts=st.lists(st.integers(0, 360 * 60), max_size=12))
@settings(deadline=None, max_examples=15)
def test_any_cutting_gives_the_same_output(real_minute, real_minute_whole, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), real_minute.size]
    assert_same(run(real_minute, fs_hz=360.0, edges=edges, first=12_345), real_minute_whole)


@pytest.mark.parametrize("fs_hz", [100.0, 130.0, 250.0, 257.0, 333.0, 500.0, 1000.0])
def test_beats_lie_on_the_r_peaks_in_the_devices_counter(ecg_maker, fs_hz: float) -> None:
    first = 2**40 + 17
    x, truth = ecg_maker(fs_hz=fs_hz, seconds=30)
    out = run(x, fs_hz=fs_hz, first=first)
    samples = np.asarray([b.sample for b in out.beats])
    assert np.all(np.diff(samples) > 0)
    assert np.abs(samples - first - truth).max() * 1000 / fs_hz < 8
    assert all(b.decision_ms <= 300 for b in out.beats)
    later = out.beats[12:]
    assert min(b.reference_corr for b in later) > 0.98
    assert np.isnan(out.beats[0].reference_corr)
    assert np.isnan(out.beats[0].rr_s)
    assert not any(b.wide for b in later)
    assert all(700 < b.amplitude_uv < 1300 for b in later)
    assert min(b.quality for b in later) > 0.9


def test_a_second_is_a_second_of_the_devices_clock(ecg_maker) -> None:
    x, _ = ecg_maker(fs_hz=360.0, seconds=20)
    out = run(x, fs_hz=360.0, first=3600)
    assert [s.first_sample for s in out.seconds] == [3600 + 360 * k for k in range(len(out.seconds))]
    assert len(out.seconds) == 19
    assert all(s.ecg_uv.shape == (250,) for s in out.seconds)
    inner = out.seconds[3:]
    assert all(s.valid and s.analysable and not s.flat and not s.saturated for s in inner)
    assert all(100 < s.rms_uv < 300 for s in inner)


def test_a_gap_is_a_gap(ecg_maker) -> None:
    x, _ = ecg_maker(fs_hz=250.0, seconds=40)
    chain = EcgChain(fs_hz=250.0)
    before = chain.push(0, x[: 250 * 20])
    after = chain.push(250 * 23 + 100, x[250 * 23 + 100 :])
    beats = before.beats + after.beats
    samples = np.asarray([b.sample for b in beats])
    assert not np.any((samples >= 250 * 20) & (samples < 250 * 23 + 100))
    first_after = next(b for b in beats if b.sample > 250 * 23)
    assert np.isnan(first_after.rr_s)
    assert first_after.reference_corr > 0.98, "the reference beat belongs to the patient and survives the gap"
    seconds = before.seconds + after.seconds
    assert [s.first_sample // 250 for s in seconds if not s.valid] == [20, 21, 22, 23]
    assert all(np.isnan(s.ecg_uv).all() for s in seconds if s.first_sample in (250 * 20, 250 * 21, 250 * 22))


@pytest.mark.parametrize("fs_hz", [130.0, 250.0, 360.0, 500.0])
def test_one_lost_second_costs_one_second(ecg_maker, fs_hz: float) -> None:
    x, _ = ecg_maker(fs_hz=fs_hz, seconds=40)
    second = round(fs_hz)
    x[20 * second : 21 * second] = np.nan
    seconds = run(x, fs_hz=fs_hz).seconds
    assert [k for k, s in enumerate(seconds) if not s.valid] == [20]
    for k in (19, 21):
        assert np.abs(seconds[k].ecg_uv).max() < 1500


def test_after_a_gap_the_detector_is_as_new(ecg_maker) -> None:
    x, _ = ecg_maker(fs_hz=250.0, seconds=40, seed=5)
    resumed = EcgChain(fs_hz=250.0)
    resumed.push(0, x[:5000])
    tail = resumed.push(6000, x[6000:])
    fresh = EcgChain(fs_hz=250.0).push(6000, x[6000:])
    assert [(b.sample, b.quality) for b in tail.beats] == [(b.sample, b.quality) for b in fresh.beats]


def test_a_long_gap_costs_no_more_than_a_minute_of_seconds(ecg_maker) -> None:
    x, _ = ecg_maker(fs_hz=250.0, seconds=10)
    chain = EcgChain(fs_hz=250.0)
    chain.push(0, x)
    out = chain.push(2**50, x)
    assert 55 <= len([s for s in out.seconds if not s.valid]) <= 64
    assert [b.sample >= 2**50 for b in out.beats].count(True) >= 10


def test_lead_off_is_said_and_nothing_is_detected_in_it(ecg_maker) -> None:
    x, _ = ecg_maker(fs_hz=250.0, seconds=40)
    chain = EcgChain(fs_hz=250.0)
    outs = [chain.push(i, x[i : i + 250], lead_off=2500 <= i < 5000) for i in range(0, x.size, 250)]
    seconds = [s for o in outs for s in o.seconds]
    off = [s.first_sample for s in seconds if s.lead_off]
    assert off == list(range(2500, 5000, 250))
    assert all(not s.valid and not s.analysable and s.quality == 0 for s in seconds if s.lead_off)
    beats = [b.sample for o in outs for b in o.beats]
    assert not [b for b in beats if 2500 <= b < 5000]
    assert [b for b in beats if b >= 5000]


def test_flat_and_saturated_seconds_are_still_delivered(ecg_maker) -> None:
    x, _ = ecg_maker(fs_hz=250.0, seconds=40)
    x[250 * 10 : 250 * 15] = 3.0
    x[250 * 20 : 250 * 25] = np.clip(x[250 * 20 : 250 * 25] * 100, -5000, 5000)
    seconds = run(x, fs_hz=250.0).seconds
    assert [s.first_sample // 250 for s in seconds if s.flat] == [10, 11, 12, 13, 14]
    saturated = [s.first_sample // 250 for s in seconds if s.saturated]
    assert set(saturated) == {20, 21, 22, 23, 24}
    assert all(s.valid and s.quality == 0 for s in seconds if s.flat or s.saturated)
    assert len(seconds) == 39


def test_wide_ectopic_beats_stand_out(ecg_maker) -> None:
    fs_hz = 250.0
    x, _ = ecg_maker(fs_hz=fs_hz, seconds=60, gain_uv=1000)
    t = np.arange(x.size) / fs_hz
    ectopic = [20.33, 35.12, 48.4]
    for at in ectopic:
        near = np.abs(t - at) < 0.45
        x[near] = 0
        x += (-1500 * np.exp(-0.5 * ((t - at) / 0.045) ** 2)).astype(np.float32)
    out = run(x, fs_hz=fs_hz)
    found = [b for b in out.beats if any(abs(b.sample / fs_hz - at) < 0.1 for at in ectopic)]
    assert len(found) == 3
    assert all(b.wide and b.reference_corr < 0.5 for b in found)


def test_after_a_long_tachycardia_the_patients_own_beats_are_known_at_once(ecg_maker) -> None:
    own, _ = ecg_maker(fs_hz=250.0, seconds=60.0)
    t = np.arange(90 * 250) / 250.0
    phase = (t % (1 / 3)) - 1 / 6
    wide = -1600 * np.exp(-0.5 * (phase / 0.045) ** 2) + 700 * np.exp(-0.5 * ((phase - 0.1) / 0.03) ** 2)
    out = EcgChain(fs_hz=250.0).push(0, np.concatenate((own, wide.astype(np.float32), own)))
    run = [b.wide for b in out.beats if 62 * 250 < b.sample < 148 * 250]
    assert len(run) > 200
    assert all(run)
    assert all(b.reference_corr > 0.95 for b in out.beats if b.sample > 151 * 250)
    after = [s for s in out.seconds if s.first_sample >= 156 * 250]
    assert len(after) > 50
    assert all(s.analysable for s in after)


@pytest.mark.parametrize("back", [1, 250, 2500])
def test_a_block_that_overlaps_is_refused_and_nothing_is_lost(ecg_maker, back: int) -> None:
    x, _ = ecg_maker(fs_hz=250.0, seconds=20)
    chain = EcgChain(fs_hz=250.0)
    chain.push(0, x[:2500])
    with pytest.raises(SampleOverlapError, match=f"sample {2500 - back} overlaps what ended at 2500"):
        chain.push(2500 - back, x[:250])
    assert chain.next_sample == 2500
    assert chain.push(2500, x[2500:]).beats


def test_a_block_of_the_wrong_shape_is_refused() -> None:
    chain = EcgChain(fs_hz=250.0)
    with pytest.raises(SampleBlockError, match="one-dimensional"):
        chain.push(0, np.zeros((2, 10), dtype=np.float32))
    with pytest.raises(SampleBlockError, match="at sample -1"):
        chain.push(-1, np.zeros(10, dtype=np.float32))


def test_infinite_and_absurd_samples_do_no_lasting_harm(ecg_maker) -> None:
    x, truth = ecg_maker(fs_hz=250.0, seconds=40)
    x[2500:2510] = np.inf
    x[3000] = 1e30
    out = run(x, fs_hz=250.0)
    late = [b.sample for b in out.beats if b.sample > 250 * 20]
    assert len(late) == int((truth > 250 * 20).sum())


def test_memory_stays_bounded(ecg_maker) -> None:
    x, _ = ecg_maker(fs_hz=250.0, seconds=60)
    chain = EcgChain(fs_hz=250.0)
    for k in range(10):
        for i in range(0, x.size, 250):
            chain.push(k * x.size + i, x[i : i + 250])
    assert chain._raw.until(chain._raw.end).size < 250 * 16
    assert chain._ecg.until(chain._ecg.end).size < 250 * 16
    assert len(chain._waiting) < 5


KERNELS_AFTER_WARMING = """
import sys
import numpy as np
from vitalwire_edge.signal.chain import EcgChain, warm

def kernels():
    modules = [m for name, m in sorted(sys.modules.items()) if name.startswith("vitalwire_edge.signal.")]
    return {
        f"{m.__name__}.{name}": len(x.signatures)
        for m in modules for name, x in vars(m).items() if hasattr(x, "signatures")
    }

warm()
warmed = kernels()
assert sum(warmed.values()) > 0
x = np.load(sys.argv[1])
for fs_hz in (125.0, 250.0, 360.0, 500.0):
    chain = EcgChain(fs_hz=fs_hz)
    for i in range(0, x.size // 2, 100):
        chain.push(i, x[i : i + 100])
    assert chain.push(x.size // 2 + 5000, x[x.size // 2 :]).beats
later = {name for name, n in kernels().items() if n != warmed.get(name)}
assert not later, f"compiled while a patient waits: {later}"
"""


def test_after_warming_nothing_is_compiled_any_more(ecg_maker, tmp_path) -> None:
    x, _ = ecg_maker(fs_hz=250.0, seconds=40)
    np.save(tmp_path / "ecg.npy", x)
    # A process of its own: the other tests have compiled everything in this one.
    done = subprocess.run(
        [sys.executable, "-c", KERNELS_AFTER_WARMING, str(tmp_path / "ecg.npy")],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
