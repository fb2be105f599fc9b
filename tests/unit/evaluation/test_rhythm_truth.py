"""Which alarms an annotated recording bears out, on cases that can be counted by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from vitalwire_cloud.evaluation.records import noisy_spans
from vitalwire_cloud.evaluation.rhythm import Tally
from vitalwire_cloud.evaluation.rhythm_truth import (
    AF,
    VF,
    VT,
    Raised,
    Truth,
    rate_is_wrong,
    ventricular_runs,
)

LENGTH_S = 600


def truth(beats_s=(), *, noisy=(), wrong=(), paced=False, **spans):
    marked = np.zeros((2, LENGTH_S), dtype=np.bool_)
    for row, (where) in zip(marked, (noisy, wrong), strict=True):
        for start, end in where:
            row[start:end] = True
    return Truth(
        spans={kind: spans.get(name, []) for name, kind in (("vf", VF), ("vt", VT), ("af", AF))},
        beats_s=np.asarray(beats_s, dtype=np.float64),
        length_s=float(LENGTH_S),
        sinus=np.ones(LENGTH_S, dtype=np.bool_),
        noisy=marked[0],
        wrong_rate=marked[1],
        paced=paced,
    )


def alarm(kind, onset_s, at_s, end_s=None, priority="high"):
    return Raised(kind, priority, onset_s, at_s, at_s + 20 if end_s is None else end_s)


def beats(*parts, start_s=0.0):
    """Times of beats: (rate, how many) after one another."""
    intervals = np.concatenate([np.full(count, 60 / rate) for rate, count in parts])
    return start_s + np.cumsum(intervals)


def test_an_alarm_that_was_open_when_an_episode_began_has_not_met_it():
    known = truth(vt=[(100, 110)])
    early, late = alarm(VT, 80, 82, 120), alarm(VT, 101, 103, 120)
    assert known.bears_out(early) is False
    assert known.bears_out(late) is True
    assert early.overlaps((100, 110))
    assert not early.hits((100, 110))
    assert late.hits((100, 110))


def test_an_alarm_that_comes_when_a_short_run_is_over_speaks_of_it_still():
    known = truth(vt=[(100, 102)])
    assert known.bears_out(alarm(VF, 99, 106)) is True
    assert known.bears_out(alarm(VF, 106, 113)) is False


def test_fibrillation_of_the_atria_is_not_judged_on_paced_records():
    said = alarm(AF, 100, 130, priority="medium")
    assert truth().bears_out(said) is False
    assert truth(af=[(90, 200)]).bears_out(said) is True
    assert truth(paced=True).bears_out(said) is None
    assert truth(af=[(90, 200)], paced=True).bears_out(said) is None
    tally = Tally()
    assert tally.add([said], truth(paced=True)) == []
    assert (tally.true.total(), tally.false.total(), tally.unjudged.total()) == (0, 0, 1)


def test_a_short_tachycardia_is_not_thinned_by_the_rhythm_before_it():
    at = beats((60, 60), (160, 16), (60, 60))
    start = float(at[59])
    said = alarm("extreme_tachycardia", start + 2.7, start + 5.7)
    assert truth(at).bears_out(said) is True
    calm = beats((60, 60), (115, 16), (60, 60))
    assert truth(calm).bears_out(said) is False


@pytest.mark.parametrize(("rate", "expected"), [(43, True), (54, True), (57, False), (75, False)])
def test_a_slow_rate_is_borne_out_within_the_tolerance_of_monitors(rate, expected):
    known = truth(beats((75, 60), (rate, 60)))
    at_s = float(known.beats_s[80])
    assert known.bears_out(alarm("bradycardia", at_s, at_s + 10, priority="medium")) is expected


def test_a_fast_rate_is_borne_out_by_flutter_and_no_longer_by_any_ventricular_run():
    said = alarm("tachycardia", 100, 110, priority="medium")
    assert truth(beats((60, 300)), vf=[(95, 120)]).bears_out(said) is True
    assert truth(beats((105, 600)), vt=[(95, 120)]).bears_out(said) is False


def test_flutter_without_annotated_beats_is_no_asystole():
    at = np.concatenate((np.arange(0, 100.0), np.arange(110.0, 200)))
    said = alarm("asystole", 100, 104)
    assert truth(at).bears_out(said) is True
    assert truth(at, vf=[(99.5, 109)]).bears_out(said) is False


def test_an_unreadable_ecg_is_borne_out_by_noise_marks_or_by_a_wrong_heart_rate():
    said = alarm("ecg_unanalysable", 100, 110, priority="medium")
    assert truth().bears_out(said) is False
    assert truth(noisy=[(95, 106)]).bears_out(said) is True
    assert truth(wrong=[(104, 130)]).bears_out(said) is True
    assert truth(noisy=[(95, 103)]).bears_out(said) is False


def test_a_wrong_heart_rate_that_no_alarm_tells_of_counts_as_missed():
    tally = Tally()
    tally.add([alarm("ecg_unanalysable", 100, 110)], truth(wrong=[(98, 120), (200, 215), (300, 305)]))
    figures = tally.figures()
    assert figures["wrong_rate_episodes"] == 2
    assert figures["wrong_rate_episode_se"] == 0.5


def test_the_heart_rate_is_wrong_beyond_a_tenth():
    at = np.arange(0, LENGTH_S, 0.8)
    assert not rate_is_wrong(at, at, LENGTH_S).any()
    twice = np.sort(np.concatenate((at, at[(at > 200) & (at < 260)] + 0.2)))
    wrong = rate_is_wrong(at, twice, LENGTH_S)
    assert wrong[215:255].all()
    assert not wrong[:200].any()
    none = rate_is_wrong(at, at[(at < 300) | (at > 340)], LENGTH_S)
    assert none[312:338].all()
    assert not rate_is_wrong(at[at < 10], at, LENGTH_S)[60:].any()


def test_a_fusion_beat_within_a_run_does_not_end_it():
    at = np.arange(12) * 0.4
    assert ventricular_runs(at, np.array(list("NNVVFVVNNNNN"))) == [pytest.approx((0.8, 2.4))]
    assert ventricular_runs(at, np.array(list("NNVVNVVNNNNN"))) == []
    assert ventricular_runs(at, np.array(list("NFVVVVFNNNNN"))) == []
    assert ventricular_runs(at, np.array(list("NNVFFVVVNNNN"))) == []


def test_noise_marks_are_read_by_channel():
    note = SimpleNamespace(
        sample=np.array([10, 100, 200, 300, 400, 500]),
        symbol=["~", "~", "N", "~", "~", "~"],
        subtype=np.array([0, 1, 1, 2, 32, -1]),
    )
    assert noisy_spans(note, 0, 600) == ((100, 300), (500, 600))
    assert noisy_spans(note, 1, 600) == ((300, 400), (400, 500), (500, 600))
    assert noisy_spans(note, 0, 5) == ()


def test_false_alarms_are_told_by_kind_and_priority():
    tally = Tally()
    said = [
        alarm("asystole", 100, 104),
        alarm(VT, 201, 203),
        alarm("tachycardia", 100, 110, priority="medium"),
    ]
    wrong = tally.add(said, truth(beats((60, 590)), vt=[(200, 210)]))
    assert [each.kind for each in wrong] == ["asystole", "tachycardia"]
    figures = tally.figures()
    assert figures["false_per_24h"] == pytest.approx(2 * 24 * 6)
    assert figures["false_high_priority_per_24h"] == pytest.approx(144)
    assert figures["false_medium_priority_per_24h"] == pytest.approx(144)
    assert figures["false_tachycardia_per_24h"] == pytest.approx(144)
    assert figures["false_ventricular_tachycardia_per_24h"] == 0
    assert (figures["alarms_true"], figures["vt_ppv"]) == (1, 1)
