"""The model of vital signs on a few hundred real stays."""

import tarfile

import numpy as np
import pytest
from typer.testing import CliRunner

from vitalwire_cloud.evaluation import vital_faults
from vitalwire_cloud.evaluation.commands import app
from vitalwire_cloud.evaluation.vitals import vitals
from vitalwire_cloud.models.vitals_vae import HOURS, SIGNS
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
