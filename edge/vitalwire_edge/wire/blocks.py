"""Codecs of int16 waveform blocks. A codec number never changes its meaning; new ones get new numbers.

`RAW` is little-endian int16. `RICE` is a fixed polynomial predictor of order 0 to 3 whose residuals are Rice coded
(Golomb-Rice after Robinson, "SHORTEN", 1994, and FLAC's fixed predictors) with one parameter per partition. Unlike
FLAC the unary and the binary parts stand apart, so that encoding and decoding are a handful of array operations.

Layout of `RICE`: order u8 | `order` warm-up samples int16 | per partition of 128 residuals k u8 | bytes of the
unary part u16 | unary part | binary part (low k bits of each residual).
"""

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.wire.messages import MessageError

_PARTITION: Final = 128
_MAX_ORDER: Final = 3
_MAX_K: Final = 20


class Codec(IntEnum):
    """How the samples of a block are packed."""

    RAW = 0
    RICE = 1


def pack(samples: NDArray[np.int16]) -> tuple[Codec, bytes]:
    """Smallest encoding of `samples` (int16, shape (n,))."""
    raw = samples.astype("<i2").tobytes()
    rice = _rice(samples)
    return (Codec.RICE, rice) if rice is not None and len(rice) < len(raw) else (Codec.RAW, raw)


def unpack(codec: int, data: bytes, count: int) -> NDArray[np.int16]:
    """The `count` samples in `data`. Raises `MessageError` when `data` is not exactly that."""
    if codec == Codec.RAW:
        if len(data) != 2 * count:
            raise MessageError(f"raw block of {len(data)} bytes does not hold {count} samples")
        return np.frombuffer(data, dtype="<i2").astype(np.int16)
    if codec == Codec.RICE:
        return _unrice(data, count)
    raise MessageError(f"unknown codec {codec}: update the reader")


def _rice(samples: NDArray[np.int16]) -> bytes | None:
    if samples.size <= _MAX_ORDER:
        return None
    wide = samples.astype(np.int64)
    candidates = [wide]
    for _ in range(_MAX_ORDER):
        candidates.append(np.diff(candidates[-1]))
    order = min(range(_MAX_ORDER + 1), key=lambda o: int(np.abs(candidates[o]).sum()))
    residual = candidates[order]
    folded = np.where(residual < 0, -2 * residual - 1, 2 * residual)
    k = _parameters(folded)
    k_each = np.repeat(k, _PARTITION)[: folded.size]
    quotient = folded >> k_each
    unary_bits = int(quotient.sum()) + folded.size
    if unary_bits > 16 * samples.size:
        return None
    unary = np.zeros(unary_bits, dtype=np.uint8)
    unary[np.cumsum(quotient + 1) - 1] = 1
    unary_bytes = np.packbits(unary).tobytes()
    return b"".join(
        (
            bytes([order]),
            samples[:order].astype("<i2").tobytes(),
            k.astype(np.uint8).tobytes(),
            len(unary_bytes).to_bytes(2, "little"),
            unary_bytes,
            np.packbits(_low_bits(folded, k_each)).tobytes(),
        )
    )


def _parameters(folded: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rice parameter of each partition: the one that needs the fewest bits, found by trying the likely ones."""
    k = np.empty(-(-folded.size // _PARTITION), dtype=np.int64)
    for index in range(k.size):
        part = folded[index * _PARTITION : (index + 1) * _PARTITION]
        guess = max(int(part.mean()), 1).bit_length() - 1
        k[index] = min(
            range(max(guess - 1, 0), min(guess + 2, _MAX_K + 1)),
            key=lambda bits: int((part >> bits).sum()) + part.size * bits,
        )
    return k


def _low_bits(folded: NDArray[np.int64], k_each: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Low `k` bits of each value, most significant first, one array element a bit."""
    widest = int(k_each.max())
    shifts = np.arange(widest - 1, -1, -1)
    bits = (folded[:, None] >> shifts) & 1
    return bits[shifts < k_each[:, None]].astype(np.uint8)


def _unrice(data: bytes, count: int) -> NDArray[np.int16]:
    broken = MessageError(f"rice block of {len(data)} bytes does not hold {count} samples")
    order = data[0] if data else _MAX_ORDER + 1
    residuals = count - order
    if order > _MAX_ORDER or residuals <= 0:
        raise broken
    partitions = -(-residuals // _PARTITION)
    at_k = 1 + 2 * order
    at_unary = at_k + partitions + 2
    if len(data) < at_unary:
        raise broken
    warm = np.frombuffer(data, dtype="<i2", count=order, offset=1).astype(np.int64)
    k = np.frombuffer(data, dtype=np.uint8, count=partitions, offset=at_k).astype(np.int64)
    at_binary = at_unary + int.from_bytes(data[at_unary - 2 : at_unary], "little")
    if at_binary > len(data) or int(k.max()) > _MAX_K:
        raise broken
    ends = np.flatnonzero(np.unpackbits(np.frombuffer(data[at_unary:at_binary], dtype=np.uint8)))
    k_each = np.repeat(k, _PARTITION)[:residuals]
    bits = np.unpackbits(np.frombuffer(data[at_binary:], dtype=np.uint8))
    total = int(k_each.sum())
    if ends.size != residuals or -(-total // 8) != len(data) - at_binary:
        raise broken
    quotient = np.diff(ends, prepend=-1) - 1
    folded = (quotient << k_each) | _from_low_bits(bits[:total], k_each)
    values = np.where(folded & 1, -((folded + 1) >> 1), folded >> 1)
    heads = [warm]
    for _ in range(order - 1):
        heads.append(np.diff(heads[-1]))
    for level in range(order - 1, -1, -1):
        values = np.cumsum(np.concatenate((heads[level][:1], values)))
    if values.size != count or int(values.min()) < -32768 or int(values.max()) > 32767:
        raise broken
    return values.astype(np.int16)


def _from_low_bits(bits: NDArray[np.uint8], k_each: NDArray[np.int64]) -> NDArray[np.int64]:
    widest = int(k_each.max())
    shifts = np.arange(widest - 1, -1, -1)
    used = shifts < k_each[:, None]
    table = np.zeros(used.shape, dtype=np.int64)
    table[used] = bits
    values: NDArray[np.int64] = (table << shifts).sum(axis=1)
    return values
