"""Ten minutes of a few records, with their labels, as folders that the protocols read."""

import numpy as np
import pytest
import wfdb

SECONDS = 600


@pytest.fixture(scope="session")
def slices(recordings, tmp_path_factory):
    """119 (ventricular ectopy) and 209 (atrial ectopy) in one folder, 207 (flutter, runs) in another."""
    root = tmp_path_factory.mktemp("slices")
    for folder, name, start_s in (("beats", "119", 0), ("beats", "209", 0), ("flutter", "207", 1200)):
        (root / folder).mkdir(exist_ok=True)
        start, end = start_s * 360, (start_s + SECONDS) * 360
        source = recordings / "mitdb" / name
        record = wfdb.rdrecord(str(source), sampfrom=start, sampto=end, channels=[0], physical=False)
        wfdb.wrsamp(
            name,
            fs=360,
            units=["mV"],
            sig_name=["MLII"],
            d_signal=record.d_signal,
            fmt=["16"],
            adc_gain=record.adc_gain,
            baseline=record.baseline,
            write_dir=str(root / folder),
        )
        note = wfdb.rdann(str(source), "atr", sampfrom=start, sampto=end, shift_samps=True)
        wfdb.wrann(
            name,
            "atr",
            np.asarray(note.sample),
            symbol=note.symbol,
            aux_note=note.aux_note,
            write_dir=str(root / folder),
        )
    return root
