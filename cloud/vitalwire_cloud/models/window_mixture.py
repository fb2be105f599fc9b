"""A one-class generative model of fixed beat windows: principal components, their residual and a mixture of Gaussians.

After Tipping & Bishop, "Mixtures of probabilistic principal component analysers", Neural Computation 11(2), 1999, with
one shared subspace: a window is its components plus the log energy that they leave, and rhythm where it is given.

How many components and Gaussians there are is chosen without any abnormal beat: by how well normal beats held out are
told from the same beats distorted at random (stretched in time, another beat laid over them, or spliced with another).
Of Gaussians there are the fewest that do so within one standard error of the best number (Breiman et al.,
"Classification and Regression Trees", 1984): on which side of a tie a machine's rounding falls shall not matter.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

COMPONENTS: Final = (12, 20, 30)
GAUSSIANS: Final = (32, 64, 128)
_FIRST_GAUSSIANS: Final = 64
_STEPS: Final = 25
_FLOOR: Final = 1e-6
_STRETCH: Final = (0.15, 0.35)
_OVERLAY: Final = (0.19, 0.34)
_SPLICE: Final = (0.28, 0.6)

Floats = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Form:
    """How many principal components and Gaussians."""

    components: int
    gaussians: int


class WindowMixture:
    """Fitted on windows (n, width) of normal beats, and their rhythm (n, k) where it is given."""

    def __init__(self, windows: Floats, rhythm: Floats | None, *, form: Form, seed: int) -> None:
        self._pca = PCA(form.components, random_state=seed).fit(windows)
        given = self._seen(windows, rhythm)
        self._centre = given.mean(axis=0)
        self._width = given.std(axis=0)
        mixture = GaussianMixture(
            form.gaussians, reg_covar=1e-4, max_iter=_STEPS, tol=0.0, random_state=seed, init_params="kmeans"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it ends after `_STEPS`, as meant
            self._mixture = mixture.fit((given - self._centre) / self._width)

    def surprise(self, windows: Floats, rhythm: Floats | None = None) -> NDArray[np.float64]:
        """Negative log density (n,), in nats."""
        given = self._seen(windows, rhythm)
        nats: NDArray[np.float64] = -self._mixture.score_samples((given - self._centre) / self._width)
        return nats

    def _seen(self, windows: Floats, rhythm: Floats | None) -> NDArray[np.float64]:
        components = self._pca.transform(windows).astype(np.float64)
        left = np.square(windows - self._pca.mean_).sum(axis=1) - np.square(components).sum(axis=1)
        columns = [components, np.log(np.maximum(left, 0.0) + _FLOOR)[:, None]]
        return np.concatenate([*columns, *([] if rhythm is None else [rhythm])], axis=1)


def chosen_form(windows: Floats, *, seed: int) -> Form:
    """The form that tells held-out normal windows from their distortions: components first, then Gaussians."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(windows.shape[0])
    held, train = windows[order[: order.size // 4]], windows[order[order.size // 4 :]]
    odd = distorted(held, rng)

    def quality(form: Form) -> float:
        model = WindowMixture(train, None, form=form, seed=seed)
        surprise = np.concatenate((model.surprise(held), model.surprise(odd)))
        return float(roc_auc_score(np.arange(surprise.size) >= held.shape[0], surprise))

    first = {form: quality(form) for form in (Form(q, _FIRST_GAUSSIANS) for q in COMPONENTS)}
    best = max(first, key=first.__getitem__)
    others = (Form(best.components, k) for k in GAUSSIANS if k != _FIRST_GAUSSIANS)
    return simplest({best: first[best]} | {form: quality(form) for form in others}, held.shape[0])


def simplest(quality: Mapping[Form, float], count: int) -> Form:
    """The form of fewest Gaussians whose AUC (over `count` of each kind) is within a standard error of the best."""
    best = max(quality.values())
    enough = best - auc_error(best, count)
    return min((form for form, auc in quality.items() if auc >= enough), key=lambda form: form.gaussians)


def auc_error(auc: float, count: int) -> float:
    """Standard error of an AUC over `count` of each kind, after Hanley & McNeil (Radiology 143, 1982)."""
    one, other = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    return sqrt((auc * (1 - auc) + (count - 1) * (one + other - 2 * auc**2)) / count**2)


def distorted(windows: Floats, rng: np.random.Generator) -> NDArray[np.float64]:
    """One random distortion of each window (n, width): stretched about its middle, overlaid, or spliced."""
    count, width = int(windows.shape[0]), int(windows.shape[1])
    out = np.empty((count, width))
    at = np.arange(width) - 0.44 * width
    kinds = rng.integers(3, size=count)
    others = rng.integers(count, size=count)
    for k in range(count):
        beat, other = windows[k, :], windows[others[k], :]
        if kinds[k] == 0:
            by = np.exp(rng.choice([-1, 1]) * rng.uniform(*_STRETCH))
            out[k] = np.interp(at * by, at, beat)
        elif kinds[k] == 1:
            shift = int(rng.choice([-1, 1]) * rng.uniform(*_OVERLAY) * width)
            out[k] = beat
            if shift > 0:
                out[k, shift:] += other[:-shift]
            else:
                out[k, :shift] += other[-shift:]
        else:
            from_here = 1 / (1 + np.exp(-(np.arange(width) - rng.uniform(*_SPLICE) * width) / 4))
            out[k] = beat * (1 - from_here) + other * from_here
    return out
