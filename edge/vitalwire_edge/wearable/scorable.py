"""Beats of one stretch of a device's stream, held until all that a score needs of them is known."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from vitalwire_edge.inference.features import BeatInput, FeatureStream
from vitalwire_edge.signal.chain import BeatWindow, SignalSecond

_WAITING: Final = 64
_SECONDS: Final = 16


class ScorableBeats:
    """Detected beats, their windows and the judged seconds in; beats with their model input out, in order.

    A beat is ready once the beat after it and its own second are known, some two seconds after its R peak.

    Args:
        fs_hz: rate of the device's sample counter.

    """

    def __init__(self, fs_hz: float) -> None:
        self.fs_hz = fs_hz
        self._features = FeatureStream(fs_hz=fs_hz)
        self._previous: int | None = None
        self._times: deque[tuple[int, int]] = deque(maxlen=_WAITING)
        self._waiting: deque[tuple[int, BeatInput | None]] = deque(maxlen=_WAITING)
        self._seconds: deque[SignalSecond] = deque(maxlen=_SECONDS)
        self._judged_until = -1.0

    def follows(self, sample: int) -> bool:
        """Whether a beat at `sample` comes after all that came: if not, the device's counter began anew."""
        return not self._times or sample > self._times[-1][0]

    def beat(self, sample: int, mono_ns: int) -> None:
        """A detected beat and its time; its window follows, if it is whole."""
        self._times.append((sample, mono_ns))

    def windows(self, windows: Sequence[BeatWindow]) -> None:
        """Windows of beats that were told, in order."""
        for window in windows:
            before = self._features.push(window)
            if self._previous is not None:
                self._waiting.append((self._previous, before))
            self._previous = window.sample

    def second(self, second: SignalSecond) -> None:
        """A judged second."""
        self._seconds.append(second)
        self._judged_until = second.first_sample + self.fs_hz

    def due(self) -> Iterator[tuple[int, BeatInput | None]]:
        """Beats that are ready: their time, and their input or None where they cannot be scored."""
        while self._waiting and self._waiting[0][0] < self._judged_until:
            sample, beat = self._waiting.popleft()
            while self._times and self._times[0][0] < sample:
                # Its window was not whole.
                yield self._times.popleft()[1], None
            if self._times and self._times[0][0] == sample:
                yield self._times.popleft()[1], beat if self._analysable(sample) else None

    def _analysable(self, sample: int) -> bool:
        for second in reversed(self._seconds):
            if second.first_sample <= sample:
                return second.analysable and sample < second.first_sample + self.fs_hz
        return False
