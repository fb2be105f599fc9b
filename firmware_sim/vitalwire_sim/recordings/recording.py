"""A recorded ECG in memory, whatever file it came from."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from vitalwire_sim.physiology.body import Strip, TrueBeat
from vitalwire_sim.physiology.patient import Floats

BEAT_SYMBOLS: Final = frozenset("NLReojAaJSVEFfQ/!rnB?")
"""MIT-BIH annotation symbols that stand for a beat."""


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
