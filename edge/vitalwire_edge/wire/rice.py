"""The encoder of codec `RICE` (its layout: `wire.blocks`), compiled: a gateway packs every sample that it carries.

It stands apart because only gateways pack, and numba is no part of the cloud's installation.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vitalwire_edge.wire.blocks import MAX_K, MAX_ORDER, PARTITION


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


def warm() -> None:
    """Compile, or load from numba's cache, before the first block."""
    encode(np.arange(2 * PARTITION, dtype=np.int16))
