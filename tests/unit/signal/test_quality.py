import itertools
from pathlib import Path

import numpy as np
import pytest
import wfdb

from vitalwire_edge.signal.chain import EcgChain
from vitalwire_edge.signal.quality import band_shares, second_facts

FS_HZ = 360.0
START, STOP = 60 * 360, 180 * 360


@pytest.mark.parametrize("name", ["119", "122", "230"])
@pytest.mark.parametrize("kind", ["em", "ma", "bw"])
def test_quality_falls_as_real_noise_rises(recordings: Path, name: str, kind: str) -> None:
    clean = wfdb.rdrecord(str(recordings / "mitdb" / name), sampfrom=START, sampto=STOP).p_signal[:, 0] * 1000
    noise = wfdb.rdrecord(str(recordings / "nstdb" / kind), sampfrom=START, sampto=STOP).p_signal[:, 0] * 1000
    noise = noise - noise.mean()
    amplitude = np.percentile(clean, 99.5) - np.percentile(clean, 0.5)
    means = []
    for snr_db in (None, 12, 6, 0, -6):
        gain = 0.0 if snr_db is None else amplitude / np.sqrt(8) / noise.std() * 10 ** (-snr_db / 20)
        seconds = EcgChain(fs_hz=FS_HZ).push(0, (clean + gain * noise).astype(np.float32)).seconds
        means.append(float(np.mean([s.quality for s in seconds[10:]])))
    assert means[0] > 0.8, means
    assert means[-1] < 0.4, means
    assert all(b <= a + 0.03 for a, b in itertools.pairwise(means)), means


def test_band_shares_tell_qrs_power_from_muscle_and_baseline() -> None:
    t = np.arange(1000) / 250
    tone = {hz: np.sin(2 * np.pi * hz * t).astype(np.float32) for hz in (0.5, 10, 30)}
    assert band_shares(tone[10])[0] > 0.95
    assert band_shares(tone[30])[0] < 0.05
    assert band_shares(tone[10] + 10 * tone[0.5])[1] < 0.1
    assert band_shares(np.zeros(1000, dtype=np.float32)) == (0.0, 0.0)


def test_a_rail_is_seen_with_and_without_a_known_full_scale() -> None:
    x = (3000 * np.sin(2 * np.pi * np.arange(250) / 50)).astype(np.float32)
    clipped = np.clip(x, -2000, 2000)
    assert not second_facts(x, x, None).saturated
    assert second_facts(clipped, x, None).saturated
    assert second_facts(clipped, x, 2000.0).saturated
    assert not second_facts(clipped, x, 10_000.0).saturated


def test_a_quiet_baseline_is_flat_and_a_small_ecg_is_not(ecg_maker) -> None:
    rng = np.random.default_rng(0)
    quiet = rng.normal(0, 2, 250).astype(np.float32)
    assert second_facts(quiet, quiet, None).flat
    small, _ = ecg_maker(fs_hz=250.0, seconds=3, gain_uv=150.0)
    assert not second_facts(small[250:500], small[250:500], None).flat
