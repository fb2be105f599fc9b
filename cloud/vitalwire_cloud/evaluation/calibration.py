"""Protocol P6: the gateway's alert budget on whole records, end to end, and what noise and abstention do to it.

Alerts are those of the gateway's own `AlertCalibration` on the beats that its chain detects, from the first scored beat
of a record to its end. An alert contains what is annotated in the 30 s from its first flagged beat.

`worst_budget_ratio` is the most alerts in any window up to an hour over that window's limit; `v_episode_se` is alerts
that contain a V over the lesser of alerts allowed in the record's length and 30 s windows that contain a V, averaged
over records with V. `v_episode_se_possible` is the same of alerts placed with the labels at hand, within the same
limit: V beats that come together cannot each have an alert.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.evaluation.beats import ALERT, Judge, gateway_scorer, judges
from vitalwire_cloud.evaluation.detected import Detections, detections, scored_by
from vitalwire_cloud.evaluation.judged import JudgedModel
from vitalwire_cloud.evaluation.qrs import with_noise
from vitalwire_cloud.evaluation.records import Recorded
from vitalwire_cloud.evaluation.report import Advance, Grid, Metrics, Outcome, Report, Strip, meets, silent
from vitalwire_cloud.evaluation.rhythm import alarms_of
from vitalwire_cloud.train.dataset import Patient, load_folder
from vitalwire_edge.inference.calibration import (
    ALERT_S,
    HOUR_S,
    Alert,
    AlertCalibration,
    window_limit,
)

BAR: Final = {"worst_budget_ratio": 1.0, "v_episode_se": 0.80}
BUDGET_PER_HOUR: Final = 6.0
MATCH_S: Final = 0.150
"""How far a detected R peak, with which an alert begins, may lie from its annotation (EC57)."""

NOISES: Final = (("em", 12.0), ("em", 6.0), ("ma", 12.0), ("ma", 6.0))
MODEL_PRIORITY: Final = "low"
_DAY_S: Final = 86_400.0
_WORST: Final = 3


@dataclass(frozen=True, slots=True)
class Alerted:
    """One record's alerts beside its annotated V beats, in seconds."""

    record: str
    length_s: float
    alerts: tuple[Alert, ...]
    v_s: NDArray[np.float64]
    budget_per_hour: float

    @property
    def hits(self) -> int:
        """Alerts that contain at least one V, be it the beat that was flagged, up to `MATCH_S` after its annotation."""
        return sum(self.holds_v(alert) for alert in self.alerts)

    def holds_v(self, alert: Alert) -> bool:
        """Whether an alert contains a V."""
        return bool(((self.v_s >= alert.at_s - MATCH_S) & (self.v_s < alert.at_s + ALERT_S)).any())

    @property
    def wanted(self) -> int:
        """The lesser of the alerts allowed and the 30 s windows that contain a V."""
        windows = np.unique(self.v_s // ALERT_S).size
        return min(window_limit(self.budget_per_hour, min(self.length_s, HOUR_S)), int(windows))

    @property
    def possible(self) -> int:
        """The most alerts with a V that the limit lets anyone place: each as early as it may be."""
        calibration = AlertCalibration(budget_per_hour=self.budget_per_hour, threshold=0.0, step=0.0)
        return sum(calibration.push(float(at), 1.0) is not None for at in self.v_s)

    @property
    def worst_ratio(self) -> float:
        """The most alerts in any window up to an hour, over that window's limit."""
        at = [alert.at_s for alert in self.alerts]
        ratios = [
            (last - first + 1) / max(1, window_limit(self.budget_per_hour, at[last] - at[first]))
            for first in range(len(at))
            for last in range(first, len(at))
            if at[last] - at[first] <= HOUR_S
        ]
        return max(ratios, default=0.0)


def alerted(
    found: Detections,
    record: Recorded,
    score: NDArray[np.float64],
    *,
    threshold: float,
    budget: float,
) -> Alerted:
    """What a record's beats count for an alert through the gateway's calibration; one with NaN does not count."""
    calibration = AlertCalibration(budget_per_hour=budget, threshold=threshold)
    alerts: list[Alert] = []
    usable = np.isfinite(score)
    at_s = found.patient.sample[usable] / record.fs_hz
    for at, value in zip(at_s, score[usable], strict=True):
        alert = calibration.push(float(at), float(value))
        if alert is not None:
            alerts.append(alert)
    v_s = record.sample[np.isin(record.symbol, ["V", "E"])] / record.fs_hz
    return Alerted(record.name, record.length_s, tuple(alerts), v_s, budget)


def figures(every: Sequence[Alerted]) -> Metrics:
    """P6's figures of all records."""
    with_v = [each for each in every if each.v_s.size]
    without = [each for each in every if not each.v_s.size]
    hours = sum(each.length_s for each in every) / HOUR_S
    out = {"worst_budget_ratio": max((each.worst_ratio for each in every), default=0.0)}
    if with_v:
        out["v_episode_se"] = float(np.mean([each.hits / each.wanted for each in with_v]))
        out["v_episode_se_possible"] = float(np.mean([min(e.possible, e.wanted) / e.wanted for e in with_v]))
        count = sum(len(each.alerts) for each in with_v)
        out["precision"] = sum(each.hits for each in with_v) / count if count else 0.0
    out["alerts_per_hour"] = sum(len(each.alerts) for each in every) / hours
    if without:
        quiet_hours = sum(each.length_s for each in without) / HOUR_S
        out["alerts_per_hour_without_v"] = sum(len(each.alerts) for each in without) / quiet_hours
    return out


def calibration(
    data: Path,
    *,
    noise: Path | None = None,
    seed: int,
    epochs: int,
    budget: float = BUDGET_PER_HOUR,
    model: JudgedModel | None = None,
    cache: Path | None = None,
    names: Iterable[str] = (),
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Run protocol P6. Raises `NoRecordError`, `TrainingDataError`, `OSError`."""
    paths = {path.name: path for path in records.paths(data, paced=False, names=names)}
    advance = steps(len(paths))
    patients = load_folder(data, cache=cache, names=list(paths), to_learn=model is None)
    conditions = ["clean", *(f"{kind}{db:.0f}" for kind, db in NOISES if noise is not None)]
    every: dict[tuple[str, bool], list[Alerted]] = {(c, on): [] for c in conditions for on in (True, False)}
    priorities: Counter[str] = Counter()
    seen: dict[str, Recorded] = {}
    for judge in _judges(model, patients, seed=seed, epochs=epochs):
        for patient in judge.patients:
            record = seen[patient.record] = records.read(paths[patient.record])
            priorities += Counter(
                c.priority for c in alarms_of(record.ecg_uv, record.fs_hz) if c.phase == "raised"
            )
            for condition in conditions:
                heard = record if noise is None or condition == "clean" else _noisy(record, condition, noise)
                found = detections(heard)
                for on in (True, False):
                    score = scored_by(found, judge.by, abstain=on)[ALERT]
                    each = alerted(found, heard, score, threshold=judge.threshold, budget=budget)
                    every[condition, on].append(each)
            advance(patient.record)
    return _outcome(
        every, priorities, seen, data=data, seed=seed, model=model, budget=budget, conditions=conditions
    )


def _judges(
    model: JudgedModel | None, patients: Sequence[Patient], *, seed: int, epochs: int
) -> Iterable[Judge]:
    if model is None:
        return judges(patients, seed=seed, epochs=epochs)
    return [Judge(gateway_scorer(model.scorer), patients, [], model.scorer.threshold)]


def _noisy(record: Recorded, condition: str, noise: Path) -> Recorded:
    kind, db = next((k, db) for k, db in NOISES if f"{k}{db:.0f}" == condition)
    noise_uv = records.noise(noise, kind, fs_hz=record.fs_hz)
    return replace(record, ecg_uv=with_noise(record, noise_uv, db))


def _outcome(
    every: dict[tuple[str, bool], list[Alerted]],
    priorities: Counter[str],
    seen: dict[str, Recorded],
    *,
    data: Path,
    seed: int,
    model: JudgedModel | None,
    budget: float,
    conditions: Sequence[str],
) -> Outcome:
    clean = every["clean", True]
    metrics = figures(clean)
    metrics["worst_budget_ratio"] = max(each.worst_ratio for alerts in every.values() for each in alerts)
    days = sum(each.length_s for each in clean) / _DAY_S
    priorities[MODEL_PRIORITY] += sum(len(each.alerts) for each in clean)
    metrics |= {f"{name}_per_patient_day": priorities[name] / days for name in ("high", "medium", "low")}
    rows = []
    for condition in conditions:
        on, off = figures(every[condition, True]), figures(every[condition, False])
        for name, row in (("on", on), ("off", off)):
            if "v_episode_se" in row:
                metrics[f"v_episode_se_{condition}_{name}"] = row["v_episode_se"]
                metrics[f"precision_{condition}_{name}"] = row["precision"]
        shown = ("v_episode_se", "precision", "alerts_per_hour")
        rows.append(
            (condition, *(f"{row.get(name, float('nan')):.3f}" for name in shown for row in (on, off)))
        )
    heads = ("", "V se, abstaining", "not", "precision, abstaining", "not", "alerts/h, abstaining", "not")
    return Outcome(
        Report(
            protocol="calibration",
            model="cross-validated by patient, in float" if model is None else model.told,
            data=str(data),
            records=[each.record for each in clean],
            seed=seed,
            metrics=metrics,
            peers={"possible": {"v_episode_se": metrics["v_episode_se_possible"]}}
            if "v_episode_se_possible" in metrics
            else {},
            bar=BAR,
            passed=meets(metrics, BAR),
        ),
        notes=(
            f"budget {budget:g} alerts an hour: at most {window_limit(budget, HOUR_S)} in any hour, and less in less",
            "`possible` places alerts with the labels at hand within the same limit",
        ),
        tables=(
            Grid("per record", _HEADS, tuple(_row(each) for each in sorted(clean, key=lambda e: e.record))),
            Grid(
                "with signal-quality abstention and without, by noise in two of every four minutes",
                heads,
                tuple(rows),
            ),
        ),
        strips=_false(clean, seen),
        digests={name: record.digest for name, record in seen.items()},
    )


_HEADS: Final = ("record", "V beats", "alerts", "with V", "wanted", "possible", "worst ratio")


def _row(each: Alerted) -> tuple[str, ...]:
    wanted = str(each.wanted) if each.v_s.size else ""
    numbers = (each.v_s.size, len(each.alerts), each.hits)
    return (each.record, *(str(n) for n in numbers), wanted, str(each.possible), f"{each.worst_ratio:.2f}")


def _false(clean: Sequence[Alerted], seen: dict[str, Recorded]) -> tuple[Strip, ...]:
    """The alerts without a V whose score was furthest above the threshold."""
    wrong = [
        (alert.score - alert.threshold, each.record, alert)
        for each in clean
        for alert in each.alerts
        if not each.holds_v(alert)
    ]
    strips = []
    for _, name, alert in sorted(wrong, key=lambda item: -item[0])[:_WORST]:
        record = seen[name]
        start = max(0, round((alert.at_s - 3) * record.fs_hz))
        ecg = record.ecg_uv[start : start + round(6 * record.fs_hz)]
        marks = [
            (int(at) - start, str(symbol))
            for at, symbol in zip(record.sample, record.symbol, strict=True)
            if start <= at < start + ecg.size
        ]
        strips.append(
            Strip(f"record {name} at {alert.at_s:.0f} s: alert without V", ecg, record.fs_hz, tuple(marks))
        )
    return tuple(strips)
