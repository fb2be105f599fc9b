"""Protocol P7: NEWS2 against its table; the model of vital signs on faults and on the outcome of stays never seen."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from vitalwire_cloud.evaluation import vital_faults
from vitalwire_cloud.evaluation.news2_table import Wrong, check
from vitalwire_cloud.evaluation.report import Advance, Curve, Grid, Metrics, Outcome, Report, meets, silent
from vitalwire_cloud.evaluation.vital_outcomes import Scores, fold_scores, interval, most_news2
from vitalwire_cloud.models.vitals_vae import HOURS
from vitalwire_cloud.train.dataset import NoRecordError, TrainingDataError
from vitalwire_cloud.train.fit_vitals import EPOCHS, VitalsModel, fit_vitals
from vitalwire_cloud.train.vitals_data import Stays, read_monitor, read_stays
from vitalwire_cloud.train.vitals_file import SavedVitals

BAR: Final = {"news2_errors": 0.0, "auc_faults": 0.90, "auc_death": 0.75}
FOLDS: Final = 5
STAYS: Final = "cinc2012"
MONITOR: Final = "mimic4wdb"
_SHOWN: Final = 20
_MONITOR_STEP: Final = HOURS // 2


def vitals(
    data: Path,
    *,
    seed: int,
    epochs: int = EPOCHS,
    limit: int | None = None,
    saved: SavedVitals | None = None,
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Run protocol P7 on DATA/cinc2012 and DATA/mimic4wdb; where there are no stays only NEWS2 is checked.

    With `limit` only so many stays; a model that was `saved` is judged on every one, and nothing is trained.
    Raises `OSError`, `TrainingDataError`.
    """
    advance = steps(2 + (FOLDS if saved is None else 1))
    tried, wrong = check()
    metrics: Metrics = {"news2_errors": float(len(wrong))}
    advance("NEWS2")
    try:
        stays = read_stays(data / STAYS)
    except NoRecordError as error:
        metrics["news2_observations"] = float(tried)
        return _outcome(data, [], metrics, {}, wrong, seed=seed, notes=(str(error),))
    advance("stays")
    if limit is not None:
        stays = Stays(stays.cells[:limit], stays.died[:limit], stays.digest)
    monitor = read_monitor(data / MONITOR)
    if saved is not None:
        outcome = _of_saved(
            data, saved, stays, monitor, metrics | {"news2_observations": float(tried)}, wrong, seed=seed
        )
        advance("stays judged")
        return outcome
    order = np.random.default_rng(seed).permutation(stays.died.size)
    faults: dict[str, list[Metrics]] = {}
    risk: dict[str, Scores] = {}
    for turn, test in enumerate(np.array_split(order, FOLDS)):
        train = np.setdiff1d(order, test)
        model = fit_vitals(stays.cells[train], seed=seed, epochs=epochs)
        _add_faults(faults, model, stays, train, test, monitor, seed=seed)
        said = fold_scores(model, stays.cells[train], stays.died[train], stays.cells[test], seed=seed)
        for name, scores in said.items():
            risk.setdefault(name, np.zeros(stays.died.size))[test] = scores
        advance(f"fold {turn + 1}")
    rows = {name: _mean(each) for name, each in faults.items()}
    for name, scores in risk.items():
        rows.setdefault(name, {})["auc_death"] = float(roc_auc_score(stays.died, scores))
    others = [name for name in risk if name != "ours"]
    bounds = interval(stays.died, [risk["ours"], *(risk[name] for name in others)], seed=seed)
    metrics |= rows.pop("ours") | {"auc_death_low": bounds[0][0], "auc_death_high": bounds[0][1]}
    ordered = {name: metrics[name] for name in (*BAR, *metrics)}
    table = Grid(
        "lead in AUC of death over peers, 95 % interval over stays",
        ("", "from", "to"),
        tuple((n, f"{low:+.4f}", f"{high:+.4f}") for n, (low, high) in zip(others, bounds[1:], strict=True)),
    )
    return _outcome(
        data,
        [STAYS] if monitor is None else [STAYS, MONITOR],
        ordered | {"news2_observations": float(tried), "stays": float(stays.died.size)},
        rows,
        wrong,
        seed=seed,
        notes=(
            "auc_faults is the mean over kinds of fault, on stays that were not learned from",
            "auc_faults_monitor is on 5-minute medians of a monitor's own numbers, of a patient of another database",
            "the model never sees an outcome; a logistic regression on what it says of a stay does, as the peer's does",
        ),
        tables=(table,),
        curves=tuple(Curve(name, stays.died, risk[name]) for name in ("ours", *others[:3])),
        digests={STAYS: stays.digest},
        as_good=all(high >= 0 for _, high in bounds[1:]),
    )


