"""Scores of beats by patient: by a model trained here on other patients, or by the artifact a gateway runs.

Every score is causal and comes from a model that never saw the patient, unless an artifact is judged on patients it
learned from, which is said. Beats of the first five minutes are left to personalisation and not counted.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from vitalwire_cloud.evaluation.report import Metrics
from vitalwire_cloud.train.dataset import Patient, first_leads
from vitalwire_cloud.train.fit_beat import BeatModel, fit
from vitalwire_edge.inference.beat_model import BeatScorer
from vitalwire_edge.inference.features import BeatInput
from vitalwire_edge.inference.score import Judged, ScoreParameters, Scoring, Views

FOLDS: Final = 5
SCORE: Final = "score"
UNLABELLED: Final = "unlabelled"
SURPRISE: Final = "surprise"
ALERT: Final = "alert"
BOTTOM: Final = -1e6
MIN_ABNORMAL: Final = 10
CLASSES: Final = "NSVF"

Columns = Mapping[str, NDArray[np.float64]]
"""Scores (n,) of a patient's beats by name: `score` as a gateway gives it, `unlabelled` by a head that learned from
simulated ectopy alone, `alert` what counts for an alert; of a float model also `surprise`, which has no head, and the
parts of it."""

Scorer = Callable[[Patient], Columns]


@dataclass(frozen=True, slots=True)
class Scored:
    """A patient's counted beats: R peaks, EC57 class letters, and scores by column."""

    record: str
    patient: str
    fs_hz: float
    sample: NDArray[np.int64]
    label: NDArray[np.str_]
    scores: Columns

    @property
    def abnormal(self) -> NDArray[np.bool_]:
        """Which beats are of class S, V or F."""
        chosen: NDArray[np.bool_] = self.label != "N"
        return chosen

    def ranked(self, column: str) -> NDArray[np.float64]:
        """Scores of a column with abstentions below all others: a beat that is not scored raises nothing."""
        score = self.scores[column]
        return np.where(np.isfinite(score), score, BOTTOM)


@dataclass(frozen=True, slots=True)
class Judge:
    """A scorer, the patients it may be judged on, and those it learned from (None where it does not say)."""

    by: Scorer
    patients: Sequence[Patient]
    train: Sequence[Patient]
    threshold: float
    """Where alerts begin."""


def float_scorer(model: BeatModel) -> Scorer:
    """The float model as a function of a patient: the scores and every view of a beat."""
    by = outputs_scorer(model.parameters)
    return lambda patient: by(patient, model.run(patient))


def outputs_scorer(
    parameters: ScoreParameters,
) -> Callable[[Patient, tuple[NDArray[np.float32], ...]], Columns]:
    """What is said of all beats of a patient of whom nothing was known, with the autoencoder's outputs for them."""
    scoring, without_labels = Scoring(parameters), Scoring(parameters.without_labels())

    def score(patient: Patient, outputs: tuple[NDArray[np.float32], ...]) -> Columns:
        views, said = judged(scoring, patient, outputs)
        unlabelled = without_labels.judged(views, patient.context, without_labels.begin())
        parts = {"sequence": views.sequence, "shape": views.shape, "timing": views.timing}
        scores = {SCORE: said.score, UNLABELLED: unlabelled.score, ALERT: said.alert, SURPRISE: said.surprise}
        return scores | parts

    return score


def judged(
    scoring: Scoring, patient: Patient, outputs: tuple[NDArray[np.float32], ...]
) -> tuple[Views, Judged]:
    """The views of all beats of a patient of whom nothing was known, and what is said of them."""
    memory = scoring.begin()
    views = scoring.views(patient.beat, patient.context, outputs, memory.history)
    return views, scoring.judged(views, patient.context, memory)


def gateway_scorer(scorer: BeatScorer) -> Scorer:
    """The gateway's own scoring, one beat at a time. A beat it abstains from has the score NaN."""
    without_labels = scorer.without_labels()

    def score(patient: Patient) -> Columns:
        memory, other = scorer.begin(), without_labels.begin()
        given = [
            BeatInput(int(at), beat, own, context, 1.0)
            for at, beat, own, context in zip(
                patient.sample, patient.beat, patient.reference, patient.context, strict=True
            )
        ]
        said = [scorer.score(each, memory) for each in given]
        unlabelled = [without_labels.score(each, other) for each in given]
        return {
            SCORE: np.array([np.nan if one is None else one.score for one in said]),
            UNLABELLED: np.array([np.nan if one is None else one.score for one in unlabelled]),
            ALERT: np.array([np.nan if one is None else one.alert for one in said]),
        }

    return score


