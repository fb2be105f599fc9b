"""Protocol P2: abnormal beats of patients never seen, at annotated R peaks and end to end on our own detections.

The figures are of the score without labels. What the gateway runs is weighed with what labels of other patients taught:
its figures stand apart, as `labelled_...`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.evaluation.beats import (
    ALERT,
    SCORE,
    UNLABELLED,
    Columns,
    Judge,
    Scored,
    Scorer,
    gateway_scorer,
    judges,
    metrics,
    record_auc,
    score_patient,
    without,
)
from vitalwire_cloud.evaluation.detected import EndToEnd, detections, end_to_end
from vitalwire_cloud.evaluation.judged import JudgedModel
from vitalwire_cloud.evaluation.records import Recorded
from vitalwire_cloud.evaluation.report import (
    LABELLED,
    Advance,
    Curve,
    Grid,
    Metrics,
    Outcome,
    Report,
    Strip,
    figure,
    meets,
    silent,
)
from vitalwire_cloud.train.dataset import NoRecordError, Patient, as_recorded, first_leads, load_folder
from vitalwire_edge.inference.features import CONTEXT

BAR: Final = {"auc": 0.98, "ap": 0.88, "auc_S": 0.96, "auc_V": 0.997, "auc_record_median": 0.99}
ANCHORS: Final[dict[str, Metrics]] = {
    "AnoBeat 2020": {"auc": 0.894},
    "kNN + RR": {"auc": 0.906},
    "floor": {
        "auc": 0.961,
        "ap": 0.79,
        "auc_S": 0.941,
        "auc_V": 0.993,
        "auc_F": 0.786,
        "auc_record_median": 0.986,
    },
}
"""As the protocol quotes them, measured on other patients; `floor` is the mixture below."""

FLOOR_FEATURES: Final = (
    *("corr_qrs", "corr_p", "corr_t", "residual_qrs", "residual_p", "residual_t"),
    *("unusual_qrs", "unusual_p", "unusual_t", "amplitude", "projection", "slope"),
    *("rr_before", "rr_after", "rr_ratio", "rr_change", "rr_variability", "rr_reference"),
)
FLOOR_COMPONENTS: Final = 8
FUSION_RECORD: Final = "208"
WORST: Final = 6
_SHOWN: Final = ("auc", "ap", "auc_S", "auc_V", "auc_F", "detected_auc", "labelled_auc")
_AROUND_S: Final = 3.0


def floor_scorer(train: Sequence[Patient], seed: int) -> Scorer:
    """The protocol's floor: a mixture of eight Gaussians over 18 context features of normal beats of both leads."""
    at = [CONTEXT.index(name) for name in FLOOR_FEATURES]
    known = np.concatenate([p.context[p.normal] for p in train])[:, at].astype(np.float64)
    centre, width = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-3)
    mixture = GaussianMixture(FLOOR_COMPONENTS, reg_covar=1e-3, max_iter=300, random_state=seed)
    mixture.fit(((known - centre) / width).clip(-30, 30))

    def score(patient: Patient) -> Columns:
        units = ((patient.context[:, at].astype(np.float64) - centre) / width).clip(-30, 30)
        return {SCORE: -mixture.score_samples(units)}

    return score


@dataclass(slots=True)
class _Gathered:
    """What the judges have said so far."""

    ours: list[Scored]
    floor: list[Scored]
    ours_detected: list[EndToEnd]
    floor_detected: list[EndToEnd]


