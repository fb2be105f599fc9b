"""Inputs that were right once, and what becomes of them."""

import dataclasses
import math
import struct
from collections import Counter
from typing import Final

import numpy as np


@dataclasses.dataclass(slots=True)
class Tally:
    """What became of the damaged inputs."""

    tried: Counter[str] = dataclasses.field(default_factory=Counter)
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    failures: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Sum up."""
        self.tried += other.tried
        self.outcomes += other.outcomes
        self.failures += other.failures


def damaged(rng: np.random.Generator, corpus: list[bytes]) -> bytes:
    """A valid input with one to four changes: bits, bytes, extreme numbers, cuts, insertions, two spliced."""
    data = bytearray(corpus[int(rng.integers(len(corpus)))])
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            break
        at = int(rng.integers(len(data)))
        match int(rng.integers(8)):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = int(rng.integers(256))
            case 2:
                data[at : at + 8] = _EXTREMES[int(rng.integers(len(_EXTREMES)))]
            case 3:
                del data[at:]
            case 4:
                del data[at : at + int(rng.integers(1, 9))]
            case 5:
                data[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 6:
                other = corpus[int(rng.integers(len(corpus)))]
                data[at:] = other[int(rng.integers(len(other))) :]
            case 7:
                data[at : at + 1] = _MARKERS[int(rng.integers(len(_MARKERS)))]
    return bytes(data)


_EXTREMES: Final = tuple(
    struct.pack(order + code, value)
    for order in "<>"
    for code, value in (
        ("q", 2**63 - 1), ("q", -(2**63)), ("q", -1), ("Q", 2**64 - 1), ("d", math.nan), ("d", math.inf),
        ("d", -math.inf), ("d", 1e308), ("d", 5e-324), ("f", math.nan), ("f", math.inf), ("f", 3e38),
    )
)  # fmt: skip
_MARKERS: Final = (b"\xc0", b"\xc1", b"\xca\x7f\xc0\x00\x00", b"\xcb\x7f\xf8" + b"\0" * 6, b"\xdf\xff\xff\xff\xff",
                   b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x90", b"[" * 40, b'{"a":' * 40, b"[" * 1500,
                   b"1e999", b"\xff\xfe", b"\xa5\x5a", b"\0")  # fmt: skip
