"""The sequence model: a gateway computes what was trained, weights travel in int8, broken ones are refused."""

import msgspec
import numpy as np
import pytest
import torch

from vitalwire_cloud.models.beat_sequence import BeatSequence, surprise
from vitalwire_cloud.train.checkpoint import Limit
from vitalwire_cloud.train.fit_sequence import Course, fit_sequence
from vitalwire_edge.inference.sequence import (
    FEATURES,
    TOKEN,
    Sequence,
    SequenceWeights,
    SequenceWeightsError,
    checked_by,
)


@pytest.fixture(scope="module")
def tokens():
    return np.random.default_rng(1).normal(0, 1.5, (60, TOKEN)).clip(-8, 8).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return BeatSequence().eval()


@pytest.fixture(scope="module")
def weights(network, tokens):
    return checked_by(network.weights(), tokens[:8])


def test_a_gateway_computes_what_was_trained(network, weights, tokens):
    sequence = Sequence(weights)
    ours = sequence.surprises(tokens, sequence.begin())
    given = torch.from_numpy(tokens[None])
    with torch.inference_mode():
        theirs = surprise(network(given), given[..., FEATURES:])[0].numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_beat_by_beat_and_over_a_restart_it_is_the_same(weights, tokens):
    sequence = Sequence(weights)
    whole = sequence.surprises(tokens, sequence.begin())
    history, single = sequence.begin(), []
    for k in range(len(tokens)):
        if k == 30:
            history = Sequence(weights).resumed(history.packed())
        single.append(sequence.surprises(tokens[k : k + 1], history)[0])
    np.testing.assert_array_equal(whole, single)


@pytest.mark.parametrize("kept", [b"", b"abc", np.full(96, np.nan, "<f4").tobytes(), bytes(4 * 95)])
def test_a_history_of_another_network_begins_anew(weights, kept):
    assert not Sequence(weights).resumed(kept).state.any()


def test_int8_says_nearly_the_same_in_a_quarter_of_the_bytes(weights, tokens):
    small = msgspec.json.decode(msgspec.json.encode(weights.quantised()), type=SequenceWeights)
    assert small.bytes < 0.3 * weights.bytes
    one, other = Sequence(weights), Sequence(small)
    before, after = one.surprises(tokens, one.begin()), other.surprises(tokens, other.begin())
    assert np.abs(before - after).max() < 0.02 * np.ptp(before)


def _with(whole, name, **changes):
    return msgspec.structs.replace(whole, **{name: msgspec.structs.replace(getattr(whole, name), **changes)})


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda w: _with(w, "hidden", weights=w.hidden.weights[:-4]), "holds"),
        (lambda w: _with(w, "token", bias=w.token.bias[:-1]), "biases"),
        (lambda w: _with(w, "token", bias=[float("nan"), *w.token.bias[1:]]), "no numbers"),
        (lambda w: msgspec.structs.replace(w, hidden=w.token), "do not fit"),
        (lambda w: _with(w, "hidden", weights=bytes(len(w.hidden.weights))), "off by"),
        (lambda w: msgspec.structs.replace(w, check=w.check[:-1]), "incomplete"),
    ],
)
def test_broken_weights_are_refused(weights, broken, said):
    with pytest.raises(SequenceWeightsError, match=said):
        Sequence(broken(weights))


def test_it_learns_what_is_usual_with_a_patient():
    rng = np.random.default_rng(5)

    def course(level, beats):
        return (level + rng.normal(0, 0.3, (beats, TOKEN))).clip(-8, 8).astype(np.float32)

    courses = [Course(course(level, 300), np.ones(300, bool)) for level in np.linspace(-3, 3, 13)]
    torch.set_num_threads(1)
    fitted = fit_sequence(courses, seed=2, limit=Limit(epochs=8, seconds=None))
    sequence = Sequence(checked_by(fitted.weights(), courses[0].tokens[:8]))
    history = sequence.begin()
    used_to = sequence.surprises(course(2.2, 150), history)
    assert np.median(used_to[100:]) < np.median(used_to[:2])
    # The same beat surprises in one patient and not in the other.
    assert sequence.surprises(course(-2.2, 1), history)[0] > np.quantile(used_to[100:], 0.99)


def test_beats_that_are_not_normal_are_never_what_is_learned():
    tokens = np.random.default_rng(6).normal(0, 1, (80, TOKEN)).astype(np.float32)
    normal = np.arange(80) % 2 == 0
    other = tokens.copy()
    other[79] = 8.0
    limit = Limit(epochs=2, seconds=None)
    one, two = (fit_sequence([Course(each, normal)], seed=1, limit=limit) for each in (tokens, other))
    # The last beat goes before nothing and is not normal: it leaves no trace.
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
