"""How likely a beat is after the beats that this patient had before: a recurrent network in plain compiled arithmetic.

A gated recurrent unit (Cho et al., EMNLP 2014) follows a patient's beats through the 18 context features of each, and
before every beat says what the next one's features will be: a mixture of Gaussians over them (Bishop, "Mixture density
networks", 1994). So it is used to what is usual with this patient: a noisy trace, an irregular rhythm, wide beats. What
a beat surprises it by, in nats, is the larger part of the beat's score.

Weights travel as int8, a scale per row, and are multiplied in single precision: the same on every gateway and in every
runtime.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.inference.features import CONTEXT

FEATURES: Final = len(CONTEXT)
TOKEN: Final = 2 * FEATURES
"""A beat as the network is told of it: the features as they are, and seen from one side (`score.one_sided`)."""
CLIP: Final = 8.0
"""Features are given within this many of their widths."""
COMPONENTS: Final = 8
MIN_LOG_WIDTH: Final = -3.0
MAX_LOG_WIDTH: Final = 3.0

_INT8_RAIL: Final = 127
_MAX_ROWS: Final = 4096
_TOLERANCE_NATS: Final = 1e-2

_Rows = Annotated[int, msgspec.Meta(ge=1, le=_MAX_ROWS)]


class SequenceWeightsError(ValueError):
    """The weights of a sequence model are not what this program can run, or do not give what they gave when made."""


class Layer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One affine layer: `rows` x `columns` weights, and a bias for each row.

    `weights` are little-endian, row by row: int8 in units of `scale` (one for each row), or float32 where `kind` says
    so (a fitted model that was not quantised yet; then `scale` is empty).
    """

    rows: _Rows
    columns: _Rows
    kind: Literal["int8", "float32"]
    weights: bytes
    scale: list[float]
    bias: list[float]

    @property
    def bytes(self) -> int:
        """Size of weights, scales and bias."""
        return len(self.weights) + 4 * (len(self.scale) + len(self.bias))

    def matrix(self) -> NDArray[np.float32]:
        """Weights (rows, columns). Raises `SequenceWeightsError`."""
        width = 1 if self.kind == "int8" else 4
        sizes = (len(self.weights), len(self.scale), len(self.bias))
        if sizes != (width * self.rows * self.columns, self.rows if self.kind == "int8" else 0, self.rows):
            raise SequenceWeightsError(
                f"a layer of {self.rows} x {self.columns} holds {sizes[0]} bytes, {sizes[1]} scales, {sizes[2]} "
                "biases: train and export the model anew"
            )
        whole = np.frombuffer(self.weights, "<f4" if width == 4 else "i1").reshape(self.rows, self.columns)
        if self.kind == "int8":
            whole = whole * np.asarray(self.scale, np.float32)[:, None]
        if not (np.isfinite(whole).all() and np.isfinite(self.bias).all()):
            raise SequenceWeightsError("a layer holds weights that are no numbers: train the model anew")
        return np.ascontiguousarray(whole, dtype=np.float32)

    def quantised(self) -> "Layer":
        """The same layer in int8, each row in its own scale."""
        whole = self.matrix()
        scale = np.maximum(np.abs(whole).max(axis=1), 1e-12) / _INT8_RAIL
        steps = np.rint(whole / scale[:, None]).clip(-_INT8_RAIL, _INT8_RAIL).astype("i1")
        return msgspec.structs.replace(
            self, kind="int8", weights=steps.tobytes(), scale=[float(f"{each:.6g}") for each in scale]
        )


def layer(weights: NDArray[np.float32], bias: NDArray[np.float32]) -> Layer:
    """A layer in float32."""
    rows, columns = weights.shape
    return Layer(
        rows=rows,
        columns=columns,
        kind="float32",
        weights=weights.astype("<f4").tobytes(),
        scale=[],
        bias=[float(f"{each:.7g}") for each in bias],
    )


class SequenceWeights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All layers. `from_input` and `from_state` hold the unit's gates one after the other: reset, update, candidate.

    `check` is a short course of beats, tokens (n, 36) flat, and `check_nats` what they surprised this model by where it
    was made; a program that computes something else refuses the model.
    """

    token: Layer
    from_input: Layer
    from_state: Layer
    hidden: Layer
    outcome: Layer
    check: list[float]
    check_nats: list[float]

    @property
    def bytes(self) -> int:
        """Size of weights, scales and biases as they are meant, whatever text carries them."""
        layers = (self.token, self.from_input, self.from_state, self.hidden, self.outcome)
        return sum(each.bytes for each in layers)

    def quantised(self) -> "SequenceWeights":
        """The same in int8, with the check that belongs to it."""
        layers = (self.token, self.from_input, self.from_state, self.hidden, self.outcome)
        names = ("token", "from_input", "from_state", "hidden", "outcome")
        plain = msgspec.structs.replace(
            self, **{n: each.quantised() for n, each in zip(names, layers, strict=True)}
        )
        return checked_by(plain, np.asarray(self.check, np.float32).reshape(-1, TOKEN))


def checked_by(weights: SequenceWeights, tokens: NDArray[np.float32]) -> SequenceWeights:
    """The weights with a check: what they say to these tokens."""
    bare = msgspec.structs.replace(weights, check=[], check_nats=[])
    sequence = Sequence(bare)
    nats = sequence.surprises(tokens, sequence.begin())
    return msgspec.structs.replace(
        bare, check=[float(f"{v:.6g}") for v in tokens.ravel()], check_nats=[float(f"{v:.7g}") for v in nats]
    )


@dataclass(slots=True)
class History:
    """What the network remembers of one patient's beats: (units,) float32."""

    state: NDArray[np.float32]

    def packed(self) -> bytes:
        """To be kept; `Sequence.resumed` goes on from it."""
        return self.state.astype("<f4").tobytes()


