"""The privacy gate: every copy of the training beats fails it, however disguised."""

import sys
from pathlib import Path

import numpy as np
import pytest

from vitalwire_cloud.evaluation.fidelity import discrepancy, discriminative, neighbourhood, small
from vitalwire_cloud.evaluation.privacy import Real, gate, privacy

sys.path.insert(0, str(Path(__file__).parents[1] / "synthesis"))
from made_beats import patient


def beats(numbers) -> np.ndarray:
    return np.concatenate([patient(number, 40).beat for number in numbers])


def real(numbers) -> Real:
    return Real(beats(numbers), np.repeat([f"p{number}" for number in numbers], 40))


@pytest.fixture(scope="module")
def train():
    return real(range(40))


@pytest.fixture(scope="module")
def held():
    return real(range(100, 140))


def noisy(x, db=30):
    rng = np.random.default_rng(0)
    level = x.std(axis=1, keepdims=True) * 10 ** (-db / 20)
    return (x + level * rng.standard_normal(x.shape)).astype(np.float32)


@pytest.mark.parametrize(
    "copy",
    [
        lambda x: x,
        noisy,
        lambda x: np.roll(x, 1, axis=1),
        lambda x: np.roll(x, -1, axis=1),
        lambda x: (1.02 * x).astype(np.float32),
        lambda x: np.roll(noisy(0.98 * x), 1, axis=1),
    ],
    ids=["as it is", "30 dB noise", "one sample later", "one sample earlier", "2 % gain", "all of it"],
)
def test_a_copy_of_the_training_set_fails(train, held, copy):
    found = privacy(copy(train.beat), train, held)
    assert not gate(found)
    assert found["nn_ratio"] < 0.5
    assert found["near_share"] > 0.5
    assert found["mia_auc"] > 0.9


def test_a_part_that_is_copied_shows_in_its_share(train, held):
    made = beats(range(200, 240))
    made[::8] = noisy(train.beat[::8])
    found = privacy(made, train, held)
    assert found["near_share"] > 0.05
    assert not gate(found)


def test_beats_of_other_people_pass(train, held):
    found = privacy(beats(range(200, 240)), train, held)
    assert gate(found), found
    assert found["nn_ratio"] == pytest.approx(1.0, abs=0.1)
    assert found["mia_auc"] == pytest.approx(0.5, abs=0.05)


def test_as_many_held_as_training_beats_are_compared(train, held):
    made = beats(range(200, 240))
    assert privacy(made, train, held.spread(400))["nn_ratio"] == pytest.approx(1.0, abs=0.15)


def test_fidelity_knows_the_same_from_another_and_from_a_collapse():
    rng = np.random.default_rng(0)
    real, same = (rng.standard_normal((400, 80)) @ np.diag(np.linspace(3, 0.1, 80)) for _ in range(2))
    alike = neighbourhood(real, same)
    assert min(alike.values()) > 0.7
    apart = neighbourhood(real, same + 40)
    assert apart == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}
    collapsed = neighbourhood(real, real[:5].repeat(80, axis=0) + 0.01 * same)
    assert collapsed["precision"] > 0.9
    assert collapsed["coverage"] < 0.2
    assert abs(discrepancy(real, same)) < 0.01
    assert discrepancy(real, same + 40) > 0.2


def test_a_classifier_tells_what_differs_only():
    one, other = small(beats(range(10))), small(beats(range(10)))
    assert one.shape[1] == 80
    order = np.random.default_rng(0).permutation(len(one))
    half = len(one) // 2
    assert discriminative(one[order[:half]], one[order[half:]], seed=1) < 0.12
    rough = other + 0.1 * np.random.default_rng(1).standard_normal(other.shape).astype(np.float32)
    assert discriminative(one, rough, seed=1) > 0.35
