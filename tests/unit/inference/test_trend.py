"""A minute of a lead, whatever the blocks it came in: its intervals, its ectopic beats, and what is kept out."""

import numpy as np
import pytest

from vitalwire_edge.inference.ectopy import (
    NORMAL,
    PREMATURE,
    UNKNOWN,
    VENTRICULAR,
    EctopyCounter,
    classify,
    ectopy_features,
)
from vitalwire_edge.inference.trend import EcgTrend, TrendMinute
from vitalwire_edge.recordings.recording import Recording
from vitalwire_edge.signal.beats import WINDOW, Reference
from vitalwire_edge.signal.chain import EcgChain
from vitalwire_edge.signal.intervals import Unmeasured
from vitalwire_sim.cohort import cohort


@pytest.fixture(scope="module")
def recording() -> Recording:
    return next(cohort(1, seconds=430, seed=7, prefix="t"))


def minutes(recording: Recording, *, block: int = 250, gap: slice | None = None) -> list[TrendMinute]:
    chain, trend = EcgChain(fs_hz=recording.fs_hz), EcgTrend(fs_hz=recording.fs_hz)
    found: list[TrendMinute] = []
    samples = recording.uv.astype(np.float32)
    if gap is not None:
        samples[gap] = np.nan
    for start in range(0, samples.size, block):
        found += trend.push(chain.push(start, samples[start : start + block]))
    return found


@pytest.fixture(scope="module")
def whole(recording: Recording) -> list[TrendMinute]:
    return minutes(recording)


def test_ventricular_beats_are_told_from_normal_ones(recording: Recording, whole: list[TrendMinute]) -> None:
    classes = np.concatenate([minute.classes for minute in whole])
    samples = np.concatenate([minute.samples for minute in whole])
    truth = {beat.sample: beat.symbol for beat in recording.beats}
    at = np.array(list(truth))
    symbols = np.array([truth[int(at[np.argmin(np.abs(at - sample))])] for sample in samples])
    judged = classes != UNKNOWN
    assert judged.mean() > 0.9
    assert (classes[judged & (symbols == "V")] == VENTRICULAR).mean() > 0.95
    assert (symbols[classes == VENTRICULAR] == "V").mean() > 0.95


def test_a_minute_holds_every_beat_once_and_lags_by_its_last_second(whole: list[TrendMinute]) -> None:
    assert [minute.end_sample for minute in whole] == [60 * 250 * k for k in range(1, 8)]
    samples = np.concatenate([minute.samples for minute in whole])
    assert (np.diff(samples) > 0).all()
    for k, minute in enumerate(whole):
        assert (minute.samples // (60 * 250) == k).all()


def test_intervals_hrv_and_burden_of_a_quiet_heart_are_plausible(whole: list[TrendMinute]) -> None:
    last = whole[-1]
    assert last.intervals.why == {}
    assert 110 < last.intervals.pr_ms < 220
    assert 60 < last.intervals.qrs_ms < 125
    assert 300 < last.intervals.qt_ms < 500
    assert 5 < last.variability.sdnn_ms < 80
    assert last.spectrum.lf_hf > 0
    assert whole[3].burden is None
    assert last.burden is not None
    assert 120 < last.burden.ventricular_per_h < 900


def test_the_blocks_do_not_change_what_a_minute_says(recording: Recording) -> None:
    short = Recording(recording.name, recording.lead, recording.fs_hz, recording.uv[: 130 * 250])
    one, other = (minutes(short, block=block) for block in (100, 3600))
    assert len(one) == len(other) == 2
    for a, b in zip(one, other, strict=True):
        assert (a.samples == b.samples).all()
        assert (a.classes == b.classes).all()
        assert a.intervals == b.intervals


def test_what_is_missing_is_neither_measured_nor_counted(recording: Recording) -> None:
    found = minutes(recording, gap=slice(61 * 250, 118 * 250))
    assert found[1].intervals.why["qt"] is Unmeasured.FEW_BEATS
    assert np.isnan(found[1].intervals.qtc_ms)
    assert found[1].samples.size < 8
    assert found[2].intervals.why == {}


def test_a_counter_that_begins_again_begins_a_new_minute(recording: Recording) -> None:
    trend = EcgTrend(fs_hz=250.0)
    samples = recording.uv.astype(np.float32)[: 70 * 250]
    for _ in range(2):
        found = trend.push(EcgChain(fs_hz=250.0).push(0, samples))
        assert [minute.end_sample for minute in found] == [60 * 250]
        assert (np.diff(found[0].samples) > 0).all()


def test_the_first_minute_may_begin_late(recording: Recording) -> None:
    trend = EcgTrend(fs_hz=250.0, phase_s=20)
    found = trend.push(EcgChain(fs_hz=250.0).push(0, recording.uv.astype(np.float32)[: 150 * 250]))
    assert [minute.end_sample for minute in found] == [80 * 250, 140 * 250]
    assert found[0].samples[0] >= 20 * 250


def test_early_beats_of_ones_own_shape_are_premature_in_a_steady_rhythm_only() -> None:
    beat = np.zeros(WINDOW, dtype=np.float32)
    beat[70:81] = np.hanning(11) * 1000
    reference = Reference(beat, np.full(WINDOW, 20, dtype=np.float32), 1000.0, 80)
    steady = np.full(41, 0.8)
    steady[30], steady[31] = 0.55, 1.0
    unsteady = np.random.default_rng(1).uniform(0.5, 1.2, 41)
    unsteady[30] = 0.55
    for rr_s, expected in ((steady, PREMATURE), (unsteady, NORMAL)):
        found = ectopy_features(
            np.tile(beat, (20, 1)), np.full(20, 80.0), rr_s, np.append(rr_s[22:], 0.8), 21, reference, 80.0
        )
        assert classify(found, rr_s, 21)[9] == expected


def test_patterns_of_ectopic_beats_are_counted_as_they_are_called() -> None:
    n, v = NORMAL, VENTRICULAR
    pattern = [n, n, n, v, v, *[n] * 4, v, v, v, *[n] * 4, *[v, n] * 3, v, *[n] * 4, *[v, n, n] * 3]
    counter = EctopyCounter()
    counter.add(np.array(pattern), seconds=60.0, analysed_s=60.0)
    assert counter.burden() is None
    for _ in range(4):
        counter.add(np.full(len(pattern), n), seconds=60.0, analysed_s=60.0)
    burden = counter.burden()
    assert burden is not None
    beats = 5 * len(pattern)
    assert burden.ventricular_per_h == pytest.approx(12 * pattern.count(v))
    assert burden.couplets_per_h == pytest.approx(12)
    assert burden.runs_per_h == pytest.approx(12)
    assert burden.ventricular_percent == pytest.approx(100 * pattern.count(v) / beats)
    assert burden.bigeminy_percent == pytest.approx(100 * 8 / beats)
    assert burden.trigeminy_percent == pytest.approx(100 * 9 / beats)


def test_an_hour_ago_is_forgotten() -> None:
    counter = EctopyCounter()
    counter.add(np.full(70, VENTRICULAR), seconds=60.0, analysed_s=60.0)
    for _ in range(60):
        counter.add(np.full(70, NORMAL), seconds=60.0, analysed_s=60.0)
    burden = counter.burden()
    assert burden is not None
    assert burden.ventricular_per_h == 0
