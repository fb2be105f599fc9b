"""The last question before a model may score: does it give, on this gateway, what it gave where it was made, in time?

An artifact ships vectors: `selftest.npz` holds plain arrays `input_0`, `input_1`, ... and `output_0`, ... whose first
axis counts the vectors, and `tolerance` (float, one absolute number per output). The model is given one vector at a
time, as slices of length 1 along that axis, in the order of its inputs.
"""

import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.inference import container
from vitalwire_edge.inference.artifact import SELF_TEST, Artifact
from vitalwire_edge.inference.container import ContainerError
from vitalwire_edge.inference.refusal import ArtifactRefusedError, Refusal

MAX_VECTORS: Final = 1024
MAX_VALUES: Final = 2**22
TIMED_RUNS: Final = 300
_WARM_RUNS: Final = 20
_ROUNDS: Final = 3
"""Rounds of timing, of which the best counts: another process that took the core says nothing about the model."""


class Runner(Protocol):
    """A loaded model: outputs for inputs, in the model's order."""

    def __call__(self, inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """One inference."""


Load = Callable[[bytes, str], Runner]
"""Loads a model file for a runtime (a key of `artifact.RUNTIMES`)."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """Self-test vectors: `inputs[k]` and `outputs[k]` have shape (n, ...); `tolerance` has one number per output."""

    inputs: tuple[NDArray[Any], ...]
    outputs: tuple[NDArray[Any], ...]
    tolerance: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Figures of a passed self-test: `worst_error` is a share of the tolerance, 0 to 1."""

    p99_us: float
    worst_error: float
    vectors: int


def pack_vectors(vectors: Vectors) -> bytes:
    """`selftest.npz` of `vectors`, with the same bytes for the same vectors."""
    arrays = {f"input_{index}": array for index, array in enumerate(vectors.inputs)}
    arrays |= {f"output_{index}": array for index, array in enumerate(vectors.outputs)}
    arrays["tolerance"] = np.asarray(vectors.tolerance, dtype=np.float64)
    parts: dict[str, bytes] = {}
    for name, array in arrays.items():
        file = io.BytesIO()
        np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
        parts[f"{name}.npy"] = file.getvalue()
    return container.write(parts)


def unpack_vectors(data: bytes) -> Vectors:
    """Vectors in `data`. Raises `ArtifactRefusedError` (`MALFORMED`) for anything else than plain numbers."""
    try:
        arrays = {name.removesuffix(".npy"): _array(part) for name, part in container.read(data).items()}
        inputs = _numbered(arrays, "input")
        outputs = _numbered(arrays, "output")
        tolerance = tuple(float(value) for value in arrays["tolerance"].ravel())
    except (ContainerError, ValueError, KeyError, OverflowError) as error:
        raise ArtifactRefusedError(
            Refusal.MALFORMED, f"the self-test vectors cannot be read: {error}"
        ) from error
    counts = {array.shape[0] if array.ndim else 0 for array in (*inputs, *outputs)}
    if len(counts) != 1 or not 0 < min(counts) <= MAX_VECTORS or len(tolerance) != len(outputs):
        raise ArtifactRefusedError(
            Refusal.MALFORMED, f"the self-test has {sorted(counts)} vectors, {len(tolerance)} tolerances"
        )
    if not all(math.isfinite(limit) and limit >= 0 for limit in tolerance):
        raise ArtifactRefusedError(Refusal.MALFORMED, f"the self-test has tolerances {tolerance}")
    return Vectors(inputs, outputs, tolerance)


def run(artifact: Artifact, load: Load, *, max_p99_us: float | None = None) -> SelfTest:
    """Run the model of an artifact on its vectors and time it.

    The limit is the manifest's, lowered by `max_p99_us` of this gateway. Raises what `prove` raises.
    """
    limit_us = min(float(artifact.manifest.hardware.max_p99_us), max_p99_us or math.inf)
    return prove(artifact.model, artifact.runtime, artifact.parts[SELF_TEST], load, limit_us=limit_us)


def prove(
    model: bytes,
    runtime: str,
    vectors_npz: bytes,
    load: Load,
    *,
    limit_us: float,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> SelfTest:
    """Run a model file on vectors and time it.

    Raises `ArtifactRefusedError` with `SELF_TEST_OFF` (also when the model cannot be loaded or run) or `TOO_SLOW`, with
    the figures.
    """
    vectors = unpack_vectors(vectors_npz)
    try:
        runner = load(model, runtime)
        worst = max(_error(runner, vectors, index) for index in range(len(vectors.inputs[0])))
    except ArtifactRefusedError:
        raise
    except Exception as error:
        # Whatever a runtime raises about a model, the model is not fit to score.
        raise ArtifactRefusedError(
            Refusal.SELF_TEST_OFF, f"the model does not run on {runtime}: {error}"
        ) from error
    if not worst <= 1.0:
        raise ArtifactRefusedError(
            Refusal.SELF_TEST_OFF,
            f"an output is off by {worst:.3g} times its tolerance",
            worst_error=worst if math.isfinite(worst) else None,
        )
    p99_us = math.inf
    for _ in range(_ROUNDS):
        p99_us = min(p99_us, _p99_us(runner, vectors, clock_ns))
        if p99_us <= limit_us:
            return SelfTest(p99_us, worst, len(vectors.inputs[0]))
    raise ArtifactRefusedError(
        Refusal.TOO_SLOW,
        f"p99 of one inference is {p99_us:.0f} us, at most {limit_us:.0f} us are allowed",
        p99_us=p99_us,
        worst_error=worst,
    )


def _one(vectors: Vectors, index: int) -> list[NDArray[Any]]:
    return [array[index : index + 1] for array in vectors.inputs]


def _error(runner: Runner, vectors: Vectors, index: int) -> float:
    """Largest error of one vector as a share of its tolerance; infinite where an output has another shape or is NaN."""
    outputs = runner(_one(vectors, index))
    if len(outputs) != len(vectors.outputs):
        return math.inf
    worst = 0.0
    for got, expected, tolerance in zip(outputs, vectors.outputs, vectors.tolerance, strict=True):
        wanted = expected[index : index + 1]
        if got.shape != wanted.shape:
            return math.inf
        off = float(np.max(np.abs(got.astype(np.float64) - wanted.astype(np.float64)), initial=0.0))
        if not math.isfinite(off):
            return math.inf
        worst = max(worst, 0.0 if off == 0 else off / tolerance if tolerance else math.inf)
    return worst


def _p99_us(runner: Runner, vectors: Vectors, clock_ns: Callable[[], int]) -> float:
    count = len(vectors.inputs[0])
    for index in range(_WARM_RUNS):
        runner(_one(vectors, index % count))
    took = np.empty(TIMED_RUNS)
    for index in range(TIMED_RUNS):
        inputs = _one(vectors, index % count)
        began = clock_ns()
        runner(inputs)
        took[index] = clock_ns() - began
    return float(np.percentile(took, 99)) / 1000


def _numbered(arrays: dict[str, NDArray[Any]], kind: str) -> tuple[NDArray[Any], ...]:
    count = sum(name.startswith(f"{kind}_") for name in arrays)
    if not count:
        raise KeyError(f"{kind}_0")
    return tuple(arrays[f"{kind}_{index}"] for index in range(count))


def _array(data: bytes) -> NDArray[Any]:
    """Array of numbers in `.npy` bytes, whose header is believed only where the bytes bear it out."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not a version 1.0 array file")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    values = math.prod(shape)
    if dtype.kind not in "iuf" or fortran or values > MAX_VALUES:
        raise ValueError(f"an array of {dtype} and {values} values is not taken")
    if len(data) - file.tell() != values * dtype.itemsize:
        raise ValueError("an array has not the bytes that its header says")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)
