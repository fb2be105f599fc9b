"""From two fitted networks to one score: the constants that join them, the head, and where alerts and decisions begin.

Only the head and the decision learn from labels, and those from first leads alone: who labelled a beat saw it there,
while in another lead it may look like any other. Both thresholds are found on what a head that does not know a patient
says of the patient's beats, for so it will be on a gateway.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.train.dataset import Patient
from vitalwire_cloud.train.fit_head import fit_head, strangers
from vitalwire_edge.inference.calibration import alert_scores
from vitalwire_edge.inference.head import ABNORMAL, CLASSES, Head, odds, seen
from vitalwire_edge.inference.level import OwnLevel
from vitalwire_edge.inference.score import ScoreParameters, Scoring, Views, ventricular_first

BUDGET_PER_HOUR: Final = 6
BEATS_PER_HOUR: Final = 4500
THRESHOLD_QUANTILE: Final = 1 - BUDGET_PER_HOUR / BEATS_PER_HOUR
"""Of what normal beats count for an alert: above it is one in so many that they alone would just spend the budget."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """A patient, those of its normal beats (k,) that trained the networks, and what these say of all n of its beats."""

    patient: Patient
    learned: NDArray[np.int64]
    outputs: tuple[NDArray[np.float32], ...]


def joined(
    bare: ScoreParameters, every: Sequence[Outputs], *, seed: int, parent: ScoreParameters | None
) -> ScoreParameters:
    """Parameters with view constants, head and thresholds. Without labels to learn from, the parent's head stays."""
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
    first = [(of, each.patient) for of, each in zip(raw, every, strict=True) if each.patient.lead == 0]
    views = [scoring.joined(of, np.zeros(len(of))) for of, _ in first]
    return _with_labels(parameters, [patient for _, patient in first], views, seed, parent)


def _with_labels(
    parameters: ScoreParameters,
    patients: Sequence[Patient],
    views: Sequence[Views],
    seed: int,
    parent: ScoreParameters | None,
) -> ScoreParameters:
    unlabelled = [OwnLevel().relatives(each.joined) for each in views]
    looked = [
        seen((v.sequence, v.shape, u), p.context) for v, u, p in zip(views, unlabelled, patients, strict=True)
    ]
    head, decision = fit_head(patients, looked), None
    if head is not None:
        logits = strangers(patients, looked, head, seed=seed)
    elif parent is not None and parent.weighing_head is not None:
        head, decision = parent.weighing_head, parent.decision
        logits = [Head(head).logits(each) for each in looked]
    else:
        alerts = [alert_scores(u, p.context) for u, p in zip(unlabelled, patients, strict=True)]
        return msgspec.structs.replace(parameters, threshold=_alert_threshold(alerts, patients))
    if decision is None:
        counted = [p.late & np.isin(p.label, list(CLASSES)) for p in patients]
        scores = [
            OwnLevel().relatives(v.joined + odds(each, ABNORMAL))
            for v, each in zip(views, logits, strict=True)
        ]
        decision = best_threshold(
            np.concatenate([p.label[k] != "N" for p, k in zip(patients, counted, strict=True)]),
            np.concatenate([score[k] for score, k in zip(scores, counted, strict=True)]),
        )
    alerts = [
        ventricular_first(u, each, p.context) for u, each, p in zip(unlabelled, logits, patients, strict=True)
    ]
    threshold = _alert_threshold(alerts, patients)
    return msgspec.structs.replace(parameters, threshold=threshold, decision=decision, head=head)


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
