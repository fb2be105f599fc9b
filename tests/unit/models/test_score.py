"""What the score promises: early beats stand out, late ones do not, and a patient's own level is half taken off."""

import numpy as np

from vitalwire_edge.inference.features import CONTEXT
from vitalwire_edge.inference.level import MIN_BEATS, OwnLevel
from vitalwire_edge.inference.score import one_sided, shape_likelihood


def context(**values):
    row = np.zeros((1, len(CONTEXT)), np.float32)
    for name, value in values.items():
        row[0, CONTEXT.index(name)] = value
    return row


def test_rhythm_is_seen_from_one_side():
    late = one_sided(context(rr_before=0.4, rr_after=-0.3, rr_ratio=0.7, rr_change=0.5))
    assert not late.any()
    early = one_sided(context(rr_before=-0.4, rr_after=0.3, rr_ratio=-0.7, rr_change=-0.4, corr_qrs=2.0))
    named = dict(zip(CONTEXT, early[0], strict=True))
    assert np.isclose(named["rr_before"], -0.4)
    assert np.isclose(named["rr_after"], 0.3)
    assert np.isclose(named["rr_ratio"], 0.7)
    assert np.isclose(named["rr_change"], -0.4)
    assert named["corr_qrs"] == 2.0


def test_a_beat_far_from_the_expected_one_is_less_likely_but_no_sample_decides_alone():
    expected, width = np.zeros((1, 200), np.float32), np.zeros((1, 200), np.float32)
    near = shape_likelihood(expected + np.float32(0.5), expected, width)[0]
    far = shape_likelihood(expected + np.float32(2.0), expected, width)[0]
    spike = expected.copy()
    spike[0, 7] = 1e6
    assert 0 < near < far
    assert shape_likelihood(spike, expected, np.full_like(width, -8.0))[0] <= 0.5 * (60 - 8 * 200) + 1e-6


def test_own_level_is_half_of_the_lower_quartile_and_ignores_ectopy():
    quiet = OwnLevel()
    for _ in range(MIN_BEATS):
        assert quiet.relative(4.0) == 4.0
    assert quiet.relative(4.0) == 2.0
    ectopic = OwnLevel().relatives(np.tile([1.0, 9.0, np.nan], 200))
    np.testing.assert_allclose(ectopic[-3:], [0.5, 8.5, np.nan])


def test_own_level_goes_on_after_a_restart():
    scores = np.random.default_rng(2).normal(size=900).tolist()
    straight = OwnLevel()
    first = [straight.relative(s) for s in scores]
    before = OwnLevel()
    for s in scores[:500]:
        before.relative(s)
    after = OwnLevel()
    after.restore(before.values)
    assert [after.relative(s) for s in scores[500:]] == first[500:]
