"""The artifacts a gateway keeps: the one at work, the last confirmed one, the one before."""

from pathlib import Path

from vitalwire_edge.inference.artifact import sha256
from vitalwire_edge.inference.refusal import ArtifactRefusedError, Refusal
from vitalwire_edge.process.durable import sync_folder, write_durably


class Shelf:
    """Artifact files in `folder`, named by their own hash. Raises `OSError`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> None:
        """Keep an artifact file, on disk when this returns."""
        write_durably(self._path(sha256(data)), data)

    def get(self, file_sha256: str) -> bytes:
        """The artifact file. Raises `ArtifactRefusedError` when it is not the one that was put here, or gone."""
        try:
            data = self._path(file_sha256).read_bytes()
        except FileNotFoundError as error:
            raise ArtifactRefusedError(Refusal.HASH_MISMATCH, f"{file_sha256[:16]} is gone") from error
        if sha256(data) != file_sha256:
            raise ArtifactRefusedError(Refusal.HASH_MISMATCH, f"{file_sha256[:16]} was changed on disk")
        return data

    def keep_only(self, kept: set[str]) -> None:
        """Remove what nobody needs any more."""
        stale = [path for path in self._folder.glob("*.vwm") if path.stem not in kept]
        stale += self._folder.glob(".*.new")
        for path in stale:
            path.unlink()
        if stale:
            sync_folder(self._folder)

    def _path(self, file_sha256: str) -> Path:
        return self._folder / f"{file_sha256}.vwm"
