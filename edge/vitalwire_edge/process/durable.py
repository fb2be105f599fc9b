"""Files that survive a power cut: the old content or the new one, never something between."""

import os
from pathlib import Path
from typing import Final

_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


def write_durably(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Replace the file at `path` atomically, on disk when this returns; a `secret` only its owner may read.

    Raises `OSError`.
    """
    fresh = path.with_name(f".{path.name}.new")
    if secret:
        # A file that is there already would keep the mode it has.
        fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, _FRESH, 0o600 if secret else 0o666), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names that appeared in or went from `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
