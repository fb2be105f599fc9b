"""What the network sees is the same in training and on the gateway."""

import numpy as np
import pytest
import wfdb

from vitalwire_cloud.train.dataset import windows_at
from vitalwire_edge.inference import features
from vitalwire_edge.inference.features import FeatureStream
from vitalwire_edge.signal.chain import EcgChain


def test_streamed_and_whole_record_agree_sample_by_sample(recordings):
    # The recording's samples are taken as 250 Hz, where a device sample is an analysis sample.
    record = wfdb.rdrecord(str(recordings / "mitdb" / "208"), sampto=40_000, channels=[0])
    ecg_uv = (record.p_signal[:, 0] * 1000).astype(np.float32)
    chain, stream = EcgChain(fs_hz=250.0), FeatureStream(fs_hz=250.0)
    windows, streamed = [], []
    for start in range(0, ecg_uv.size, 77):
        for window in chain.push(start, ecg_uv[start : start + 77]).windows:
            windows.append(window)
            done = stream.push(window)
            if done is not None:
                streamed.append(done)
    batch = windows_at(ecg_uv, fs_hz=250.0, peaks=[w.sample for w in windows])
    whole = list(features.inputs(batch, fs_hz=250.0))
    assert len(streamed) > 100
    assert [x.sample for x in streamed] == [x.sample for x in whole]
    for one, other in zip(streamed, whole, strict=True):
        np.testing.assert_array_equal(one.beat, other.beat)
        np.testing.assert_array_equal(one.reference, other.reference)
        np.testing.assert_array_equal(one.context, other.context)


def test_shape_features_of_many_beats_are_those_of_each():
    rng = np.random.default_rng(3)
    beat, reference = rng.normal(size=(2, 20, 200)).astype(np.float32)
    spread = np.abs(rng.normal(size=(20, 200))).astype(np.float32)
    together = features.shape_features(beat, reference, spread)
    for k in range(20):
        one = features.shape_features(beat[k : k + 1], reference[k : k + 1], spread[k : k + 1])[0]
        np.testing.assert_array_equal(together[k], one)
    assert together.shape == (20, features.SHAPE_FEATURES)
    assert np.isfinite(features.shape_features(beat * 0, reference * 0, spread * 0)).all()


def test_own_rhythm_is_not_moved_by_a_minority_of_premature_beats():
    rhythm = features.Rhythm()
    assert rhythm.features(0.8, 0.8) is None
    for k in range(80):
        rhythm.add(0.5 if k % 4 == 0 else 0.8)
    assert rhythm.reference_s() == pytest.approx(0.8)
    found = rhythm.features(0.5, 1.1)
    assert found[0] < -0.4 < 0.3 < found[1]
