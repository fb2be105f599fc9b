"""`vitalwire evaluate ectopy`: are ectopic beats told from normal ones, on patients that the weights have not seen?

The gateway's own minutes (`inference.trend`) are run over each record; the linear score is learned anew without the
patients it is then asked about (five parts, by patient), from all beats of the others, abnormal labels included: each
class of a patient weighs as the square root of its beats. A beat that is not judged, or not detected, counts as missed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.evaluation.records import CLASSES
from vitalwire_cloud.evaluation.report import Advance, Grid, Metrics, Outcome, Report, meets, silent
from vitalwire_cloud.train.dataset import NoRecordError, TrainingDataError, patient_of
from vitalwire_edge.inference.ectopy import NORMAL, PREMATURE, RHYTHM_HISTORY, UNKNOWN, VENTRICULAR, classify
from vitalwire_edge.inference.trend import EcgTrend, TrendMinute
from vitalwire_edge.signal.chain import EcgChain
from vitalwire_edge.signal.scoring import match_beats

BAR: Final[Metrics] = {"v_se": 0.85, "v_ppv": 0.85}
PARTS: Final = 5
_OF: Final = {"N": NORMAL, "S": PREMATURE, "V": VENTRICULAR}
_OTHER: Final = -2
_STRENGTH: Final = 0.01


@dataclass(frozen=True, slots=True)
class EctopicRecord:
    """A record as the gateway saw it, with the truth beside.

    Attributes:
        minutes: what `EcgTrend` said.
        truth: (n,) class of each detected beat, `_OTHER` where it has none of the three.
        missed: annotated beats that were not detected, by class.
        per_h: annotated ventricular beats an hour.

    """

    name: str
    digest: str
    minutes: list[TrendMinute]
    truth: NDArray[np.int64]
    missed: dict[int, int]
    per_h: float

    @property
    def features(self) -> NDArray[np.float64]:
        """(n, 20) of all beats."""
        return np.concatenate([minute.features for minute in self.minutes])

    @property
    def judged(self) -> NDArray[np.bool_]:
        """(n,) whether a class was given at all."""
        known: NDArray[np.bool_] = np.concatenate([minute.classes for minute in self.minutes]) != UNKNOWN
        return known

    def classes(self, weights: NDArray[np.float64], bias: float) -> NDArray[np.int64]:
        """(n,) classes by these weights."""
        found = np.concatenate(
            [
                classify(minute.features, minute.history, RHYTHM_HISTORY, weights=weights, bias=bias)
                for minute in self.minutes
            ]
        )
        found[~self.judged] = UNKNOWN
        return found


def ectopy(
    data: Path,
    *,
    names: Iterable[str] = (),
    seed: int = 1,
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Run it, by patient. Raises `NoRecordError`, `TrainingDataError`, `OSError`."""
    paths = records.paths(data, paced=False, names=names)
    advance = steps(len(paths) + PARTS)
    found: list[EctopicRecord] = []
    for path in paths:
        found.append(read(path))
        advance(path.name)
    patients = sorted({patient_of(record.name) for record in found})
    counts = {PREMATURE: np.zeros(3, dtype=np.int64), VENTRICULAR: np.zeros(3, dtype=np.int64)}
    rows: list[tuple[str, ...]] = []
    off_per_h: list[float] = []
    for part in range(min(PARTS, len(patients))):
        asked = set(patients[part::PARTS])
        known = [record for record in found if patient_of(record.name) not in asked]
        weights, bias = learn(known or found)
        for record in found:
            if patient_of(record.name) not in asked:
                continue
            classes = record.classes(weights, bias)
            each = {kind: _counted(record, classes, kind) for kind in counts}
            for kind, count in each.items():
                counts[kind] += count
            hours = len(record.minutes) / 60
            said_per_h = float((classes == VENTRICULAR).sum() / hours)
            off_per_h.append(abs(said_per_h - record.per_h))
            rows.append(
                (
                    record.name,
                    *(" / ".join(map(str, each[kind])) for kind in (VENTRICULAR, PREMATURE)),
                    f"{record.per_h:.0f}, {said_per_h:.0f}",
                )
            )
        advance(f"part {part + 1}")
    metrics: Metrics = {}
    for letter, kind in (("v", VENTRICULAR), ("s", PREMATURE)):
        hits, extra, missed = (int(value) for value in counts[kind])
        metrics[f"{letter}_se"] = hits / max(1, hits + missed)
        metrics[f"{letter}_ppv"] = hits / max(1, hits + extra)
    metrics["v_per_h_error_median"] = float(np.median(off_per_h))
    metrics["judged"] = float(np.mean([record.judged.mean() for record in found]))
    weights, bias = learn(found)
    rounded = ", ".join(f"{value:.4g}" for value in weights)
    return Outcome(
        Report(
            protocol="ectopy",
            model="linear score of shape and timing, learned by patient",
            data=str(data),
            records=[record.name for record in found],
            seed=seed,
            metrics=metrics,
            peers={},
            bar=BAR,
            passed=meets(metrics, BAR),
        ),
        notes=(f"learned on all of these records: bias {bias:.4g}, weights {rounded}",),
        tables=(
            Grid(
                "by record: found / too many / missed",
                ("record", "ventricular", "premature", "V an hour: annotated, said"),
                tuple(sorted(rows)),
            ),
        ),
        digests={record.name: record.digest for record in found},
    )