def counted(patient: Patient) -> NDArray[np.bool_]:
    """The beats that count: after the first five minutes, of classes N, S, V and F."""
    chosen: NDArray[np.bool_] = patient.late & np.isin(patient.label, list(CLASSES))
    return chosen


def score_patient(patient: Patient, by: Scorer) -> Scored:
    """Scores of the beats that count."""
    chosen = counted(patient)
    scores = {name: values[chosen] for name, values in by(patient).items()}
    return Scored(
        patient.record,
        patient.patient,
        patient.fs_hz,
        patient.sample[chosen],
        patient.label[chosen],
        scores,
    )


def folds(patients: Sequence[Patient], seed: int) -> list[set[str]]:
    """People held out together, a fold each."""
    people = np.random.default_rng(seed).permutation(sorted({p.patient for p in patients}))
    return [set(part.tolist()) for part in np.array_split(people, min(FOLDS, len(people)))]


def parted(patients: Sequence[Patient], held: set[str]) -> tuple[list[Patient], list[Patient]]:
    """Who is learned from, all that there is of them, and the first leads of who is held out."""
    return (
        [p for p in patients if p.patient not in held],
        [p for p in first_leads(patients) if p.patient in held],
    )


_fitted: OrderedDict[tuple[object, ...], BeatModel] = OrderedDict()


def fitted_model(train: Sequence[Patient], *, seed: int, epochs: int) -> BeatModel:
    """The model of these patients, kept: several protocols want the same folds. Raises `TrainingDataError`."""
    key = (seed, epochs, *((p.record, p.lead, p.draw, p.digest, p.sample.size) for p in train))
    if key not in _fitted:
        _fitted[key] = fit(train, seed=seed, epochs=epochs)
        if len(_fitted) > 2 * FOLDS:
            _fitted.popitem(last=False)
    return _fitted[key]


def judges(patients: Sequence[Patient], *, seed: int, epochs: int) -> Iterator[Judge]:
    """Train on four fifths of the people, to judge on the others, five times. Raises `TrainingDataError`."""
    for held in folds(patients, seed):
        train, test = parted(patients, held)
        model = fitted_model(train, seed=seed, epochs=epochs)
        yield Judge(float_scorer(model), test, train, model.parameters.threshold)


def metrics(scored: Sequence[Scored], column: str = SCORE) -> Metrics:
    """P2's figures of one column; a class that is absent is left out."""
    label = np.concatenate([each.label for each in scored])
    score = np.concatenate([each.ranked(column) for each in scored])
    if not (label == "N").any() or not (label != "N").any():
        return {}
    found: Metrics = {
        "auc": float(roc_auc_score(label != "N", score)),
        "ap": float(average_precision_score(label != "N", score)),
    }
    for name in "SVF":
        both = (label == name) | (label == "N")
        if (label == name).any():
            found[f"auc_{name}"] = float(roc_auc_score(label[both] == name, score[both]))
    each_auc = [
        auc
        for each in scored
        if int(each.abnormal.sum()) >= MIN_ABNORMAL and (auc := record_auc(each, column)) is not None
    ]
    if each_auc:
        found["auc_record_median"] = float(np.median(each_auc))
    return found


def record_auc(scored: Scored, column: str = SCORE) -> float | None:
    """Area under the ROC curve of one record; None where it has beats of one class only."""
    if not 0 < int(scored.abnormal.sum()) < scored.label.size:
        return None
    return float(roc_auc_score(scored.abnormal, scored.ranked(column)))


def without(scored: Sequence[Scored], record: str, column: str = SCORE) -> Metrics:
    """The totals without one record, named so; empty where it is not there or alone."""
    others = [each for each in scored if each.record != record]
    if len(others) in {0, len(scored)}:
        return {}
    return {f"{name}_without_{record}": value for name, value in metrics(others, column).items()}


def f1(label: NDArray[np.str_], score: NDArray[np.float64], threshold: float) -> float:
    """F1 of abnormal against normal at a threshold, in percent."""
    flagged, abnormal = score > threshold, label != "N"
    hit = int((flagged & abnormal).sum())
    return 200.0 * hit / max(1, int(flagged.sum()) + int(abnormal.sum()))


class _CardTraining(msgspec.Struct):
    records: dict[str, str] = {}


class _Card(msgspec.Struct):
    training: _CardTraining = msgspec.field(default_factory=_CardTraining)


def records_of_card(card: bytes) -> dict[str, str]:
    """Records that a model learned from with the SHA-256 of each, as its card says; empty where it does not."""
    try:
        return msgspec.json.decode(card, type=_Card).training.records
    except msgspec.MsgspecError:
        return {}
