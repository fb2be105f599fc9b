"""The codec `RICE` (its layout: `wire.blocks`), compiled: gateway and cloud handle every sample that they carry."""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

PARTITION: Final = 128
MAX_ORDER: Final = 3
MAX_K: Final = 20

_MOST_PER_BYTE: Final = 8
"""A sample takes at least the bit that ends its unary part; so a short block asks for no room that it cannot fill."""


def encode(samples: NDArray[np.int16]) -> bytes | None:
    """The coded block, or None where that would be no smaller than the samples (int16, shape (n,))."""
    if samples.size <= MAX_ORDER:
        return None
    residual, order = _residual(np.ascontiguousarray(samples))
    unary = np.zeros(2 * samples.size, dtype=np.uint8)
    binary = np.zeros((MAX_K * residual.size + 7) // 8, dtype=np.uint8)
    k, unary_bytes, binary_bytes = _code(residual, unary, binary)
    if unary_bytes > unary.size:
        return None
    return b"".join(
        (
            bytes([order]),
            samples[:order].astype("<i2").tobytes(),
            k.tobytes(),
            unary_bytes.to_bytes(2, "little"),
            unary[:unary_bytes].tobytes(),
            binary[:binary_bytes].tobytes(),
        )
    )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _residual(samples: NDArray[np.int16]) -> tuple[NDArray[np.int64], int]:
    """Differences of the order that leaves the least, folded to 0, 1, 2, 3, ... for 0, -1, 1, -2, ..."""
    order = 0
    x = samples.astype(np.int64)
    best = x
    least = np.abs(x).sum()
    for tried in range(1, MAX_ORDER + 1):
        x = x[1:] - x[:-1]
        left = np.abs(x).sum()
        if left < least:
            order, best, least = tried, x, left
    return np.where(best < 0, -2 * best - 1, 2 * best), order


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _parameter(part: NDArray[np.int64]) -> int:
    """Rice parameter of a partition: the one that needs the fewest bits, found by trying the likely ones."""
    guess = 0
    while part.sum() // part.size >> (guess + 1):
        guess += 1
    best, fewest = 0, -1
    for k in range(max(guess - 1, 0), min(guess + 2, MAX_K + 1)):
        bits = (part >> k).sum() + part.size * k
        if fewest < 0 or bits < fewest:
            best, fewest = k, bits
    return best


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _code(
    folded: NDArray[np.int64], unary: NDArray[np.uint8], binary: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], int, int]:
    """Fill both parts (zeros before), bits from the left. Returns the parameters and the bytes used of each part.

    More bytes of the unary part than there are: it does not fit, and nothing of what was filled counts.
    """
    partitions = (folded.size + PARTITION - 1) // PARTITION
    parameters = np.empty(partitions, dtype=np.uint8)
    at_unary, at_binary = 0, 0
    for p in range(partitions):
        part = folded[p * PARTITION : (p + 1) * PARTITION]
        k = _parameter(part)
        parameters[p] = k
        for value in part:
            at_unary += value >> k
            if at_unary >= 8 * unary.size:
                return parameters, unary.size + 1, 0
            unary[at_unary >> 3] |= 128 >> (at_unary & 7)
            at_unary += 1
            for bit in range(k - 1, -1, -1):
                binary[at_binary >> 3] |= ((value >> bit) & 1) << (7 - (at_binary & 7))
                at_binary += 1
    return parameters, (at_unary + 7) // 8, (at_binary + 7) // 8


def decode(data: bytes, count: int) -> NDArray[np.int16] | None:
    """The `count` samples in a coded block, or None where it does not hold exactly that."""
    if not 0 < count <= _MOST_PER_BYTE * len(data):
        return None
    samples = np.empty(count, dtype=np.int16)
    return samples if _decode(np.frombuffer(data, dtype=np.uint8), samples) else None


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _decode(data: NDArray[np.uint8], samples: NDArray[np.int16]) -> bool:
    """Fill the samples; False where the data hold fewer, more or others."""
    order, at_unary, at_binary = _layout(data, samples.size)
    if order < 0:
        return False
    values = np.empty(samples.size, dtype=np.int64)
    for i in range(order):
        low, high = int(data[1 + 2 * i]), int(data[2 + 2 * i])
        values[i] = low + (high << 8) - ((high & 128) << 9)
    if not _residuals(data, 1 + 2 * order, at_unary, at_binary, values[order:]):
        return False
    _sum_up(values, order)
    for i in range(samples.size):
        if not -32768 <= values[i] <= 32767:
            return False
        samples[i] = values[i]
    return True


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _layout(data: NDArray[np.uint8], count: int) -> tuple[int, int, int]:
    """Order, and where unary and binary part begin; an order of -1 where the block cannot hold `count` samples."""
    broken = (-1, 0, 0)
    order = int(data[0])
    residuals = count - order
    if order > MAX_ORDER or residuals <= 0:
        return broken
    at_k = 1 + 2 * order
    partitions = (residuals + PARTITION - 1) // PARTITION
    at_unary = at_k + partitions + 2
    if data.size < at_unary:
        return broken
    at_binary = at_unary + int(data[at_unary - 2]) + (int(data[at_unary - 1]) << 8)
    bits = 0
    for p in range(partitions):
        k = int(data[at_k + p])
        if k > MAX_K:
            return broken
        bits += k * min(PARTITION, residuals - p * PARTITION)
    if at_binary + (bits + 7) // 8 != data.size:
        return broken
    return order, at_unary, at_binary


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _residuals(
    data: NDArray[np.uint8], at_k: int, at_unary: int, at_binary: int, residuals: NDArray[np.int64]
) -> bool:
    """Fill the residuals; False where the unary part holds fewer or more."""
    bit, end, low_bit = 8 * at_unary, 8 * at_binary, 8 * at_binary
    for i in range(residuals.size):
        start = bit
        while bit < end and not data[bit >> 3] & (128 >> (bit & 7)):
            bit += 1
        if bit == end:
            return False
        folded = bit - start
        bit += 1
        for _ in range(data[at_k + i // PARTITION]):
            folded = (folded << 1) | ((int(data[low_bit >> 3]) >> (7 - (low_bit & 7))) & 1)
            low_bit += 1
        residuals[i] = -((folded + 1) >> 1) if folded & 1 else folded >> 1
    while bit < end:
        if data[bit >> 3] & (128 >> (bit & 7)):
            return False
        bit += 1
    return True


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sum_up(values: NDArray[np.int64], order: int) -> None:
    """From `order` warm-up samples and the differences of that order after them to samples, in place."""
    for level in range(1, order):
        for i in range(order - 1, level - 1, -1):
            values[i] -= values[i - 1]
    for level in range(order - 1, -1, -1):
        for i in range(level + 1, values.size):
            values[i] += values[i - 1]


def warm() -> None:
    """Compile, or load from numba's cache, before the first block."""
    coded = encode(np.arange(2 * PARTITION, dtype=np.int16))
    assert coded is not None
    decode(coded, 2 * PARTITION)
