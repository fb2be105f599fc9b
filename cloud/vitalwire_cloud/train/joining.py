"""From two fitted networks to one score: the constants that join them, the heads, and where alerts and decisions begin.

One head learns from simulated ectopy alone. Another one, and the decision, learn from labels too where there are any,
from first leads alone: who labelled a beat saw it there, while in another lead it may look like any other. Both
thresholds are found on what a head that does not know a patient says of the patient's beats, for so it will be on a
gateway.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.train.dataset import Patient
from vitalwire_cloud.train.fit_head import MIN_BEATS, Looked, fit_head, strangers
from vitalwire_edge.inference.calibration import alert_scores
from vitalwire_edge.inference.head import CLASSES, Head, seen
from vitalwire_edge.inference.level import OwnLevel
from vitalwire_edge.inference.score import ScoreParameters, Scoring, Views, ventricular_first, weighed

BUDGET_PER_HOUR: Final = 6
BEATS_PER_HOUR: Final = 4500
THRESHOLD_QUANTILE: Final = 1 - BUDGET_PER_HOUR / BEATS_PER_HOUR
"""Of what normal beats count for an alert: above it is one in so many that they alone would just spend the budget."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """A patient, what the autoencoder says of its n beats, and those (k,) that trained: none of simulated ectopy."""

    patient: Patient
    learned: NDArray[np.int64]
    outputs: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A patient's views (n,), surprise relative to the patient, and what a head sees (n, SEEN)."""

    patient: Patient
    views: Views
    surprise: NDArray[np.float64]
    looked: NDArray[np.float64]


def joined(
    bare: ScoreParameters, every: Sequence[Outputs], *, seed: int, parent: ScoreParameters | None
) -> ScoreParameters:
    """Parameters with view constants, heads and thresholds; a head that nothing here can teach is the parent's."""
    scoring = Scoring(bare)
    raw = [scoring.raw_views(each.patient.beat, each.patient.context, each.outputs) for each in every]
    known = np.concatenate([of[each.learned] for of, each in zip(raw, every, strict=True)])
    width = np.subtract(*np.percentile(known, (75, 25), axis=0)) / 1.349
    parameters = msgspec.structs.replace(
        bare,
        view_centre=np.median(known, axis=0).tolist(),
        view_width=np.maximum(width, 1e-3).tolist(),
    )
    scoring = Scoring(parameters)
    looks = [_look(scoring, of, each.patient) for of, each in zip(raw, every, strict=True)]
    simulated = [(each.patient, each.looked) for each in looks if each.patient.draw]
    return _with_heads(
        parameters,
        [each for each in looks if each.patient.lead == 0 and each.patient.draw == 0],
        simulated,
        seed,
        parent,
    )


def _look(scoring: Scoring, raw: NDArray[np.float64], patient: Patient) -> _Seen:
    views = scoring.joined(raw, np.zeros(len(raw)))
    surprise = OwnLevel().relatives(views.joined)
    return _Seen(patient, views, surprise, seen((views.sequence, views.shape, surprise), patient.context))


def _with_heads(
    parameters: ScoreParameters,
    first: Sequence[_Seen],
    simulated: Sequence[Looked],
    seed: int,
    parent: ScoreParameters | None,
) -> ScoreParameters:
    patients = [each.patient for each in first]
    real = [(each.patient, each.looked) for each in first]
    head = fit_head(simulated, seed=seed) or (None if parent is None else parent.simulated_head)
    teachers = [*real, *simulated] if _labelled(patients) else simulated
    taught = fit_head(teachers, seed=seed) if _labelled(patients) else None
    kept = None if parent is None else parent.labelled_head
    if taught is None and kept is not None:
        logits = [Head(kept).logits(each) for _, each in real]
    elif (whole := taught or head) is not None:
        logits = strangers(real, teachers, whole, seed=seed)
    else:
        alerts = [alert_scores(each.surprise, each.patient.context) for each in first]
        return msgspec.structs.replace(parameters, threshold=_alert_threshold(alerts, patients))
    decision = None
    if taught is not None:
        decision = _decision(first, logits)
    elif parent is not None and kept is not None:
        decision = parent.decision
    alerts = [
        ventricular_first(each.surprise, of, each.patient.context)
        for each, of in zip(first, logits, strict=True)
    ]
    return msgspec.structs.replace(
        parameters,
        threshold=_alert_threshold(alerts, patients),
        decision=decision,
        simulated_head=head,
        labelled_head=taught or kept,
    )


def _labelled(patients: Sequence[Patient]) -> bool:
    """Whether somebody labelled enough ectopy."""
    return min(sum(int((p.label == name).sum()) for p in patients) for name in "SV") >= MIN_BEATS


def _decision(first: Sequence[_Seen], logits: Sequence[NDArray[np.float64]]) -> float:
    counted = [each.patient.late & np.isin(each.patient.label, list(CLASSES)) for each in first]
    scores = [
        OwnLevel().relatives(weighed(each.views.joined, of)) for each, of in zip(first, logits, strict=True)
    ]
    return best_threshold(
        np.concatenate([each.patient.label[k] != "N" for each, k in zip(first, counted, strict=True)]),
        np.concatenate([score[k] for score, k in zip(scores, counted, strict=True)]),
    )


def _alert_threshold(alerts: Sequence[NDArray[np.float64]], patients: Sequence[Patient]) -> float:
    normal = np.concatenate([alert[p.normal] for alert, p in zip(alerts, patients, strict=True)])
    return float(np.quantile(normal, THRESHOLD_QUANTILE))


def best_threshold(abnormal: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """The threshold that tells abnormal beats (n,) by their score (n,) with the best F1."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(abnormal[order])
    quality = 2 * hits / (np.arange(1, score.size + 1) + max(1, int(abnormal.sum())))
    best = int(np.argmax(quality))
    below = score[order[best + 1]] if best + 1 < score.size else score[order[best]] - 1.0
    return float((score[order[best]] + below) / 2)