class Sequence:
    """The network of one set of weights. Raises `SequenceWeightsError`."""

    def __init__(self, weights: SequenceWeights) -> None:
        layers = (weights.token, weights.from_input, weights.from_state, weights.hidden, weights.outcome)
        self._matrices = tuple(each.matrix() for each in layers)
        self._biases = tuple(np.asarray(each.bias, np.float32) for each in layers)
        self.units = weights.from_state.columns
        fits = (
            weights.token.columns == TOKEN
            and weights.from_input.columns == weights.token.rows
            and weights.from_input.rows == weights.from_state.rows == 3 * self.units
            and weights.hidden.columns == self.units
            and weights.outcome.columns == weights.hidden.rows
            and weights.outcome.rows == COMPONENTS * (1 + 2 * FEATURES)
        )
        if not fits:
            raise SequenceWeightsError(
                "the layers of the sequence model do not fit each other: export the model anew"
            )
        self._prove(weights)

    def begin(self) -> History:
        """Nothing known of the patient."""
        return History(np.zeros(self.units, np.float32))

    def resumed(self, packed: bytes) -> History:
        """Go on from what was kept; begin anew where it is not of a network of this size."""
        if len(packed) == 4 * self.units:
            state = np.frombuffer(packed, "<f4").astype(np.float32)
            if np.isfinite(state).all():
                return History(state)
        return self.begin()

    def surprises(self, tokens: NDArray[np.float32], history: History) -> NDArray[np.float64]:
        """Surprise in nats (n,) of beats in order, tokens (n, 36) within `CLIP`; `history` goes on with them."""
        nats = np.empty(len(tokens))
        _follow(np.ascontiguousarray(tokens), history.state, *self._matrices, *self._biases, nats)
        return nats

    def _prove(self, weights: SequenceWeights) -> None:
        tokens = np.asarray(weights.check, np.float32)
        if tokens.size != TOKEN * len(weights.check_nats):
            raise SequenceWeightsError("the check of the sequence model is incomplete: export the model anew")
        nats = self.surprises(tokens.reshape(-1, TOKEN), self.begin())
        off = np.abs(nats - np.asarray(weights.check_nats))
        if not (off <= _TOLERANCE_NATS + 1e-3 * np.abs(nats)).all():
            raise SequenceWeightsError(
                f"the sequence model gives surprises that are off by {float(off.max()):.3g} nats from those where "
                "it was made: the file or this program is broken"
            )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.float32(1) / (np.float32(1) + np.exp(-x))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _follow(
    tokens: NDArray[np.float32],
    state: NDArray[np.float32],
    token: NDArray[np.float32],
    from_input: NDArray[np.float32],
    from_state: NDArray[np.float32],
    hidden: NDArray[np.float32],
    outcome: NDArray[np.float32],
    token_bias: NDArray[np.float32],
    input_bias: NDArray[np.float32],
    state_bias: NDArray[np.float32],
    hidden_bias: NDArray[np.float32],
    outcome_bias: NDArray[np.float32],
    nats: NDArray[np.float64],
) -> None:
    units = state.size
    for k in range(tokens.shape[0]):
        told = np.dot(outcome, np.maximum(np.dot(hidden, state) + hidden_bias, 0)) + outcome_bias
        nats[k] = _surprise(told, tokens[k, FEATURES:])
        seen = np.maximum(np.dot(token, tokens[k]) + token_bias, 0)
        given = np.dot(from_input, seen) + input_bias
        own = np.dot(from_state, state) + state_bias
        reset = _sigmoid(given[:units] + own[:units])
        update = _sigmoid(given[units : 2 * units] + own[units : 2 * units])
        candidate = np.tanh(given[2 * units :] + reset * own[2 * units :])
        state[:] = (1 - update) * candidate + update * state


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _surprise(told: NDArray[np.float32], features: NDArray[np.float32]) -> float:
    """Negative log density, without the constant, of features under the mixture that `told` describes."""
    most = told[0]
    for j in range(1, COMPONENTS):
        most = max(most, told[j])
    total = 0.0
    for j in range(COMPONENTS):
        total += np.exp(told[j] - most)
    weigh = most + np.log(total)
    best = -np.inf
    each = np.empty(COMPONENTS)
    for j in range(COMPONENTS):
        of = told[j] - weigh
        for i in range(FEATURES):
            width = told[COMPONENTS * (1 + FEATURES) + j * FEATURES + i]
            width = min(max(width, MIN_LOG_WIDTH), MAX_LOG_WIDTH)
            away = (features[i] - told[COMPONENTS + j * FEATURES + i]) * np.exp(-width)
            of -= 0.5 * away * away + width
        each[j] = of
        best = max(best, of)
    total = 0.0
    for j in range(COMPONENTS):
        total += np.exp(each[j] - best)
    return float(-(best + np.log(total)))
