"""Protocol P8: the int8 files against their float parent on the same beats of patients never seen."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.evaluation.beats import (
    ALERT,
    SCORE,
    Columns,
    Scored,
    Scorer,
    f1,
    fitted_model,
    float_scorer,
    folds,
    gateway_scorer,
    metrics,
    outputs_scorer,
    parted,
    score_patient,
)
from vitalwire_cloud.evaluation.judged import JudgedModel
from vitalwire_cloud.evaluation.report import Advance, Metrics, Outcome, Report, meets, silent
from vitalwire_cloud.train import export
from vitalwire_cloud.train.commands import representative
from vitalwire_cloud.train.dataset import Patient, TrainingDataError, first_leads, load_folder
from vitalwire_cloud.train.export import Beats
from vitalwire_cloud.train.fit_beat import BeatModel
from vitalwire_edge.inference.beat_model import BeatScorer
from vitalwire_edge.inference.features import BeatInput
from vitalwire_edge.inference.runtime import LoadedModel, load
from vitalwire_edge.inference.score import ScoreParameters

BAR: Final = {"d_auc": 0.002, "bytes": 180_000.0, "p50_us": 50.0, "f1": 85.0}
ANCHORS: Final[dict[str, Metrics]] = {
    "BeatGAN 2019": {"p50_us": 2600.0},
    "int8 AE on a microcontroller": {"bytes": 180_000.0, "p50_us": 9000.0, "f1": 79.0},
}
_ROUNDS: Final = 2000
_WARM: Final = 50
_TIMED: Final = 200


@dataclass(slots=True)
class _Variant:
    """One model file's scores and times, fold after fold."""

    scored: list[Scored] = field(default_factory=list)
    flagged: list[tuple[NDArray[np.str_], NDArray[np.float64]]] = field(default_factory=list)
    times_us: list[tuple[float, float]] = field(default_factory=list)
    whole_us: list[tuple[float, float]] = field(default_factory=list)
    size: int = 0

    def take(self, scored: Sequence[Scored], decision: float | None, threshold: float) -> None:
        """Take a fold: scores are kept as distances from the threshold, which differs from fold to fold."""
        self.scored += scored
        column, above = (ALERT, threshold) if decision is None else (SCORE, decision)
        self.flagged += [(each.label, each.scores[column] - above) for each in scored]

    def figures(self) -> Metrics:
        label, above = (np.concatenate([each[k] for each in self.flagged]) for k in (0, 1))
        of_both = metrics(self.scored)
        if not of_both:
            raise TrainingDataError(
                f"{label.size} beats after the first five minutes are not of both kinds: give records with both"
            )
        found = {"auc": of_both["auc"], "f1": f1(label, above, 0.0)}
        if self.times_us:
            p50, p99 = np.median(np.asarray(self.times_us), axis=0)
            found |= {"bytes": float(self.size), "p50_us": float(p50), "p99_us": float(p99)}
        if self.whole_us:
            p50, p99 = np.median(np.asarray(self.whole_us), axis=0)
            found |= {"whole_p50_us": float(p50), "whole_p99_us": float(p99)}
        return found


