"""European Data Format files."""

from pathlib import Path
from typing import Final

import edfio
import numpy as np

from vitalwire_sim.physiology.body import TrueBeat
from vitalwire_sim.recordings.leads import choose, microvolts_per
from vitalwire_sim.recordings.recording import BEAT_SYMBOLS, Recording, RecordingError

END_MARK: Final = "End of recording"
"""EDF holds whole records: what follows this annotation in the last one is padding."""


def read_edf(path: Path, channel: str | None) -> Recording:
    """One lead of the EDF or EDF+ file `path`; annotations that are MIT-BIH symbols are its beats.

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
        return Recording(name=path.stem, lead=signal.label, fs_hz=fs_hz, uv=uv, beats=beats)
    except (OSError, ValueError, IndexError) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"{source}: {error}; is it complete and an EDF?") from error
