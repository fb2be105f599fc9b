import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import wfdb
from numpy.typing import NDArray

from vitalwire_edge.signal.chain import EcgChain, SignalSecond
from vitalwire_edge.signal.quality import (
    ANALYSABLE,
    CONTEXT_S,
    interval_credible,
    qrs_power_share,
    quality_index,
    second_facts,
)

EcgMaker = Callable[..., tuple[NDArray[np.float32], NDArray[np.float64]]]
FS_HZ = 360.0
START, STOP = 60 * 360, 180 * 360


def seconds_of(
    recordings: Path, name: str, kind: str, snrs_db: Sequence[float | None]
) -> list[list[SignalSecond]]:
    """Two minutes of a record with noise of each strength, None for as it is."""
    clean = wfdb.rdrecord(str(recordings / "mitdb" / name), sampfrom=START, sampto=STOP).p_signal[:, 0] * 1000
    noise = wfdb.rdrecord(str(recordings / "nstdb" / kind), sampfrom=START, sampto=STOP).p_signal[:, 0] * 1000
    noise = noise - noise.mean()
    amplitude = np.percentile(clean, 99.5) - np.percentile(clean, 0.5)
    told = []
    for snr_db in snrs_db:
        gain = 0.0 if snr_db is None else amplitude / np.sqrt(8) / noise.std() * 10 ** (-snr_db / 20)
        told.append(EcgChain(fs_hz=FS_HZ).push(0, (clean + gain * noise).astype(np.float32)).seconds[10:])
    return told


def quality_of(ecg_uv: NDArray[np.float32]) -> list[SignalSecond]:
    return EcgChain(fs_hz=250.0).push(0, ecg_uv).seconds


def share_analysable(seconds: Sequence[SignalSecond]) -> float:
    return sum(second.analysable for second in seconds) / len(seconds)


@pytest.mark.parametrize("name", ["119", "122", "230"])
@pytest.mark.parametrize("kind", ["em", "ma"])
def test_quality_falls_as_real_noise_rises(recordings: Path, name: str, kind: str) -> None:
    told = seconds_of(recordings, name, kind, (None, 12, 6, 0, -6))
    means = [float(np.mean([second.quality for second in seconds])) for seconds in told]
    assert means[0] > 0.8, means
    assert means[-1] < 0.4, means
    assert all(b <= a + 0.03 for a, b in itertools.pairwise(means)), means


@pytest.mark.parametrize("name", ["119", "122", "230"])
def test_wander_that_the_filters_remove_keeps_no_model_from_scoring(recordings: Path, name: str) -> None:
    (wandering,) = seconds_of(recordings, name, "bw", (6,))
    assert share_analysable(wandering) > 0.95


@pytest.mark.parametrize("name", ["119", "208"])
def test_ventricular_beats_in_every_shape_of_row_are_scored(recordings: Path, name: str) -> None:
    (clean,) = seconds_of(recordings, name, "em", (None,))
    assert share_analysable(clean) > 0.97


def test_an_interval_is_credible_if_a_heart_can_make_it_and_its_beats_stand_out() -> None:
    assert interval_credible(0.8, 0.74) == 1.0
    assert interval_credible(60 / 180, 0.3) == 1.0
    assert interval_credible(60 / 180, 0.6) < ANALYSABLE
    assert interval_credible(60 / 240, 0.0) > ANALYSABLE
    assert interval_credible(60 / 260, 0.0) < ANALYSABLE


def test_one_wave_too_close_to_a_beat_spoils_the_seconds_that_look_back_on_it(ecg_maker: EcgMaker) -> None:
    clean, r_peaks = ecg_maker(fs_hz=250.0, seconds=16)
    assert all(second.analysable for second in quality_of(clean)[4:])
    hit = clean.copy()
    at = round(r_peaks[10]) + 54
    hit[at - 5 : at + 6] += 1000 * np.hanning(11).astype(np.float32)
    told = [second.analysable for second in quality_of(hit)]
    struck = at // 250
    assert told[4:] == [not struck <= k < struck + CONTEXT_S for k in range(4, len(told))]


def test_without_a_beat_the_signal_is_vouched_for_by_half_at_most(ecg_maker: EcgMaker) -> None:
    clean, _ = ecg_maker(fs_hz=250.0, seconds=4)
    assert quality_index(clean, noise_ratios=[0.1, 0.1], intervals=[]) == 0.5
    assert quality_index(clean, noise_ratios=[0.1, 0.1], intervals=[1.0]) == 1.0
    assert quality_index(clean, noise_ratios=[0.1, 0.1], intervals=[0.2, 1.0]) == 0.2


def test_power_shares_tell_qrs_power_from_muscle_whatever_the_baseline() -> None:
    t = np.arange(1000) / 250
    tone = {hz: np.sin(2 * np.pi * hz * t).astype(np.float32) for hz in (0.5, 10, 30)}
    assert qrs_power_share(tone[10]) > 0.95
    assert qrs_power_share(tone[30]) < 0.05
    assert qrs_power_share(tone[10] + 10 * tone[0.5]) > 0.95
    assert qrs_power_share(np.zeros(1000, dtype=np.float32)) == 0.0


def test_a_rail_is_seen_with_and_without_a_known_full_scale() -> None:
    x = (3000 * np.sin(2 * np.pi * np.arange(250) / 50)).astype(np.float32)
    clipped = np.clip(x, -2000, 2000)
    assert not second_facts(x, x, None).saturated
    assert second_facts(clipped, x, None).saturated
    assert second_facts(clipped, x, 2000.0).saturated
    assert not second_facts(clipped, x, 10_000.0).saturated


def test_a_quiet_baseline_is_flat_and_a_small_ecg_is_not(ecg_maker: EcgMaker) -> None:
    rng = np.random.default_rng(0)
    quiet = rng.normal(0, 2, 250).astype(np.float32)
    assert second_facts(quiet, quiet, None).flat
    small, _ = ecg_maker(fs_hz=250.0, seconds=3, gain_uv=150.0)
    assert not second_facts(small[250:500], small[250:500], None).flat
