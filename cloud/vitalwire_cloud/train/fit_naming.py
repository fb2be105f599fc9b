"""Fit the head that names beats, from labels: rare classes count more, and no one patient decides about a class."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from vitalwire_cloud.train.dataset import Patient
from vitalwire_edge.inference.naming import CLASSES, HeadParameters, normalised

MIN_BEATS: Final = 20
"""Of each class that is learned; with fewer of S or V there is no head."""
PATIENTS_SHARE: Final = 0.3
_INVERSE_PENALTY: Final = 0.1
_ROUNDS: Final = 400


def fit_head(patients: Sequence[Patient], seen: Sequence[NDArray[np.float64]]) -> HeadParameters | None:
    """A head for what is `seen` (n, m) of each patient's beats; None where there are too few labelled S or V."""
    named = [np.isin(patient.label, list(CLASSES)) for patient in patients]
    features = np.concatenate([each[which] for each, which in zip(seen, named, strict=True)])
    label = np.concatenate([p.label[which] for p, which in zip(patients, named, strict=True)])
    person = np.concatenate(
        [np.full(int(which.sum()), k) for k, which in enumerate(named)] or [np.empty(0, int)]
    )
    if min(int((label == name).sum()) for name in "NSV") < MIN_BEATS:
        return None
    centre, width = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)
    fitted = LogisticRegression(C=_INVERSE_PENALTY, max_iter=_ROUNDS).fit(
        normalised(features, centre, width), label, sample_weight=_weights(label, person)
    )
    known = list(fitted.classes_)
    # A class that no patient here had is never named.
    weights = [fitted.coef_[known.index(c)].tolist() if c in known else [0.0] * centre.size for c in CLASSES]
    bias = [float(fitted.intercept_[known.index(c)]) if c in known else -30.0 for c in CLASSES]
    return HeadParameters(centre=centre.tolist(), width=width.tolist(), weights=weights, bias=bias)


def _weights(label: NDArray[np.str_], person: NDArray[np.int64]) -> NDArray[np.float64]:
    """A beat's weight: by the root of how rare its class is, and less where one patient has most of the class."""
    weight = np.ones(label.size)
    for name in CLASSES:
        of = label == name
        count = int(of.sum())
        if not count:
            continue
        weight[of] = np.sqrt(label.size / count)
        for each in np.unique(person[of]):
            own = of & (person == each)
            weight[own] *= min(1.0, PATIENTS_SHARE * count / int(own.sum()))
    alike: NDArray[np.float64] = weight / weight.mean()
    return alike