def inter_patient(
    data: Path,
    *,
    seed: int,
    epochs: int,
    model: JudgedModel | None = None,
    cache: Path | None = None,
    names: Iterable[str] = (),
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Run protocol P2. Raises `NoRecordError`, `TrainingDataError`, `OSError`."""
    paths = records.paths(data, paced=False, names=names)
    advance = steps(len(paths))
    patients = load_folder(data, cache=cache, names=[path.name for path in paths], to_learn=model is None)
    folder = {path.name: path for path in paths}
    gathered = _Gathered([], [], [], [])
    by = _judged(model, patients) if model is not None else judges(patients, seed=seed, epochs=epochs)
    for judge in by:
        floor = floor_scorer(as_recorded(judge.train), seed) if judge.train else None
        for patient in judge.patients:
            record = records.read(folder[patient.record])
            found = detections(record)
            gathered.ours.append(score_patient(patient, judge.by))
            gathered.ours_detected.append(end_to_end(found, record, judge.by))
            if floor is not None:
                gathered.floor.append(score_patient(patient, floor))
                gathered.floor_detected.append(end_to_end(found, record, floor))
            advance(patient.record)
    return _outcome(gathered, data, first_leads(patients), seed=seed, model=model, folder=folder)


def _judged(model: JudgedModel, patients: Sequence[Patient]) -> list[Judge]:
    return [Judge(gateway_scorer(model.scorer), patients, [], model.scorer.threshold)]


def _outcome(
    gathered: _Gathered,
    data: Path,
    patients: Sequence[Patient],
    *,
    seed: int,
    model: JudgedModel | None,
    folder: dict[str, Path],
) -> Outcome:
    if not any(each.label.size for each in gathered.ours):
        raise NoRecordError(
            f"no beat of the records of {data} comes after the first five minutes: give longer ones"
        )
    found = metrics(gathered.ours, UNLABELLED) | _detected(gathered.ours_detected, UNLABELLED)
    found |= without(gathered.ours, FUSION_RECORD, UNLABELLED)
    labelled = metrics(gathered.ours) | _detected(gathered.ours_detected)
    found |= {f"{LABELLED}{name}": value for name, value in labelled.items() if "coverage" not in name}
    peers = (
        {"mixture": metrics(gathered.floor) | _detected(gathered.floor_detected)} if gathered.floor else {}
    )
    views = [name for name in gathered.ours[0].scores if name not in {SCORE, UNLABELLED, ALERT}]
    peers |= {f"{name} alone": metrics(gathered.ours, name) for name in views} | ANCHORS
    notes = [_coverage(gathered.ours_detected)]
    if model is not None:
        known = {p.record for p in patients if p.patient in model.patients}
        if known:
            notes.append(
                f"warning: the model learned from {len(known)} of these patients ({' '.join(sorted(known))}): "
                "on them this is no figure of unseen patients"
            )
    report = Report(
        protocol="inter-patient",
        model="cross-validated by patient, in float" if model is None else model.told,
        data=str(data),
        records=[p.record for p in patients],
        seed=seed,
        metrics=found,
        peers=peers,
        bar=BAR,
        passed=meets(found, BAR),
    )
    curves = [
        _curve("ours", gathered.ours, UNLABELLED),
        _curve("ours, detected", [e.scored for e in gathered.ours_detected], UNLABELLED),
        _curve("ours, with labels", gathered.ours),
    ]
    if gathered.floor:
        curves.append(_curve("mixture", gathered.floor))
    return Outcome(
        report=report,
        notes=tuple(notes),
        tables=(_per_record(gathered),),
        curves=tuple(curves),
        strips=_worst(gathered.ours, folder),
        digests={p.record: p.digest for p in patients},
    )


def _detected(found: Sequence[EndToEnd], column: str = SCORE) -> Metrics:
    scored = metrics([each.scored for each in found], column)
    named = {f"detected_{name}": value for name, value in scored.items()}
    beats, abnormal = sum(e.beats for e in found), sum(e.abnormal for e in found)
    return named | {
        "detected_coverage": sum(e.covered for e in found) / max(1, beats),
        "detected_coverage_abnormal": sum(e.abnormal_covered for e in found) / max(1, abnormal),
    }


def _coverage(found: Sequence[EndToEnd]) -> str:
    beats, covered = sum(e.beats for e in found), sum(e.covered for e in found)
    abnormal, of_them = sum(e.abnormal for e in found), sum(e.abnormal_covered for e in found)
    return (
        f"detected: {covered} of {beats} annotated beats have a score ({covered / max(1, beats):.2%}), "
        f"of the abnormal ones {of_them} of {abnormal} ({of_them / max(1, abnormal):.2%})"
    )


def _curve(name: str, scored: Sequence[Scored], column: str = SCORE) -> Curve:
    return Curve(
        name,
        np.concatenate([each.abnormal for each in scored]),
        np.concatenate([each.ranked(column) for each in scored]),
    )


def _per_record(gathered: _Gathered) -> Grid:
    rows = []
    for ours, whole in zip(gathered.ours, gathered.ours_detected, strict=True):
        counts = {name: int((ours.label == name).sum()) for name in "NSVF"}
        shown: Metrics = metrics([ours], UNLABELLED) if record_auc(ours, UNLABELLED) is not None else {}
        others = {"labelled_auc": record_auc(ours), "detected_auc": record_auc(whole.scored, UNLABELLED)}
        shown |= {name: auc for name, auc in others.items() if auc is not None}
        rows.append(
            (
                ours.record,
                *(str(count) for count in counts.values()),
                *(figure(shown, n) for n in _SHOWN),
                f"{whole.covered / max(1, whole.beats):.1%}",
            )
        )
    heads = ("record", "N", "S", "V", "F", *_SHOWN, "coverage")
    return Grid("per record", heads, tuple(sorted(rows)))


def _worst(scored: Sequence[Scored], folder: dict[str, Path]) -> tuple[Strip, ...]:
    """Abnormal beats that rank lowest and normal ones that rank highest, one a record at most."""
    every = np.concatenate([each.ranked(UNLABELLED) for each in scored])
    order = np.sort(every)
    missed: list[tuple[float, Scored, int]] = []
    false: list[tuple[float, Scored, int]] = []
    for each in scored:
        score = each.ranked(UNLABELLED)
        for kept, which, sign in ((missed, each.abnormal, 1.0), (false, ~each.abnormal, -1.0)):
            at = np.flatnonzero(which)
            if at.size:
                k = int(at[np.argmin(sign * score[at])])
                kept.append((sign * float(score[k]), each, k))
    strips = []
    for kept, what in ((missed, "ranks low"), (false, "ranks high")):
        for value, each, k in sorted(kept, key=lambda item: item[0])[: WORST // 2]:
            share = float(np.searchsorted(order, abs(value) if what == "ranks high" else value)) / order.size
            strips.append(_strip(each, k, f"{each.label[k]} {what}: above {share:.1%} of all beats", folder))
    return tuple(strips)


def _strip(scored: Scored, k: int, text: str, folder: dict[str, Path]) -> Strip:
    record: Recorded = records.read(folder[scored.record])
    half = round(_AROUND_S * record.fs_hz)
    start = max(0, int(scored.sample[k]) - half)
    ecg: NDArray[np.float32] = record.ecg_uv[start : start + 2 * half]
    marks = [
        (int(at) - start, str(symbol))
        for at, symbol in zip(record.sample, record.symbol, strict=True)
        if start <= at < start + ecg.size
    ]
    return Strip(
        f"record {scored.record} at {start / record.fs_hz:.0f} s: {text}", ecg, record.fs_hz, tuple(marks)
    )
