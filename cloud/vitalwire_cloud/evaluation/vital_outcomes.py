"""P7's outcome: death in hospital from the first 48 hours, by stay, from the model and from its peers.

The model of vital signs never sees an outcome; a logistic regression on what it says of a stay does, in the training
stays of each fold, and so does the peer that has the same head on plain summaries.
"""

import warnings
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vitalwire_cloud.evaluation.vital_faults import partial_news2
from vitalwire_cloud.train.fit_vitals import VitalsModel, windows_of

Floats = NDArray[np.float32]
Scores = NDArray[np.float64]

ENDS: Final = (12, 18, 24, 30, 36, 42, 48)
RESAMPLES: Final = 500
_COMPONENTS: Final = 8


def summaries(cells: Floats) -> Scores:
    """Mean, least, most, last and share measured of each sign of stays (n, hours, signs); NaN where never measured."""
    last = np.full((cells.shape[0], cells.shape[2]), np.nan)
    for hour in range(cells.shape[1]):
        last = np.where(np.isfinite(cells[:, hour]), cells[:, hour], last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a sign that was never measured has no mean
        each = (np.nanmean(cells, axis=1), np.nanmin(cells, axis=1), np.nanmax(cells, axis=1))
    return np.concatenate((*each, last, np.isfinite(cells).mean(axis=1)), axis=1).astype(np.float64)


def described(model: VitalsModel, cells: Floats) -> Scores:
    """What the model says of stays: its latents and expected signs over time, their mean, extremes and last."""
    every = np.stack(
        [model.described(windows_of(cells, np.full(cells.shape[0], end))) for end in ENDS], axis=1
    )
    parts = (every.mean(axis=1), every.min(axis=1), every.max(axis=1), every[:, -1])
    return np.concatenate(parts, axis=1).astype(np.float64)


def fold_scores(
    model: VitalsModel, train: Floats, died: NDArray[np.bool_], test: Floats, *, seed: int
) -> dict[str, Scores]:
    """Risk (n,) of test stays by the model with a head (`ours`) and by each peer."""
    plain, plain_test = summaries(train), summaries(test)
    centre = np.nanmean(plain, axis=0)
    plain, plain_test = (np.where(np.isfinite(each), each, centre) for each in (plain, plain_test))
    rich = np.concatenate((described(model, train), plain), axis=1)
    rich_test = np.concatenate((described(model, test), plain_test), axis=1)
    scaler = StandardScaler().fit(plain)
    units, units_test = scaler.transform(plain), scaler.transform(plain_test)
    pca = PCA(_COMPONENTS, random_state=seed).fit(units)
    forest = IsolationForest(n_estimators=100, random_state=seed).fit(units)
    off = np.square(units_test - pca.inverse_transform(pca.transform(units_test))).sum(axis=1)
    return {
        "ours": _head(rich, died, rich_test, 0.01),
        "logistic regression": _head(plain, died, plain_test, 0.1),
        "partial NEWS2": np.array(
            [max(partial_news2(row) for row in stay) for stay in test], dtype=np.float64
        ),
        "PCA": off,
        "isolation forest": -forest.score_samples(units_test),
    }


def _head(train: Scores, died: NDArray[np.bool_], test: Scores, strength: float) -> Scores:
    head = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)).fit(train, died)
    risk: Scores = head.predict_proba(test)[:, 1]
    return risk


def _area(positive: NDArray[np.bool_], score: Scores) -> float:
    """Area under the ROC curve from ranks (Mann & Whitney), a hundred times faster than with every check."""
    count = int(positive.sum())
    below = float(rankdata(score)[positive].sum()) - count * (count + 1) / 2
    return below / (count * (positive.size - count))


def interval(died: NDArray[np.bool_], scores: Sequence[Scores], *, seed: int) -> list[tuple[float, float]]:
    """95 % bootstrap interval over stays: of the first score's area, then of its lead over each other."""
    rng = np.random.default_rng(seed)
    drawn: list[list[float]] = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(died.size, size=died.size)
        if not 0 < int(died[chosen].sum()) < died.size:
            continue
        areas = [_area(died[chosen], each[chosen]) for each in scores]
        drawn.append([areas[0], *(areas[0] - other for other in areas[1:])])
    low, high = np.quantile(np.asarray(drawn), (0.025, 0.975), axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))
