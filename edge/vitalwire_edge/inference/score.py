"""From the model's outputs and the context features to one score, in plain arithmetic.

The score joins views of a beat, all fitted on normal beats only, each in robust units of the normal training beats
with its tail tamed by a logarithm. There are two forms, named by the parameters:

1. the likelihood of a Gaussian mixture over the context features (shape against the patient's reference, and rhythm),
   and the likelihood that the autoencoder gives the beat's timing, count alike;
2. the mixture counts twice, and the autoencoder's likelihood of the shape once. The mixture looks at rhythm from one
   side: a beat that comes early is strange, one that comes late after an early one is not, and the time to the next
   beat counts only where it is long (a compensatory pause).

Whoever compares a score takes half of the patient's own level off first (`level`).

Both forms were picked after seeing labelled, cross-validated figures on the development patients (DS1): the first among
about ten, the second among about forty. So figures on those patients flatter them; only other patients can tell.
"""

from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.inference import features
from vitalwire_edge.inference.features import PARTS, RHYTHM_FEATURES, SHAPE_FEATURES

_MIN_LOG_VARIANCE = -6.0
_MAX_LOG_VARIANCE = 3.0
_CEILING = 1e4
_SAMPLE_CEILING: Final = 60.0
_CLIP: Final = 6.0
_FAR: Final = 25.0


class FeatureVersionError(ValueError):
    """A model was trained on other features than this program computes."""


class ScoreParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Constants of the score, `parameters.json` of an artifact.

    `centre` and `width` (18) normalise the context; `log_weights` (k), `means` (k, 18) and `precisions` (k, 18, 18:
    upper Cholesky factors of the inverse covariances) are the mixture. `view_centre` and `view_width` (3) are median
    and robust width of mixture, shape and timing over normal training beats. `threshold` is for a fixed decision.
    `form` is that of the score; form 2 has `mixture_centre` and `mixture_width` (18) for the one-sided context.
    """

    preprocessing: int
    centre: list[float]
    width: list[float]
    log_weights: list[float]
    means: list[list[float]]
    precisions: list[list[list[float]]]
    view_centre: list[float]
    view_width: list[float]
    threshold: float
    form: Literal[1, 2] = 1
    mixture_centre: list[float] = []
    mixture_width: list[float] = []


@dataclass(frozen=True, slots=True)
class Views:
    """Scores (n,) of beats: the whole and its parts, in robust units of normal beats."""

    score: NDArray[np.float64]
    mixture: NDArray[np.float64]
    shape: NDArray[np.float64]
    timing: NDArray[np.float64]
    amplitude: NDArray[np.float64]


class Scoring:
    """The arithmetic of one set of parameters. Raises `FeatureVersionError` for another preprocessing."""

    def __init__(self, parameters: ScoreParameters) -> None:
        if parameters.preprocessing != features.VERSION:
            raise FeatureVersionError(
                f"the model wants preprocessing {parameters.preprocessing}, this program has {features.VERSION}: "
                "update the gateway or export the model anew"
            )
        self.threshold = parameters.threshold
        self.form = parameters.form
        self._mixture_centre = np.asarray(parameters.mixture_centre)
        self._mixture_width = np.asarray(parameters.mixture_width)
        self._centre = np.asarray(parameters.centre)
        self._width = np.asarray(parameters.width)
        self._log_weights = np.asarray(parameters.log_weights)
        self._means = np.asarray(parameters.means)
        self._factors = np.asarray(parameters.precisions)
        self._view_centre = np.asarray(parameters.view_centre)
        self._view_width = np.asarray(parameters.view_width)
        self._constant = np.log(np.einsum("kii->ki", self._factors)).sum(axis=1)

    def normalised(self, context: NDArray[np.float32]) -> NDArray[np.float32]:
        """Context features (n, 18) in units of normal training beats, as model and mixture take them."""
        known: NDArray[np.float32] = ((context - self._centre) / self._width).clip(-30, 30).astype(np.float32)
        return known

    def views(
        self,
        beat: NDArray[np.float32],
        context: NDArray[np.float32],
        outputs: tuple[NDArray[np.float32], ...],
    ) -> Views:
        """Score beats (n, WINDOW) with the model's outputs for them: expected beat, log variance, timing, latent."""
        amplitude = np.abs(self.normalised(context)[:, features.CONTEXT.index("amplitude")]).astype(
            np.float64
        )
        return self.joined(self.raw_views(beat, context, outputs), amplitude)

    def raw_views(
        self,
        beat: NDArray[np.float32],
        context: NDArray[np.float32],
        outputs: tuple[NDArray[np.float32], ...],
    ) -> NDArray[np.float64]:
        """Surprise in nats of mixture, shape and timing (n, 3), from which the view constants are fitted."""
        known = self.normalised(context).astype(np.float64)
        expected, spread, timing, latent = outputs
        if self.form == 1:
            mixture = self._mixture(known)
            shape = shape_surprise(beat, expected, spread) + latent_surprise(latent)
        else:
            away = (one_sided(context) - self._mixture_centre) / self._mixture_width
            mixture = self._mixture(away.clip(-_FAR, _FAR))
            shape = shape_likelihood(beat, expected, spread)
        return np.stack(
            (
                mixture,
                shape,
                timing_surprise(known[:, SHAPE_FEATURES:], timing),
            ),
            axis=1,
        )

    def joined(self, raw: NDArray[np.float64], amplitude: NDArray[np.float64]) -> Views:
        """Views from surprise in nats."""
        units = (raw - self._view_centre) / self._view_width
        mixture, shape, timing = units.T
        of_mixture, of_shape, of_timing = (1.0, 0.0, 1.0) if self.form == 1 else (2.0, 1.0, 0.0)
        score = of_mixture * _tamed(mixture) + of_shape * _tamed(shape) + of_timing * _tamed(timing)
        return Views(score, mixture, shape, timing, amplitude)

    def _mixture(self, known: NDArray[np.float64]) -> NDArray[np.float64]:
        """Negative log density of the Gaussian mixture."""
        away = known[:, None, :] - self._means[None]
        scaled = np.einsum("nki,kij->nkj", away, self._factors)
        dims = known.shape[1]
        each = (
            self._log_weights
            + self._constant
            - 0.5 * (np.square(scaled).sum(axis=2) + dims * np.log(2 * np.pi))
        )
        top = each.max(axis=1, keepdims=True)
        nats: NDArray[np.float64] = -(top[:, 0] + np.log(np.exp(each - top).sum(axis=1)))
        return nats


