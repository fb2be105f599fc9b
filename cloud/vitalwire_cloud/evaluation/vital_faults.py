"""P7's faults of vital signs, injected into the newest hours of windows that were measured, and who notices them.

Saturation 6 lower, respiration 10 higher, systolic pressure 30 lower in the newest cell; or one sign that drifts by a
population standard deviation an hour for four hours. Each faulty window is compared with the same window untouched.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from vitalwire_cloud.models.vitals_vae import HOURS, SIGNS
from vitalwire_cloud.train.fit_vitals import VitalsModel, windows_of
from vitalwire_edge.alarms.news2 import Observation, news2

Floats = NDArray[np.float32]
Scorer = Callable[[Floats], NDArray[np.float64]]
"""Score (n,) of the newest hour of windows (n, HOURS, signs)."""

STEPS: Final = {"spo2": (2, -6.0), "respiration": (1, 10.0), "systolic": (3, -30.0)}
DRIFT_HOURS: Final = 4
KINDS: Final = (*STEPS, "drift")
WINDOWS_PER_STAY: Final = 4
_COMPONENTS: Final = 10
SENSED: Final = 6
"""Signs that a sensor measures: all but the last, the coma scale."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Windows as measured, and the same with a fault."""

    clean: Floats
    faulty: Floats


def pairs(cells: Floats, *, width: Floats, seed: int) -> dict[str, Pair]:
    """By kind of fault, windows of stays (n, hours, signs) in which it can be seen."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(HOURS, cells.shape[1] + 1, size=(WINDOWS_PER_STAY, cells.shape[0]))
    windows = np.concatenate([windows_of(cells, each) for each in ends])
    found: dict[str, Pair] = {}
    for kind, (sign, step) in STEPS.items():
        measured = np.isfinite(windows[:, :, sign])
        clean = windows[measured[:, -1] & measured[:, :-1].any(axis=1)]
        faulty = clean.copy()
        faulty[:, -1, sign] += step
        found[kind] = Pair(clean, faulty)
    which = rng.integers(SENSED, size=int(windows.shape[0]))
    seen = np.isfinite(windows[np.arange(windows.shape[0]), -1, which])
    clean, which = windows[seen], which[seen]
    faulty = clean.copy()
    ramp = np.clip(np.arange(HOURS) - (HOURS - 1 - DRIFT_HOURS), 0, None)
    rows = np.arange(clean.shape[0])
    faulty[rows, :, which] += ramp[None] * width[which][:, None]
    found["drift"] = Pair(clean, faulty)
    return {kind: pair for kind, pair in found.items() if pair.clean.shape[0]}


def auc_of(pair: Pair, scorer: Scorer) -> float:
    """How well a scorer tells faulty windows from the same ones untouched."""
    score = np.concatenate((scorer(pair.clean), scorer(pair.faulty)))
    return float(roc_auc_score(np.arange(score.size) >= pair.clean.shape[0], score))


def ours(model: VitalsModel) -> Scorer:
    """The sensed sign that is furthest from what the hours before and the other signs let expect."""

    def score(windows: Floats) -> NDArray[np.float64]:
        surprise = model.surprise(windows)
        known = np.nan_to_num(surprise[:, :SENSED], nan=0.0)
        most: NDArray[np.float64] = known.max(axis=1).astype(np.float64)
        return most

    return score


def peers(train: Floats, *, seed: int) -> dict[str, Scorer]:
    """Principal components, an isolation forest, and the NEWS2 of what is measured, fitted on stays' windows."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(1, train.shape[1] + 1, size=(2, train.shape[0]))
    windows = np.concatenate([windows_of(train, each) for each in ends])
    centre = np.nanmean(windows, axis=(0, 1))
    width = np.maximum(np.nanstd(windows, axis=(0, 1)), 1e-3)

    def units(given: Floats) -> NDArray[np.float64]:
        filled = carried((given - centre) / width)
        flat: NDArray[np.float64] = filled.reshape(given.shape[0], -1).astype(np.float64)
        return flat

    def now_and_change(given: Floats) -> NDArray[np.float64]:
        both = units(given).reshape(given.shape)
        return np.concatenate((both[:, -1], both[:, -1] - np.median(both[:, :-1], axis=1)), axis=1)

    pca = PCA(_COMPONENTS, random_state=seed).fit(units(windows))
    forest = IsolationForest(n_estimators=100, random_state=seed).fit(now_and_change(windows))

    def reconstruction(given: Floats) -> NDArray[np.float64]:
        seen = units(given)
        off = np.square(seen - pca.inverse_transform(pca.transform(seen)))
        newest: NDArray[np.float64] = off.reshape(given.shape)[:, -1].max(axis=1)
        return newest

    def isolation(given: Floats) -> NDArray[np.float64]:
        lonely: NDArray[np.float64] = -forest.score_samples(now_and_change(given))
        return lonely

    return {"PCA": reconstruction, "isolation forest": isolation, "partial NEWS2": early_warning}


def early_warning(windows: Floats) -> NDArray[np.float64]:
    """Partial NEWS2 of the newest hour: a scorer that needs no training."""
    return np.array([partial_news2(row) for row in windows[:, -1]], dtype=np.float64)


def carried(windows: Floats) -> Floats:
    """Windows without gaps: the last value carried on, the population's mean (0) before the first."""
    out = windows.copy()
    for hour in range(1, out.shape[1]):
        out[:, hour] = np.where(np.isfinite(out[:, hour]), out[:, hour], out[:, hour - 1])
    return np.nan_to_num(out, nan=0.0)


def partial_news2(row: Floats) -> int:
    """NEWS2 of what one hour measured, on scale 1; a coma scale below 15 counts as confusion."""
    known = {name: float(value) for name, value in zip(SIGNS, row, strict=True) if np.isfinite(value)}
    gcs = known.get("gcs")
    return news2(
        Observation(
            respiration=known.get("respiration"),
            spo2=known.get("spo2"),
            systolic=known.get("systolic"),
            pulse=known.get("heart_rate"),
            temperature=known.get("temperature"),
            consciousness=None if gcs is None else "alert" if gcs >= 15 else "confusion",
        )
    ).total
