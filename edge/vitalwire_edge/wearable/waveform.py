"""Cuts one waveform channel into blocks that are contiguous, all lead-on or all lead-off, and at most so long."""

import msgspec
import numpy as np
from numpy.typing import NDArray


class Block(msgspec.Struct, frozen=True):
    """`samples` (int16, shape (n,)) counted from `first_sample`; `after_gap`: samples before it are missing."""

    first_sample: int
    samples: NDArray[np.int16]
    lead_off: bool
    after_gap: bool


class BlockCutter:
    """Gathers samples until a block is full. `overlapped` counts samples that came twice and were dropped."""

    def __init__(self, samples_per_block: int) -> None:
        self._size = samples_per_block
        self._parts: list[NDArray[np.int16]] = []
        self._held = 0
        self._first = 0
        self._lead_off = False
        self._after_gap = True
        self.next_sample: int | None = None
        self.overlapped = 0

    def push(self, first_sample: int, samples: NDArray[np.int16], *, lead_off: bool) -> list[Block]:
        """Take samples; return the blocks they complete. What lies before `next_sample` is dropped."""
        size = samples.size
        if first_sample == self.next_sample and lead_off == self._lead_off and size < self._size - self._held:
            # Nearly always: it goes on, and nothing is complete.
            if not self._held:
                self._first = first_sample
            self._parts.append(samples)
            self._held += size
            self.next_sample = first_sample + size
            return []
        blocks: list[Block] = []
        if self.next_sample is not None and first_sample < self.next_sample:
            twice = min(self.next_sample - first_sample, samples.size)
            self.overlapped += twice
            samples = samples[twice:]
            first_sample += twice
        if samples.size == 0:
            return blocks
        gap = first_sample != self.next_sample
        if gap or lead_off != self._lead_off:
            blocks += self.flush()
            self._after_gap = gap
            self._lead_off = lead_off
        while samples.size:
            if not self._held:
                self._first = first_sample
            taken = samples[: self._size - self._held]
            self._parts.append(taken)
            self._held += taken.size
            first_sample += taken.size
            samples = samples[taken.size :]
            self.next_sample = first_sample
            if self._held == self._size:
                blocks += self.flush()
        return blocks

    def flush(self) -> list[Block]:
        """The block gathered so far, if any."""
        if not self._held:
            return []
        block = Block(self._first, np.concatenate(self._parts), self._lead_off, self._after_gap)
        self._parts = []
        self._held = 0
        self._after_gap = False
        return [block]
