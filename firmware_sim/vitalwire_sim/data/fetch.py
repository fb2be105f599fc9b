"""Fetches a database: reads its list of files and hashes, then every file of it that is not there yet."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote, urljoin

from vitalwire_sim.data.download import DownloadError, download, fetch_text

_LIST: Final = "SHA256SUMS.txt"
_LIST_BYTES: Final = 64 * 1024 * 1024
_LINE: Final = re.compile(r"(?P<hash>[0-9a-fA-F]{64})[ \t]+\*?(?P<path>\S.*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a database: its path below the root and its SHA-256."""

    path: PurePosixPath
    sha256: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch did: files that are there now, how many of them came this time, bytes on disk."""

    files: int
    new: int
    bytes_on_disk: int


FileProgress = Callable[[Entry, int, int | None], None]
"""Called with the file, its bytes there and its total."""


def entries(url: str) -> list[Entry]:
    """Files that the database at `url` (a folder) lists. Raises `DownloadError`."""
    where = urljoin(_folder(url), _LIST)
    listed = list(_parse(fetch_text(where, limit_bytes=_LIST_BYTES), where))
    if not listed:
        raise DownloadError(f"{where}: lists no files; is this the folder of a PhysioNet database?")
    return listed


def select(listed: Sequence[Entry], records: Sequence[str]) -> list[Entry]:
    """Entries of the named records (all when none is named) and what describes the whole, as the licence.

    A record is named as in RECORDS: by its path without extension, or the last part of it. Raises `DownloadError` for
    a record that is not there.
    """
    if not records:
        return list(listed)
    chosen: dict[PurePosixPath, Entry] = {}
    for record in records:
        found = [e for e in listed if _belongs(e.path, record)]
        if not found:
            raise DownloadError(f"no record {record!r} in this database; RECORDS lists them")
        chosen |= {entry.path: entry for entry in found}
    about = {e.path: e for e in listed if len(e.path.parts) == 1 and e.path.name in _ABOUT}
    return list({**about, **chosen}.values())


_ABOUT: Final = frozenset({"RECORDS", "ANNOTATORS", "LICENSE.txt", "SHA256SUMS.txt", "README"})


def fetch(
    url: str, chosen: Sequence[Entry], folder: Path, *, progress: FileProgress, first_pause_s: float = 0.5
) -> Fetched:
    """Get the `chosen` files of the database at `url` into `folder`. Raises `DownloadError`; run again to go on."""
    new = 0
    for entry in chosen:

        def tell(have: int, total: int | None, entry: Entry = entry) -> None:
            progress(entry, have, total)

        target = folder.joinpath(*entry.path.parts)
        address = urljoin(_folder(url), quote(str(entry.path)))
        new += download(address, target, sha256=entry.sha256, progress=tell, first_pause_s=first_pause_s)
    size = sum(folder.joinpath(*entry.path.parts).stat().st_size for entry in chosen)
    return Fetched(files=len(chosen), new=new, bytes_on_disk=size)


def _parse(text: str, where: str) -> Iterator[Entry]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise DownloadError(
                f"{where}, line {number}: is not 'SHA-256 path'; is this a PhysioNet database?"
            )
        path = PurePosixPath(found["path"].removeprefix("./"))
        # A list from the network must not name a place outside the folder.
        if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in found["path"]:
            raise DownloadError(
                f"{where}, line {number}: path {found['path']!r} leads outside; do not trust this list"
            )
        yield Entry(path, found["hash"].lower())


def _belongs(path: PurePosixPath, record: str) -> bool:
    stem = str(path.with_suffix(""))
    return record in {stem, path.stem} or stem.startswith(f"{record}/")


def _folder(url: str) -> str:
    return url if url.endswith("/") else f"{url}/"
