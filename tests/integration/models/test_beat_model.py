"""The shipped model opens, passes its self-test, and tells ectopic beats from the patient's own; training repeats."""

from importlib import resources
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from vitalwire_cloud.train.dataset import TrainingDataError, load_record
from vitalwire_cloud.train.fit_beat import fit
from vitalwire_edge.inference import selftest, shipped
from vitalwire_edge.inference.artifact import open_artifact
from vitalwire_edge.inference.beat_model import BeatScorer
from vitalwire_edge.inference.features import BeatInput
from vitalwire_edge.inference.keys import Trust
from vitalwire_edge.inference.runtime import load

SHIPPED = Path(str(resources.files("vitalwire_edge.inference") / "shipped"))


@pytest.fixture(scope="module")
def artifact():
    data = (SHIPPED / "beat-1.vwm").read_bytes()
    assert len(data) < 400_000
    return open_artifact(data, Trust.read(SHIPPED / "trust.json"), now_ns=None)


@pytest.fixture(scope="module")
def patient(recordings):
    return load_record(recordings / "mitdb" / "119")


def test_shipped_model_passes_its_self_test(artifact):
    found = selftest.run(artifact, load)
    assert found.worst_error < 1
    assert found.vectors == 12


def test_its_card_names_every_record_with_its_hash_and_none_of_the_paced(artifact):
    card = msgspec.json.decode(artifact.parts["card.json"])
    records = card["training"]["records"]
    assert len(records) == 22
    assert not {"102", "104", "107", "217"} & set(records)
    assert all(len(digest) == 64 for digest in records.values())
    assert card["training"]["licence"]
    assert card["training"]["citations"]


@pytest.mark.parametrize(("data", "version"), [(shipped.first(), 1), (shipped.successor(), 2)])
def test_what_ships_is_signed_and_carries_what_was_measured(data, version):
    artifact = open_artifact(data, shipped.trust(), now_ns=None)
    assert artifact.manifest.version == version
    assert selftest.run(artifact, load).worst_error < 1
    card = msgspec.json.decode(artifact.parts["card.json"])
    assert len(card["report"]["sha256"]) == 64
    figures = {each["protocol"]: each for each in card["figures"]}
    assert set(figures) == {"inter-patient", "naming", "calibration", "int8"}
    for each in figures.values():
        assert len(each["records"]) == 22
        assert set(each["bar"]) <= set(each["metrics"])
        # A card that claims a bar must have reached it, and one that has not must say so.
        short = any(
            each["metrics"][name] > limit
            if name in {"d_auc", "bytes", "p50_us", "worst_budget_ratio"}
            else each["metrics"][name] < limit
            for name, limit in each["bar"].items()
        )
        assert each["passed"] is not short


def test_scores_a_ventricular_beat_above_the_patients_own_and_abstains(artifact, patient):
    scorer = BeatScorer.of(artifact)
    chosen = np.flatnonzero(patient.late)[:400]
    beats = [
        BeatInput(int(patient.sample[k]), patient.beat[k], patient.reference[k], patient.context[k], 1500.0)
        for k in chosen
    ]
    memory = scorer.begin()
    scored = [scorer.score(beat, memory) for beat in beats]
    assert roc_auc_score(patient.label[chosen] == "V", [s.score for s in scored]) > 0.99
    for beat in beats[::40]:
        expected = scorer.expected_uv(beat)
        assert expected.shape == (200,)
        # An ordinary beat of this patient, smooth, and not a copy of the reference.
        assert np.corrcoef(expected, beat.reference)[0, 1] > 0.97
        assert (
            np.abs(np.diff(expected, 2)).max()
            < 1.5 * np.abs(np.diff(beat.reference * beat.scale_uv, 2)).max()
        )
    before = memory.history.packed(), memory.surprise.values, memory.weighed.values
    assert scorer.score(None, memory) is None
    assert scorer.score(beats[0], memory, analysable=False) is None
    broken = beats[0].beat.copy()
    broken[3] = np.nan
    assert scorer.score(BeatInput(1, broken, beats[0].reference, beats[0].context, 1.0), memory) is None
    # What it abstained from, it does not remember.
    assert (memory.history.packed(), memory.surprise.values, memory.weighed.values) == before


def test_training_repeats_and_resumes(patient, tmp_path):
    torch.set_num_threads(1)
    straight = fit([patient], seed=4, epochs=2)
    fit([patient], seed=4, epochs=1, folder=tmp_path)
    resumed = fit([patient], seed=4, epochs=2, folder=tmp_path)
    assert resumed.parameters == straight.parameters
    for name in ("network", "sequence"):
        pair = (getattr(straight, name).parameters(), getattr(resumed, name).parameters())
        for one, other in zip(*pair, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    with pytest.raises(TrainingDataError, match="another seed"):
        fit([patient], seed=5, epochs=2, folder=tmp_path)
