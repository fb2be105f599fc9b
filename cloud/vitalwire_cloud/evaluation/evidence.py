"""What the registry's gate looks at: a candidate in float and int8, and the model at work, on patients held out."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from vitalwire_cloud.evaluation.beats import (
    SCORE,
    Scored,
    Scorer,
    float_scorer,
    gateway_scorer,
    records_of_card,
    score_patient,
)
from vitalwire_cloud.evaluation.int8 import beat_times_us
from vitalwire_cloud.evaluation.judged import judged_artifact, scorer_of
from vitalwire_cloud.registry.gate import Evaluation, Evidence, PatientResult
from vitalwire_cloud.registry.publishing import EVIDENCE, read_candidate
from vitalwire_cloud.train import export
from vitalwire_cloud.train.dataset import Patient, patient_of
from vitalwire_cloud.train.fit_beat import BeatModel
from vitalwire_edge.inference.artifact import CARD, PARAMETERS


class NotEvaluatedError(ValueError):
    """There is nothing to judge a candidate on."""


def of_candidate(
    fitted: Path, candidate: Path, held_out: Sequence[Patient], *, running: bytes | None, source: str
) -> Evidence:
    """Judge what `train` left in `fitted` and `export` in `candidate` beside the running artifact's bytes.

    `held_out` are patients that neither learned from (the gate refuses others). Raises `NotEvaluatedError`,
    `RegistryError`, `FittedModelError`, `JudgedModelError`.
    """
    kept = export.saved(fitted)
    parts = read_candidate(candidate).parts
    model = parts[export.FILES[export.DYNAMIC]]
    scorer = scorer_of(model, export.RUNTIME, parts[PARAMETERS])
    learned = _people(records_of_card(parts[CARD]))
    whole = BeatModel(kept.network, kept.sequence, kept.parameters, 0, float("nan"))
    now = None if running is None else judged_artifact(running, "running model")
    return Evidence(
        candidate_float=evaluation(float_scorer(whole), held_out, "float", learned_from=learned),
        candidate_int8=evaluation(
            gateway_scorer(scorer),
            held_out,
            "int8",
            learned_from=learned,
            # The thread's own time: what else a machine does while it trains says nothing about the model.
            p99_us=beat_times_us(scorer, held_out[0], clock_ns=time.thread_time_ns)[1] if held_out else None,
        ),
        running=None
        if now is None
        else evaluation(gateway_scorer(now.scorer), held_out, "int8", learned_from=now.patients),
        model_bytes=len(model),
        source=source,
    )


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """Leave evidence beside a candidate, where `vitalwire model publish` looks. Raises `OSError`."""
    (folder / EVIDENCE).write_bytes(msgspec.json.format(msgspec.json.encode(evidence), indent=1))


def evaluation(
    by: Scorer,
    held_out: Sequence[Patient],
    arithmetic: Literal["float", "int8"],
    *,
    learned_from: Sequence[str],
    p99_us: float | None = None,
) -> Evaluation:
    """Results of one model in one arithmetic. Raises `NotEvaluatedError` where no beat counts or only one class is."""
    scored = [score_patient(patient, by) for patient in held_out]
    label = np.concatenate([each.label for each in scored]) if scored else np.empty(0, dtype="<U1")
    if not 0 < int((label != "N").sum()) < label.size:
        raise NotEvaluatedError(
            f"{label.size} beats of {len(scored)} records after their first five minutes are not of both kinds: "
            "hold out patients with normal and abnormal beats"
        )
    score = np.concatenate([each.ranked(SCORE) for each in scored])
    return Evaluation(
        arithmetic=arithmetic,
        patients=tuple(_results(held_out, scored)),
        auc=float(roc_auc_score(label != "N", score)),
        ap=float(average_precision_score(label != "N", score)),
        learned_from=tuple(learned_from),
        p99_us=p99_us,
    )


def _results(held_out: Sequence[Patient], scored: Sequence[Scored]) -> list[PatientResult]:
    """One result a person, whose records count together."""
    found: list[PatientResult] = []
    for person in sorted({each.patient for each in scored}):
        mine = [each for each in scored if each.patient == person]
        abnormal = np.concatenate([each.abnormal for each in mine])
        score = np.concatenate([each.ranked(SCORE) for each in mine])
        unscored = sum(int((p.unscored != "Q").sum()) for p in held_out if p.patient == person)
        silent = sum(int((~np.isfinite(each.scores[SCORE])).sum()) for each in mine)
        every = unscored + sum(int((p.label != "Q").sum()) for p in held_out if p.patient == person)
        if not abnormal.size:
            continue
        both = 0 < int(abnormal.sum()) < abnormal.size
        found.append(
            PatientResult(
                patient=person,
                beats=int(abnormal.size),
                abnormal=int(abnormal.sum()),
                auc=float(roc_auc_score(abnormal, score)) if both else None,
                abstained=(unscored + silent) / max(1, every),
            )
        )
    return found


def _people(records: dict[str, str]) -> tuple[str, ...]:
    return tuple(sorted({patient_of(record) for record in records}))
