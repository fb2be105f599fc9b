"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of real recordings: `VITALWIRE_DATA`, else `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("VITALWIRE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "mitdb" / "RECORDS").is_file():
        pytest.fail(
            f"no recordings in {folder}: set VITALWIRE_DATA to a folder that holds mitdb/ "
            "(vitalwire data fetch mitdb gets it)"
        )
    return folder


@pytest.fixture(autouse=True)
def plain_logging() -> Iterator[None]:
    """A command that a test runs in this process sets up logging for it; the next test starts afresh."""
    yield
    structlog.reset_defaults()