def _of_saved(
    data: Path,
    saved: SavedVitals,
    stays: Stays,
    monitor: NDArray[np.float32] | None,
    metrics: Metrics,
    wrong: list[Wrong],
    *,
    seed: int,
) -> Outcome:
    """A trained model on every stay, beside what needs no training."""
    if not 0 < int(stays.died.sum()) < stays.died.size:
        raise TrainingDataError(
            f"{int(stays.died.sum())} of {stays.died.size} stays ended in death: no AUC of that"
        )
    kinds = _found(stays.cells, monitor, width=saved.model.width, seed=seed)
    scorers = {"ours": vital_faults.ours(saved.model), "partial NEWS2": vital_faults.early_warning}
    rows = {name: _faults(kinds, scorer) for name, scorer in scorers.items()}
    risk = {"ours": saved.head.risk(saved.model, stays.cells), "partial NEWS2": most_news2(stays.cells)}
    for name, scores in risk.items():
        rows[name]["auc_death"] = float(roc_auc_score(stays.died, scores))
    bounds = interval(stays.died, list(risk.values()), seed=seed)
    metrics |= rows.pop("ours") | {"auc_death_low": bounds[0][0], "auc_death_high": bounds[0][1]}
    metrics["stays"] = float(stays.died.size)
    notes = ["peers that need training are left out: run without --model for them"]
    if stays.digest == saved.run.data:
        notes.append(
            "warning: the model learned from stays of this archive: on them this is no figure of unseen patients"
        )
    return _outcome(
        data,
        [STAYS] if monitor is None else [STAYS, MONITOR],
        {name: metrics[name] for name in (*BAR, *metrics)},
        rows,
        wrong,
        seed=seed,
        model=f"NEWS2 of the gateway; model of vital signs of {saved.run.created} ({saved.run.stays} stays)",
        notes=tuple(notes),
        curves=tuple(Curve(name, stays.died, scores) for name, scores in risk.items()),
        digests={STAYS: stays.digest},
        as_good=bounds[1][1] >= 0,
    )


def _add_faults(
    faults: dict[str, list[Metrics]],
    model: VitalsModel,
    stays: Stays,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    monitor: NDArray[np.float32] | None,
    *,
    seed: int,
) -> None:
    scorers = {"ours": vital_faults.ours(model)} | vital_faults.peers(stays.cells[train], seed=seed)
    kinds = _found(stays.cells[test], monitor, width=model.width, seed=seed)
    for name, scorer in scorers.items():
        faults.setdefault(name, []).append(_faults(kinds, scorer))


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Faults by kind: in stays, and in a monitor's own numbers where there are some."""

    stays: dict[str, vital_faults.Pair]
    monitor: dict[str, vital_faults.Pair]


def _found(
    cells: NDArray[np.float32], monitor: NDArray[np.float32] | None, *, width: NDArray[np.float32], seed: int
) -> _Kinds:
    found = vital_faults.pairs(cells, width=width, seed=seed)
    if monitor is None:
        return _Kinds(found, {})
    starts = range(0, max(1, monitor.shape[0] - 2 * HOURS), _MONITOR_STEP)
    pieces = [monitor[start : start + 2 * HOURS] for start in starts]
    whole = np.stack([each for each in pieces if each.shape[0] == 2 * HOURS])
    return _Kinds(found, vital_faults.pairs(whole, width=width, seed=seed))


def _faults(kinds: _Kinds, scorer: vital_faults.Scorer) -> Metrics:
    each = {f"auc_{kind}": vital_faults.auc_of(pair, scorer) for kind, pair in kinds.stays.items()}
    row = {"auc_faults": float(np.mean(list(each.values())))} | each
    there = [vital_faults.auc_of(pair, scorer) for pair in kinds.monitor.values()]
    return row | {"auc_faults_monitor": float(np.mean(there))} if there else row


def _mean(rows: list[Metrics]) -> Metrics:
    names = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


def _outcome(
    data: Path,
    records: list[str],
    metrics: Metrics,
    peers: dict[str, Metrics],
    wrong: list[Wrong],
    *,
    seed: int,
    model: str = "NEWS2 of the gateway; model of vital signs, cross-validated by stay",
    notes: tuple[str, ...],
    tables: tuple[Grid, ...] = (),
    curves: tuple[Curve, ...] = (),
    digests: dict[str, str] | None = None,
    as_good: bool = True,
) -> Outcome:
    rows = tuple((str(each.observation), each.expected, each.got) for each in wrong[:_SHOWN])
    errors = (
        (Grid("NEWS2 otherwise than its table", ("observation", "table", "gateway"), rows),) if rows else ()
    )
    return Outcome(
        Report(
            protocol="vitals",
            model=model,
            data=str(data),
            records=records,
            seed=seed,
            metrics=metrics,
            peers=peers,
            bar=BAR,
            passed=meets(metrics, BAR) and as_good,
        ),
        notes=notes,
        tables=(*tables, *errors),
        curves=curves,
        digests=digests or {},
    )
