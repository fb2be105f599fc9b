"""Training the generator: what it needs, that it goes on where it was, and that it learns."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vitalwire_cloud.train import export_generator
from vitalwire_cloud.train.dataset import TrainingDataError
from vitalwire_cloud.train.export import FittedModelError
from vitalwire_cloud.train.fit_gan import fit, personal_styles
from vitalwire_edge.inference.generator import network_inputs

sys.path.insert(0, str(Path(__file__).parents[1] / "synthesis"))
from made_beats import patient


@pytest.fixture(scope="module")
def patients():
    return [patient(number) for number in range(6)]


@pytest.fixture(scope="module")
def fitted(patients):
    return fit(patients, seed=1, steps=160)


def made(network, labels, styles):
    rng = np.random.default_rng(0)
    with torch.inference_mode():
        return network(*map(torch.from_numpy, network_inputs(labels, styles, rng))).numpy()


@pytest.mark.parametrize("family", ["gan", "vae"])
def test_classes_of_a_patient_never_seen_come_out_as_they_are(fitted, family):
    other = patient(50)
    styles = personal_styles(other, fitted.styles, seconds=1e6)
    for name in "NV":
        real = other.beat[other.label == name].mean(axis=0)
        mean = made(getattr(fitted, family), [name] * 60, styles[:60]).mean(axis=0)
        assert np.corrcoef(real, mean)[0, 1] > 0.9


def test_a_resumed_run_ends_as_an_unbroken_one(patients, tmp_path, monkeypatch):
    monkeypatch.setattr("vitalwire_cloud.train.fit_gan._CHECKPOINT_STEPS", 7)
    whole = fit(patients, seed=2, steps=40)

    def stop(phase, done, _total, _figure):
        if phase == "gan" and done >= 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(patients, seed=2, steps=40, folder=tmp_path, progress=stop)
    again = fit(patients, seed=2, steps=40, folder=tmp_path)
    for first, second in zip(whole.gan.parameters(), again.gan.parameters(), strict=True):
        assert torch.allclose(first, second, atol=1e-6)
    assert again.steps == 40
    with pytest.raises(TrainingDataError, match="another seed"):
        fit(patients, seed=3, steps=40, folder=tmp_path)


def test_what_it_needs_is_said(patients):
    with pytest.raises(TrainingDataError, match="no other end"):
        fit(patients, seed=1)
    plain = [
        replace(
            p,
            **{n: getattr(p, n)[p.label != "F"] for n in ("sample", "beat", "reference", "context", "label")},
        )
        for p in patients
    ]
    with pytest.raises(TrainingDataError, match="no beat of class F"):
        fit(plain, seed=1, steps=10)


def test_what_is_saved_is_read_back(fitted, tmp_path):
    with pytest.raises(FittedModelError, match="train gan"):
        export_generator.saved(tmp_path)
    export_generator.save(tmp_path, fitted, 1)
    assert export_generator.is_generator(tmp_path)
    networks, styles, given = export_generator.saved(tmp_path)
    assert styles.pack() == fitted.styles.pack()
    with torch.inference_mode():
        wanted = fitted.gan(*map(torch.from_numpy, given))
        assert torch.equal(networks["gan"](*map(torch.from_numpy, given)), wanted)
