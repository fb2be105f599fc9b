"""When beats come, and of which class."""

from itertools import pairwise

import numpy as np
import pytest

from vitalwire_edge.synthesis.rhythm import RHYTHMS, RhythmError, plan


def planned(rhythm, seconds=600.0, rate_bpm=70.0, seed=1, **more):
    return plan(rhythm, seconds=seconds, rate_bpm=rate_bpm, rng=np.random.default_rng(seed), **more)


def labels(found):
    return [beat.label for beat in found.beats]


def intervals(found):
    return np.diff([beat.at_s for beat in found.beats])


@pytest.mark.parametrize("rhythm", RHYTHMS)
def test_every_rhythm_fills_the_time_at_about_its_rate(rhythm):
    found = planned(rhythm)
    times = np.array([beat.at_s for beat in found.beats])
    assert (np.diff(times) > 0.2).all()
    assert times[0] < 2
    assert 595 < times[-1] < 602
    if rhythm != "vt":
        assert len(times) / 10 == pytest.approx(70, rel=0.06)
    assert found.rhythms[0] == (0.0, "(N" if rhythm == "vt" else RHYTHMS[rhythm])
    assert planned(rhythm) == found
    assert planned(rhythm, seed=2) != found


def test_sinus_intervals_swing_with_breath_and_pressure():
    rr = intervals(planned("sinus", seconds=1200))
    assert 0.02 < rr.std() / rr.mean() < 0.08
    at = np.cumsum(rr)
    even = np.interp(np.arange(0, at[-1], 0.25), at, rr - rr.mean())
    power, hz = np.abs(np.fft.rfft(even)) ** 2, np.fft.rfftfreq(even.size, 0.25)
    low, high = (power[(hz > a) & (hz < b)].sum() for a, b in ((0.07, 0.13), (0.2, 0.3)))
    assert low + high > 0.8 * power.sum()
    assert 0.2 < low / high < 1.2


def test_a_ventricular_beat_has_a_full_pause_and_a_supraventricular_one_has_not():
    for rhythm, label, pause in (("pvc", "V", 2.0), ("pac", "S", None)):
        found = planned(rhythm)
        rr, kinds = intervals(found), labels(found)
        mean = np.median(rr)
        at = [k for k in range(1, len(kinds) - 1) if kinds[k] == label]
        assert len(at) > 30
        assert (rr[np.array(at) - 1] < 0.9 * mean).all()
        both = np.array([rr[k - 1] + rr[k] for k in at]) / mean
        if pause is not None:
            assert np.median(both) == pytest.approx(pause, abs=0.08)
        else:
            assert np.median(both) < 1.9


def test_patterns_repeat():
    kinds = labels(planned("bigeminy", seconds=60))
    assert all({a, b} == {"N", "V"} for a, b in pairwise(kinds))
    kinds = labels(planned("trigeminy", seconds=60))
    assert kinds[2::3] == ["V"] * len(kinds[2::3])
    assert "V" not in kinds[::3]


def test_fibrillation_is_irregular_without_order():
    rr = intervals(planned("af", rate_bpm=95))
    assert rr.std() / rr.mean() > 0.15
    assert abs(np.corrcoef(rr[:-1], rr[1:])[0, 1]) < 0.1


def test_ventricular_tachycardia_comes_in_marked_runs_that_end():
    found = planned("vt", seconds=60)
    starts = [at for at, name in found.rhythms if name == "(VT"]
    assert starts
    for start in starts:
        end = next((at for at, name in found.rhythms if at > start and name == "(N"), 60)
        run = [beat for beat in found.beats if start <= beat.at_s < end]
        assert len(run) >= 4
        assert {beat.label for beat in run} == {"V"}
        assert 130 < 60 / np.diff([beat.at_s for beat in run]).mean() < 200


def test_shares_are_kept():
    kinds = labels(planned("sinus", seconds=3000, shares={"N": 0.8, "S": 0.05, "V": 0.1, "F": 0.05}))
    for name, share in (("S", 0.05), ("V", 0.1), ("F", 0.05)):
        assert kinds.count(name) / len(kinds) == pytest.approx(share, rel=0.2)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rhythm": "waltz"}, "use one of sinus"),
        ({"rate_bpm": 500}, "use 30 to 180"),
        ({"shares": {"X": 1.0}}, "class X"),
        ({"shares": {"V": 0.7}}, "at most 0.5"),
        ({"shares": {"N": 0.5, "V": 0.1}}, "make it 1"),
        ({"shares": {"V": -0.1}}, "from 0"),
    ],
)
def test_what_cannot_be_made_is_said(wrong, says):
    with pytest.raises(RhythmError, match=says):
        planned(**({"rhythm": "sinus"} | wrong))
