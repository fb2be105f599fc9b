"""`vitalwire generate`."""

import json

import numpy as np
import pytest
import wfdb
from typer.testing import CliRunner

from vitalwire_edge.recordings.locate import open_recording
from vitalwire_edge.synthesis.commands import app


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.mark.parametrize("suffix", ["hea", "edf", "csv"])
def test_files_of_every_format_are_annotated_and_say_that_they_are_synthetic(tmp_path, suffix):
    out = tmp_path / f"made.{suffix}"
    family = "vae" if suffix == "edf" else "gan"
    done = run(
        *("--out", out, "--seconds", 12, "--rhythm", "af", "--rate-bpm", 90, "--seed", 3),
        *("--from", family, "--json"),
    )
    assert done.exit_code == 0, done.output
    (said,) = json.loads(done.output)
    assert said["files"][0] == str(out)
    assert said["family"] == family
    assert b"SYNTHETIC" in out.read_bytes()
    back = open_recording(str(out))
    assert back.duration_s == 12
    assert len(back.beats) == sum(said["beats"].values()) > 8
    assert back.rhythms[0].name == "(AFIB"
    peaks = np.array([beat.sample for beat in back.beats[1:-1]])
    assert np.abs(back.uv[peaks]).mean() > 2 * np.abs(back.uv).mean()


def test_same_seed_same_bytes_and_a_count_of_seeds(tmp_path):
    for name in ("a", "b"):
        done = run(
            "--out", tmp_path / name / "x.hea", "--seconds", 10, "--count", 2, "--classes", "N:0.8,V:0.2"
        )
        assert done.exit_code == 0, done.output
    for number in (1, 2):
        first, second = ((tmp_path / name / f"x-{number}.dat").read_bytes() for name in ("a", "b"))
        assert first == second
    assert (tmp_path / "a" / "x-1.dat").read_bytes() != (tmp_path / "a" / "x-2.dat").read_bytes()
    assert "V" in wfdb.rdann(str(tmp_path / "a" / "x-1"), "atr").symbol


def test_a_style_from_a_recording(tmp_path, recordings):
    out = tmp_path / "like.hea"
    done = run(
        "--out", out, "--seconds", 20, "--style", "119", "--data", recordings / "mitdb", "--rhythm", "pvc"
    )
    assert done.exit_code == 0, done.output
    assert 1000 < np.ptp(open_recording(str(out)).uv) < 15_000


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("--out", "x.mp3"), "end it with one of"),
        (("--out", "x.hea", "--rhythm", "waltz"), "use one of sinus"),
        (("--out", "x.hea", "--classes", "half"), "write them as"),
        (("--out", "x.hea", "--style", "nobody"), "no recording"),
        (("--out", "x.hea", "--model", "other.vwm"), "--trust"),
    ],
)
def test_wrong_use_is_said(tmp_path, monkeypatch, wrong, says):
    monkeypatch.chdir(tmp_path)
    done = run(*wrong)
    assert done.exit_code == 2
    assert says in done.output
    assert not list(tmp_path.iterdir())