def _tamed(units: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed logarithm: keeps the order, and keeps one view from drowning the other."""
    tamed: NDArray[np.float64] = np.sign(units) * np.log1p(np.abs(units))
    return tamed


def shape_surprise(
    beat: NDArray[np.float32], expected: NDArray[np.float32], log_variance: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Log of the mean squared deviation from the expected beat in the decoder's own spread, QRS, P and T alike."""
    unusual = np.square(beat.astype(np.float64) - expected) * np.exp(-log_variance.astype(np.float64))
    surprise: NDArray[np.float64] = np.stack(
        [np.log(unusual[:, part].mean(axis=1) + 0.05) for part in PARTS], axis=1
    ).mean(axis=1)
    return surprise


def one_sided(context: NDArray[np.float32]) -> NDArray[np.float64]:
    """Context (n, 18) whose intervals count only where they are early before the beat, or late after it."""
    seen = context.astype(np.float64)
    before, after, ratio, change = (
        features.CONTEXT.index(name) for name in ("rr_before", "rr_after", "rr_ratio", "rr_change")
    )
    seen[:, before] = np.minimum(seen[:, before], 0.0)
    seen[:, after] = np.maximum(seen[:, after], 0.0)
    seen[:, ratio] = seen[:, after] - seen[:, before]
    seen[:, change] = np.minimum(seen[:, change], 0.0)
    return seen


def shape_likelihood(
    beat: NDArray[np.float32], expected: NDArray[np.float32], log_variance: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Negative log likelihood of the beat's samples under the decoder's Gaussians, without the constant."""
    width = log_variance.astype(np.float64)
    unusual = np.square(beat.clip(-_CLIP, _CLIP).astype(np.float64) - expected) * np.exp(-width)
    nats: NDArray[np.float64] = 0.5 * (width + np.minimum(unusual, _SAMPLE_CEILING)).sum(axis=1)
    return nats


def latent_surprise(latent: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log of the divergence of the latent's posterior from its prior: how far this beat is from the reference."""
    mean, log_variance = np.split(latent.astype(np.float64), 2, axis=1)
    nats = 0.5 * (np.square(mean) + np.exp(log_variance) - 1.0 - log_variance).sum(axis=1)
    surprise: NDArray[np.float64] = np.log(nats + 1.0)
    return surprise


def timing_surprise(rhythm: NDArray[np.float64], timing: NDArray[np.float32]) -> NDArray[np.float64]:
    """Negative log likelihood of the rhythm features under the decoder's Gaussians, without the constant."""
    centre = timing[:, :RHYTHM_FEATURES].astype(np.float64)
    width = timing[:, RHYTHM_FEATURES:].astype(np.float64).clip(_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE)
    nats = 0.5 * (width + np.square(rhythm - centre) * np.exp(-width)).sum(axis=1)
    capped: NDArray[np.float64] = np.minimum(nats, _CEILING)
    return capped
