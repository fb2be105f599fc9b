"""Ectopy that is written into a recording: of known classes, where it says, and such that a detector finds just it."""

from dataclasses import replace

import numpy as np
import pytest

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.train.dataset import drawn, load_folder, patient_of_strip
from vitalwire_cloud.train.simulated_ectopy import Strip, with_ectopy
from vitalwire_edge.inference.features import CONTEXT
from vitalwire_edge.signal.chain import EcgChain
from vitalwire_edge.signal.scoring import match_beats

MINUTES = 12


@pytest.fixture(scope="module")
def recorded(recordings):
    """Twelve minutes of a record of one atrial beat, the others normal."""
    record = records.read(recordings / "mitdb" / "112")
    until = int(MINUTES * 60 * record.fs_hz)
    beats = (record.sample < until) & np.isin(record.symbol, ["N", "A"])
    label = np.where(record.symbol[beats] == "A", "S", "N")
    return Strip(record.ecg_uv[:until], record.sample[beats], label), record.fs_hz


@pytest.fixture(scope="module")
def simulated(recorded):
    strip, fs_hz = recorded
    return [with_ectopy(strip, fs_hz=fs_hz, rng=np.random.default_rng(seed)) for seed in range(4)]


def test_every_class_is_there_and_peaks_are_in_order_within_the_strip(recorded, simulated):
    strip, _ = recorded
    label = np.concatenate([each.label for each in simulated])
    assert set(label) <= set("NSVFQ")
    assert {name for name in "SVF" if (label == name).sum() >= 3} == set("SVF")
    for each in simulated:
        assert each.ecg_uv.size <= strip.ecg_uv.size
        assert np.isfinite(each.ecg_uv).all()
        assert (np.diff(each.peaks) > 0).all()
        assert each.peaks[-1] < each.ecg_uv.size
        # What was not taken for normal is never called so, and never said to be an ectopy that was simulated.
        assert (each.label == "Q").sum() == (strip.label != "N").sum()
        assert 0.3 < (each.label == "N").mean() < 1


def test_the_detector_finds_the_beats_that_are_said_to_be_there(recorded, simulated):
    _, fs_hz = recorded
    told, hit, found = 0, 0, 0
    for each in simulated:
        peaks = [beat.sample for beat in EcgChain(fs_hz=fs_hz).push(0, each.ecg_uv).beats]
        match = match_beats(each.peaks.astype(float), np.array(peaks, dtype=float), fs_hz=fs_hz)
        told, found = told + each.peaks.size, found + len(peaks)
        hit += int((match.detected_of >= 0).sum())
    assert hit / told > 0.97
    assert hit / found > 0.97


def test_ventricular_beats_are_strange_in_shape_and_atrial_ones_early(recorded, simulated):
    _, fs_hz = recorded
    patients = [patient_of_strip(s, fs_hz=fs_hz, record="1", patient="1", digest="") for s in simulated]
    label = np.concatenate([each.label for each in patients])
    context = np.concatenate([each.context for each in patients])
    alike, before = context[:, CONTEXT.index("corr_qrs")], context[:, CONTEXT.index("rr_before")]
    normal, ventricular, atrial = (label == name for name in "NVS")
    assert np.quantile(alike[ventricular], 0.75) < np.quantile(alike[normal], 0.25)
    assert np.median(alike[atrial]) > np.quantile(alike[ventricular], 0.75)
    assert np.median(before[atrial]) < -0.15
    assert np.abs(np.median(before[normal])) < 0.05


def test_the_same_signal_is_drawn_alike_and_each_draw_is_another(recorded):
    strip, fs_hz = recorded
    digest = "5a" * 32
    one, again, other = (
        drawn(strip, fs_hz=fs_hz, digest=digest, lead=0, draw=number) for number in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.ecg_uv, again.ecg_uv)
    np.testing.assert_array_equal(one.label, again.label)
    assert one.peaks.size != other.peaks.size or (one.peaks != other.peaks).any()


def test_a_strip_of_a_few_beats_stays_as_it_is(recorded):
    strip, fs_hz = recorded
    few = replace(strip, peaks=strip.peaks[:9], label=np.array(list("NNNNSNNNN")))
    same = with_ectopy(few, fs_hz=fs_hz, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(same.ecg_uv, few.ecg_uv)
    assert "".join(same.label) == "NNNNQNNNN"


def test_a_folder_to_learn_from_has_draws_of_each_lead(recordings, tmp_path):
    for suffix in (".hea", ".dat", ".atr"):
        (tmp_path / f"112{suffix}").symlink_to(recordings / "mitdb" / f"112{suffix}")
    whole = load_folder(tmp_path, cache=tmp_path / "cache", to_learn=True)
    assert [(each.lead, each.draw) for each in whole] == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    assert {each.patient for each in whole} == {"112"}
    kept = load_folder(tmp_path, cache=tmp_path / "cache", to_learn=True)
    for one, other in zip(whole, kept, strict=True):
        np.testing.assert_array_equal(one.context, other.context)
        assert (one.lead, one.draw) == (other.lead, other.draw)
