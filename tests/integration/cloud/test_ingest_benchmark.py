"""The benchmark of ingest still runs, and counts what it sent."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_it_brings_everything_into_the_database_and_says_so():
    command = [sys.executable, str(ROOT / "benchmarks" / "ingest.py"), "--patients", "2", "--seconds", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| vitalwire \| 1 \| .* \| 2,000 \| 2,000 \| 0 \| 0 \|", done.stdout), done.stdout
