"""`vitalwire evaluate anomaly|int8`: the protocols of the beat model, as a table and as JSON."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, NoReturn

import msgspec
import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from vitalwire_cloud.train import export
from vitalwire_cloud.evaluation.beats import (
    COLUMNS,
    Metrics,
    Scored,
    Scorer,
    cross_validated,
    f1,
    folds,
    metrics,
    score_patient,
    scorer,
    timed_us,
)
from vitalwire_cloud.train.commands import representative
from vitalwire_cloud.train.dataset import NoRecordError, Patient, load_folder
from vitalwire_cloud.train.export import Beats
from vitalwire_cloud.train.fit_beat import TrainingDataError, fit
from vitalwire_edge.inference.runtime import LoadedModel, load
from vitalwire_edge.inference.score import ScoreParameters, Scoring, Views

app = typer.Typer(no_args_is_help=True, help="Evaluate models after the protocols, with anchors beside.")

INTER_PATIENT_BAR: Final = {
    "auc": 0.98,
    "ap": 0.88,
    "auc_S": 0.96,
    "auc_V": 0.997,
    "auc_record_median": 0.99,
}
INT8_BAR: Final = {"d_auc": 0.002, "bytes": 180_000.0, "p50_us": 50.0, "f1": 85.0}
ANCHORS: Final[dict[str, Metrics]] = {
    "AnoBeat 2020 (published)": {"auc": 0.894},
    "personalised kNN + RR": {"auc": 0.906},
    "mixture (protocol's figure)": {
        "auc": 0.961,
        "ap": 0.79,
        "auc_S": 0.941,
        "auc_V": 0.993,
        "auc_F": 0.786,
        "auc_record_median": 0.986,
    },
}

_Data = Annotated[Path, typer.Option("--data", help="WFDB folder with annotations.", metavar="DIR")]
_Json = Annotated[Path | None, typer.Option("--json", help="Write the figures there.", metavar="FILE")]
_Cache = Annotated[Path | None, typer.Option("--cache", help="Keep prepared records there.", metavar="DIR")]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A protocol's JSON."""

    protocol: str
    model: str
    data: str
    records: list[str]
    seed: int
    metrics: Metrics
    peers: dict[str, Metrics]
    bar: Metrics
    passed: bool


@app.callback()
def evaluate() -> None:
    """Evaluate models after the protocols, with anchors beside."""


@app.command(
    epilog="Example: vitalwire evaluate anomaly --protocol inter-patient --data mitdb --json p2.json"
)
def anomaly(
    *,
    data: _Data,
    json: _Json = None,
    cache: _Cache = None,
    protocol: Annotated[str, typer.Option("--protocol", help="inter-patient.")] = "inter-patient",
    epochs: Annotated[int, typer.Option("--epochs", min=1)] = 16,
    seed: Annotated[int, typer.Option("--seed")] = 1,
) -> None:
    """Abnormal beats of patients never seen, at annotated R peaks: cross-validated by patient."""
    if protocol != "inter-patient":
        _wrong(f"protocol {protocol} is not known: give inter-patient")
    patients = _patients(data, cache)
    try:
        scored = cross_validated(patients, seed=seed, epochs=epochs)
    except TrainingDataError as error:
        _wrong(str(error))
    found = metrics(scored, "score") | _without_208(scored)
    peers = {f"{name} alone": metrics(scored, name) for name in COLUMNS if name != "score"} | ANCHORS
    bar = INTER_PATIENT_BAR
    passed = all(found.get(name, 0.0) >= least for name, least in bar.items())
    names = [p.record for p in patients]
    _say(
        Report(
            protocol="inter-patient",
            model="cross-validated",
            data=str(data),
            records=names,
            seed=seed,
            metrics=found,
            peers=peers,
            bar=bar,
            passed=passed,
        ),
        json,
    )


@app.command(epilog="Example: vitalwire evaluate int8 --data mitdb --json p8.json")
def int8(
    *,
    data: _Data,
    json: _Json = None,
    cache: _Cache = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1)] = 16,
    seed: Annotated[int, typer.Option("--seed")] = 1,
) -> None:
    """The int8 files against their float parent, on one fold of patients never seen; the dynamic-range one ships."""
    patients = _patients(data, cache)
    held = folds(patients, seed)[0]
    train = [p for p in patients if p.patient not in held]
    test = [p for p in patients if p.patient in held]
    try:
        model = fit(train, seed=seed, epochs=epochs)
    except TrainingDataError as error:
        _wrong(str(error))
    beats = representative(train, seed)
    parent = [score_patient(p, scorer(model)) for p in test]
    rows: dict[str, Metrics] = {}
    for kind, file in export.variants(model.network, model.parameters, beats).items():
        runner = load(file, export.RUNTIME)
        scored = [score_patient(p, _file_scorer(runner, model.parameters)) for p in test]
        inputs = export.given(model.parameters, beats)
        p50, p99 = timed_us(lambda k, run=runner, given=inputs: run(given[k]), len(inputs))  # type: ignore[misc]
        label = np.concatenate([s.label for s in scored])
        score = np.concatenate([s.scores["score"] for s in scored])
        rows[kind] = {
            "d_auc": abs(metrics(scored, "score")["auc"] - metrics(parent, "score")["auc"]),
            "bytes": float(len(file)),
            "p50_us": p50,
            "p99_us": p99,
            "f1": f1(label, score, model.parameters.threshold),
        }
    found = rows.pop(export.DYNAMIC)
    passed = found["f1"] >= INT8_BAR["f1"] and all(
        found[n] <= INT8_BAR[n] for n in ("d_auc", "bytes", "p50_us")
    )
    _say(
        Report(
            protocol="int8",
            model="cross-validated",
            data=str(data),
            records=[p.record for p in test],
            seed=seed,
            metrics=found,
            peers=rows,
            bar=INT8_BAR,
            passed=passed,
        ),
        json,
    )


def _file_scorer(runner: LoadedModel, parameters: ScoreParameters) -> Scorer:
    scoring = Scoring(parameters)

    def score(patient: Patient) -> Views:
        beats = Beats(patient.beat, patient.reference, patient.context)
        return scoring.views(patient.beat, patient.context, export.run_all(runner, parameters, beats))

    return score


def _without_208(scored: Sequence[Scored]) -> Metrics:
    """The totals without the patient who holds nearly all fusion beats."""
    others = [each for each in scored if each.record != "208"]
    if len(others) in {0, len(scored)}:
        return {}
    return {f"{name}_without_208": value for name, value in metrics(others, "score").items()}


def _patients(data: Path, cache: Path | None) -> list[Patient]:
    torch.set_num_threads(1)
    try:
        return load_folder(data, cache=cache)
    except (NoRecordError, OSError) as error:
        _wrong(str(error))


def _say(report: Report, path: Path | None) -> None:
    names = list(report.metrics)
    table = Table("", *names, title=f"{report.protocol} on {len(report.records)} records of {report.data}")
    for title, row in {"ours": report.metrics, **report.peers, "bar": report.bar}.items():
        table.add_row(title, *(f"{row[name]:.4g}" if name in row else "" for name in names))
    Console(width=200 if not sys.stdout.isatty() else None).print(table)
    typer.echo("passed" if report.passed else "bar not reached")
    if path is not None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


def _wrong(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)
