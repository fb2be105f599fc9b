"""The binary message of the live WebSocket: waveforms of the whole wall in one frame.

Layout (little-endian):

    message   version u8 = 1 | kind u8 = 1 (waves) | block count u16 | frame number u32 | server clock i64 (UTC ns)
    block     device index u16 | flags u16 | code u32 | start i64 (UTC ns) | rate f64 (Hz) | scale f32 |
              sample count u32 | samples int16 each

The device index is the one that `hello` or a `device` message gave; a sample times `scale` is in the channel's unit.
Flags are those of `vitalwire_edge.wire.messages.Flag`. Every field lies at a multiple of two bytes.
"""

import struct
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.live import WaveEvent
from vitalwire_cloud.store.interface import Segment
from vitalwire_edge.wire.messages import Flag

FRAME_VERSION: Final = 1
WAVES: Final = 1
MAX_BLOCKS: Final = 65535

_MESSAGE: Final = struct.Struct("<BBHIq")
_BLOCK: Final = struct.Struct("<HHIqdfI")


def pack_waves(frame: int, now_ns: int, blocks: list[tuple[int, WaveEvent]]) -> bytes:
    """One message of `blocks`: device index and samples, at most `MAX_BLOCKS` of them."""
    parts = [_MESSAGE.pack(FRAME_VERSION, WAVES, len(blocks), frame & 0xFFFFFFFF, now_ns)]
    for index, wave in blocks:
        parts.append(
            _BLOCK.pack(
                index, wave.flags, wave.code, wave.start_ns, wave.rate_hz, wave.scale, wave.samples.size
            )
        )
        parts.append(wave.samples.astype("<i2", copy=False).tobytes())
    return b"".join(parts)


def segments_as_waves(
    device: str, code: int, scale: float | None, segments: Iterable[Segment]
) -> list[WaveEvent]:
    """Stored segments as int16 again, flagged as history.

    `scale` is the channel's own; where it is unknown one that fits is taken.
    """
    waves = []
    for segment in segments:
        step = scale if scale is not None else _fitting_scale(segment.samples)
        samples = np.clip(np.rint(segment.samples / step), -32768, 32767).astype(np.int16)
        flags = segment.flags | Flag.HISTORY
        waves.append(WaveEvent(device, code, segment.start_ns, segment.rate_hz, step, samples, flags))
    return waves


def _fitting_scale(samples: NDArray[np.float32]) -> float:
    peak = float(np.abs(samples).max(initial=0.0))
    return peak / 32767 if peak > 0 else 1.0
