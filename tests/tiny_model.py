"""Tiny real models for tests: y = a * x + b over a window of 32 samples, a TensorFlow Lite file made from its schema.

Real enough for everything that carries, checks, times and swaps models; what they compute can be said in one line.
"""

from collections.abc import Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from vitalwire_edge.inference.artifact import Manifest, Needs
from vitalwire_edge.inference.selftest import Vectors, pack_vectors

WIDTH = 32
NEEDS = Needs(
    arch=("x86_64", "aarch64"),
    variants={"ai-edge-litert": "beat.int8.tflite"},
    max_p99_us=200_000,
    max_bytes=2_000_000,
)


def tflite(a: float, b: float, ballast: int = 0) -> bytes:
    """Model file of `a * x + b`; `ballast` bytes that no operator reads make it larger."""
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT() for _ in range(4)]
    for buffer, value in ((1, a), (2, b)):
        model.buffers[buffer].data = np.full(WIDTH, value, np.float32).view(np.uint8)
    model.buffers[3].data = np.random.default_rng(1).integers(0, 256, max(ballast, 1), dtype=np.uint8)
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor(name, buffer) for name, buffer in ((b"x", 0), (b"a", 1), (b"b", 2), (b"ax", 0), (b"y", 0))
    ]
    graph.inputs, graph.outputs = [0], [4]
    graph.operators = []
    model.operatorCodes = []
    for code, (builtin, options, kind, inputs, output) in enumerate(
        (
            (schema.BuiltinOperator.MUL, schema.BuiltinOptions.MulOptions, schema.MulOptionsT, [0, 1], 3),
            (schema.BuiltinOperator.ADD, schema.BuiltinOptions.AddOptions, schema.AddOptionsT, [3, 2], 4),
        )
    ):
        known = schema.OperatorCodeT()
        known.builtinCode = known.deprecatedBuiltinCode = builtin
        known.version = 1
        model.operatorCodes.append(known)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = options, kind()
        graph.operators.append(operator)
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tensor(name: bytes, buffer: int):
    made = schema.TensorT()
    made.name, made.buffer, made.shape = name, buffer, [1, WIDTH]
    made.type = schema.TensorType.FLOAT32
    return made


def load(model: bytes, runtime: str):
    """Runner of a model file with the real interpreter."""
    assert runtime == "ai-edge-litert"
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    inputs = [each["index"] for each in interpreter.get_input_details()]
    outputs = [each["index"] for each in interpreter.get_output_details()]

    def run(values: Sequence[np.ndarray]) -> list[np.ndarray]:
        for index, value in zip(inputs, values, strict=True):
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return run


def vectors(a: float, b: float, *, off: float = 0.0, count: int = 8) -> Vectors:
    x = np.random.default_rng(7).normal(size=(count, WIDTH)).astype(np.float32)
    return Vectors((x,), ((a * x + b + off).astype(np.float32),), (1e-4,))


def parts(a: float = 2.0, b: float = 1.0, *, off: float = 0.0, ballast: int = 0) -> dict[str, bytes]:
    """Parts of an artifact; `off` shifts what the self-test expects."""
    return {
        "beat.int8.tflite": tflite(a, b, ballast),
        "selftest.npz": pack_vectors(vectors(a, b, off=off)),
        "card.json": b'{"what": "a line"}',
        "parameters.json": b"{}",
    }


def manifest(version: int = 1, **more) -> Manifest:
    return Manifest(**({"name": "beat", "version": version, "created_ns": 1, "hardware": NEEDS} | more))
