"""Files that survive a power cut: the old content or the new one, never something between."""

import os
from pathlib import Path
from typing import Final

_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


def write_durably(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Replace the file at `path` atomically, on disk when this returns; a `secret` only its owner may read.

    What root writes as a secret belongs to whom the folder belongs to: the service that reads it. Raises `OSError`.
    """
    fresh = path.with_name(f".{path.name}.new")
    if secret:
        # A file that is there already would keep the mode it has.
        fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, _FRESH, 0o600 if secret else 0o666), "wb") as file:
        if secret:
            _give(file.fileno(), path.parent)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def make_private(folder: Path) -> None:
    """Make `folder`, if it is not there, for its owner alone; root makes it for whom the one around it belongs to.

    Raises `OSError`.
    """
    if folder.is_dir():
        return
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _give(descriptor, folder.parent)
    finally:
        os.close(descriptor)


def _give(descriptor: int, around: Path) -> None:
    if os.geteuid() == 0:
        owner = around.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def sync_folder(folder: Path) -> None:
    """Make names that appeared in or went from `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
