"""How close made beats come to real ones: what a classifier can tell, and what of the one lies among the other.

Precision, recall, density and coverage after Naeem et al., "Reliable fidelity and diversity metrics for generative
models", ICML 2020, with k = 5 on beats of 80 samples; squared maximum mean discrepancy after Gretton et al., JMLR 13,
2012. All of them depend on how many beats are compared, so a figure and its ceiling must come from equally many.
"""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import nn

from vitalwire_cloud.evaluation.report import Metrics

NEIGHBOURS: Final = 5
SAMPLES: Final = 80
"""A beat's window of 0.8 s at 100 Hz."""

_EPOCHS: Final = 25
_TEST_SHARE: Final = 0.4


def small(beat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Beats (n, 200) at 250 Hz as (n, SAMPLES) at 100 Hz."""
    resampled: NDArray[np.float32] = resample_poly(beat, 2, 5, axis=1, padtype="line").astype(np.float32)
    return resampled


def squared_distances(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    """Squared Euclidean distances (n, m)."""
    a, b = x.astype(np.float64), y.astype(np.float64)
    both = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2 * a @ b.T
    found: NDArray[np.float64] = np.maximum(both, 0.0)
    return found


def neighbourhood(real: NDArray[Any], made: NDArray[Any], *, k: int = NEIGHBOURS) -> Metrics:
    """Precision, recall, density and coverage of made beats (m, ...) against real ones (n, ...)."""
    across = squared_distances(real, made)
    real_radius = _radius(real, k)
    made_radius = _radius(made, k)
    inside = across < real_radius[:, None]
    return {
        "precision": float(inside.any(axis=0).mean()),
        "recall": float((across < made_radius[None]).any(axis=1).mean()),
        "density": float(inside.sum(axis=0).mean() / k),
        "coverage": float(inside.any(axis=1).mean()),
    }


def _radius(x: NDArray[Any], k: int) -> NDArray[np.float64]:
    """Squared distance of each to its k-th neighbour among the others."""
    distance = squared_distances(x, x)
    np.fill_diagonal(distance, np.inf)
    return np.partition(distance, k - 1, axis=1)[:, k - 1]


def discrepancy(real: NDArray[Any], made: NDArray[Any]) -> float:
    """Squared maximum mean discrepancy, unbiased, with a Gaussian kernel as wide as the median real distance."""
    own, other, across = (
        squared_distances(real, real),
        squared_distances(made, made),
        squared_distances(real, made),
    )
    n, m = own.shape[0], other.shape[0]
    width = float(np.median(own[np.triu_indices(n, 1)])) or 1.0
    own, other, across = (np.exp(-d / width) for d in (own, other, across))
    return float((own.sum() - n) / (n * (n - 1)) + (other.sum() - m) / (m * (m - 1)) - 2 * across.mean())


def discriminative(real: NDArray[np.float32], made: NDArray[np.float32], *, seed: int) -> float:
    """|accuracy - 0.5| on beats not learned from, of the better of two classifiers; as many made as real count."""
    rng = np.random.default_rng(seed)
    count = min(real.shape[0], made.shape[0])
    pair = (real[rng.permutation(real.shape[0])[:count]], made[rng.permutation(made.shape[0])[:count]])
    held = round(_TEST_SHARE * count)
    train = np.concatenate([each[held:] for each in pair])
    test = np.concatenate([each[:held] for each in pair])
    train_label, test_label = np.repeat((0, 1), count - held), np.repeat((0, 1), held)
    trees = HistGradientBoostingClassifier(
        max_iter=100, max_leaf_nodes=15, class_weight="balanced", early_stopping=False, random_state=seed
    ).fit(train, train_label)
    right = (
        float((trees.predict(test) == test_label).mean()),
        float((_convolutional(train, train_label, test, seed) == test_label).mean()),
    )
    return max(abs(each - 0.5) for each in right)


def _convolutional(
    train: NDArray[np.float32], label: NDArray[np.int64], test: NDArray[np.float32], seed: int
) -> NDArray[np.int64]:
    """What a small one-dimensional convolutional network says of the test beats."""
    torch.manual_seed(seed)
    centre, width = train.mean(axis=0), train.std(axis=0).mean() + 1e-6
    network = nn.Sequential(
        nn.Conv1d(1, 16, 7, stride=2, padding=3),
        nn.ReLU(),
        nn.Conv1d(16, 32, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * SAMPLES // 4, 1),
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    given = torch.from_numpy(((train - centre) / width).astype(np.float32))[:, None]
    wanted = torch.from_numpy(label.astype(np.float32))
    for _ in range(_EPOCHS):
        for batch in torch.split(torch.randperm(len(wanted)), 64):
            optimiser.zero_grad()
            said = network(given[batch])[:, 0]
            value = nn.functional.binary_cross_entropy_with_logits(said, wanted[batch])
            torch.autograd.backward(value)
            optimiser.step()
    with torch.inference_mode():
        said = network(torch.from_numpy(((test - centre) / width).astype(np.float32))[:, None])[:, 0]
    answer: NDArray[np.int64] = (said > 0).numpy().astype(np.int64)
    return answer
