"""Downloads one file so that it is either whole and right, or not there.

A transfer goes to `NAME.part` beside its target, is taken up again by an HTTP range where it broke off, counts its
bytes against what the server promised, is checked against a SHA-256 where one is known, and only then gets its name.
"""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 256 * 1024
_TIMEOUT_S: Final = 30.0
_ATTEMPTS: Final = 4
_FIRST_PAUSE_S: Final = 0.5
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

Progress = Callable[[int, int | None], None]
"""Called with the bytes there and the total, None where the server does not say."""


class DownloadError(OSError):
    """A file could not be got; the message names the address and what to do."""


class NotThereError(DownloadError):
    """The server says that there is no such file."""


class TruncatedError(DownloadError):
    """The server ended before it had sent what it promised, every time."""


class ChecksumError(DownloadError):
    """What arrived is not what the database lists."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
    attempts: int = _ATTEMPTS,
    first_pause_s: float = _FIRST_PAUSE_S,
) -> bool:
    """Get `url` as `target`; False when it was there already with the right hash.

    Breaks are retried from where they happened, with pauses that double. Raises `DownloadError`.
    """
    _check_scheme(url)
    if sha256 is not None and target.is_file() and file_sha256(target) == sha256:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    for attempt in range(1, attempts + 1):
        try:
            _transfer(url, part, progress or _ignore)
        except NotThereError:
            raise
        except (OSError, http.client.HTTPException) as error:
            if attempt == attempts:
                raise _final(url, attempts, error) from error
            time.sleep(first_pause_s * 2 ** (attempt - 1))
        else:
            break
    if sha256 is not None and (found := file_sha256(part)) != sha256:
        part.unlink()
        raise ChecksumError(
            f"{url}: SHA-256 is {found}, should be {sha256}; what came was thrown away, try again or another mirror"
        )
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    return True


def fetch_text(url: str, *, limit_bytes: int) -> str:
    """Text at `url`, at most `limit_bytes`. Raises `DownloadError`."""
    _check_scheme(url)
    try:
        with closing(_open(url, 0)) as response:
            body = response.read(limit_bytes + 1)
            promised = response.headers.get("Content-Length")
    except (OSError, http.client.HTTPException) as error:
        raise error if isinstance(error, DownloadError) else _final(url, 1, error) from error
    if len(body) > limit_bytes:
        raise DownloadError(f"{url}: longer than {limit_bytes} bytes; is this the folder of a database?")
    if promised is not None and len(body) != int(promised):
        raise TruncatedError(f"{url}: {len(body)} of {promised} bytes came; try again")
    text: str = body.decode("utf-8", errors="replace")
    return text


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _transfer(url: str, part: Path, progress: Progress) -> None:
    """Append what is missing to `part`. Raises `OSError` when the connection or the byte count is wrong."""
    have = part.stat().st_size if part.exists() else 0
    with closing(_open(url, have)) as response:
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            # What is there is as long as the file, or longer: only a new start can tell.
            part.unlink()
            raise TruncatedError(f"{url}: the part that is here does not fit; starting again")
        have, total = _extent(response, have)
        with part.open("ab" if have else "wb") as file:
            progress(have, total)
            for chunk in _chunks(response):
                file.write(chunk)
                have += len(chunk)
                progress(have, total)
    if total is not None and have != total:
        raise TruncatedError(f"{url}: {have} of {total} bytes came")


def _extent(response: http.client.HTTPResponse, asked: int) -> tuple[int, int | None]:
    """Bytes that stay and the total, after what the server answered to a request from `asked` on."""
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != asked:
            raise DownloadError(f"{response.url}: asked for bytes from {asked}, got {found and found[0]!r}")
        return asked, None if found[3] == "*" else int(found[3])
    length = response.headers.get("Content-Length")
    return 0, None if length is None else int(length)


def _open(url: str, start: int) -> http.client.HTTPResponse:
    headers = {"User-Agent": "vitalwire", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - _check_scheme came first
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.FORBIDDEN}:
            with closing(error):
                raise NotThereError(
                    f"{url}: the server says {error.code} {error.reason}; check the name, or give another --url"
                ) from error
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return error  # type: ignore[return-value]
        with closing(error):
            raise DownloadError(f"{url}: the server says {error.code} {error.reason}") from error
    return response


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := response.read(_CHUNK_BYTES):
        yield chunk


def _check_scheme(url: str) -> None:
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{url}: give an address that starts with https:// or http://")


def _final(url: str, attempts: int, error: Exception) -> DownloadError:
    reason = getattr(error, "reason", None) or error
    kind = type(error) if isinstance(error, DownloadError) else DownloadError
    return kind(f"gave up after {attempts} attempts: {url}: {reason}; run it again to go on from here")


def _ignore(_have: int, _total: int | None) -> None:
    """Tell nobody."""
