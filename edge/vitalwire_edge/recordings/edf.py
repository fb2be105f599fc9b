"""European Data Format files."""

from pathlib import Path

import edfio
import numpy as np

from vitalwire_edge.recordings.leads import choose, microvolts_per
from vitalwire_edge.recordings.recording import (
    BEAT_SYMBOLS,
    END_MARK,
    Recording,
    RecordingError,
    RhythmMark,
    TrueBeat,
)


def read_edf(path: Path, channel: str | None) -> Recording:
    """One lead of the EDF or EDF+ file `path`; annotations that are MIT-BIH symbols are its beats and rhythms.

    Raises `RecordingError`.
    """
    source = f"EDF file {path}"
    try:
        edf = edfio.read_edf(path)
        signals = edf.signals
        index = choose([signal.label for signal in signals], channel, source=source)
        signal = signals[index]
        factor = microvolts_per(signal.physical_dimension, source=source, channel=signal.label)
        fs_hz = float(signal.sampling_frequency)
        ends = [mark.onset for mark in edf.annotations if mark.text == END_MARK]
        uv = np.asarray(signal.data, dtype=np.float64)[: round(ends[0] * fs_hz) if ends else None] * factor
        beats = tuple(
            TrueBeat(round(mark.onset * fs_hz), mark.text)
            for mark in edf.annotations
            if mark.text in BEAT_SYMBOLS
        )
        rhythms = tuple(
            RhythmMark(round(mark.onset * fs_hz), mark.text)
            for mark in edf.annotations
            if mark.text.startswith("(")
        )
        return Recording(name=path.stem, lead=signal.label, fs_hz=fs_hz, uv=uv, beats=beats, rhythms=rhythms)
    except (OSError, ValueError, IndexError) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"{source}: {error}; is it complete and an EDF?") from error
