"""A recorded ECG in memory, whatever file it came from."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


BEAT_SYMBOLS: Final = frozenset("NLReojAaJSVEFfQ/!rnB?")
"""MIT-BIH annotation symbols that stand for a beat."""

RHYTHM_SYMBOL: Final = "+"
"""The MIT-BIH annotation that says a change of rhythm."""

END_MARK: Final = "End of recording"
"""EDF holds whole records: what follows this annotation in the last one is padding."""


@dataclass(frozen=True, slots=True)
class TrueBeat:
    """Where a beat is: sample of its R peak since the first sample, and its MIT-BIH symbol."""

    sample: int
    symbol: str


@dataclass(frozen=True, slots=True)
class RhythmMark:
    """From which sample on a rhythm lasts, until the next mark; `name` as MIT-BIH has it, such as "(N" or "(AFIB"."""

    sample: int
    name: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Samples in uV (float64, shape (n,)) from `first_sample` on, and the beats whose R peak is among them."""

    first_sample: int
    uv: Floats
    beats: tuple[TrueBeat, ...] = ()


class RecordingError(ValueError):
    """A recording cannot be used; the message names the file, what is wrong and the fix."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One lead: samples in uV (float64, shape (n,), NaN where nothing was recorded), beats with MIT-BIH symbols."""

    name: str
    lead: str
    fs_hz: float
    uv: Floats
    beats: tuple[TrueBeat, ...] = ()
    rhythms: tuple[RhythmMark, ...] = ()
    licence: str | None = None
    citation: str | None = None

    def __post_init__(self) -> None:
        if not 20 <= self.fs_hz <= 10_000:
            raise RecordingError(f"recording {self.name}: {self.fs_hz} Hz is no rate of an ECG (20 to 10000)")
        if not np.isfinite(self.uv).any():
            raise RecordingError(
                f"recording {self.name}, lead {self.lead}: holds no sample; choose another lead"
            )

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.uv.size / self.fs_hz


class Replay:
    """Serves a recording in blocks of any size, from its start; with `loop` it begins again at its end.

    Sample numbers go on over the seam, whose step is kept: the recording is not altered.
    """

    def __init__(self, recording: Recording, *, loop: bool) -> None:
        self._recording: Final = recording
        self._loop = loop
        self._served = 0

    def read(self, count: int) -> Strip:
        """The next `count` samples, fewer at the end of a recording that does not loop."""
        size = self._recording.uv.size
        first = self._served
        if not self._loop:
            count = min(count, size - first)
        index = (first + np.arange(count)) % size
        beats = []
        for lap in range(first // size, (first + count) // size + 1):
            beats += [
                TrueBeat(beat.sample + lap * size, beat.symbol)
                for beat in self._recording.beats
                if first <= beat.sample + lap * size < first + count
            ]
        self._served += count
        return Strip(first, self._recording.uv[index], tuple(beats))
