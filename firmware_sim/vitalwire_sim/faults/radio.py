"""What happens to a frame between the device's buffer and the gateway, on purpose and counted."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from vitalwire_edge.wire.frames import Frame, Goodbye, Hello, encode
from vitalwire_sim.scenario import RadioFaults
from vitalwire_sim.script import Script

_DROP: Final = 0.25
_SWAP: Final = 0.30
_HEADER_BYTES: Final = 18


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes for the gateway and the frame they stand for. `dropped` ones have no bytes, or broken ones."""

    frame: Frame
    data: bytes
    dropped: bool = False
    repeated: bool = False


class Radio:
    """Loses, swaps, repeats and corrupts frames after `script` and `faults`; seeded.

    A frame_drop episode loses a quarter of the frames and a frame_reorder episode holds back three in ten by one to
    three frames, times strength. Hello and goodbye are never touched: a real device repeats them until they arrive.
    """

    def __init__(self, script: Script, faults: RadioFaults, *, seed: int) -> None:
        self._script = script
        self._faults = faults
        self._rng = np.random.default_rng(np.random.SeedSequence([seed, 0x4AD10]))
        self._held: list[tuple[int, Sent]] = []

    def send(self, frame: Frame) -> list[Sent]:
        """What leaves the antenna for `frame`, in order: this frame or none, and held ones whose turn has come."""
        if isinstance(frame.payload, Hello | Goodbye):
            return [*self.flush(), Sent(frame, encode(frame))]
        chance = self._rng.random(4)
        # The clock stands at the end of what a frame holds, so a frame that ends with an episode is inside it.
        time_s = frame.device_us / 1e6 - 1e-3
        ready = self._due()
        drop = self._script.active("frame_drop", time_s)
        if drop is not None and chance[0] < _DROP * drop.strength:
            return [Sent(frame, b"", dropped=True), *ready]
        data = encode(frame)
        if chance[1] < self._faults.corrupt:
            return [Sent(frame, self._corrupted(data), dropped=True), *ready]
        swap = self._script.active("frame_reorder", time_s)
        if swap is not None and chance[2] < _SWAP * swap.strength:
            self._held.append((int(self._rng.integers(1, 4)), Sent(frame, data)))
            return ready
        out = [Sent(frame, data), *ready]
        if chance[3] < self._faults.duplicate:
            out.append(Sent(frame, data, repeated=True))
        return out

    def flush(self) -> list[Sent]:
        """Everything that was held back."""
        held, self._held = self._held, []
        return [sent for _, sent in held]

    def _due(self) -> list[Sent]:
        waiting = [(left - 1, sent) for left, sent in self._held]
        self._held = [entry for entry in waiting if entry[0] > 0]
        return [sent for left, sent in waiting if left <= 0]

    def _corrupted(self, data: bytes) -> bytes:
        """`data` with one byte after the length changed, which the CRC always finds."""
        at = int(self._rng.integers(_HEADER_BYTES - 10, len(data)))
        broken = bytearray(data)
        broken[at] ^= int(self._rng.integers(1, 256))
        return bytes(broken)
