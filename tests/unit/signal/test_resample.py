import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitalwire_edge.signal.resample import ANALYSIS_HZ, ResamplerBank, SampleRateError, resample_plan

RATES = (100.0, 125.0, 128.0, 130.0, 250.0, 256.0, 257.0, 360.0, 500.0, 512.0, 1000.0)


@pytest.mark.parametrize("fs_hz", RATES)
@pytest.mark.parametrize("tone_hz", [1.0, 10.0, 30.0])
def test_a_tone_keeps_amplitude_and_phase_at_every_rate(fs_hz: float, tone_hz: float) -> None:
    n = int(4 * fs_hz)
    x = np.sin(2 * np.pi * tone_hz * np.arange(n) / fs_hz).astype(np.float32)
    y = ResamplerBank(1, fs_hz=fs_hz).push(x[None, :])[0]
    expected = np.sin(2 * np.pi * tone_hz * np.arange(y.size) / ANALYSIS_HZ)
    inner = slice(ANALYSIS_HZ // 2, y.size - ANALYSIS_HZ // 2)
    assert y.size > 3.9 * ANALYSIS_HZ
    assert np.abs(y[inner] - expected[inner]).max() < 0.03


@pytest.mark.parametrize("fs_hz", [500.0, 1000.0])
def test_what_would_fold_into_the_ecg_is_stopped(fs_hz: float) -> None:
    folds_to_20_hz = 230.0
    x = np.sin(2 * np.pi * folds_to_20_hz * np.arange(int(3 * fs_hz)) / fs_hz).astype(np.float32)
    y = ResamplerBank(1, fs_hz=fs_hz).push(x[None, :])[0]
    assert np.abs(y[5:]).max() < 0.01


@pytest.mark.parametrize("fs_hz", RATES)
def test_the_look_ahead_is_short(fs_hz: float) -> None:
    assert resample_plan(fs_hz).delay_ms(fs_hz) <= 65.0


@given(
    fs_hz=st.sampled_from(RATES),
    first=st.one_of(st.integers(0, 10_000), st.integers(2**40, 2**40 + 1000)),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
@settings(deadline=None, max_examples=60)
def test_blocks_never_change_the_output(fs_hz: float, first: int, cuts: list[int]) -> None:
    x = np.random.default_rng(1).standard_normal((2, 400)).astype(np.float32)
    whole_bank = ResamplerBank(2, fs_hz=fs_hz, first_sample=first)
    whole = whole_bank.push(x)
    bank = ResamplerBank(2, fs_hz=fs_hz, first_sample=first)
    edges = [0, *sorted(cuts), 400]
    parts = np.concatenate([bank.push(x[:, a:b]) for a, b in itertools.pairwise(edges)], axis=1)
    np.testing.assert_array_equal(parts, whole)
    assert bank.next_index == whole_bank.next_index


def test_the_grid_is_anchored_to_the_device_counter() -> None:
    x = np.random.default_rng(2).standard_normal((1, 2000)).astype(np.float32)
    early = ResamplerBank(1, fs_hz=360.0, first_sample=720)
    late = ResamplerBank(1, fs_hz=360.0, first_sample=720 + 500)
    first = early.next_index
    a, b = early.push(x), late.push(x[:, 500:])
    skip = late.next_index - b.shape[1] - first
    settled = resample_plan(360.0).before + 1
    np.testing.assert_array_equal(a[0, skip + settled :], b[0, settled:])


def test_a_missing_sample_is_missing_at_its_own_place_only() -> None:
    x = np.ones((1, 1000), dtype=np.float32)
    x[0, 500:600] = np.nan
    y = ResamplerBank(1, fs_hz=360.0).push(x)[0]
    position = np.arange(y.size) * 360.0 / ANALYSIS_HZ
    inside = (np.round(position) >= 500) & (np.round(position) < 600)
    np.testing.assert_array_equal(np.isnan(y[5:]), inside[5:])
    np.testing.assert_allclose(y[5:][~inside[5:]], 1.0, atol=1e-6)


@pytest.mark.parametrize("fs_hz", [0.0, 99.0, 1001.0, float("nan")])
def test_an_impossible_rate_is_refused_by_name(fs_hz: float) -> None:
    with pytest.raises(SampleRateError, match="outside 100-1000 Hz"):
        ResamplerBank(1, fs_hz=fs_hz)
