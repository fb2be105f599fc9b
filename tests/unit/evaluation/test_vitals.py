"""The model of vital signs on a few hundred real stays."""

import json
import tarfile

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vitalwire_cloud.evaluation import vital_faults
from vitalwire_cloud.evaluation.commands import app
from vitalwire_cloud.evaluation.vitals import vitals
from vitalwire_cloud.models.vitals_vae import HOURS, SIGNS
from vitalwire_cloud.train.commands import train_app
from vitalwire_cloud.train.dataset import TrainingDataError
from vitalwire_cloud.train.fit_vitals import fit_vitals, windows_of
from vitalwire_cloud.train.vitals_data import read_stays

STAYS = 240


@pytest.fixture(scope="session")
def hospital(recordings, tmp_path_factory):
    """A folder with the outcomes and the first stays of the real archive."""
    folder = tmp_path_factory.mktemp("hospital")
    (folder / "cinc2012").mkdir()
    taken = 0
    with (
        tarfile.open(recordings / "cinc2012" / "set-a.tar.xz") as source,
        tarfile.open(folder / "cinc2012" / "set-a.tar.xz", "w:xz", preset=0) as part,
    ):
        for member in source:
            if member.isfile() and (taken < STAYS or "Outcomes" in member.name):
                part.addfile(member, source.extractfile(member))
                taken += "Outcomes" not in member.name
            if taken == STAYS and "Outcomes" in "".join(part.getnames()):
                break
    return folder


def test_faults_and_outcome_are_judged_beside_their_peers(hospital):
    report = vitals(hospital, seed=1, epochs=4).report
    assert report.metrics["news2_errors"] == 0
    assert report.metrics["stays"] == STAYS
    assert report.metrics["auc_faults"] > 0.8
    assert 0.5 < report.metrics["auc_death"] < 1
    assert set(report.peers) == {"PCA", "isolation forest", "partial NEWS2", "logistic regression"}


def test_without_stays_news2_is_checked_all_the_same(tmp_path):
    said = CliRunner().invoke(app, ["vitals", "--data", str(tmp_path)])
    assert said.exit_code == 0
    assert "news2_errors" in said.output
    assert "bar not reached" in said.output


def test_a_window_looks_back_only_and_what_is_missing_stays_unknown(hospital):
    stays = read_stays(hospital / "cinc2012")
    ends = np.full(stays.cells.shape[0], 5)
    windows = windows_of(stays.cells, ends)
    assert windows.shape == (STAYS, HOURS, len(SIGNS))
    assert np.isnan(windows[:, : HOURS - 5]).all()
    np.testing.assert_array_equal(windows[:, HOURS - 5 :], stays.cells[:, :5])
    model = fit_vitals(stays.cells, seed=1, epochs=1)
    unknown = np.isnan(windows[:, -1])
    np.testing.assert_array_equal(np.isnan(model.surprise(windows)), unknown)


def test_a_fault_changes_only_what_it_says():
    cells = np.full((8, 48, len(SIGNS)), 50.0, dtype=np.float32)
    pair = vital_faults.pairs(cells, width=np.ones(len(SIGNS), np.float32), seed=1)["systolic"]
    changed = np.argwhere(pair.clean != pair.faulty)
    assert set(map(tuple, changed[:, 1:])) == {(HOURS - 1, 3)}
    assert (pair.faulty[:, -1, 3] == 20.0).all()


class _CutOffError(Exception):
    """Power, so to speak."""


def test_a_run_that_is_cut_off_ends_as_one_that_is_not(hospital, tmp_path):
    cells = read_stays(hospital / "cinc2012").cells
    whole = fit_vitals(cells, seed=3, epochs=3)

    def off(epoch, _lost):
        if epoch == 2:
            raise _CutOffError

    with pytest.raises(_CutOffError):
        fit_vitals(cells, seed=3, epochs=3, folder=tmp_path, progress=off)
    told = []
    again = fit_vitals(cells, seed=3, epochs=3, folder=tmp_path, progress=lambda epoch, _: told.append(epoch))
    assert told == [2, 3]
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    with pytest.raises(TrainingDataError, match="other data"):
        fit_vitals(cells[:-1], seed=3, epochs=3, folder=tmp_path)


def test_a_trained_model_is_judged_on_every_stay_and_trains_nothing(hospital, tmp_path):
    run = tmp_path / "run"
    said = CliRunner().invoke(
        train_app, ["vitals", "--data", str(hospital), "--out", str(run), "--epochs", "2"]
    )
    assert said.exit_code == 0, said.output
    record = json.loads((run / "run.json").read_bytes())
    assert (record["stays"], record["epochs"], record["seed"]) == (STAYS, 2, 1)
    assert record["data"] == read_stays(hospital / "cinc2012").digest
    out = tmp_path / "p7.json"
    judged = ["vitals", "--data", str(hospital), "--model", str(run), "--json", str(out)]
    said = CliRunner().invoke(app, judged)
    assert said.exit_code == 0, said.output
    assert "warning: the model learned from stays of this archive" in said.output
    report = json.loads(out.read_bytes())
    assert {"news2_errors", "auc_faults", "auc_death"} <= set(report["metrics"])
    assert set(report["peers"]) == {"partial NEWS2"}
    once_more = CliRunner().invoke(app, judged)
    assert json.loads(out.read_bytes()) == report, once_more.output


@pytest.mark.parametrize(
    ("of", "words", "said"),
    [
        (app, ("--model", "nothing"), "run `vitalwire train vitals` first"),
        (app, ("--model", "shipped"), "no model of vital signs ships"),
        (train_app, ("--out", "run"), "give the folder that holds cinc2012/"),
    ],
)
def test_a_model_or_stays_that_are_not_there_are_wrong_use(of, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(of, ["vitals", "--data", str(tmp_path), *words])
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
