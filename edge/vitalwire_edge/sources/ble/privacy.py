"""A Bluetooth address names a thing somebody wears: logs and metrics get a hash of it instead."""

import hashlib
import re
import traceback
from pathlib import Path
from typing import Final

_ANY_ADDRESS: Final = re.compile(
    r"\b(?:[0-9A-Fa-f]{2}[:_-]){5}[0-9A-Fa-f]{2}\b|(?<=dev_)(?:[0-9A-Fa-f]{2}_){5}[0-9A-Fa-f]{2}"
)


def fingerprint(address: str) -> str:
    """Eight characters that tell devices apart and lead back to none without a list of addresses."""
    return hashlib.sha256(address.lower().encode()).hexdigest()[:8]


def scrubbed(text: str, address: str) -> str:
    """`text`, such as an error message, without `address` or any other."""
    shown = fingerprint(address)
    return _ANY_ADDRESS.sub("<address>", re.sub(re.escape(address), shown, text, flags=re.IGNORECASE))


def told(error: BaseException, address: str) -> str:
    """What failed and where in the code, for a log that must not tell `address`, as a traceback's messages would."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return scrubbed(f"{type(error).__name__}: {error}{where}", address)
