"""The head that names beats: learned from labels, tried on patients it never saw."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from vitalwire_cloud.evaluation.naming import figures
from vitalwire_cloud.train.dataset import Patient
from vitalwire_cloud.train.fit_naming import fit_head
from vitalwire_edge.inference.naming import Head, HeadError, HeadParameters, seen

CENTRES = {"N": 0.0, "S": 3.0, "V": -3.0}


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
    return seen(of.context, np.zeros((len(of.context), 8), np.float32))


@pytest.fixture(scope="module")
def head():
    train = [patient(str(k), k, {"N": 300, "S": 20, "V": 25}) for k in range(4)]
    return fit_head(train, [features(p) for p in train])


def test_names_beats_of_a_patient_it_never_saw(head):
    other = patient("9", 9, {"N": 200, "S": 40, "V": 40})
    kept = msgspec.json.decode(msgspec.json.encode(head), type=HeadParameters)
    shares = Head(kept).probabilities(features(other))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    said = np.array(list("NSVF"))[shares.argmax(axis=1)]
    found = figures([(other, said)])
    assert found["accuracy"] > 0.85
    assert found["j_kappa"] > 0.7
    # Nobody in training had a fusion beat, so none is named one.
    assert "F" not in said


def test_with_too_few_labels_there_is_no_head():
    few = patient("1", 1, {"N": 300, "S": 20, "V": 5})
    assert fit_head([few], [features(few)]) is None
    normal = replace(few, label=np.full(few.label.size, "N"))
    assert fit_head([normal], [features(normal)]) is None


def test_a_perfect_naming_has_an_index_of_one():
    one = patient("1", 1, {"N": 30, "S": 20, "V": 5})
    assert figures([(one, one.label)])["j_kappa"] == pytest.approx(1.0)


def test_rows_that_do_not_fit_are_refused(head):
    with pytest.raises(HeadError, match="one length"):
        Head(msgspec.structs.replace(head, weights=[head.weights[0][:-1], *head.weights[1:]]))
    with pytest.raises(HeadError, match="context features"):
        seen(np.zeros((2, 17), np.float32), np.zeros((2, 8), np.float32))
