"""From the models' outputs and the context features to one score, in plain arithmetic.

How much a beat surprises joins two views of it, both of models that learned from normal beats only,
each in robust units of the normal training beats with its tail tamed by a logarithm: how much the beat surprises the
sequence model that followed this patient's beats so far (`sequence`), twice, and how unlikely its shape is to the
autoencoder that knows the patient's reference beat, once. The sequence model sees rhythm from one side: a beat that
comes early is strange, one that comes late after an early one is not, and the time to the next beat counts only where
it is long (a compensatory pause). Half of the patient's own level is taken off (`level`).

The score adds half a head's odds against a normal beat (`head`), before the patient's own level of that sum is taken
off. One head learned from simulated ectopy alone, so that no label of an abnormal beat has a part in it; another, where
there were labels, from those too, and is taken if it is there. A model without a head scores by surprise.

How the views are joined, and that rhythm is seen from one side, was picked among about forty forms after seeing
labelled, cross-validated figures on the development patients (DS1), when a Gaussian mixture stood where the sequence
model stands now. So figures on those patients flatter it; only other patients can tell.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.inference import features
from vitalwire_edge.inference.calibration import alert_scores
from vitalwire_edge.inference.features import RHYTHM_FEATURES, SHAPE_FEATURES
from vitalwire_edge.inference.head import ABNORMAL, VENTRICULAR, Head, HeadParameters, odds, seen, tamed
from vitalwire_edge.inference.level import OwnLevel
from vitalwire_edge.inference.sequence import CLIP, History, Sequence, SequenceWeights

FORM: Final = 4

_MIN_LOG_VARIANCE: Final = -6.0
_MAX_LOG_VARIANCE: Final = 3.0
_CEILING: Final = 1e4
_SAMPLE_CEILING: Final = 60.0
_BEAT_CLIP: Final = 6.0
_FAR: Final = 30.0

ODDS_SHARE: Final = 0.5
"""Of a head's odds, that count: on a patient that it does not know they promise too much."""

VIEWS: Final = 3
_WEIGHTS: Final = np.array((2.0, 1.0, 0.0))
"""Of sequence, shape and timing, each tamed by a signed logarithm that keeps one view from drowning the other."""

_AMPLITUDE: Final = features.CONTEXT.index("amplitude")
_BEFORE: Final = features.CONTEXT.index("rr_before")
_AFTER: Final = features.CONTEXT.index("rr_after")
_RATIO: Final = features.CONTEXT.index("rr_ratio")
_CHANGE: Final = features.CONTEXT.index("rr_change")


class FeatureVersionError(ValueError):
    """A model was trained on other features than this program computes."""


class ScoreParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Constants of the score, `parameters.json` of an artifact.

    `centre` and `width` (18) normalise the context, `one_sided_centre` and `one_sided_width` (18) the same seen from
    one side. `view_centre` and `view_width` (3) are median and robust width of sequence, shape and timing over normal
    training beats. `threshold` is where alerts begin, `decision` where a beat is called abnormal (None where there were
    no labels to choose it by). `form` is that of the score. `simulated_head` learned from simulated ectopy alone,
    `labelled_head` from labels too; None where training had none. `head` is what form 3 had: it saw other things and is
    left out, and a score of that form stays what it was.
    """

    form: Literal[3, 4] = FORM
    preprocessing: int
    centre: list[float]
    width: list[float]
    one_sided_centre: list[float]
    one_sided_width: list[float]
    sequence: SequenceWeights
    view_centre: list[float]
    view_width: list[float]
    threshold: float
    decision: float | None = None
    head: dict[str, object] | None = None
    simulated_head: HeadParameters | None = None
    labelled_head: HeadParameters | None = None

    @property
    def best_head(self) -> HeadParameters | None:
        """The head that gateways take."""
        return self.labelled_head or self.simulated_head

    @property
    def bytes(self) -> int:
        """Size of the weights here, of the sequence model and the heads."""
        heads = (self.simulated_head, self.labelled_head)
        return self.sequence.bytes + sum(each.bytes for each in heads if each is not None)

    def without_labels(self) -> "ScoreParameters":
        """The same without anything that labels of abnormal beats had a part in."""
        return msgspec.structs.replace(self, labelled_head=None, decision=None)

    def quantised(self) -> "ScoreParameters":
        """The same with weights in int8, as they travel."""
        return msgspec.structs.replace(
            self,
            sequence=self.sequence.quantised(),
            simulated_head=None if self.simulated_head is None else self.simulated_head.quantised(),
            labelled_head=None if self.labelled_head is None else self.labelled_head.quantised(),
        )


class Views(msgspec.Struct, frozen=True):
    """Surprise (n,) of beats: the whole and its parts, in robust units of normal beats."""

    joined: NDArray[np.float64]
    sequence: NDArray[np.float64]
    shape: NDArray[np.float64]
    timing: NDArray[np.float64]
    amplitude: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Memory:
    """What a model remembers of one patient: the sequence model's history, own levels of surprise and of the score."""

    history: History
    surprise: OwnLevel = field(default_factory=OwnLevel)
    weighed: OwnLevel = field(default_factory=OwnLevel)


