"""What joins two networks into a score: with labels, with simulated ectopy alone, or with a parent's heads."""

import numpy as np
import pytest

from vitalwire_cloud.models.beat_sequence import BeatSequence
from vitalwire_cloud.train.dataset import Patient
from vitalwire_cloud.train.joining import Outputs, joined
from vitalwire_edge.inference import features
from vitalwire_edge.inference.features import RHYTHM_FEATURES
from vitalwire_edge.inference.score import ScoreParameters, Scoring
from vitalwire_edge.signal.beats import WINDOW

UNIT = [1.0] * len(features.CONTEXT)
BARE = ScoreParameters(
    preprocessing=features.VERSION,
    centre=[0.0] * len(UNIT),
    width=UNIT,
    one_sided_centre=[0.0] * len(UNIT),
    one_sided_width=UNIT,
    sequence=BeatSequence().weights(),
    view_centre=[0.0] * 3,
    view_width=[1.0] * 3,
    threshold=0.0,
)


def patient(seed, *, labelled=True, draw=0):
    rng = np.random.default_rng([seed, draw])
    label = rng.permutation(np.repeat(["N", "S", "V"], [600, 15, 20]))
    n = label.size
    context = rng.normal(0, 1, (n, len(UNIT))).astype(np.float32)
    context[label == "V", 3] += 6
    context[label == "S", 12] -= 6
    beat = rng.normal(0, 0.1, (n, WINDOW)).astype(np.float32)
    beat[label == "V"] *= 8
    if not labelled:
        label = np.where(label == "N", "N", "Q")
    sample = 80_000 + np.arange(n) * 200
    name = str(seed)
    return Patient(
        name, name, "", 250.0, sample, beat, 0 * beat, context, label.astype("<U1"), np.array([]), draw=draw
    )


def everyone(*, labelled=True, simulated=False):
    found = []
    for one in [patient(seed, labelled=labelled) for seed in range(6)] + [
        patient(seed, draw=1) for seed in range(6) if simulated
    ]:
        blank, timing = np.zeros_like(one.beat), np.zeros((len(one.beat), 2 * RHYTHM_FEATURES), np.float32)
        learned = np.flatnonzero(one.normal & (one.draw == 0))
        found.append(Outputs(one, learned, (blank, blank, timing, timing)))
    return found


@pytest.fixture(scope="module")
def taught():
    return joined(BARE, everyone(), seed=1, parent=None)


def test_with_labels_there_is_a_head_a_decision_and_a_threshold_that_normal_beats_rarely_pass(taught):
    assert taught.labelled_head is not None
    scoring = Scoring(taught)
    for each in everyone():
        one, memory = each.patient, scoring.begin()
        views = scoring.views(one.beat, one.context, each.outputs, memory.history)
        said = scoring.judged(views, one.context, memory)
        late = slice(100, None)
        abnormal = one.label[late] != "N"
        assert (said.score[late] > taught.decision)[abnormal].mean() > 0.9
        assert (said.score[late] > taught.decision)[~abnormal].mean() < 0.02
        assert (said.alert[late] > taught.threshold)[~abnormal].mean() < 0.01


def test_simulated_ectopy_alone_makes_a_head_that_no_label_had_a_part_in():
    others = everyone(labelled=False, simulated=True)
    alone = joined(BARE, others, seed=1, parent=None)
    assert (alone.labelled_head, alone.decision) == (None, None)
    assert alone.best_head == alone.simulated_head is not None
    both = joined(BARE, everyone(simulated=True), seed=1, parent=None)
    assert both.simulated_head == alone.simulated_head != both.labelled_head
    assert both.without_labels().best_head == both.simulated_head
    scoring = Scoring(alone)
    for each in everyone():
        one, memory = each.patient, scoring.begin()
        views = scoring.views(one.beat, one.context, each.outputs, memory.history)
        score = scoring.judged(views, one.context, memory).score[100:]
        abnormal = one.label[100:] != "N"
        assert np.quantile(score[abnormal], 0.1) > np.quantile(score[~abnormal], 0.95)


def test_without_anything_to_teach_them_the_parents_heads_stay():
    taught = joined(BARE, everyone(simulated=True), seed=1, parent=None)
    alone = joined(BARE, everyone(labelled=False), seed=1, parent=None)
    assert (alone.best_head, alone.decision) == (None, None)
    child = joined(BARE, everyone(labelled=False), seed=1, parent=taught)
    assert (child.simulated_head, child.labelled_head) == (taught.simulated_head, taught.labelled_head)
    assert child.decision == taught.decision
    assert child.threshold == pytest.approx(taught.threshold, abs=2.0)


def test_the_same_seed_joins_alike(taught):
    assert joined(BARE, everyone(), seed=1, parent=None) == taught
