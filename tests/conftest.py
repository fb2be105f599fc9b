"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

ROOT = Path(__file__).parents[1]
NEEDED = ("mitdb/RECORDS", "nstdb/em.hea", "mimic4wdb/85594648/85594648.hea")


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of real recordings: `VITALWIRE_DATA`, else `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("VITALWIRE_DATA", ROOT.parent / "shared" / "data"))
    missing = [name for name in NEEDED if not (folder / name).exists()]
    if missing:
        pytest.fail(
            f"no {', '.join(missing)} in {folder}: set VITALWIRE_DATA to a folder that holds them "
            "(docs/contributing.md says where they come from)"
        )
    return folder


@pytest.fixture(autouse=True)
def plain_logging() -> Iterator[None]:
    """A command that a test runs in this process sets up logging for it; the next test starts afresh."""
    yield
    structlog.reset_defaults()
