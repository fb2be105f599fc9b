"""What training sees of a beat is what the gateway sees, sample by sample, at every rate that devices have."""

import numpy as np
import pytest
import wfdb
from scipy.signal import resample_poly

from vitalwire_cloud.train.dataset import windows_at
from vitalwire_edge.inference.features import inputs
from vitalwire_edge.signal.chain import EcgChain
from vitalwire_edge.wearable.scorable import ScorableBeats

SECONDS = 240


@pytest.fixture(scope="module")
def ecg_uv(recordings):
    record = wfdb.rdrecord(str(recordings / "mitdb" / "119"), sampto=360 * SECONDS)
    return record.p_signal[:, 0] * 1000.0


def on_the_gateway(samples, fs_hz, block):
    """Beat windows and model inputs of a device's stream, fed in blocks, in the order in which they come out."""
    chain, beats = EcgChain(fs_hz=fs_hz), ScorableBeats(fs_hz)
    windows, found = [], []
    for start in range(0, samples.size, block):
        output = chain.push(start, samples[start : start + block])
        for beat in output.beats:
            beats.beat(beat.sample, beat.sample)
        beats.windows(output.windows)
        windows += output.windows
        for second in output.seconds:
            beats.second(second)
        found += [beat for _, beat in beats.due() if beat is not None]
    return windows, found


@pytest.mark.parametrize(("up", "down", "block"), [(1, 1, 72), (25, 72, 25), (25, 36, 50), (25, 18, 137)])
def test_training_sees_what_the_gateway_sees(ecg_uv, up, down, block):
    fs_hz = 360 * up / down
    samples = resample_poly(ecg_uv, up, down).astype(np.float32)
    windows, beats = on_the_gateway(samples, fs_hz, block)
    assert len(windows) > 200
    learned = windows_at(samples, fs_hz=fs_hz, peaks=[window.sample for window in windows])
    assert [window.sample for window in learned] == [window.sample for window in windows]
    for ours, theirs in zip(windows, learned, strict=True):
        np.testing.assert_array_equal(ours.ecg_uv, theirs.ecg_uv)
        assert (ours.reference is None) == (theirs.reference is None)
        if ours.reference is not None and theirs.reference is not None:
            np.testing.assert_array_equal(ours.reference.beat_uv, theirs.reference.beat_uv)
            np.testing.assert_array_equal(ours.reference.spread_uv, theirs.reference.spread_uv)
    trained = {each.sample: each for each in inputs(learned, fs_hz=fs_hz)}
    assert len(beats) > 180
    for beat in beats:
        for name in ("beat", "reference", "context", "scale_uv"):
            np.testing.assert_array_equal(getattr(beat, name), getattr(trained[beat.sample], name))
