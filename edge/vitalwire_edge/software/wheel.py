"""The wheel of a release: read without being installed, compared with what is installed, unpacked into a folder.

After the binary distribution format (PyPA specification "Binary distribution format"; RECORD as in "Recording installed
projects"). Only pure Python is taken, and dependencies are not updated over the air: a release that needs what is not
here is refused by name.
"""

import csv
import importlib.metadata
import io
import platform
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import PurePosixPath
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from vitalwire_edge.inference.refusal import ArtifactRefusedError, Refusal
from vitalwire_edge.software.slots import file_hash, listed

NAME: Final = "vitalwire"
"""The distribution that may be updated, as a gateway is installed: with the extra `edge`."""

_EXTRAS: Final = ("", "edge")
_UNREADABLE: Final = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, NotImplementedError, RuntimeError, EOFError, ValueError,
    IndexError,
)  # fmt: skip
"""What `zipfile` raises for bytes that are no archive, or a damaged one."""
_MAX_FILES: Final = 5000
_MAX_BYTES: Final = 64 * 1024 * 1024
_DIST_INFO: Final = re.compile(r"vitalwire-([0-9A-Za-z.!+_]+)\.dist-info/RECORD")


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel that was read: the software's version, what it needs, its files, and the path of their list."""

    software: str
    requires_python: str | None
    requires: tuple[str, ...]
    files: Mapping[str, bytes]
    record: str


def read_wheel(data: bytes) -> Wheel:
    """The wheel in `data`. Raises `ArtifactRefusedError` for one that cannot be taken over the air."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > _MAX_FILES or sum(entry.file_size for entry in entries) > _MAX_BYTES:
                raise _malformed(f"more than {_MAX_FILES} files or {_MAX_BYTES} bytes")
            files: dict[str, bytes] = {}
            for entry in entries:
                _check_name(entry, files)
                with archive.open(entry) as content:
                    files[entry.filename] = content.read(entry.file_size + 1)
    except _UNREADABLE as error:
        raise _malformed(f"the wheel cannot be read: {error}") from error
    record = next((name for name in files if _DIST_INFO.fullmatch(name)), None)
    if record is None:
        raise _malformed(f"the wheel is not one of {NAME}")
    _check_record(files, record)
    folder = PurePosixPath(record).parent
    metadata = BytesParser().parsebytes(files.get(str(folder / "METADATA"), b""))
    tags = BytesParser().parsebytes(files.get(str(folder / "WHEEL"), b""))
    if metadata["Name"] != NAME or not metadata["Version"]:
        raise _malformed(f"the wheel is {metadata['Name']!r}, not {NAME}")
    if (tags["Root-Is-Purelib"] or "").lower() != "true" or any(
        not tag.endswith("-none-any") for tag in tags.get_all("Tag", [])
    ):
        raise ArtifactRefusedError(Refusal.WRONG_HARDWARE, "the wheel is not pure Python")
    return Wheel(
        software=metadata["Version"],
        requires_python=metadata["Requires-Python"],
        requires=tuple(metadata.get_all("Requires-Dist", [])),
        files=files,
        record=record,
    )


def installed_version(name: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_environment(
    wheel: Wheel,
    *,
    running_requires: Iterable[str] | None = None,
    installed: Callable[[str], str | None] = installed_version,
    python: str | None = None,
) -> None:
    """Raise `ArtifactRefusedError` naming every distribution that `wheel` needs and this environment has not.

    What the running software already lives without (`running_requires`, by default those of what is installed) is no
    reason: a 32-bit gateway has another runtime than its requirements say.
    """
    python = python or platform.python_version()
    try:
        if wheel.requires_python and not SpecifierSet(wheel.requires_python).contains(
            python, prereleases=True
        ):
            raise ArtifactRefusedError(
                Refusal.UNSATISFIED,
                f"{NAME} {wheel.software} needs Python {wheel.requires_python}, this is {python}",
            )
        lacking = _lacking(wheel.requires, installed)
    except (InvalidRequirement, InvalidSpecifier) as error:
        raise _malformed(f"a requirement of the wheel cannot be read: {error}") from error
    if not lacking:
        return
    known = importlib.metadata.requires(NAME) or () if running_requires is None else running_requires
    already = _lacking(known, installed)
    missing = [text for name, text in sorted(lacking.items()) if name not in already]
    if missing:
        raise ArtifactRefusedError(
            Refusal.UNSATISFIED,
            f"{NAME} {wheel.software} needs {', '.join(missing)}: dependencies are not updated over the air, "
            "install them on the gateway",
        )


def _lacking(requires: Iterable[str], installed: Callable[[str], str | None]) -> dict[str, str]:
    lacking: dict[str, str] = {}
    for text in requires:
        requirement = Requirement(text)
        marker = requirement.marker
        applies = marker is None or any(marker.evaluate({"extra": extra}) for extra in _EXTRAS)
        if not applies or requirement.name == NAME:
            continue
        found = installed(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            wanted = f"{requirement.name}{requirement.specifier}"
            lacking[requirement.name] = f"{wanted} (here: {found or 'none'})"
    return lacking


def _check_name(entry: zipfile.ZipInfo, known: Mapping[str, bytes]) -> None:
    path = PurePosixPath(entry.filename)
    mode = entry.external_attr >> 16
    plain = not stat.S_IFMT(mode) or stat.S_ISREG(mode)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or not path.parts or not plain:
        raise _malformed(f"the wheel holds {entry.filename!r}, which is no place for a file")
    if path.parts[0].endswith(".data") or entry.filename in known:
        raise _malformed(f"the wheel holds {entry.filename!r}, which cannot be unpacked as it is")


def _check_record(files: Mapping[str, bytes], record: str) -> None:
    try:
        wanted = listed(files[record])
    except (UnicodeDecodeError, csv.Error) as error:
        raise _malformed(f"{record} cannot be read") from error
    if set(wanted) | {record} != set(files):
        raise _malformed(f"the wheel's files are not those that {record} lists")
    for name, expected in wanted.items():
        if file_hash(files[name]) != expected:
            raise ArtifactRefusedError(Refusal.HASH_MISMATCH, f"{name} is not the file that {record} lists")


def _malformed(why: str) -> ArtifactRefusedError:
    return ArtifactRefusedError(Refusal.MALFORMED, why)