class Judged(msgspec.Struct, frozen=True):
    """What is said of n beats, relative to their patient: (n,) each, and the head's logits (n, 4) or None.

    `surprise` is what the generative models say; `score` is the same weighed with a head's odds against a normal beat;
    `alert` is what counts for an alert, where strange and ventricular beats come first.
    """

    surprise: NDArray[np.float64]
    score: NDArray[np.float64]
    alert: NDArray[np.float64]
    logits: NDArray[np.float64] | None


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
        self.decision = parameters.decision
        self._head = None if parameters.best_head is None else Head(parameters.best_head)
        self.sequence = Sequence(parameters.sequence)
        self._centre = np.asarray(parameters.centre)
        self._width = np.asarray(parameters.width)
        self._one_sided_centre = np.asarray(parameters.one_sided_centre)
        self._one_sided_width = np.asarray(parameters.one_sided_width)
        self._view_centre = np.asarray(parameters.view_centre)
        self._view_width = np.asarray(parameters.view_width)

    def begin(self) -> Memory:
        """Nothing known of a patient."""
        return Memory(self.sequence.begin())

    def normalised(self, context: NDArray[np.float32]) -> NDArray[np.float32]:
        """Context features (n, 18) in units of normal training beats, as the autoencoder takes them."""
        known: NDArray[np.float32] = _in_widths(context, self._centre, self._width, _FAR)
        return known

    def tokens(self, context: NDArray[np.float32]) -> NDArray[np.float32]:
        """Beats (n, 36) as the sequence model is told of them."""
        told = np.empty((context.shape[0], 2 * context.shape[1]), dtype=np.float32)
        seen_centre, seen_width = self._one_sided_centre, self._one_sided_width
        _tell(context, self._centre, self._width, seen_centre, seen_width, told)
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
        known = self.normalised(context)
        raw = self._nats(beat, context, known, outputs, history)
        return self.joined(raw, np.abs(known[:, _AMPLITUDE]).astype(np.float64))

    def judged(self, views: Views, context: NDArray[np.float32], memory: Memory) -> Judged:
        """What is said of a patient's next n beats, whose memory goes on with them; NaN where a view is not finite."""
        surprise = memory.surprise.relatives(views.joined)
        if self._head is None:
            return Judged(surprise, surprise, alert_scores(surprise, context), None)
        logits = self._head.logits(seen((views.sequence, views.shape, surprise), context))
        score = memory.weighed.relatives(weighed(views.joined, logits))
        return Judged(surprise, score, ventricular_first(surprise, logits, context), logits)

    def raw_views(
        self,
        beat: NDArray[np.float32],
        context: NDArray[np.float32],
        outputs: tuple[NDArray[np.float32], ...],
        history: History | None = None,
    ) -> NDArray[np.float64]:
        """Surprise in nats of sequence, shape and timing (n, 3), from which the view constants are fitted."""
        return self._nats(beat, context, self.normalised(context), outputs, history)

    def _nats(
        self,
        beat: NDArray[np.float32],
        context: NDArray[np.float32],
        known: NDArray[np.float32],
        outputs: tuple[NDArray[np.float32], ...],
        history: History | None,
    ) -> NDArray[np.float64]:
        tokens = self.tokens(context)
        expected, spread, timing, _latent = outputs
        raw = np.empty((len(context), VIEWS))
        raw[:, 0] = self.sequence.surprises(tokens, self.sequence.begin() if history is None else history)
        raw[:, 1] = shape_likelihood(beat, expected, spread)
        raw[:, 2] = timing_surprise(known[:, SHAPE_FEATURES:], timing)
        return raw

    def joined(self, raw: NDArray[np.float64], amplitude: NDArray[np.float64]) -> Views:
        """Views from surprise in nats."""
        units, whole = _join(raw, self._view_centre, self._view_width, _WEIGHTS)
        return Views(whole, units[0], units[1], units[2], amplitude)


