"""P7's outcome: death in hospital from the first 48 hours, by stay, from the model and from its peers.

The model of vital signs never sees an outcome; a logistic regression on what it says of a stay does, in the training
stays of each fold, and so does the peer that has the same head on plain summaries.
"""

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
from vitalwire_cloud.train.fit_vitals import VitalsModel
from vitalwire_cloud.train.fit_vitals_head import fit_vitals_head, summaries

Floats = NDArray[np.float32]
Scores = NDArray[np.float64]

RESAMPLES: Final = 500
_COMPONENTS: Final = 8


def fold_scores(
    model: VitalsModel, train: Floats, died: NDArray[np.bool_], test: Floats, *, seed: int
) -> dict[str, Scores]:
    """Risk (n,) of test stays by the model with a head (`ours`) and by each peer."""
    plain, plain_test = summaries(train), summaries(test)
    centre = np.nanmean(plain, axis=0)
    plain, plain_test = (np.where(np.isfinite(each), each, centre) for each in (plain, plain_test))
    scaler = StandardScaler().fit(plain)
    units, units_test = scaler.transform(plain), scaler.transform(plain_test)
    pca = PCA(_COMPONENTS, random_state=seed).fit(units)
    forest = IsolationForest(n_estimators=100, random_state=seed).fit(units)
    off = np.square(units_test - pca.inverse_transform(pca.transform(units_test))).sum(axis=1)
    return {
        "ours": fit_vitals_head(model, train, died).risk(model, test),
        "logistic regression": _head(plain, died, plain_test, 0.1),
        "partial NEWS2": most_news2(test),
        "PCA": off,
        "isolation forest": -forest.score_samples(units_test),
    }


def most_news2(cells: Floats) -> Scores:
    """The highest partial NEWS2 (n,) of stays."""
    return np.array([max(partial_news2(row) for row in stay) for stay in cells], dtype=np.float64)


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
