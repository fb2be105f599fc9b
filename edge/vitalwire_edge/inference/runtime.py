"""A model file in the runtime that is installed: ai-edge-litert, else tflite-runtime, on one thread."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.inference.artifact import RUNTIMES

_MODULES: Final = {name: f"{module}.interpreter" for name, module in RUNTIMES.items()}


class RuntimeMissingError(RuntimeError):
    """The runtime that a model needs is not installed."""


class ModelFileError(ValueError):
    """The runtime cannot load the file."""


class LoadedModel:
    """A model file ready to run; one caller at a time.

    Outputs are copies in the order of their names, which the exporter chose to be the model's order.
    """

    def __init__(self, model: bytes, runtime: str) -> None:
        try:
            module = importlib.import_module(_MODULES[runtime])
        except (ImportError, KeyError) as error:
            raise RuntimeMissingError(
                f"runtime {runtime} is not installed: install vitalwire[edge]"
            ) from error
        try:
            self._interpreter: Any = module.Interpreter(model_content=model, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"{runtime} cannot load a model file of {len(model)} bytes: {error}"
            ) from error
        self._inputs = [_Tensor.of(each) for each in _by_name(self._interpreter.get_input_details())]
        self._outputs = [_Tensor.of(each) for each in _by_name(self._interpreter.get_output_details())]

    def __call__(self, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """One inference."""
        for tensor, value in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(tensor.index, tensor.quantised(value))
        self._interpreter.invoke()
        return tuple(tensor.real(self._interpreter.get_tensor(tensor.index)) for tensor in self._outputs)


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input or output; int8 ones are given and read in real numbers."""

    index: int
    int8: bool
    scale: float
    zero: int

    @classmethod
    def of(cls, detail: dict[str, Any]) -> "_Tensor":
        scale, zero = detail["quantization"]
        return cls(int(detail["index"]), detail["dtype"] == np.int8, float(scale), int(zero))

    def quantised(self, value: NDArray[Any]) -> NDArray[Any]:
        if not self.int8:
            return value
        return (np.rint(value / self.scale) + self.zero).clip(-128, 127).astype(np.int8)

    def real(self, value: NDArray[Any]) -> NDArray[Any]:
        if not self.int8:
            return value
        return ((value.astype(np.float32) - self.zero) * self.scale).astype(np.float32)


def load(model: bytes, runtime: str) -> LoadedModel:
    """Load a model file for a runtime of `artifact.RUNTIMES`. Raises `RuntimeMissingError`, `ModelFileError`."""
    return LoadedModel(model, runtime)


def _by_name(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(details, key=lambda each: str(each["name"]))
