"""Protocol P4 end to end on slices of two records, with small samples."""

import msgspec
import pytest
from typer.testing import CliRunner

from vitalwire_cloud.evaluation import fidelity, privacy, synthesis, usefulness
from vitalwire_cloud.evaluation.commands import app

NAMED = (
    *("tstr_ratio", "disc", "disc_ceiling", "precision", "precision_ceiling", "coverage", "coverage_ceiling"),
    *("nn_ratio", "near_share", "mia_auc", "gain_S", "gain_V"),
)


@pytest.fixture
def small_samples(monkeypatch):
    for module, name, value in (
        *((usefulness, "PER_CLASS", 60), (synthesis, "PER_CLASS", 60), (synthesis, "ORDINARY", 120)),
        *((synthesis, "BEATS", 80), (synthesis, "PRIVATE", 60), (fidelity, "_EPOCHS", 4)),
        (synthesis, "FOLDS", 2),
    ):
        monkeypatch.setattr(module, name, value)

    def absent(*_given):
        raise ModuleNotFoundError(name="neurokit2")

    monkeypatch.setattr(synthesis, "SimulatedMaker", absent)


@pytest.mark.usefixtures("small_samples")
def test_the_shipped_generator_is_judged_beside_peers_and_ceilings(slices, tmp_path):
    out = tmp_path / "p4.json"
    done = CliRunner().invoke(
        app, ["synthesis", "--data", str(slices / "beats"), "--model", "shipped", "--json", str(out)]
    )
    assert done.exit_code == 0, done.output
    report = msgspec.json.decode(out.read_bytes())
    assert report["protocol"] == "synthesis"
    assert report["records"] == ["119", "209"]
    metrics = report["metrics"]
    assert {name for name in NAMED if not name.startswith("gain")} <= set(metrics)
    assert {"gain_S", "gain_V"} & set(metrics)
    assert all(0 <= metrics[name] <= 1 for name in ("precision", "coverage", "near_share", "mia_auc"))
    assert 0 <= metrics["disc_ceiling"] <= 0.5
    assert metrics["us_per_strip"] > 0
    assert 1e5 < metrics["memory_bytes"] < 1e7
    assert {"vae int8", "PCA-GMM", "real first five minutes"} <= set(report["peers"])
    assert report["bar"]["precision"] == pytest.approx(0.85 * metrics["precision_ceiling"])
    assert report["bar"]["disc"] == pytest.approx(metrics["disc_ceiling"] + 0.1)
    assert "119 209" in done.output
    assert "neurokit2" in done.output


def test_the_bar_wants_everything():
    good = {
        "tstr_ratio": 0.98,
        "precision": 0.8,
        "coverage": 0.6,
        "disc": 0.3,
        "gain_S": 0.01,
        "gain_V": 0.02,
    }
    good |= {"nn_ratio": 1.0, "near_share": 0.01, "mia_auc": 0.5}
    bar = synthesis.BAR | {"precision": 0.7, "coverage": 0.5, "disc": 0.4}
    assert synthesis.passed(good, bar)
    for name, worse in (
        *(("tstr_ratio", 0.9), ("precision", 0.6), ("coverage", 0.4), ("disc", 0.45), ("gain_S", 0.0)),
        *(("nn_ratio", 0.8), ("nn_ratio", 1.3), ("near_share", 0.03), ("mia_auc", 0.6)),
    ):
        assert not synthesis.passed(good | {name: worse}, bar), name
    assert privacy.gate(good)
