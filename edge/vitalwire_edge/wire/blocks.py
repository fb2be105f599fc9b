"""Codecs of int16 waveform blocks. A codec number never changes its meaning; new ones get new numbers.

`RAW` is little-endian int16. `RICE` is a fixed polynomial predictor of order 0 to 3 whose residuals are Rice coded
(Golomb-Rice after Robinson, "SHORTEN", 1994, and FLAC's fixed predictors) with one parameter per partition. Unlike
FLAC the unary and the binary parts stand apart, so that array operations can decode it too.

Layout of `RICE`: order u8 | `order` warm-up samples int16 | per partition of 128 residuals k u8 | bytes of the
unary part u16 | unary part | binary part (low k bits of each residual).
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.wire import rice
from vitalwire_edge.wire.messages import MessageError


class Codec(IntEnum):
    """How the samples of a block are packed."""

    RAW = 0
    RICE = 1


def pack(samples: NDArray[np.int16]) -> tuple[Codec, bytes]:
    """Smallest encoding of `samples` (int16, shape (n,))."""
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
        samples = rice.decode(data, count)
        if samples is None:
            raise MessageError(f"rice block of {len(data)} bytes does not hold {count} samples")
        return samples
    raise MessageError(f"unknown codec {codec}: update the reader")
