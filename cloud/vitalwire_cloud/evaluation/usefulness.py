"""What made beats are good for: a classifier that learns from them, or from them beside real ones.

The classifier is fixed: gradient-boosted trees (100 iterations, 15 leaves, classes weighed alike) on beats of 80
samples, N, S and V. It is always tested on real beats of people whom neither it nor the generator learned from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import f1_score

from vitalwire_cloud.evaluation.beat_makers import Maker
from vitalwire_cloud.evaluation.fidelity import small
from vitalwire_cloud.evaluation.report import Metrics
from vitalwire_cloud.train.dataset import Patient
from vitalwire_edge.inference.generator import Style

LABELS: Final = ("N", "S", "V")
MINORITY: Final = ("S", "V")
MIN_BEATS: Final = 10
PER_CLASS: Final = 1500
"""Beats of a class that a classifier learns from at most; for the augmentation there are more of N."""

ORDINARY: Final = 3000


@dataclass(frozen=True, slots=True)
class Lesson:
    """Beats to learn from, each with its class and the styles of its patient."""

    beat: NDArray[np.float32]
    label: NDArray[np.str_]
    owner: NDArray[np.int64]

    def only(self, rows: NDArray[np.int64]) -> "Lesson":
        """Some of them."""
        return Lesson(self.beat[rows], self.label[rows], self.owner[rows])


@dataclass(frozen=True, slots=True)
class Answers:
    """A test patient's true classes, and what a classifier said."""

    record: str
    label: NDArray[np.str_]
    said: NDArray[np.str_]


def lesson(patients: Sequence[Patient], rng: np.random.Generator, most: Mapping[str, int]) -> Lesson:
    """Beats of each class of `most`, at most so many, from all patients alike."""
    beat = np.concatenate([p.beat for p in patients])
    label = np.concatenate([p.label for p in patients])
    owner = np.concatenate([np.full(p.label.size, k) for k, p in enumerate(patients)])
    rows = [rng.permutation(np.flatnonzero(label == name))[:count] for name, count in most.items()]
    return Lesson(beat, label, owner).only(np.concatenate(rows))


def made_like(
    maker: Maker, like: Lesson, styles: Sequence[Sequence[Style]], rng: np.random.Generator
) -> Lesson:
    """As many made beats of the same classes, in the styles of the same patients."""
    chosen = [styles[k][int(rng.integers(len(styles[k])))] for k in like.owner]
    return Lesson(maker.beats(like.label.tolist(), chosen, rng), like.label, like.owner)


def taught(lessons: Sequence[Lesson], tests: Sequence[Patient], seed: int) -> list[Answers]:
    """What a classifier that learned from all lessons says of the test patients' beats."""
    beat = small(np.concatenate([each.beat for each in lessons]))
    label = np.concatenate([each.label for each in lessons])
    trees = HistGradientBoostingClassifier(
        max_iter=100, max_leaf_nodes=15, class_weight="balanced", early_stopping=False, random_state=seed
    ).fit(beat, label)
    answers = []
    for patient in tests:
        asked = np.isin(patient.label, LABELS)
        if asked.any():
            answers.append(
                Answers(patient.record, patient.label[asked], trees.predict(small(patient.beat[asked])))
            )
    return answers


def macro_f1(answers: Sequence[Answers]) -> float:
    """Mean F1 of N, S and V over all beats."""
    label = np.concatenate([each.label for each in answers])
    said = np.concatenate([each.said for each in answers])
    return float(f1_score(label, said, labels=list(LABELS), average="macro", zero_division=0))


def gains(alone: Sequence[Answers], augmented: Sequence[Answers]) -> Metrics:
    """By how much F1 of each minority class rises with made beats, averaged over patients with enough of it."""
    found: Metrics = {}
    for name in MINORITY:
        each = [
            _f1(b, name) - _f1(a, name)
            for a, b in zip(alone, augmented, strict=True)
            if int((a.label == name).sum()) >= MIN_BEATS
        ]
        if each:
            found[f"gain_{name}"] = float(np.mean(each))
    return found


def _f1(answers: Answers, name: str) -> float:
    return float(f1_score(answers.label == name, answers.said == name, zero_division=0))
