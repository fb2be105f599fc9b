"""The benchmarks of bytes, queries and the store still run, on very little, and the coding keeps its promise."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run(folder: Path, name: str, *words: str) -> dict:
    command = [sys.executable, str(ROOT / "benchmarks" / name), *words, "--json", str(folder / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out.json").read_text())


def test_bytes(tmp_path, recordings):
    rows = run(tmp_path, "bytes.py", "--data", str(recordings / "mitdb"), "--seconds", "20")
    assert rows["message alone, frames of 4 s"]["vitalwire"] <= 180
    for name in ("wire, frames of 1 s", "wire, frames of 4 s"):
        assert rows[name]["vitalwire"] < rows[name]["JSON"] < rows[name]["line protocol"]


@pytest.mark.parametrize(
    ("name", "words", "figure"),
    [
        ("queries.py", ("--patients", "2", "--hours", "0.01", "--times", "5"), "strip_10_s_p50_ms"),
        ("store.py", ("--seconds", "20", "--devices", "1", "--repeats", "1"), "write_ratio"),
    ],
)
def test_it_runs(tmp_path, name, words, figure):
    assert figure in json.dumps(run(tmp_path, name, *words))
