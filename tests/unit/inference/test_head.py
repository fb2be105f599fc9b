"""The head that weighs and names beats, tried on patients it never saw."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from vitalwire_cloud.evaluation.naming import figures
from vitalwire_cloud.train.dataset import Patient
from vitalwire_cloud.train.fit_head import fit_head, strangers
from vitalwire_edge.inference.head import (
    ABNORMAL,
    ODDS_RAIL,
    VENTRICULAR,
    Head,
    HeadError,
    HeadParameters,
    odds,
    seen,
    shares,
)
from vitalwire_edge.inference.score import ventricular_first

CENTRES = {"N": 0.0, "S": 5.0, "V": -5.0}


def patient(record, seed, counts):
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(list(counts), list(counts.values())))
    n = label.size
    context = rng.normal(0, 1, (n, 18)).astype(np.float32)
    context[:, 3] += [CENTRES.get(each, 9.0) for each in label]
    empty = np.zeros((n, 4), np.float32)
    return Patient(
        record, record, "", 250.0, 80_000 + np.arange(n) * 200, empty, empty, context, label, np.array([])
    )


def features(of):
    blank = np.zeros(len(of.context))
    return seen((blank, blank, blank), of.context)


TRAIN = [patient(str(k), k, {"N": 300, "S": 20, "V": 25}) for k in range(4)]


def looked(people):
    return [(p, features(p)) for p in people]


@pytest.fixture(scope="module")
def head():
    return fit_head(looked(TRAIN), seed=1)


def test_names_beats_of_a_patient_it_never_saw(head):
    other = patient("9", 9, {"N": 200, "S": 40, "V": 40})
    kept = msgspec.json.decode(msgspec.json.encode(head), type=HeadParameters)
    each = shares(Head(kept).logits(features(other)))
    np.testing.assert_allclose(each.sum(axis=1), 1)
    said = np.array(list("NSVF"))[each.argmax(axis=1)]
    found = figures([(other, said)])
    assert found["accuracy"] > 0.85
    assert found["j_kappa"] > 0.6
    # Nobody in training had a fusion beat, so none is named one.
    assert "F" not in said


def test_odds_are_those_of_the_shares_and_never_certain(head):
    logits = Head(head).logits(features(TRAIN[0]))
    each = shares(logits)
    abnormal = each[:, ABNORMAL:].sum(axis=1)
    ventricular = each[:, VENTRICULAR:].sum(axis=1)
    np.testing.assert_allclose(odds(logits, ABNORMAL), np.log(abnormal / (1 - abnormal)), rtol=1e-6)
    np.testing.assert_allclose(odds(logits, VENTRICULAR), np.log(ventricular / (1 - ventricular)), rtol=1e-6)
    np.testing.assert_array_equal(
        odds(np.array([[9e3, 0.0, 0.0, 0.0], [0.0, 0.0, 9e3, 0.0]]), ABNORMAL), [-ODDS_RAIL, ODDS_RAIL]
    )


def test_for_an_alert_ventricular_beats_come_before_supraventricular_ones():
    context = np.zeros((3, 18), np.float32)
    logits = np.array([[0.0, 6.0, 0.0, 0.0], [0.0, 0.0, 6.0, 0.0], [6.0, 0.0, 0.0, 0.0]])
    supraventricular, ventricular, normal = ventricular_first(np.full(3, 4.0), logits, context)
    assert odds(logits, ABNORMAL)[0] == pytest.approx(odds(logits, ABNORMAL)[1])
    assert ventricular > supraventricular + 5
    assert supraventricular == pytest.approx(normal)


def test_with_too_few_labels_there_is_no_head():
    few = patient("1", 1, {"N": 300, "S": 20, "V": 5})
    assert fit_head(looked([few]), seed=1) is None
    normal = replace(few, label=np.full(few.label.size, "N"))
    assert fit_head(looked([normal]), seed=1) is None
    assert fit_head([], seed=1) is None


def test_every_patient_counts_alike(head):
    many = [*TRAIN[:3], patient("3", 3, {"N": 6000, "S": 400, "V": 500})]
    crowded = fit_head(looked(many), seed=1)
    other = features(patient("9", 9, {"N": 200, "S": 40, "V": 40}))
    ours, theirs = (odds(Head(each).logits(other), ABNORMAL) for each in (head, crowded))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95


def test_the_labelled_weigh_as_much_as_all_that_was_simulated():
    # The simulation has another opinion of what a supraventricular beat is than the labels.
    simulated = [replace(patient(str(k), 20 + k, {"N": 300, "S": 20, "V": 25}), draw=1) for k in range(4)]
    for each in simulated:
        each.context[each.label == "S", 3] -= 5.0
        each.context[each.label == "S", 7] += 6.0
    other = patient("9", 9, {"N": 200, "S": 40, "V": 40})
    found = [
        odds(Head(fit_head(looked(teachers), seed=1)).logits(features(other)), ABNORMAL)[
            other.label == "S"
        ].mean()
        for teachers in (simulated, [*simulated * 3, *TRAIN])
    ]
    assert found[0] < 0 < found[1]


def test_int8_says_nearly_what_float_says(head):
    other = features(patient("9", 9, {"N": 200, "S": 40, "V": 40}))
    small = head.quantised()
    assert small.bytes < head.bytes / 3
    np.testing.assert_allclose(Head(small).logits(other), Head(head).logits(other), atol=0.5)


def test_a_fit_is_reproducible(head):
    assert fit_head(looked(TRAIN), seed=1) == head
    assert fit_head(looked(TRAIN), seed=2) != head


def test_thresholds_rest_on_heads_that_do_not_know_the_patient():
    # One person's supraventricular beats lie where nobody else's do.
    odd = patient("7", 7, {"N": 300, "S": 25, "V": 25})
    odd.context[odd.label == "S", 3] -= 5.0
    odd.context[odd.label == "S", 5] += 6.0
    people = looked([*TRAIN, odd])
    whole = fit_head(people, seed=1)
    own = Head(whole).logits(people[-1][1])
    stranger = strangers(people, people, whole, seed=1)[-1]
    its = odd.label == "S"
    assert odds(own, ABNORMAL)[its].mean() > odds(stranger, ABNORMAL)[its].mean() + 1


def test_layers_that_do_not_fit_are_refused(head):
    first, second, third = head.layers
    with pytest.raises(HeadError, match="layers of the head"):
        Head(msgspec.structs.replace(head, layers=[second, first, third]))
    with pytest.raises(HeadError, match="context features"):
        seen((np.zeros(2), np.zeros(2), np.zeros(2)), np.zeros((2, 17), np.float32))
