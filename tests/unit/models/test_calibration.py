"""The alert budget holds in every window, whatever the scores are."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitalwire_edge.inference.calibration import (
    ALERT_S,
    LIKE_MARGIN,
    AlertCalibration,
    alert_scores,
    window_limit,
)
from vitalwire_edge.inference.features import CONTEXT


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    budget=st.sampled_from([0.5, 1.0, 3.0, 6.0, 20.0, 60.0]),
    drift=st.floats(-2.0, 2.0),
)
def test_no_window_holds_more_alerts_than_its_limit(seed, budget, drift):
    rng = np.random.default_rng(seed)
    at_s = np.cumsum(rng.uniform(0.3, 1.5, 6000))
    scores = 3 * rng.standard_t(2, at_s.size) + drift * np.arange(at_s.size) / 500
    calibration = AlertCalibration(budget_per_hour=budget, threshold=1.0)
    alerts = [a.at_s for t, s in zip(at_s, scores, strict=True) if (a := calibration.push(t, s))]
    assert alerts
    for first in range(len(alerts)):
        for last in range(first, len(alerts)):
            window_s = alerts[last] - alerts[first]
            if window_s <= 3600:
                assert last - first + 1 <= max(1, window_limit(budget, window_s))
    assert all(b - a >= ALERT_S for a, b in pairwise(alerts))


def test_an_alert_covers_the_beats_after_it_and_is_not_extended():
    calibration = AlertCalibration(budget_per_hour=600, threshold=1.0)
    times = [t for t in range(100) if calibration.push(float(t), 1000.0)]
    assert times == [0, 30, 60, 90]


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        AlertCalibration(budget_per_hour=0, threshold=1.0)


def test_a_beat_like_the_patients_own_must_score_higher_to_alert():
    strange, like = np.zeros(len(CONTEXT), np.float32), np.zeros(len(CONTEXT), np.float32)
    strange[CONTEXT.index("corr_qrs")] = np.arctanh(0.5)
    like[CONTEXT.index("corr_qrs")] = np.arctanh(0.95)
    of_strange, of_like = alert_scores(np.full(2, 5.0), np.stack((strange, like)))
    assert of_strange == 5.0
    assert of_like == 5.0 - LIKE_MARGIN
    calibration = AlertCalibration(budget_per_hour=6, threshold=4.0)
    assert calibration.push(0.0, float(of_like)) is None
    assert calibration.push(1.0, float(of_strange)) is not None