def read(path: Path) -> EctopicRecord:
    """Run the gateway's minutes over a record and put the annotations beside."""
    record = records.read(path)
    chain, trend = EcgChain(fs_hz=record.fs_hz), EcgTrend(fs_hz=record.fs_hz)
    block = round(10 * record.fs_hz)
    minutes: list[TrendMinute] = []
    for start in range(0, record.ecg_uv.size, block):
        minutes += trend.push(chain.push(start, record.ecg_uv[start : start + block]))
    if not minutes:
        raise NoRecordError(
            f"record {record.name} lasts {record.length_s:.0f} s: no minute of it is whole; leave it out with --records"
        )
    detected = np.concatenate([minute.samples for minute in minutes])
    end = minutes[-1].end_sample
    inside = record.beats < end
    beats = record.beats[inside]
    symbols = record.symbol[record.is_beat][inside]
    kinds = np.array([_OF.get(CLASSES.get(str(symbol), ""), _OTHER) for symbol in symbols])
    match = match_beats(beats.astype(np.float64), detected.astype(np.float64), fs_hz=record.fs_hz)
    truth = np.full(detected.size, _OTHER)
    hit = match.detected_of >= 0
    truth[match.detected_of[hit]] = kinds[hit]
    return EctopicRecord(
        name=record.name,
        digest=record.digest,
        minutes=minutes,
        truth=truth.astype(np.int64),
        missed={kind: int((~hit & (kinds == kind)).sum()) for kind in _OF.values()},
        per_h=float((kinds == VENTRICULAR).sum() / (end / record.fs_hz / 3600)),
    )


def learn(found: Sequence[EctopicRecord]) -> tuple[NDArray[np.float64], float]:
    """Weights and bias of the linear score: logistic regression on standardised features, strongly held back."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - takes a second to load

    features, ventricular, weight = [], [], []
    for record in found:
        x = record.features
        use = record.judged & (record.truth != _OTHER) & np.isfinite(x).all(axis=1)
        truth = record.truth[use]
        features.append(x[use])
        ventricular.append(truth == VENTRICULAR)
        each = np.ones(truth.size)
        for kind in _OF.values():
            chosen = truth == kind
            if chosen.any():
                each[chosen] = chosen.sum() ** -0.5
        weight.append(each)
    said = np.concatenate(ventricular)
    if not 0 < int(said.sum()) < said.size:
        raise TrainingDataError(
            f"{int(said.sum())} ventricular among {said.size} beats to learn from: give records with both kinds"
        )
    x = np.concatenate(features)
    mean, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    fitted: Any = LogisticRegression(C=_STRENGTH, max_iter=1000).fit(
        (x - mean) / spread, said, sample_weight=np.concatenate(weight)
    )
    weights: NDArray[np.float64] = fitted.coef_[0] / spread
    return weights, float(fitted.intercept_[0] - weights @ mean)


def _counted(record: EctopicRecord, classes: NDArray[np.int64], kind: int) -> NDArray[np.int64]:
    """Found, too many, missed of one class; beats that are neither N, S nor V do not count."""
    said, true = classes == kind, record.truth == kind
    return np.array(
        [
            (said & true).sum(),
            (said & ~true & (record.truth != _OTHER)).sum(),
            (~said & true).sum() + record.missed[kind],
        ]
    )
