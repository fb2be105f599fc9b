"""From the models' outputs and the context features to one score, in plain arithmetic.

The score joins two views of a beat, both of models that learned from normal beats only, each in robust units of the
normal training beats with its tail tamed by a logarithm: how much the beat surprises the sequence model that followed
this patient's beats so far (`sequence`), twice, and how unlikely its shape is to the autoencoder that knows the
patient's reference beat, once. The sequence model sees rhythm from one side: a beat that comes early is strange, one
that comes late after an early one is not, and the time to the next beat counts only where it is long (a compensatory
pause).

Whoever compares a score takes half of the patient's own level off first (`level`).

How the views are joined, and that rhythm is seen from one side, was picked among about forty forms after seeing
labelled, cross-validated figures on the development patients (DS1), when a Gaussian mixture stood where the sequence
model stands now. So figures on those patients flatter it; only other patients can tell.
"""

from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.inference import features
from vitalwire_edge.inference.features import RHYTHM_FEATURES, SHAPE_FEATURES
from vitalwire_edge.inference.naming import HeadParameters
from vitalwire_edge.inference.sequence import CLIP, History, Sequence, SequenceWeights

FORM: Final = 3

_MIN_LOG_VARIANCE: Final = -6.0
_MAX_LOG_VARIANCE: Final = 3.0
_CEILING: Final = 1e4
_SAMPLE_CEILING: Final = 60.0
_BEAT_CLIP: Final = 6.0
_WEIGHT: Final = {"sequence": 2.0, "shape": 1.0}


class FeatureVersionError(ValueError):
    """A model was trained on other features than this program computes."""


class ScoreParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Constants of the score, `parameters.json` of an artifact.

    `centre` and `width` (18) normalise the context, `one_sided_centre` and `one_sided_width` (18) the same seen from
    one side. `view_centre` and `view_width` (3) are median and robust width of sequence, shape and timing over normal
    training beats. `threshold` is for a fixed decision. `form` is that of the score. `head` names beats; None where
    training had no labels.
    """

    form: Literal[3] = FORM
    preprocessing: int
    centre: list[float]
    width: list[float]
    one_sided_centre: list[float]
    one_sided_width: list[float]
    sequence: SequenceWeights
    view_centre: list[float]
    view_width: list[float]
    threshold: float
    head: HeadParameters | None = None

    def quantised(self) -> "ScoreParameters":
        """The same with the sequence model's weights in int8, as they travel."""
        return msgspec.structs.replace(self, sequence=self.sequence.quantised())


@dataclass(frozen=True, slots=True)
class Views:
    """Scores (n,) of beats: the whole and its parts, in robust units of normal beats."""

    score: NDArray[np.float64]
    sequence: NDArray[np.float64]
    shape: NDArray[np.float64]
    timing: NDArray[np.float64]
    amplitude: NDArray[np.float64]


class Scoring:
    """The arithmetic of one set of parameters.

    Raises `FeatureVersionError` for another preprocessing, `SequenceWeightsError` for weights that cannot be run.
    """

    def __init__(self, parameters: ScoreParameters) -> None:
        if parameters.preprocessing != features.VERSION:
            raise FeatureVersionError(
                f"the model wants preprocessing {parameters.preprocessing}, this program has {features.VERSION}: "
                "update the gateway or export the model anew"
            )
        self.threshold = parameters.threshold
        self.sequence = Sequence(parameters.sequence)
        self._centre = np.asarray(parameters.centre)
        self._width = np.asarray(parameters.width)
        self._one_sided_centre = np.asarray(parameters.one_sided_centre)
        self._one_sided_width = np.asarray(parameters.one_sided_width)
        self._view_centre = np.asarray(parameters.view_centre)
        self._view_width = np.asarray(parameters.view_width)

    def normalised(self, context: NDArray[np.float32]) -> NDArray[np.float32]:
        """Context features (n, 18) in units of normal training beats, as the autoencoder takes them."""
        known: NDArray[np.float32] = ((context - self._centre) / self._width).clip(-30, 30).astype(np.float32)
        return known

    def tokens(self, context: NDArray[np.float32]) -> NDArray[np.float32]:
        """Beats (n, 36) as the sequence model is told of them."""
        seen = (one_sided(context) - self._one_sided_centre) / self._one_sided_width
        both = np.concatenate((self.normalised(context), seen), axis=1)
        told: NDArray[np.float32] = both.clip(-CLIP, CLIP).astype(np.float32)
        return told

    def views(
        self,
        beat: NDArray[np.float32],
        context: NDArray[np.float32],
        outputs: tuple[NDArray[np.float32], ...],
        history: History | None = None,
    ) -> Views:
        """Score beats (n, WINDOW) of one patient in order, with the autoencoder's outputs for them.

        `history` is what is remembered of the patient and goes on with these beats; None where they are the first.
        """
        amplitude = np.abs(self.normalised(context)[:, features.CONTEXT.index("amplitude")])
        return self.joined(self.raw_views(beat, context, outputs, history), amplitude.astype(np.float64))

    def raw_views(
        self,
        beat: NDArray[np.float32],
        context: NDArray[np.float32],
        outputs: tuple[NDArray[np.float32], ...],
        history: History | None = None,
    ) -> NDArray[np.float64]:
        """Surprise in nats of sequence, shape and timing (n, 3), from which the view constants are fitted."""
        tokens = self.tokens(context)
        expected, spread, timing, _latent = outputs
        return np.stack(
            (
                self.sequence.surprises(tokens, self.sequence.begin() if history is None else history),
                shape_likelihood(beat, expected, spread),
                timing_surprise(self.normalised(context)[:, SHAPE_FEATURES:].astype(np.float64), timing),
            ),
            axis=1,
        )

    def joined(self, raw: NDArray[np.float64], amplitude: NDArray[np.float64]) -> Views:
        """Views from surprise in nats."""
        sequence, shape, timing = ((raw - self._view_centre) / self._view_width).T
        score = _WEIGHT["sequence"] * _tamed(sequence) + _WEIGHT["shape"] * _tamed(shape)
        return Views(score, sequence, shape, timing, amplitude)


def _tamed(units: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed logarithm: keeps the order, and keeps one view from drowning the other."""
    tamed: NDArray[np.float64] = np.sign(units) * np.log1p(np.abs(units))
    return tamed


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
    unusual = np.square(beat.clip(-_BEAT_CLIP, _BEAT_CLIP).astype(np.float64) - expected) * np.exp(-width)
    nats: NDArray[np.float64] = 0.5 * (width + np.minimum(unusual, _SAMPLE_CEILING)).sum(axis=1)
    return nats


def timing_surprise(rhythm: NDArray[np.float64], timing: NDArray[np.float32]) -> NDArray[np.float64]:
    """Negative log likelihood of the rhythm features under the decoder's Gaussians, without the constant."""
    centre = timing[:, :RHYTHM_FEATURES].astype(np.float64)
    width = timing[:, RHYTHM_FEATURES:].astype(np.float64).clip(_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE)
    nats = 0.5 * (width + np.square(rhythm - centre) * np.exp(-width)).sum(axis=1)
    capped: NDArray[np.float64] = np.minimum(nats, _CEILING)
    return capped
