"""An artifact on its way: its chunks on disk as they come, in any order, over restarts."""

import os
from pathlib import Path
from typing import Final

import structlog

from vitalwire_edge.process.durable import sync_folder
from vitalwire_edge.wire.models import CHUNK_BYTES, ModelChunk, ModelOffer

log = structlog.get_logger()

_THERE: Final = b"\x01"


class Download:
    """The bytes of an offered artifact in `folder`: a file of its size and a map with one byte a chunk.

    A chunk is in the map only after its bytes are on disk, so what the map says survives a power cut; a chunk that was
    cut off before is fetched again. Raises `OSError`.
    """

    def __init__(self, folder: Path, offer: ModelOffer) -> None:
        self.offer = offer
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._data_path = folder / f"{offer.sha256}.part"
        self._map_path = folder / f"{offer.sha256}.map"
        for stale in folder.iterdir():
            if stale not in {self._data_path, self._map_path}:
                stale.unlink()
        _sized(self._data_path, offer.size)
        _sized(self._map_path, offer.chunks)
        sync_folder(folder)
        there = self._map_path.read_bytes()
        self._missing = {index for index in range(offer.chunks) if there[index : index + 1] != _THERE}

    @property
    def complete(self) -> bool:
        """Whether every chunk is on disk."""
        return not self._missing

    def missing(self, limit: int) -> tuple[int, ...]:
        """The first chunks that are not here."""
        return tuple(sorted(self._missing)[:limit])

    def put(self, chunk: ModelChunk) -> bool:
        """Write a chunk down; False when it is not one that is missing here, or has not its size."""
        if chunk.sha256 != self.offer.sha256 or chunk.index not in self._missing:
            return False
        start = chunk.index * CHUNK_BYTES
        if len(chunk.data) != min(CHUNK_BYTES, self.offer.size - start):
            log.warning("model_chunk_of_wrong_size", index=chunk.index, size=len(chunk.data))
            return False
        _write_at(self._data_path, start, chunk.data)
        _write_at(self._map_path, chunk.index, _THERE)
        self._missing.discard(chunk.index)
        return True

    def read(self) -> bytes:
        """The artifact file. Only when `complete`."""
        return self._data_path.read_bytes()

    def discard(self) -> None:
        """Forget everything that came."""
        self._map_path.unlink(missing_ok=True)
        self._data_path.unlink(missing_ok=True)
        sync_folder(self._folder)


def _sized(path: Path, size: int) -> None:
    with path.open("ab") as file:
        if file.tell() != size:
            file.truncate(0)
            file.truncate(size)
        os.fsync(file.fileno())


def _write_at(path: Path, offset: int, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, data[written:], offset + written)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
