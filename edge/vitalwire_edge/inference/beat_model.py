"""Scores beats with the model of a verified artifact."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.inference.artifact import PARAMETERS, Artifact
from vitalwire_edge.inference.features import CONTEXT, RHYTHM_FEATURES, SHAPE_FEATURES, BeatInput
from vitalwire_edge.inference.head import CLASSES, HeadError, shares
from vitalwire_edge.inference.level import OwnLevel
from vitalwire_edge.inference.runtime import load
from vitalwire_edge.inference.score import Memory, ScoreParameters, Scoring
from vitalwire_edge.inference.selftest import Runner
from vitalwire_edge.inference.sequence import SequenceWeightsError
from vitalwire_edge.signal.beats import WINDOW

CLIP: Final = 6.0
"""Beats are given to the network within this many reference amplitudes."""


_NOTHING: Final = BeatInput(
    sample=0,
    beat=np.zeros(WINDOW, np.float32),
    reference=np.zeros(WINDOW, np.float32),
    context=np.zeros(len(CONTEXT), np.float32),
    scale_uv=1.0,
)


class ModelParametersError(ValueError):
    """`parameters.json` of an artifact is not what this program reads."""


class BeatScore(msgspec.Struct, frozen=True):
    """What the model says of a beat.

    Attributes:
        sample: the beat's R peak.
        score: higher is stranger, relative to the patient: sequence and shape in robust units of normal beats, and what
            the head makes of it. `alert` is what counts for an alert.
        shape, timing: the autoencoder's surprise, in the same units; amplitude: deviation of the QRS amplitude from
            the patient's own, in standard deviations.
        likeness: class of ANSI/AAMI EC57 that the beat looks most like, and how probable; None where the model has no
            head.

    """

    sample: int
    score: float
    alert: float
    shape: float
    timing: float
    amplitude: float
    likeness: tuple[str, float] | None = None


class BeatScorer:
    """The beat model of one gateway, used by one thread.

    A beat abstains (None) where its input is missing or not finite, or where its second was not analysable.
    """

    def __init__(self, runner: Runner, parameters: ScoreParameters) -> None:
        self._runner = runner
        self._parameters = parameters
        self._scoring = Scoring(parameters)

    def without_labels(self) -> "BeatScorer":
        """The same without anything that labels of abnormal beats had a part in."""
        return BeatScorer(self._runner, self._parameters.without_labels())

    @property
    def threshold(self) -> float:
        """Where a calibration starts: so few normal training beats exceed it that they alone just spend a budget."""
        return self._scoring.threshold

    @property
    def decision(self) -> float | None:
        """The score above which a beat is called abnormal; None where there were no labels to choose it by."""
        return self._scoring.decision

    @classmethod
    def of(cls, artifact: Artifact) -> "BeatScorer":
        """The scorer of a verified artifact.

        Raises `ModelParametersError`, `FeatureVersionError`, `ModelFileError`, `RuntimeMissingError`.
        """
        try:
            parameters = msgspec.json.decode(artifact.parts[PARAMETERS], type=ScoreParameters)
            scorer = cls(load(artifact.model, artifact.runtime), parameters)
        except (msgspec.MsgspecError, SequenceWeightsError, HeadError) as error:
            raise ModelParametersError(f"{PARAMETERS} of {artifact.file_name}: {error}") from error
        # What has to be compiled is compiled now, not while a patient's beat waits.
        scorer.score(_NOTHING, scorer.begin())
        return scorer

    def begin(self) -> Memory:
        """What to hand to `score` for a patient of whom nothing is known yet."""
        return self._scoring.begin()

    def resumed(self, history: bytes, surprise: Sequence[float], weighed: Sequence[float]) -> Memory:
        """A memory that was kept: packed history and the values of both levels; a history of other size begins anew."""
        memory = Memory(self._scoring.sequence.resumed(history), OwnLevel(), OwnLevel())
        memory.surprise.restore(surprise)
        memory.weighed.restore(weighed)
        return memory

    def score(self, beat: BeatInput | None, memory: Memory, *, analysable: bool = True) -> BeatScore | None:
        """Score the next beat of a patient, whose memory goes on with it; or abstain, and leave it as it is."""
        if beat is None or not analysable:
            return None
        if not (_whole(beat.beat) and _whole(beat.context)):
            return None
        context = beat.context[None]
        outputs = self._runner(network_inputs(self._scoring, beat.beat[None], beat.reference[None], context))
        said = (outputs[0], outputs[1], outputs[2], outputs[3])
        views = self._scoring.views(beat.beat[None], context, said, memory.history)
        judged = self._scoring.judged(views, context, memory)
        return BeatScore(
            sample=beat.sample,
            score=float(judged.score[0]),
            alert=float(judged.alert[0]),
            shape=float(views.shape[0]),
            timing=float(views.timing[0]),
            amplitude=float(views.amplitude[0]),
            likeness=None if judged.logits is None else _likeness(judged.logits),
        )

    def expected_uv(self, beat: BeatInput) -> NDArray[np.float32]:
        """The beat (WINDOW,) in microvolts that the model expects of this patient, to draw over the observed one.

        What it makes of the patient's reference beat at an ordinary rhythm: of the strange beat itself the network,
        which learned normal beats only, would make nothing that anybody should look at.
        """
        own = beat.reference[None]
        ordinary = np.zeros((1, RHYTHM_FEATURES), np.float32)
        outputs = self._runner(
            [np.ascontiguousarray(own.clip(-CLIP, CLIP)), np.ascontiguousarray(own), ordinary]
        )
        expected: NDArray[np.float32] = (outputs[0][0] * np.float32(beat.scale_uv)).astype(np.float32)
        return expected


def _likeness(logits: NDArray[np.float64]) -> tuple[str, float]:
    each = shares(logits)[0]
    most = int(np.argmax(each))
    return CLASSES[most], float(each[most])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _whole(x: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(x).all())


def network_inputs(
    scoring: Scoring,
    beat: NDArray[np.float32],
    reference: NDArray[np.float32],
    context: NDArray[np.float32],
) -> Sequence[NDArray[Any]]:
    """What the network takes for n beats: beat, reference, normalised rhythm."""
    rhythm = scoring.normalised(context)[:, SHAPE_FEATURES:]
    return [_clipped(beat), np.ascontiguousarray(reference), np.ascontiguousarray(rhythm)]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _clipped(beat: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.empty(beat.shape, dtype=np.float32)
    for k in range(beat.shape[0]):
        for i in range(beat.shape[1]):
            out[k, i] = min(max(beat[k, i], np.float32(-CLIP)), np.float32(CLIP))
    return out