def int8(
    data: Path,
    *,
    seed: int,
    epochs: int,
    model: JudgedModel | None = None,
    cache: Path | None = None,
    names: Sequence[str] = (),
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Run protocol P8. Raises `NoRecordError`, `TrainingDataError`, `OSError`.

    `f1` is at the threshold that the model brings, which served best on its training patients; of a model that knew no
    labels, where alerts begin. `bytes` are of the network's file and the weights of the sequence model and the heads.
    Times are of the network; `whole_` ones of the gateway's score of a beat.
    """
    patients = load_folder(data, cache=cache, names=names, to_learn=model is None)
    if model is not None:
        return _artifact(model, data, patients, seed=seed, advance=steps(len(patients)))
    held_out = folds(patients, seed)
    advance = steps(2 * len(held_out))
    rows = {name: _Variant() for name in (*export.FILES, "torch")}
    for held in held_out:
        train, test = parted(patients, held)
        fitted = fitted_model(train, seed=seed, epochs=epochs)
        advance(f"trained without {' '.join(sorted(held))}")
        _fold(fitted, train, test, rows, seed)
        advance(f"judged on {' '.join(sorted(held))}")
    found = {name: row.figures() for name, row in rows.items()}
    parent = found["torch"]["auc"]
    for name in export.FILES:
        found[name]["d_auc"] = abs(found[name]["auc"] - parent)
    ours = found.pop(export.DYNAMIC)
    order = ("d_auc", "bytes", "p50_us", "p99_us", "f1", "auc", "whole_p50_us", "whole_p99_us")
    ours = {name: ours[name] for name in order}
    return Outcome(
        Report(
            protocol="int8",
            model="cross-validated by patient; the dynamic-range int8 file ships",
            data=str(data),
            records=[p.record for p in first_leads(patients)],
            seed=seed,
            metrics=ours,
            peers=found | ANCHORS,
            bar=BAR,
            passed=meets(ours, BAR),
        ),
        digests={p.record: p.digest for p in patients},
    )


def _fold(
    fitted: BeatModel, train: Sequence[Patient], test: Sequence[Patient], rows: dict[str, _Variant], seed: int
) -> None:
    decision, threshold = fitted.parameters.decision, fitted.parameters.threshold
    rows["torch"].take([score_patient(p, float_scorer(fitted)) for p in test], decision, threshold)
    beats = representative(list(train), seed)
    for name, file in export.variants(fitted.network, fitted.parameters, beats).items():
        parameters = fitted.parameters if name == export.FLOAT else fitted.parameters.quantised()
        runner, row = load(file, export.RUNTIME), rows[name]
        row.take([score_patient(p, file_scorer(runner, parameters)) for p in test], decision, threshold)
        given = export.given(fitted.parameters, beats)
        row.times_us.append(timed_us(lambda k, run=runner, of=given: run(of[k]), len(given)))  # type: ignore[misc]
        row.size = len(file) + parameters.bytes
        if name == export.DYNAMIC:
            row.whole_us.append(beat_times_us(BeatScorer(runner, parameters), test[0]))


def _artifact(
    model: JudgedModel, data: Path, patients: Sequence[Patient], *, seed: int, advance: Advance
) -> Outcome:
    """P8 of an artifact, which carries no float parent: without `d_auc`, whose bar is left out."""
    row = _Variant(size=model.size)
    by = gateway_scorer(model.scorer)
    for patient in patients:
        row.take([score_patient(patient, by)], model.scorer.decision, model.scorer.threshold)
        advance(patient.record)
    most = max(patients, key=lambda patient: patient.sample.size)
    beats = Beats(most.beat, most.reference, most.context).first(_TIMED)
    given = export.given(model.parameters, beats)
    row.times_us.append(timed_us(lambda k: model.network(given[k]), len(given)))
    row.whole_us.append(beat_times_us(model.scorer, most))
    found = row.figures()
    bar = {name: limit for name, limit in BAR.items() if name != "d_auc"}
    return Outcome(
        Report(
            protocol="int8",
            model=model.told,
            data=str(data),
            records=[p.record for p in patients],
            seed=seed,
            metrics=found,
            peers=ANCHORS,
            bar=bar,
            passed=meets(found, bar),
        ),
        notes=("d_auc is missing: an artifact carries no float parent; run without --model for it",),
        digests={p.record: p.digest for p in patients},
    )


def file_scorer(runner: LoadedModel, parameters: ScoreParameters) -> Scorer:
    """A model file as a function of a patient."""
    by = outputs_scorer(parameters)

    def score(patient: Patient) -> Columns:
        beats = Beats(patient.beat, patient.reference, patient.context)
        return by(patient, export.run_all(runner, parameters, beats))

    return score


def timed_us(
    run: Callable[[int], object],
    count: int,
    *,
    rounds: int = _ROUNDS,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> tuple[float, float]:
    """Median and 99th percentile of one inference."""
    took = np.empty(rounds)
    for k in range(-_WARM, rounds):
        began = clock_ns()
        run(k % count)
        took[max(k, 0)] = clock_ns() - began
    return float(np.percentile(took, 50)) / 1000, float(np.percentile(took, 99)) / 1000


def beat_times_us(
    scorer: BeatScorer, patient: Patient, *, clock_ns: Callable[[], int] = time.perf_counter_ns
) -> tuple[float, float]:
    """Median and 99th percentile of one beat through the gateway's scorer, arithmetic around the network included."""
    memory = scorer.begin()

    def one(k: int) -> object:
        beat, own, context = patient.beat[k], patient.reference[k], patient.context[k]
        return scorer.score(BeatInput(int(patient.sample[k]), beat, own, context, 1.0), memory)

    return timed_us(one, patient.sample.size, clock_ns=clock_ns)
