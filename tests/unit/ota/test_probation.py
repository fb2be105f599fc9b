"""A new model is confirmed on evidence, goes back on evidence, and neither happens by chance or for lack of beats."""

import numpy as np
import pytest

from vitalwire_edge.ota.config import ProbationConfig
from vitalwire_edge.ota.probation import judge
from vitalwire_edge.ota.slot import Conduct

RULES = ProbationConfig()
WELL = Conduct(beats=2000, scored=1800, abstained=200)
LONG_S = 1e4


def test_as_good_as_before_is_confirmed_after_beats_and_time():
    after = Conduct(beats=400, scored=360, abstained=40)
    assert judge(WELL, after, LONG_S, RULES).state == "good"
    assert judge(WELL, after, RULES.seconds - 1, RULES).state == "open"
    assert judge(WELL, Conduct(beats=299, scored=299), LONG_S, RULES).state == "open"


def test_no_beats_are_no_evidence():
    assert judge(WELL, Conduct(), LONG_S, RULES).state == "open"
    assert judge(WELL, Conduct(beats=59, failed=59), LONG_S, RULES).state == "open"


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (Conduct(beats=80, scored=40, failed=40), "failed: 40 of 80"),
        (Conduct(beats=80, missed=80), "failed: 80 of 80"),
        (Conduct(beats=80, scored=80, slow=40), "slow: 40 of 80"),
        (Conduct(beats=80, scored=16, abstained=64), "abstained: 64 of 80"),
    ],
)
def test_clearly_worse_goes_back_early_with_the_figures(after, why):
    verdict = judge(WELL, after, 1.0, RULES)
    assert verdict.state == "worse"
    assert why in verdict.why


def test_without_a_model_before_the_margins_stand_alone():
    assert judge(Conduct(), Conduct(beats=400, scored=400), LONG_S, RULES).state == "good"
    assert judge(Conduct(), Conduct(beats=400, scored=300, failed=100), LONG_S, RULES).state == "worse"


def test_what_was_bad_before_may_be_as_bad_after():
    poor = Conduct(beats=2000, scored=800, abstained=1200)
    assert judge(poor, Conduct(beats=400, scored=160, abstained=240), LONG_S, RULES).state == "good"


def test_chance_sends_few_models_back_that_are_the_same():
    rng = np.random.default_rng(3)
    back = 0
    for _ in range(300):
        draws = rng.random(1200) < 0.3
        for beats in range(60, 1200, 3):
            abstained = int(draws[:beats].sum())
            after = Conduct(beats=beats, scored=beats - abstained, abstained=abstained)
            before = Conduct(beats=1000, scored=700, abstained=300)
            if judge(before, after, 0.0, RULES).state == "worse":
                back += 1
                break
    assert back <= 3
