"""Protocols P2 (`inter-patient`) and P8 (`int8`): how the beat model is judged, by patient.

Every score is causal and comes from a model that never saw the patient. Beats of the first five minutes are left to
personalisation and not counted.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from vitalwire_cloud.train.dataset import Patient
from vitalwire_cloud.train.fit_beat import BeatModel, fit
from vitalwire_edge.inference.score import Scoring, Views

FOLDS: Final = 5
COLUMNS: Final = ("score", "mixture", "shape", "timing")
MIN_ABNORMAL: Final = 10

Metrics = dict[str, float]
Scorer = Callable[[Patient], Views]


@dataclass(frozen=True, slots=True)
class Scored:
    """A patient's counted beats: EC57 class letters, and scores by column."""

    record: str
    label: NDArray[np.str_]
    scores: dict[str, NDArray[np.float64]]


def scorer(model: BeatModel) -> Scorer:
    """The float model as a function of a patient."""
    scoring = Scoring(model.parameters)
    return lambda patient: scoring.views(patient.beat, patient.context, outputs4(model.run(patient)))


def outputs4(
    outputs: tuple[NDArray[np.float32], ...],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The four outputs of the network."""
    return outputs[0], outputs[1], outputs[2], outputs[3]


def score_patient(patient: Patient, by: Scorer) -> Scored:
    """Scores of the beats that count: after the first five minutes, of classes N, S, V and F."""
    counted = patient.late & (patient.label != "Q")
    views = by(patient)
    return Scored(patient.record, patient.label[counted], {c: getattr(views, c)[counted] for c in COLUMNS})


def folds(patients: Sequence[Patient], seed: int) -> list[set[str]]:
    """People held out together, a fold each."""
    people = np.random.default_rng(seed).permutation(sorted({p.patient for p in patients}))
    return [set(part.tolist()) for part in np.array_split(people, min(FOLDS, len(people)))]


def cross_validated(
    patients: Sequence[Patient],
    *,
    seed: int,
    epochs: int,
    done: Callable[[BeatModel, list[Patient]], None] | None = None,
) -> list[Scored]:
    """Train on four fifths of the people, score the others, five times."""
    scored: list[Scored] = []
    for held in folds(patients, seed):
        model = fit([p for p in patients if p.patient not in held], seed=seed, epochs=epochs)
        test = [p for p in patients if p.patient in held]
        scored += [score_patient(patient, scorer(model)) for patient in test]
        if done is not None:
            done(model, test)
    return scored


def metrics(scored: Sequence[Scored], column: str) -> Metrics:
    """P2's figures of one column; a class that is absent is left out."""
    label = np.concatenate([each.label for each in scored])
    score = np.concatenate([each.scores[column] for each in scored])
    found: Metrics = {
        "auc": float(roc_auc_score(label != "N", score)),
        "ap": float(average_precision_score(label != "N", score)),
    }
    for name in "SVF":
        both = (label == name) | (label == "N")
        if (label == name).any():
            found[f"auc_{name}"] = float(roc_auc_score(label[both] == name, score[both]))
    each_auc = [
        float(roc_auc_score(each.label != "N", each.scores[column]))
        for each in scored
        if MIN_ABNORMAL <= int((each.label != "N").sum()) < each.label.size
    ]
    if each_auc:
        found["auc_record_median"] = float(np.median(each_auc))
    return found


def f1(label: NDArray[np.str_], score: NDArray[np.float64], threshold: float) -> float:
    """F1 of abnormal against normal at a threshold, in percent."""
    flagged, abnormal = score > threshold, label != "N"
    hit = int((flagged & abnormal).sum())
    return 200.0 * hit / max(1, int(flagged.sum()) + int(abnormal.sum()))


def timed_us(run: Callable[[int], object], count: int, *, rounds: int = 2000) -> tuple[float, float]:
    """Median and 99th percentile of one inference."""
    took = np.empty(rounds)
    for k in range(rounds):
        began = time.perf_counter_ns()
        run(k % count)
        took[k] = time.perf_counter_ns() - began
    return float(np.percentile(took, 50)) / 1000, float(np.percentile(took, 99)) / 1000
