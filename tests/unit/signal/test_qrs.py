from pathlib import Path

import numpy as np
import pytest
import wfdb
from numpy.typing import NDArray

from vitalwire_edge.signal.qrs import LookAheadError, QrsBank
from vitalwire_edge.signal.resample import ResamplerBank
from vitalwire_edge.signal.scoring import DetectionScore, match_beats

BEATS = sorted("NLRBAaJSVrFejnE/fQ?")


def detect(
    x_uv: NDArray[np.float32], fs_hz: float, block: int = 250
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Beats (device samples), decision times (ms) and intervals (s)."""
    resampler = ResamplerBank(1, fs_hz=fs_hz)
    plan = resampler.plan
    bank = QrsBank(1, delay_ms=plan.delay_ms(fs_hz))
    rows = []
    for i in range(0, x_uv.size, block):
        ev = bank.push(resampler.push(x_uv[None, i : i + block]))
        for k in range(ev.counts[0]):
            at = plan.device_sample(float(ev.position[0, k]))
            rows.append(
                (at, (plan.needed_sample(int(ev.decided[0, k])) - at) * 1000 / fs_hz, ev.rr[0, k] / 250)
            )
    table = np.asarray(rows).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def score(truth: NDArray[np.float64], found: NDArray[np.float64], fs_hz: float) -> DetectionScore:
    match = match_beats(truth, found, fs_hz=fs_hz)
    hits = int((match.detected_of >= 0).sum())
    return DetectionScore(hits, truth.size - hits, found.size - hits)


@pytest.mark.parametrize("fs_hz", [100.0, 128.0, 250.0, 360.0, 500.0, 1000.0])
def test_every_beat_is_found_in_time_and_in_place_at_every_rate(ecg_maker, fs_hz: float) -> None:
    x, truth = ecg_maker(fs_hz=fs_hz, seconds=40)
    found, decision_ms, rr_s = detect(x, fs_hz)
    assert found.size == truth.size
    assert np.abs(found - truth).max() * 1000 / fs_hz < 6
    assert decision_ms.max() <= 300
    np.testing.assert_allclose(rr_s[1:], np.diff(truth) / fs_hz, atol=0.01)
    assert np.isnan(rr_s[0])


@pytest.mark.parametrize("rr_s", [0.3, 0.5, 1.0, 2.0])
def test_slow_and_fast_rhythms_are_found(ecg_maker, rr_s: float) -> None:
    x, truth = ecg_maker(fs_hz=250.0, seconds=60, rr_s=rr_s)
    found, _, _ = detect(x, 250.0)
    result = score(truth, found, 250.0)
    assert result.misses == 0
    assert result.extras == 0


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_a_sudden_change_of_amplitude_is_followed(ecg_maker, factor: float) -> None:
    x, truth = ecg_maker(fs_hz=250.0, seconds=120, noise_uv=2)
    x[60 * 250 :] *= factor
    found, _, _ = detect(x, 250.0)
    settled = score(truth[truth > 65 * 250], found[found > 65 * 250], 250.0)
    assert settled.se > 99
    assert settled.ppv > 99


def test_a_burst_of_large_artefacts_does_not_deafen(ecg_maker) -> None:
    x, truth = ecg_maker(fs_hz=250.0, seconds=90)
    rng = np.random.default_rng(3)
    x[20 * 250 : 30 * 250] += (20_000 * np.repeat(rng.standard_normal(100), 25)).astype(np.float32)
    found, _, _ = detect(x, 250.0)
    after = score(truth[truth > 38 * 250], found[found > 38 * 250], 250.0)
    assert after.se == 100
    assert after.ppv == 100


@pytest.mark.parametrize("level_uv", [0.0, 8.0])
def test_silence_has_no_beats(ecg_maker, level_uv: float) -> None:
    x, _ = ecg_maker(fs_hz=250.0, seconds=60)
    flat = (level_uv * np.random.default_rng(4).standard_normal(30 * 250)).astype(np.float32)
    x[30 * 250 :] = flat
    found, _, _ = detect(x, 250.0)
    assert found[found > 31 * 250].size == 0


def test_a_missing_stretch_restarts_without_a_beat_or_an_interval_across_it(ecg_maker) -> None:
    x, _ = ecg_maker(fs_hz=250.0, seconds=40)
    x[20 * 250 : 22 * 250] = np.nan
    found, _, rr_s = detect(x, 250.0)
    assert not np.any((found >= 20 * 250) & (found < 22 * 250))
    first_after = int(np.flatnonzero(found >= 22 * 250)[0])
    assert np.isnan(rr_s[first_after])
    assert np.isfinite(rr_s[first_after + 1])
    assert found[first_after] < 23.2 * 250


def test_streams_of_a_bank_do_not_touch_each_other(ecg_maker) -> None:
    rows = [ecg_maker(fs_hz=250.0, seconds=20, rr_s=0.5 + 0.1 * k, seed=k)[0] for k in range(5)]
    rows[2][2000:2500] = np.nan
    together = QrsBank(5)
    alone = [QrsBank(1) for _ in rows]
    block = np.stack(rows)
    for i in range(0, block.shape[1], 250):
        ev = together.push(np.ascontiguousarray(block[:, i : i + 250]))
        for s, bank in enumerate(alone):
            one = bank.push(np.ascontiguousarray(block[s : s + 1, i : i + 250]))
            n = one.counts[0]
            assert ev.counts[s] == n
            np.testing.assert_array_equal(ev.position[s, :n], one.position[0, :n])


def test_too_much_delay_is_refused() -> None:
    with pytest.raises(LookAheadError, match="ms of delay"):
        QrsBank(1, delay_ms=150)


FLOORS = {"101": 99.5, "108": 94.0, "119": 99.8, "208": 99.2, "223": 99.8, "230": 99.8}


@pytest.mark.parametrize("name", FLOORS)
def test_real_recordings_stay_at_the_measured_accuracy(recordings: Path, name: str) -> None:
    fs_hz = 360.0
    stop = round(15 * 60 * fs_hz)
    record = wfdb.rdrecord(str(recordings / "mitdb" / name), sampto=stop)
    labels = wfdb.rdann(str(recordings / "mitdb" / name), "atr", sampto=stop)
    truth = np.asarray(labels.sample)[np.isin(np.asarray(labels.symbol), BEATS)].astype(np.float64)
    found, decision_ms, _ = detect((record.p_signal[:, 0] * 1000).astype(np.float32), fs_hz)
    result = score(truth[truth < stop - 108], found, fs_hz)
    assert result.f1 >= FLOORS[name], result
    assert decision_ms.max() <= 300
    hit = match_beats(truth, found, fs_hz=fs_hz).detected_of
    error_ms = np.abs(found[hit[hit >= 0]] - truth[hit >= 0]) * 1000 / fs_hz
    assert np.median(error_ms) < 6
