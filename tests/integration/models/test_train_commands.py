"""`vitalwire train beat` and `vitalwire export` on two short recordings, as an operator types them."""

import time
from itertools import pairwise

import msgspec
import numpy as np
import pytest
import torch
import wfdb
from typer.testing import CliRunner

from vitalwire_cloud.train import export
from vitalwire_cloud.train.commands import export_app, train_app
from vitalwire_cloud.train.dataset import (
    NoRecordError,
    TrainingDataError,
    as_recorded,
    first_leads,
    load_folder,
    load_record,
)
from vitalwire_cloud.train.fit_beat import Parent, fit
from vitalwire_edge.inference import selftest
from vitalwire_edge.inference.artifact import open_artifact
from vitalwire_edge.inference.beat_model import BeatScorer
from vitalwire_edge.inference.features import BeatInput
from vitalwire_edge.inference.keys import Root
from vitalwire_edge.inference.runtime import load

MINUTES = 10
RECORDS = ("119", "122")


def shortened(source, folder, name, called, **changed):
    """The first minutes of a record and its annotations, as a record of their own."""
    end = 360 * 60 * MINUTES
    record = wfdb.rdrecord(str(source / name), sampto=end, physical=False)
    names = ("fs", "units", "sig_name", "d_signal", "fmt", "adc_gain", "baseline")
    kept = {each: getattr(record, each) for each in names}
    wfdb.wrsamp(called, write_dir=str(folder), **(kept | changed))
    beats = wfdb.rdann(str(source / name), "atr", sampto=end)
    wfdb.wrann(called, "atr", beats.sample, symbol=beats.symbol, write_dir=str(folder))


