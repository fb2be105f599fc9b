"""What an unusual beat looks most like: normal, supraventricular, ventricular or fusion (classes of ANSI/AAMI EC57).

A linear head (multinomial logistic regression) on the context features and the autoencoder's latents. It learned from
labels, which the score never does; it names an alert and decides nothing.
"""

from typing import Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.inference.features import CONTEXT

CLASSES: Final = "NSVF"
NAMES: Final = {
    "N": "a beat of normal origin",
    "S": "a supraventricular ectopic beat",
    "V": "a ventricular ectopic beat",
    "F": "a fusion beat",
}
CLIP: Final = 6.0

_Row = Annotated[list[float], msgspec.Meta(min_length=1, max_length=4096)]


class HeadError(ValueError):
    """Parameters of a head that do not fit each other."""


class HeadParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`centre` and `width` (n) normalise the features; `weights` (4, n) and `bias` (4) are by class of `CLASSES`."""

    centre: _Row
    width: _Row
    weights: Annotated[list[_Row], msgspec.Meta(min_length=4, max_length=4)]
    bias: Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]


class Head:
    """The head of one set of parameters. Raises `HeadError`."""

    def __init__(self, parameters: HeadParameters) -> None:
        self._centre = np.asarray(parameters.centre)
        self._width = np.asarray(parameters.width)
        if {len(row) for row in parameters.weights} != {self._centre.size} or (
            self._width.shape != self._centre.shape
        ):
            raise HeadError("rows of the head are not of one length: export the model anew")
        self._weights = np.asarray(parameters.weights)
        self._bias = np.asarray(parameters.bias)

    def probabilities(self, seen: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities (n, 4) of `CLASSES` for features (n, m) as `seen` gives them."""
        said = normalised(seen, self._centre, self._width) @ self._weights.T + self._bias
        odds = np.exp(said - said.max(axis=1, keepdims=True))
        shares: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
        return shares


def seen(context: NDArray[np.float32], latent: NDArray[np.float32]) -> NDArray[np.float64]:
    """What a head sees of beats: context features (n, 18) and the means of the latent, half of `latent` (n, 2 k)."""
    if context.shape[1] != len(CONTEXT):
        raise HeadError(f"{context.shape[1]} context features: {len(CONTEXT)} are wanted")
    return np.concatenate((context, latent[:, : latent.shape[1] // 2]), axis=1).astype(np.float64)


def normalised(
    features: NDArray[np.float64], centre: NDArray[np.float64], width: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Features in units of the training beats, within `CLIP`."""
    units: NDArray[np.float64] = ((features - centre) / width).clip(-CLIP, CLIP)
    return units
