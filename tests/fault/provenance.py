"""Which code a report is of."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def provenance(command: str) -> dict[str, Any]:
    """Which code ran when, where, and by which command."""
    root = Path(__file__).parents[2]
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "edge", "cloud", "tests/fault"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "command": command,
        "commit": commit.stdout.strip() + ("" if not changed.stdout.strip() else " and changes"),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux, Python {platform.python_version()}",
    }
