"""From a fitted model to files a gateway can run: float, int8 in three ways, and self-test vectors."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from vitalwire_cloud.models.beat_sequence import BeatSequence
from vitalwire_cloud.models.beat_vae import BeatVae
from vitalwire_edge.inference.beat_model import network_inputs
from vitalwire_edge.inference.features import RHYTHM_FEATURES
from vitalwire_edge.inference.runtime import LoadedModel, load
from vitalwire_edge.inference.score import ScoreParameters, Scoring
from vitalwire_edge.inference.selftest import Vectors
from vitalwire_edge.signal.beats import WINDOW

RUNTIME: Final = "ai-edge-litert"
OLD_RUNTIME: Final = "tflite-runtime"
"""Runs a dynamic-range file wrongly without a word; see docs/decisions/int8-variants.md."""
FLOAT: Final = "float"
DYNAMIC: Final = "dynamic"
STATIC: Final = "static"
WEIGHTS: Final = "weights"
FILES: Final = {
    FLOAT: "beat.float.tflite",
    DYNAMIC: "beat.int8.tflite",
    STATIC: "beat.static.tflite",
    WEIGHTS: "beat.weights.tflite",
}
FITTED: Final = "fitted.pt"
SELF_TEST_BEATS: Final = 12


class FittedModelError(ValueError):
    """A folder holds no fitted model."""


@dataclass(frozen=True, slots=True)
class Beats:
    """Representative beats (n, ...): for calibration of quantisation and for self-test vectors."""

    beat: NDArray[np.float32]
    reference: NDArray[np.float32]
    context: NDArray[np.float32]

    def first(self, count: int) -> "Beats":
        """The first beats."""
        return Beats(self.beat[:count], self.reference[:count], self.context[:count])


def save(
    folder: Path, network: BeatVae, sequence: BeatSequence, parameters: ScoreParameters, beats: Beats
) -> None:
    """Leave a fitted model in a folder. Raises `OSError`."""
    arrays = {name: torch.from_numpy(getattr(beats, name).copy()) for name in Beats.__slots__}
    state = {"network": network.state_dict(), "sequence": sequence.state_dict(), "beats": arrays}
    torch.save(state, folder / FITTED)
    (folder / "parameters.json").write_bytes(msgspec.json.encode(parameters))


@dataclass(frozen=True, slots=True)
class Saved:
    """What `save` left: both networks in float, the constants, and representative beats."""

    network: BeatVae
    sequence: BeatSequence
    parameters: ScoreParameters
    beats: Beats


def saved(folder: Path) -> Saved:
    """Read what `save` left. Raises `FittedModelError`."""
    try:
        state = torch.load(folder / FITTED, weights_only=True)
        parameters = msgspec.json.decode((folder / "parameters.json").read_bytes(), type=ScoreParameters)
        network, sequence = BeatVae(), BeatSequence()
        network.load_state_dict(state["network"])
        sequence.load_state_dict(state["sequence"])
    except (OSError, msgspec.MsgspecError, KeyError, RuntimeError) as error:
        raise FittedModelError(
            f"{folder} holds no fitted model ({error}): run `vitalwire train beat` first"
        ) from error
    network.eval()
    sequence.eval()
    beats = Beats(**{name: array.numpy() for name, array in state["beats"].items()})
    return Saved(network, sequence, parameters, beats)


def variants(network: BeatVae, parameters: ScoreParameters, beats: Beats) -> dict[str, bytes]:
    """Model files by kind of arithmetic. Needs the extra `train`."""
    import litert_torch  # noqa: PLC0415 - heavy, and absent where the exporter cannot be installed

    sample = (torch.zeros(1, WINDOW), torch.zeros(1, WINDOW), torch.zeros(1, RHYTHM_FEATURES))
    exported = litert_torch.convert(network.eval(), sample)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / FILES[FLOAT]
        exported.export(str(path))
        return {
            FLOAT: path.read_bytes(),
            DYNAMIC: _quantised(path, DYNAMIC),
            STATIC: _quantised(path, STATIC, given(parameters, beats)),
            WEIGHTS: _quantised(path, WEIGHTS),
        }


def given(parameters: ScoreParameters, beats: Beats) -> list[list[NDArray[Any]]]:
    """Network inputs, one beat at a time."""
    all_of = network_inputs(Scoring(parameters), beats.beat, beats.reference, beats.context)
    return [[each[k : k + 1] for each in all_of] for k in range(beats.beat.shape[0])]


def _quantised(path: Path, kind: str, calibration: list[list[NDArray[Any]]] | None = None) -> bytes:
    from ai_edge_quantizer import quantizer, recipe  # noqa: PLC0415 - as above

    maker = quantizer.Quantizer(str(path))
    if calibration is None:
        chosen = recipe.dynamic_wi8_afp32() if kind == DYNAMIC else recipe.weight_only_wi8_afp32()
        maker.load_quantization_recipe(chosen)
        return bytes(maker.quantize().quantized_model)
    maker.load_quantization_recipe(recipe.static_wi8_ai8())
    names = [f"args_{k}" for k in range(len(calibration[0]))]
    data = {"serving_default": [dict(zip(names, inputs, strict=True)) for inputs in calibration]}
    return bytes(maker.quantize(maker.calibrate(data)).quantized_model)


def self_test(model: bytes, parameters: ScoreParameters, beats: Beats) -> Vectors:
    """Vectors of the first beats with what this model file gives for them."""
    few = beats.first(SELF_TEST_BEATS)
    runner = load(model, RUNTIME)
    inputs = network_inputs(Scoring(parameters), few.beat, few.reference, few.context)
    outputs = run_all(runner, parameters, few)
    tolerance = tuple(0.02 * max(1.0, float(np.abs(each).max())) for each in outputs)
    return Vectors(tuple(inputs), outputs, tolerance)


def run_all(
    runner: LoadedModel, parameters: ScoreParameters, beats: Beats
) -> tuple[NDArray[np.float32], ...]:
    """Outputs (n, ...) of a model file for n beats."""
    rows = [runner(inputs) for inputs in given(parameters, beats)]
    return tuple(np.concatenate([row[k] for row in rows]) for k in range(len(rows[0])))