def weighed(surprise: NDArray[np.float64], logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Surprise (n,) with a share of a head's odds against a normal beat, by its logits (n, 4)."""
    whole: NDArray[np.float64] = surprise + ODDS_SHARE * odds(logits, ABNORMAL)
    return whole


def ventricular_first(
    surprise: NDArray[np.float64], logits: NDArray[np.float64], context: NDArray[np.float32]
) -> NDArray[np.float64]:
    """What beats (n,) count for an alert, by a head's logits (n, 4) for them: what a budget of few alerts is for."""
    counted: NDArray[np.float64] = alert_scores(surprise + ODDS_SHARE * odds(logits, VENTRICULAR), context)
    return counted


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _in_widths(
    context: NDArray[np.floating], centre: NDArray[np.float64], width: NDArray[np.float64], most: float
) -> NDArray[np.float32]:
    """Return (n, 18) features as so many widths from their centre, at most ``most``."""
    found = np.empty(context.shape, dtype=np.float32)
    for k in range(context.shape[0]):
        for i in range(context.shape[1]):
            found[k, i] = np.minimum(np.maximum((context[k, i] - centre[i]) / width[i], -most), most)
    return found


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _tell(
    context: NDArray[np.float32],
    centre: NDArray[np.float64],
    width: NDArray[np.float64],
    seen_centre: NDArray[np.float64],
    seen_width: NDArray[np.float64],
    told: NDArray[np.float32],
) -> None:
    features = context.shape[1]
    told[:, :features] = _in_widths(context, centre, width, CLIP)
    told[:, features:] = _in_widths(one_sided(context), seen_centre, seen_width, CLIP)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _join(
    raw: NDArray[np.float64],
    centre: NDArray[np.float64],
    width: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Views (VIEWS, n) in units of normal beats, and the weighted sum (n,) of them, each tamed."""
    units, whole = np.empty((raw.shape[1], raw.shape[0])), np.zeros(raw.shape[0])
    for k in range(raw.shape[0]):
        for j in range(raw.shape[1]):
            unit = (raw[k, j] - centre[j]) / width[j]
            units[j, k] = unit
            whole[k] += weights[j] * tamed(unit)
    return units, whole


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def one_sided(context: NDArray[np.float32]) -> NDArray[np.float64]:
    """Context (n, 18) whose intervals count only where they are early before the beat, or late after it."""
    seen = context.astype(np.float64)
    for beat in seen:
        beat[_BEFORE] = np.minimum(beat[_BEFORE], 0.0)
        beat[_AFTER] = np.maximum(beat[_AFTER], 0.0)
        beat[_RATIO] = beat[_AFTER] - beat[_BEFORE]
        beat[_CHANGE] = np.minimum(beat[_CHANGE], 0.0)
    return seen


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def shape_likelihood(
    beat: NDArray[np.float32], expected: NDArray[np.float32], log_variance: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Negative log likelihood of the beat's samples under the decoder's Gaussians, without the constant."""
    nats = np.zeros(beat.shape[0])
    for k in range(beat.shape[0]):
        for i in range(beat.shape[1]):
            width = np.float64(log_variance[k, i])
            off = min(max(beat[k, i], -_BEAT_CLIP), _BEAT_CLIP) - np.float64(expected[k, i])
            nats[k] += 0.5 * (width + min(off * off * np.exp(-width), _SAMPLE_CEILING))
    return nats


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def timing_surprise(rhythm: NDArray[np.float32], timing: NDArray[np.float32]) -> NDArray[np.float64]:
    """Negative log likelihood of the rhythm features under the decoder's Gaussians, without the constant."""
    nats = np.zeros(rhythm.shape[0])
    for k in range(rhythm.shape[0]):
        for i in range(RHYTHM_FEATURES):
            width = min(max(np.float64(timing[k, RHYTHM_FEATURES + i]), _MIN_LOG_VARIANCE), _MAX_LOG_VARIANCE)
            off = np.float64(rhythm[k, i]) - np.float64(timing[k, i])
            nats[k] += 0.5 * (width + off * off * np.exp(-width))
        nats[k] = min(nats[k], _CEILING)
    return nats
