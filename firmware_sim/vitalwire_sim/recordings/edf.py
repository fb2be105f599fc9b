"""European Data Format files."""

from pathlib import Path

import edfio
import numpy as np

from vitalwire_sim.recordings.leads import choose, microvolts_per
from vitalwire_sim.recordings.recording import Recording, RecordingError


def read_edf(path: Path, channel: str | None) -> Recording:
    """One lead of the EDF or EDF+ file `path`. Raises `RecordingError`."""
    source = f"EDF file {path}"
    try:
        signals = edfio.read_edf(path).signals
        index = choose([signal.label for signal in signals], channel, source=source)
        signal = signals[index]
        factor = microvolts_per(signal.physical_dimension, source=source, channel=signal.label)
        return Recording(
            name=path.stem,
            lead=signal.label,
            fs_hz=float(signal.sampling_frequency),
            uv=np.asarray(signal.data, dtype=np.float64) * factor,
        )
    except (OSError, ValueError, IndexError) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"{source}: {error}; is it complete and an EDF?") from error
