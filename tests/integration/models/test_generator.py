"""From recordings to a signed generator to synthetic files, by the commands."""

import time

import msgspec
import pytest
from typer.testing import CliRunner

from vitalwire_cloud.train.commands import export_app, train_app
from vitalwire_edge.inference import selftest
from vitalwire_edge.inference.artifact import open_artifact
from vitalwire_edge.inference.generator import FILES
from vitalwire_edge.inference.keys import Root
from vitalwire_edge.inference.runtime import load
from vitalwire_edge.recordings.locate import open_recording
from vitalwire_edge.synthesis.commands import app as generate_app


def run(app, *arguments):
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_train_export_sign_and_generate(recordings, tmp_path):
    out, candidate = tmp_path / "run", tmp_path / "candidate"
    said = run(
        *(train_app, "gan", "--data", recordings / "mitdb", "--records", "208,209", "--out", out),
        *("--steps", 30, "--seed", 4),
    )
    assert "30 steps on" in said
    record = msgspec.json.decode((out / "run.json").read_bytes())
    assert record["model"] == "generator"
    assert set(record["records"]) == {"208", "209"}
    root = Root.new()
    key, trust = tmp_path / "signing.key", tmp_path / "trust.json"
    key.write_bytes(root.delegate(now_ns=time.time_ns(), expires_ns=None).to_json())
    trust.write_bytes(root.trust.to_json())
    said = run(export_app, "--from", out, "--out", candidate, "--key", key, "--version", 3)
    assert "generator-3.vwm" in said
    made = candidate / "generator-3.vwm"
    artifact = open_artifact(made.read_bytes(), root.trust, now_ns=None)
    assert selftest.run(artifact, load).worst_error <= 1
    assert set(FILES.values()) <= set(artifact.parts)
    assert len(made.read_bytes()) < 400_000
    card = msgspec.json.decode(artifact.parts["card.json"])
    assert card["training"]["seed"] == 4
    assert card["training"]["beats"]["F"] > 100
    file = tmp_path / "made.hea"
    said = run(generate_app, "--model", made, "--trust", trust, "--out", file, "--seconds", 10, "--json")
    assert msgspec.json.decode(said)[0]["model"] == artifact.manifest_sha256
    assert len(open_recording(str(file)).beats) > 5
