"""Codecs of int16 waveform blocks. A codec number never changes its meaning; new ones get new numbers.

`RAW` is little-endian int16. `RICE` is a fixed polynomial predictor of order 0 to 3 whose residuals are Rice coded
(Golomb-Rice after Robinson, "SHORTEN", 1994, and FLAC's fixed predictors) with one parameter per partition. Unlike
FLAC the unary and the binary parts stand apart, so that decoding is a handful of array operations.

Layout of `RICE`: order u8 | `order` warm-up samples int16 | per partition of 128 residuals k u8 | bytes of the
unary part u16 | unary part | binary part (low k bits of each residual).
"""

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.wire.messages import MessageError

PARTITION: Final = 128
MAX_ORDER: Final = 3
MAX_K: Final = 20


class Codec(IntEnum):
    """How the samples of a block are packed."""

    RAW = 0
    RICE = 1


def pack(samples: NDArray[np.int16]) -> tuple[Codec, bytes]:
    """Smallest encoding of `samples` (int16, shape (n,))."""
    from vitalwire_edge.wire import rice  # noqa: PLC0415 - whoever only unpacks has no numba

    raw = samples.astype("<i2").tobytes()
    coded = rice.encode(samples)
    return (Codec.RICE, coded) if coded is not None and len(coded) < len(raw) else (Codec.RAW, raw)


def unpack(codec: int, data: bytes, count: int) -> NDArray[np.int16]:
    """The `count` samples in `data`. Raises `MessageError` when `data` is not exactly that."""
    if codec == Codec.RAW:
        if len(data) != 2 * count:
            raise MessageError(f"raw block of {len(data)} bytes does not hold {count} samples")
        return np.frombuffer(data, dtype="<i2").astype(np.int16)
    if codec == Codec.RICE:
        return _unrice(data, count)
    raise MessageError(f"unknown codec {codec}: update the reader")


def _unrice(data: bytes, count: int) -> NDArray[np.int16]:
    broken = MessageError(f"rice block of {len(data)} bytes does not hold {count} samples")
    order = data[0] if data else MAX_ORDER + 1
    residuals = count - order
    if order > MAX_ORDER or residuals <= 0:
        raise broken
    partitions = -(-residuals // PARTITION)
    at_k = 1 + 2 * order
    at_unary = at_k + partitions + 2
    if len(data) < at_unary:
        raise broken
    warm = np.frombuffer(data, dtype="<i2", count=order, offset=1).astype(np.int64)
    k = np.frombuffer(data, dtype=np.uint8, count=partitions, offset=at_k).astype(np.int64)
    at_binary = at_unary + int.from_bytes(data[at_unary - 2 : at_unary], "little")
    if at_binary > len(data) or int(k.max()) > MAX_K:
        raise broken
    ends = np.flatnonzero(np.unpackbits(np.frombuffer(data[at_unary:at_binary], dtype=np.uint8)))
    k_each = np.repeat(k, PARTITION)[:residuals]
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
