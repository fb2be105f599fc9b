"""Protocol P7: NEWS2 against its table; the model of vital signs on faults and on the outcome of stays never seen."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from vitalwire_cloud.evaluation import vital_faults
from vitalwire_cloud.evaluation.news2_table import Wrong, check
from vitalwire_cloud.evaluation.report import Advance, Curve, Grid, Metrics, Outcome, Report, meets, silent
from vitalwire_cloud.evaluation.vital_outcomes import Scores, fold_scores, interval
from vitalwire_cloud.models.vitals_vae import HOURS
from vitalwire_cloud.train.dataset import NoRecordError
from vitalwire_cloud.train.fit_vitals import EPOCHS, VitalsModel, fit_vitals
from vitalwire_cloud.train.vitals_data import Stays, read_monitor, read_stays

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
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Run protocol P7 on DATA/cinc2012 and DATA/mimic4wdb; where there are no stays only NEWS2 is checked.

    With `limit` only so many stays. Raises `OSError`.
    """
    advance = steps(2 + FOLDS)
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
    found = vital_faults.pairs(stays.cells[test], width=model.width, seed=seed)
    elsewhere: dict[str, vital_faults.Pair] = {}
    if monitor is not None:
        starts = range(0, max(1, monitor.shape[0] - 2 * HOURS), _MONITOR_STEP)
        pieces = [monitor[start : start + 2 * HOURS] for start in starts]
        whole = np.stack([each for each in pieces if each.shape[0] == 2 * HOURS])
        elsewhere = vital_faults.pairs(whole, width=model.width, seed=seed)
    for name, scorer in scorers.items():
        each = {f"auc_{kind}": vital_faults.auc_of(pair, scorer) for kind, pair in found.items()}
        row = {"auc_faults": float(np.mean(list(each.values())))} | each
        there = [vital_faults.auc_of(pair, scorer) for pair in elsewhere.values()]
        if there:
            row["auc_faults_monitor"] = float(np.mean(there))
        faults.setdefault(name, []).append(row)


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
            model="NEWS2 of the gateway; model of vital signs, cross-validated by stay",
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
