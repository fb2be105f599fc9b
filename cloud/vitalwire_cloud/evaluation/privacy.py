"""Whether made beats give away the beats that the generator learned from: a gate that every copy must fail.

A copy may be disguised by noise, a shift or a gain, so beats are compared by shape alone: the distance of two is that
of their unit vectors at the best shift of a few samples. What is as near to the training beats as unseen people's
beats are is no copy.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from vitalwire_cloud.evaluation.report import Metrics

RATIO: Final = (0.9, 1.2)
MAX_NEAR_SHARE: Final = 0.02
MAX_MIA_AUC: Final = 0.55
SHIFT: Final = 2
_CHUNK: Final = 512
_PERCENTILE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Real:
    """Real beats (n, samples) and whose each is (n,)."""

    beat: NDArray[np.float32]
    owner: NDArray[np.str_]

    def spread(self, count: int) -> "Real":
        """`count` of the beats, evenly spread over them."""
        rows = np.linspace(0, self.owner.size - 1, count).astype(np.int64)
        return Real(self.beat[rows], self.owner[rows])


def privacy(made: NDArray[np.float32], train: Real, held: Real) -> Metrics:
    """Nearest-neighbour ratio, share of near copies and membership-inference AUC of made beats (n, samples).

    `train` are beats that the generator learned from, `held` as many of people it never saw, in the same mix of
    classes; more of the one are left out of the comparison, because more neighbours are nearer.

    - `nn_ratio`: median over made beats of the distance to the nearest training beat over that to the nearest held
      one. 1 means that neither is favoured.
    - `near_share`: made beats that are nearer to a training beat than all but 1 % of real beats are to the nearest
      beat of anybody else.
    - `mia_auc`: how well an attacker who has only the made beats tells training beats from held ones, by their
      distance to the nearest made one.
    """
    count = min(train.owner.size, held.owner.size)
    train, held = train.spread(count), held.spread(count)
    to_train, to_held = nearest(made, train.beat), nearest(made, held.beat)
    member, other = nearest(train.beat, made), nearest(held.beat, made)
    label = np.repeat((1, 0), (member.size, other.size))
    return {
        "nn_ratio": float(np.median(to_train / np.maximum(to_held, 1e-9))),
        "near_share": float((to_train < np.percentile(_between_people(train, held), _PERCENTILE)).mean()),
        "mia_auc": float(roc_auc_score(label, -np.concatenate((member, other)))),
    }


def _between_people(train: Real, held: Real) -> NDArray[np.float64]:
    """Distance of each real beat to the nearest of anybody else."""
    beat = np.concatenate((train.beat, held.beat))
    owner = np.concatenate((train.owner, held.owner))
    found = [nearest(beat[owner == name], beat[owner != name]) for name in np.unique(owner)]
    return np.concatenate(found)


def gate(found: Metrics) -> bool:
    """Whether the figures of `privacy` pass."""
    return (
        RATIO[0] <= found["nn_ratio"] <= RATIO[1]
        and found["near_share"] <= MAX_NEAR_SHARE
        and found["mia_auc"] <= MAX_MIA_AUC
    )


def nearest(beats: NDArray[np.float32], among: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance (n,) of each beat's shape to the nearest shape among others, at the best shift."""
    middle = slice(SHIFT, beats.shape[1] - SHIFT)
    known = _unit(among[:, middle]).T
    best = np.full(beats.shape[0], -1.0)
    for shift in range(-SHIFT, SHIFT + 1):
        moved = _unit(beats[:, SHIFT + shift : beats.shape[1] - SHIFT + shift])
        for start in range(0, beats.shape[0], _CHUNK):
            part = slice(start, start + _CHUNK)
            best[part] = np.maximum(best[part], (moved[part] @ known).max(axis=1))
    distance: NDArray[np.float64] = np.sqrt(np.maximum(2 - 2 * best, 0.0))
    return distance


def _unit(beats: NDArray[np.float32]) -> NDArray[np.float32]:
    level = beats - beats.mean(axis=1, keepdims=True)
    unit: NDArray[np.float32] = level / np.maximum(np.linalg.norm(level, axis=1, keepdims=True), 1e-9)
    return unit
