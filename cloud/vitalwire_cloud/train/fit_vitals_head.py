"""Fit the head on the model of vital signs: the risk of death in hospital, from what the model says of a stay.

Outcomes enter here and nowhere before: a logistic regression on the model's latents and expected signs over the stay,
beside plain summaries of what was measured.
"""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from vitalwire_cloud.train.dataset import TrainingDataError
from vitalwire_cloud.train.fit_vitals import Floats, VitalsModel, windows_of

Scores = NDArray[np.float64]

ENDS: Final = (12, 18, 24, 30, 36, 42, 48)
_INVERSE_PENALTY: Final = 0.01
_ROUNDS: Final = 2000


@dataclass(frozen=True, slots=True)
class VitalsHead:
    """What fills summaries of what was never measured, what brings features to units, and the weights (k,) of each."""

    filled: Scores
    centre: Scores
    width: Scores
    weights: Scores
    bias: float

    def risk(self, model: VitalsModel, cells: Floats) -> Scores:
        """Risk (n,) of stays (n, hours, signs)."""
        units = (seen(model, cells, self.filled) - self.centre) / self.width
        risk: Scores = expit(units @ self.weights + self.bias)
        return risk


def fit_vitals_head(model: VitalsModel, cells: Floats, died: NDArray[np.bool_]) -> VitalsHead:
    """Learn from stays and their outcomes. Raises `TrainingDataError` where all ended alike."""
    if not 0 < int(died.sum()) < died.size:
        raise TrainingDataError(
            f"{int(died.sum())} of {died.size} stays ended in death: both ends are needed"
        )
    filled = np.nanmean(summaries(cells), axis=0)
    features = seen(model, cells, filled)
    scaler = StandardScaler().fit(features)
    fitted = LogisticRegression(C=_INVERSE_PENALTY, max_iter=_ROUNDS).fit(scaler.transform(features), died)
    return VitalsHead(filled, scaler.mean_, scaler.scale_, fitted.coef_[0], float(fitted.intercept_[0]))


def seen(model: VitalsModel, cells: Floats, filled: Scores) -> Scores:
    """What the head looks at (n, k)."""
    plain = summaries(cells)
    return np.concatenate((described(model, cells), np.where(np.isfinite(plain), plain, filled)), axis=1)


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
