"""Fit the head that weighs and names beats, from labels: every patient counts alike, however many beats there are."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from vitalwire_cloud.train.dataset import Patient
from vitalwire_edge.inference.head import CLASSES, Head, HeadParameters, in_units

MIN_BEATS: Final = 20
"""Of each class that is learned; with fewer of S or V there is no head."""
FOLDS: Final = 5
_INVERSE_PENALTY: Final = 0.02
_ROUNDS: Final = 400
_NEVER: Final = -30.0


def fit_head(patients: Sequence[Patient], seen: Sequence[NDArray[np.float64]]) -> HeadParameters | None:
    """A head for what is `seen` (n, SEEN) of each patient's beats; None where there are too few labelled S or V."""
    named = [np.isin(patient.label, list(CLASSES)) for patient in patients]
    label = np.concatenate([p.label[which] for p, which in zip(patients, named, strict=True)])
    if min(int((label == name).sum()) for name in "NSV") < MIN_BEATS:
        return None
    features = np.concatenate([each[which] for each, which in zip(seen, named, strict=True)])
    alike = np.concatenate([np.full(which.sum(), 1 / max(1, which.sum())) for which in named])
    centre, width = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)
    fitted = LogisticRegression(C=_INVERSE_PENALTY, max_iter=_ROUNDS).fit(
        in_units(features, centre, width), label, sample_weight=alike / alike.mean()
    )
    known = list(fitted.classes_)
    # A class that no patient here had is never named.
    weights = [fitted.coef_[known.index(c)].tolist() if c in known else [0.0] * centre.size for c in CLASSES]
    bias = [float(fitted.intercept_[known.index(c)]) if c in known else _NEVER for c in CLASSES]
    return HeadParameters(centre=centre.tolist(), width=width.tolist(), weights=weights, bias=bias)


def strangers(
    patients: Sequence[Patient], seen: Sequence[NDArray[np.float64]], head: HeadParameters, *, seed: int
) -> list[NDArray[np.float64]]:
    """Logits (n, 4) of each patient's beats by a head that learned from other people, as it is with a new patient.

    Where the others have too few labels it is `head`.
    """
    people = np.random.default_rng(seed).permutation(sorted({p.patient for p in patients}))
    found: dict[int, NDArray[np.float64]] = {}
    for held in np.array_split(people, min(FOLDS, len(people))):
        inside = [k for k, p in enumerate(patients) if p.patient not in held]
        outside = [k for k, p in enumerate(patients) if p.patient in held]
        other = fit_head([patients[k] for k in inside], [seen[k] for k in inside]) if inside else None
        by = Head(other or head)
        found |= {k: by.logits(seen[k]) for k in outside}
    return [found[k] for k in range(len(patients))]