@pytest.fixture(scope="module")
def data(recordings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    for name in RECORDS:
        shortened(recordings / "mitdb", folder, name, name)
    return folder


def train(*arguments):
    return CliRunner().invoke(train_app, ["beat", *map(str, arguments)])


def run_of(folder):
    return msgspec.json.decode((folder / "run.json").read_bytes())


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    done = train("--data", data, "--out", folder, "--epochs", 2, "--seed", 3)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def patients(data):
    return load_folder(data, to_learn=True)


def test_the_second_lead_of_a_record_is_the_same_persons_other_view(data, tmp_path):
    both = as_recorded(load_folder(data, cache=tmp_path, to_learn=True))
    assert [(p.record, p.lead) for p in both] == [(name, lead) for name in RECORDS for lead in (0, 1)]
    first = load_folder(data, cache=tmp_path)
    assert [(p.record, p.lead) for p in first] == [(p.record, 0) for p in first_leads(both)]
    for one, other in zip(first, first_leads(both), strict=True):
        np.testing.assert_array_equal(one.beat, other.beat)
    for one, other in pairwise(both):
        if one.record == other.record:
            assert one.patient == other.patient
            assert not np.array_equal(one.beat[:100], other.beat[:100])
    anew = [load_record(data / p.record, p.lead) for p in both]
    for kept, read in zip(both, anew, strict=True):
        np.testing.assert_array_equal(kept.context, read.context)


def test_microvolts_are_not_taken_for_millivolts_and_no_pressure_for_an_ecg(recordings, tmp_path):
    shortened(recordings / "mitdb", tmp_path, "119", "micro", units=["uV", "mmHg"], adc_gain=[0.2, 200.0])
    shortened(recordings / "mitdb", tmp_path, "119", "milli")
    micro, milli, _other = as_recorded(load_folder(tmp_path, to_learn=True))
    np.testing.assert_allclose(micro.context, milli.context, atol=1e-3)
    with pytest.raises(NoRecordError, match="mmHg"):
        load_record(tmp_path / "micro", 1)


def test_training_says_what_it_learned_from(trained, patients):
    run = run_of(trained)
    assert run["records"] == {patient.record: patient.digest for patient in patients}
    assert run["normal_beats"] == sum(int(patient.normal.sum()) for patient in as_recorded(patients))
    assert (run["seed"], run["epochs"], run["parent"]) == (3, 2, "")
    assert np.isfinite(run["final_loss"])


def test_a_run_is_resumed_and_other_data_are_refused(trained, data, patients, tmp_path):
    once = fit(patients, seed=3, epochs=1, folder=tmp_path)
    done = train("--data", data, "--out", tmp_path, "--epochs", 2, "--seed", 3)
    assert (once.epochs, done.exit_code) == (1, 0)
    assert export.saved(tmp_path).parameters == export.saved(trained).parameters
    other = train("--data", data, "--records", "122", "--out", tmp_path, "--epochs", 2, "--seed", 3)
    assert other.exit_code == 2
    assert "belongs to other data" in " ".join(other.output.split())


def test_a_model_goes_on_from_its_parent(trained, data, patients, tmp_path):
    done = train("--data", data, "--parent", trained, "--out", tmp_path, "--epochs", 1, "--seed", 4)
    assert done.exit_code == 0, done.output
    child, before = run_of(tmp_path), run_of(trained)
    kept = export.saved(trained)
    parameters = kept.parameters
    assert child["parent"] == Parent(kept.network, kept.sequence, parameters).digest().hex()
    assert child["records"] == before["records"]
    assert f"parent: {before['sources'][0]}" in child["sources"]
    # One epoch more, not one epoch: from scratch the first is far behind.
    anew = fit(patients, seed=4, epochs=1)
    assert child["final_loss"] < before["final_loss"] < anew.final_loss
    continued = export.saved(tmp_path).parameters
    assert (continued.centre, continued.width) == (parameters.centre, parameters.width)
    old = msgspec.structs.replace(parameters, preprocessing=parameters.preprocessing + 1)
    with pytest.raises(TrainingDataError, match="preprocessing"):
        fit(patients, seed=4, epochs=1, parent=Parent(kept.network, kept.sequence, old))
    assert not any(torch.isnan(each).any() for each in kept.network.parameters())


def test_a_child_tells_of_data_that_only_its_parent_saw(trained, recordings, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name, called in zip(RECORDS, ("119", "mine"), strict=True):
        shortened(recordings / "mitdb", data, name, called)
    done = train("--data", data, "--parent", trained, "--out", out, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert set(run_of(out)["records"]) == {"119", "122", "mine"}


def test_a_parent_that_is_none_is_wrong_use(data, tmp_path):
    done = train("--data", data, "--parent", tmp_path, "--out", tmp_path / "out", "--epochs", 1)
    assert done.exit_code == 2
    assert "holds no fitted model" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give --data"),
        (("--data", "."), "no annotated record"),
        (("--data", ".", "--device", "cuda"), "no CUDA here"),
    ],
)
def test_training_on_nothing_is_wrong_use(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = train(*arguments, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert said in done.output


FIGURES = {
    "protocol": "inter-patient",
    "model": "cross-validated",
    "data": "mitdb",
    "records": ["119"],
    "seed": 1,
    "metrics": {"auc": 0.9, "detected_auc": None},
    "peers": {},
    "bar": {"auc": 0.98},
    "passed": False,
}


@pytest.mark.filterwarnings(
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
    "ignore:.*experimental_preserve_all_tensors:UserWarning",
)
def test_an_export_is_signed_and_scores_on_a_gateway(trained, patients, tmp_path):
    root = Root.new()
    (tmp_path / "signing.key").write_bytes(root.delegate(now_ns=time.time_ns(), expires_ns=None).to_json())
    (tmp_path / "p2.json").write_bytes(msgspec.json.encode(FIGURES))
    out = tmp_path / "candidate"
    arguments = ["--from", trained, "--out", out, "--key", tmp_path / "signing.key", "--version", 7]
    done = CliRunner().invoke(export_app, [*map(str, arguments), "--figures", str(tmp_path / "p2.json")])
    assert done.exit_code == 0, done.output
    artifact = open_artifact((out / "beat-7.vwm").read_bytes(), root.trust, now_ns=None)
    assert selftest.run(artifact, load).worst_error < 1
    scorer = BeatScorer.of(artifact)
    ectopic = patients[0]
    rows = zip(ectopic.sample, ectopic.beat, ectopic.reference, ectopic.context, strict=True)
    memory = scorer.begin()
    said = [
        scorer.score(BeatInput(int(at), beat, own, context, 1.0), memory).score
        for at, beat, own, context in rows
    ]
    assert np.median(np.array(said)[ectopic.label == "V"]) > np.quantile(np.array(said)[ectopic.normal], 0.95)
    card = msgspec.json.decode(artifact.parts["card.json"])
    (figures,) = card["figures"]
    assert figures["metrics"] == FIGURES["metrics"]


def test_figures_that_are_none_are_wrong_use(trained, tmp_path):
    (tmp_path / "p2.json").write_text("{}")
    done = CliRunner().invoke(
        export_app,
        ["--from", str(trained), "--out", str(tmp_path / "c"), "--figures", str(tmp_path / "p2.json")],
    )
    assert done.exit_code == 2
    assert "vitalwire evaluate --json" in done.output
