"""How probably a beat is normal, supraventricular, ventricular or fusion (ANSI/AAMI EC57).

A small network sees what the generative models say of a beat, relative to its patient, and the context features. It
learned from ectopy that was written into recordings, and from labels where there were any; those models know normal
beats only. Half its odds against normal are added to the score; its most probable class names an alert.
"""

from typing import Annotated, Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.inference.features import CONTEXT
from vitalwire_edge.inference.sequence import Layer

CLASSES: Final = "NSVF"
ABNORMAL: Final = CLASSES.index("S")
VENTRICULAR: Final = CLASSES.index("V")
"""From which of `CLASSES` on a beat is abnormal, or of ventricular origin."""
NAMES: Final = {
    "N": "a beat of normal origin",
    "S": "a supraventricular ectopic beat",
    "V": "a ventricular ectopic beat",
    "F": "a fusion beat",
}
SAID: Final = ("sequence", "shape", "surprise")
"""What the generative models say, before the features of `CONTEXT`: both views tamed, and what joins them."""
SEEN: Final = len(SAID) + len(CONTEXT)
CLIP: Final = 6.0
ODDS_RAIL: Final = 15.0
"""No beat's odds are more certain than this, in nats."""

HIDDEN: Final = (48, 24)
_LAYERS: Final = tuple(zip((*HIDDEN, len(CLASSES)), (SEEN, *HIDDEN), strict=True))

_Row = Annotated[list[float], msgspec.Meta(min_length=SEEN, max_length=SEEN)]


class HeadError(ValueError):
    """Parameters of a head that do not fit each other."""


class HeadParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`centre` and `width` (SEEN) normalise what is seen; three layers lead from it to logits by class of `CLASSES`."""

    centre: _Row
    width: _Row
    layers: Annotated[list[Layer], msgspec.Meta(min_length=len(_LAYERS), max_length=len(_LAYERS))]

    @property
    def bytes(self) -> int:
        """Size of weights, scales and biases as they are meant, whatever text carries them."""
        return sum(each.bytes for each in self.layers) + 4 * (len(self.centre) + len(self.width))

    def quantised(self) -> "HeadParameters":
        """The same with weights in int8, as they travel."""
        return msgspec.structs.replace(self, layers=[each.quantised() for each in self.layers])


class Head:
    """The head of one set of parameters. Raises `HeadError`, `SequenceWeightsError`."""

    def __init__(self, parameters: HeadParameters) -> None:
        sizes = tuple((each.rows, each.columns) for each in parameters.layers)
        if sizes != _LAYERS:
            raise HeadError(f"layers of the head are {sizes}, not {_LAYERS}: export the model anew")
        self._centre = np.asarray(parameters.centre)
        self._width = np.asarray(parameters.width)
        self._weights = tuple(each.matrix() for each in parameters.layers)
        self._biases = tuple(np.asarray(each.bias, np.float32) for each in parameters.layers)

    def logits(self, seen: NDArray[np.float64]) -> NDArray[np.float64]:
        """How `CLASSES` stand, in nats up to a constant: (n, 4) for what is `seen` (n, SEEN)."""
        said: NDArray[np.float64] = _logits(
            in_units(seen, self._centre, self._width), *self._weights, *self._biases
        )
        return said


def seen(
    views: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], context: NDArray[np.float32]
) -> NDArray[np.float64]:
    """What a head sees of n beats: `SAID` of each and its context features (n, 18). Raises `HeadError`."""
    if context.shape[1] != len(CONTEXT):
        raise HeadError(f"{context.shape[1]} context features: {len(CONTEXT)} are wanted")
    whole: NDArray[np.float64] = _seen(*views, context)
    return whole


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def tamed(view: float) -> float:
    """A view in robust units of normal beats with its tails drawn in: signed logarithm of one more than its size."""
    return float(np.sign(view) * np.log1p(abs(view)))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _seen(
    sequence: NDArray[np.float64],
    shape: NDArray[np.float64],
    surprise: NDArray[np.float64],
    context: NDArray[np.float32],
) -> NDArray[np.float64]:
    whole = np.empty((context.shape[0], SEEN))
    for k in range(context.shape[0]):
        whole[k, 0], whole[k, 1], whole[k, 2] = tamed(sequence[k]), tamed(shape[k]), surprise[k]
        for i in range(context.shape[1]):
            whole[k, len(SAID) + i] = context[k, i]
    return whole


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def in_units(
    seen: NDArray[np.float64], centre: NDArray[np.float64], width: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What is seen (n, SEEN) in units of the training beats, within `CLIP`."""
    units = np.empty_like(seen)
    for k in range(seen.shape[0]):
        for i in range(seen.shape[1]):
            units[k, i] = min(max((seen[k, i] - centre[i]) / width[i], -CLIP), CLIP)
    return units


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _logits(
    units: NDArray[np.float64],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    third: NDArray[np.float32],
    first_bias: NDArray[np.float32],
    second_bias: NDArray[np.float32],
    third_bias: NDArray[np.float32],
) -> NDArray[np.float64]:
    said = np.empty((units.shape[0], third_bias.size))
    for k in range(units.shape[0]):
        hidden = np.maximum(np.dot(first, units[k].astype(np.float32)) + first_bias, 0)
        hidden = np.maximum(np.dot(second, hidden) + second_bias, 0)
        said[k] = np.dot(third, hidden) + third_bias
    return said


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def odds(logits: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    """Log odds (n,) of the classes from `first` on against those before it, within `ODDS_RAIL`."""
    found = np.empty(logits.shape[0])
    for k in range(logits.shape[0]):
        most = logits[k].max()
        against = np.exp(logits[k, :first] - most).sum()
        of = np.exp(logits[k, first:] - most).sum()
        found[k] = min(max(np.log(max(of, 1e-300) / max(against, 1e-300)), -ODDS_RAIL), ODDS_RAIL)
    return found


def shares(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (n, 4) of `CLASSES`."""
    each = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = each / each.sum(axis=1, keepdims=True)
    return found
