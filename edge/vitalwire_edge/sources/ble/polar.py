"""Polar's measurement data service (PMD): the ECG stream of an H10.

After "Polar Measurement Data specification for 3rd party", Polar Electro Oy.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.sources.ble.values import BleDataError

SERVICE: Final = "fb005c80-02e7-f387-1cad-8acd2d8df0c8"
CONTROL: Final = "fb005c81-02e7-f387-1cad-8acd2d8df0c8"
DATA: Final = "fb005c82-02e7-f387-1cad-8acd2d8df0c8"

ECG_HZ: Final = 130
START_ECG: Final = bytes.fromhex("0200 0001 8200 0101 0e00")
"""Start measurement, ECG; sample rate: one value, 130 Hz; resolution: one value, 14 bits."""
STOP_ECG: Final = bytes.fromhex("0300")

_ECG: Final = 0
_FRAME_TYPE_0: Final = 0
_RESPONSE: Final = 0xF0
_HEADER_BYTES: Final = 10
_SAMPLE_BYTES: Final = 3
_ALREADY_STREAMING: Final = 6
_ERRORS: Final = {
    1: "invalid operation",
    2: "invalid measurement type",
    3: "not supported",
    4: "invalid length",
    5: "invalid parameter",
    7: "invalid resolution",
    8: "invalid sample rate",
    9: "invalid range",
    10: "invalid MTU",
    11: "invalid number of channels",
    12: "invalid state",
    13: "device in charger",
}


@dataclass(frozen=True, slots=True)
class EcgBlock:
    """`uv` (int32, shape (n,)) microvolts at 130 Hz; `last_ns` is the device's clock at the last of them."""

    last_ns: int
    uv: NDArray[np.int32]


def ecg_block(data: bytes) -> EcgBlock | None:
    """ECG of a PMD data notification; None for another measurement or frame type. Raises `BleDataError`.

    Measurement type (1 byte, 0 is ECG), time stamp of the last sample (uint64, ns since 2000-01-01 where the clock is
    set), frame type (0), then samples of 24-bit signed little-endian microvolts.
    """
    if len(data) < _HEADER_BYTES:
        raise BleDataError(f"PMD data of {len(data)} bytes: at least {_HEADER_BYTES}")
    if data[0] != _ECG or data[_HEADER_BYTES - 1] != _FRAME_TYPE_0:
        return None
    payload = data[_HEADER_BYTES:]
    if not payload or len(payload) % _SAMPLE_BYTES:
        raise BleDataError(f"PMD ECG of {len(payload)} bytes is no whole number of samples")
    octets = np.frombuffer(payload, np.uint8).reshape(-1, _SAMPLE_BYTES).astype(np.int32)
    raw = octets[:, 0] | octets[:, 1] << 8 | octets[:, 2] << 16
    uv = np.where(raw & 0x800000, raw - 0x1000000, raw).astype(np.int32)
    return EcgBlock(int.from_bytes(data[1:9], "little"), uv)


def refusal(data: bytes) -> str | None:
    """Why the control point refused the last command; None if it obeyed. Raises `BleDataError`.

    Response (0xF0), command, measurement type, error.
    """
    if len(data) < 4 or data[0] != _RESPONSE:
        raise BleDataError(f"PMD control point response of {len(data)} bytes is none")
    error = data[3]
    return None if error in (0, _ALREADY_STREAMING) else _ERRORS.get(error, f"error {error}")
