"""From stored blocks to a strip: what belongs together becomes one segment, everything else stays apart."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.store.interface import Segment
from vitalwire_edge.wire.blocks import unpack
from vitalwire_edge.wire.messages import Flag

_SECOND_MHZ_NS: Final = 1_000_000_000_000
DRIFT_NS: Final = 40_000_000
"""How far a block may stand from where the nominal rate puts it before a new segment begins: 1 mm at 25 mm/s."""

_CUTS: Final = int(Flag.LEAD_OFF)


def duration_ns(samples: int, rate_mhz: int) -> int:
    """Nominal length of `samples` at `rate_mhz`."""
    return samples * _SECOND_MHZ_NS // rate_mhz


@dataclass(frozen=True, slots=True)
class Block:
    """A stored waveform block."""

    start_ns: int
    device_boot: int
    first_sample: int
    count: int
    rate_mhz: int
    scale: float
    flags: int
    codec: int
    data: bytes

    @property
    def next_sample(self) -> int:
        """Device counter of the sample after the last one."""
        return self.first_sample + self.count


def assemble(blocks: Iterable[Block], start_ns: int, end_ns: int) -> list[Segment]:
    """Segments of [start_ns, end_ns) from `blocks` in order of time.

    Whether two blocks touch is told by the device's sample counter, since their times carry the jitter of the clock
    model. A segment also ends where the electrodes come off or on again. Samples that another block of the same boot
    already holds are left out.
    """
    runs: list[list[Block]] = []
    seen: set[tuple[int, int]] = set()
    for block in blocks:
        if (block.device_boot, block.first_sample) in seen:
            continue
        seen.add((block.device_boot, block.first_sample))
        if runs and _continues(runs[-1], block):
            runs[-1].append(block)
        else:
            runs.append([block])
    segments = (_segment(run, start_ns, end_ns) for run in runs)
    return [segment for segment in segments if segment is not None]


def _continues(run: list[Block], block: Block) -> bool:
    first, last = run[0], run[-1]
    if (last.device_boot, last.next_sample) != (block.device_boot, block.first_sample):
        return False
    if (last.rate_mhz, last.scale, last.flags & _CUTS) != (block.rate_mhz, block.scale, block.flags & _CUTS):
        return False
    expected = first.start_ns + duration_ns(block.first_sample - first.first_sample, first.rate_mhz)
    return abs(block.start_ns - expected) <= DRIFT_NS


def _segment(run: list[Block], start_ns: int, end_ns: int) -> Segment | None:
    first = run[0]
    count = sum(block.count for block in run)
    skip = max(-(-(start_ns - first.start_ns) * first.rate_mhz // _SECOND_MHZ_NS), 0)
    stop = min(-(-(end_ns - first.start_ns) * first.rate_mhz // _SECOND_MHZ_NS), count)
    if stop <= skip:
        return None
    steps: NDArray[np.int16] = np.concatenate([unpack(b.codec, b.data, b.count) for b in run])[skip:stop]
    flags = 0
    for block in run:
        flags |= block.flags
    return Segment(
        start_ns=first.start_ns + duration_ns(skip, first.rate_mhz),
        rate_hz=first.rate_mhz / 1000,
        samples=steps.astype(np.float32) * np.float32(first.scale),
        flags=flags,
        scale=first.scale,
    )
