"""HRV terms as the Task Force defines them, and gaps that stay gaps."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vitalwire_edge.signal.hrv import (
    DAY_PARTS,
    LEAST_DAY_PARTS,
    DayRecord,
    nn_intervals,
    spectrum,
    variability,
)

Floats = NDArray[np.float64]


def swinging(seconds: float, seed: int = 1) -> tuple[Floats, Floats]:
    """Times and intervals that swing by 30 ms at 0.1 Hz and by 20 ms at 0.25 Hz."""
    rng = np.random.default_rng(seed)
    times, intervals = [0.0], [0.8]
    while times[-1] < seconds:
        swing = 0.03 * np.sin(2 * np.pi * 0.1 * times[-1]) + 0.02 * np.sin(2 * np.pi * 0.25 * times[-1])
        intervals.append(0.8 + swing + rng.normal(0, 0.001))
        times.append(times[-1] + intervals[-1])
    return np.asarray(times[1:]), np.asarray(intervals[1:])


def test_only_intervals_between_normal_beats_that_follow_each_other_count() -> None:
    rr_s = np.array([np.nan, 0.8, 0.5, 1.1, 0.8, np.nan, 0.8])
    normal = np.array([True, True, False, True, True, True, True])
    assert nn_intervals(rr_s, normal).tolist() == [False, True, False, False, True, False, True]


def test_differences_are_not_taken_across_what_is_left_out() -> None:
    time_s = np.arange(1, 201, dtype=np.float64)
    rr_s = np.where(np.arange(200) < 100, 0.8, 1.0)
    nn = np.ones(200, dtype=np.bool_)
    nn[100] = False
    found = variability(time_s, rr_s, nn)
    assert found.rmssd_ms == pytest.approx(0.0, abs=1e-6)
    assert found.sdnn_ms == pytest.approx(np.std(rr_s[nn] * 1000, ddof=1))


def test_too_few_intervals_have_no_variability() -> None:
    time_s, rr_s = swinging(30)
    nn = np.ones(rr_s.size, dtype=np.bool_)
    assert np.isnan(variability(time_s, rr_s, nn).sdnn_ms)
    assert np.isnan(spectrum(time_s, rr_s, nn).lf_hf)
    assert variability(np.empty(0), np.empty(0), np.empty(0, dtype=np.bool_)).count == 0


def test_time_domain_terms_are_those_of_their_definitions() -> None:
    time_s, rr_s = swinging(1500)
    nn = np.ones(rr_s.size, dtype=np.bool_)
    found = variability(time_s, rr_s, nn)
    ms = rr_s * 1000
    steps = np.diff(ms)
    parts = [ms[(time_s - time_s[0]) // 300 == k] for k in range(int((time_s[-1] - time_s[0]) // 300))]
    assert found.count == ms.size
    assert found.mean_nn_ms == pytest.approx(ms.mean())
    assert found.sdnn_ms == pytest.approx(np.std(ms, ddof=1))
    assert found.rmssd_ms == pytest.approx(np.sqrt(np.mean(steps**2)))
    assert found.pnn50_percent == pytest.approx(100 * (np.abs(steps) > 50).mean())
    assert found.sdann_ms == pytest.approx(np.std([part.mean() for part in parts], ddof=1))
    assert found.sdnn_index_ms == pytest.approx(np.mean([part.std(ddof=1) for part in parts]))


def test_band_powers_are_what_was_put_in_also_around_a_gap() -> None:
    time_s, rr_s = swinging(300)
    whole = np.ones(rr_s.size, dtype=np.bool_)
    holed = whole.copy()
    holed[100:180] = False
    for nn, tolerance in ((whole, 0.05), (holed, 0.15)):
        found = spectrum(time_s, rr_s, nn)
        assert found.lf_ms2 == pytest.approx(450.0, rel=tolerance)
        assert found.hf_ms2 == pytest.approx(200.0, rel=tolerance)


def day_of(minutes: int, first: int = 0, record: DayRecord | None = None) -> tuple[DayRecord, list[Floats]]:
    """Minutes of known intervals from minute `first` on, and those of each whole 5 minutes."""
    record = record or DayRecord()
    rng = np.random.default_rng(first)
    parts = []
    for k in range(first, first + minutes):
        if k % 5 == 0:
            parts.append(np.empty(0))
        ms = 800 + 100 * np.sin(k / 200) + rng.normal(0, 30, 70)
        parts[-1] = np.append(parts[-1], ms)
        record.add(60.0 * k + 30.0, ms)
    return record, parts


def test_a_day_is_the_deviation_of_its_means_and_the_mean_of_its_deviations() -> None:
    record, parts = day_of(5 * LEAST_DAY_PARTS)
    assert np.isnan(record.variability().sdann_ms)
    assert record.variability().parts == LEAST_DAY_PARTS - 1
    record.add(300.0 * LEAST_DAY_PARTS, np.empty(0))
    found = record.variability()
    assert found.parts == LEAST_DAY_PARTS
    assert found.sdann_ms == pytest.approx(np.std([part.mean() for part in parts], ddof=1))
    assert found.sdnn_index_ms == pytest.approx(np.mean([part.std(ddof=1) for part in parts]))


def test_a_day_forgets_what_is_older_whether_or_not_anything_came() -> None:
    record, parts = day_of(5 * (DAY_PARTS + 40) + 1)
    found = record.variability()
    assert found.parts == DAY_PARTS
    assert found.sdann_ms == pytest.approx(np.std([part.mean() for part in parts[40:-1]], ddof=1))
    record.add(300.0 * (DAY_PARTS + 40 + 100), np.empty(0))
    assert record.variability().parts == DAY_PARTS - 100
    assert np.isnan(record.variability().sdann_ms)


def test_a_part_with_less_than_half_of_its_time_does_not_count() -> None:
    record = DayRecord()
    record.add(30.0, np.full(186, 800.0))
    record.add(330.0, np.full(188, 800.0))
    record.add(630.0, np.empty(0))
    assert record.variability().parts == 1
