"""Files that survive a power cut: the old content or the new one, never something between."""

import os
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Replace the file at `path` atomically, on disk when this returns. Raises `OSError`."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
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
