"""Two slots for software, and the record of which one starts. Standard library only: the launcher stands on this.

    FOLDER/boot.json     which slot is confirmed, which one is on probation, and how often that was started
    FOLDER/a, FOLDER/b   an unpacked wheel each, with `slot.json`, which is written when everything else is on disk
    neither              the software that the machine was installed with

Every write replaces a whole file and is on disk when the call returns, so a power cut leaves the old record or the new
one. A slot is only started when every file in it is the one that its release listed.
"""

import base64
import csv
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

FORMAT: Final = 1
SLOTS: Final = ("a", "b")
BOOT: Final = "boot.json"
MARKER: Final = "slot.json"


class SlotError(Exception):
    """A slot cannot be started; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class SlotRelease:
    """The release in a slot: its number, the software's own version, and the hashes it was signed under."""

    version: int
    software: str
    manifest_sha256: str
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """A release that was on probation and is not any more."""

    release: SlotRelease
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Boot:
    """What starts: the `candidate` while it has starts left, else `confirmed`, else `previous`, else what is installed.

    `failed` waits for the agent to read and report it.
    """

    confirmed: str | None = None
    previous: str | None = None
    candidate: str | None = None
    starts: int = 0
    failed: Failed | None = None


def read_boot(folder: Path) -> Boot:
    """The record, new where there is none. One that cannot be read is set aside: the installed software starts."""
    path = folder / BOOT
    try:
        return _boot(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Boot()
    except (ValueError, KeyError, TypeError):
        path.replace(path.with_suffix(".damaged"))
        return Boot()


def write_boot(folder: Path, boot: Boot) -> None:
    """Make `boot` the record, on disk when this returns. Raises `OSError`."""
    content = json.dumps({"format": FORMAT} | dataclasses.asdict(boot), indent=1)
    write_durably(folder / BOOT, content.encode())


def release_in(folder: Path, slot: str) -> SlotRelease:
    """The release in `slot`, every file of it compared with what was unpacked. Raises `SlotError`."""
    place = folder / slot
    try:
        marker = json.loads((place / MARKER).read_bytes())
        release = SlotRelease(**marker["release"])
        record = (place / marker["record"]).read_bytes()
        if marker["format"] != FORMAT or hashlib.sha256(record).hexdigest() != marker["record_sha256"]:
            raise SlotError(f"slot {slot}: its list of files is not the one that was unpacked")
        for name, wanted in listed(record).items():
            if file_hash((place / name).read_bytes()) != wanted:
                raise SlotError(f"slot {slot}: {name} is damaged")
    except FileNotFoundError as error:
        raise SlotError(f"slot {slot}: there is no {error.filename}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SlotError(f"slot {slot}: {error!r}") from error
    return release


def write_marker(folder: Path, slot: str, release: SlotRelease, record: str) -> None:
    """Say that `slot` holds all of `release`; `record` is the path of its list of files. Raises `OSError`."""
    place = folder / slot
    marker = {
        "format": FORMAT,
        "release": dataclasses.asdict(release),
        "record": record,
        "record_sha256": hashlib.sha256((place / record).read_bytes()).hexdigest(),
    }
    write_durably(place / MARKER, json.dumps(marker, indent=1).encode())


def listed(record: bytes) -> dict[str, str]:
    """Files of a wheel's RECORD with their hashes; those without one (the RECORD itself) are left out."""
    rows = csv.reader(record.decode().splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[1]}


def file_hash(data: bytes) -> str:
    """The SHA-256 of `data` as RECORD writes it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def write_durably(path: Path, content: bytes) -> None:
    """`process.durable.write_durably`, which the launcher may not import: it must not depend on what is updated."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _boot(content: dict[str, Any]) -> Boot:
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']}")
    failed = content["failed"]
    boot = Boot(
        confirmed=content["confirmed"],
        previous=content["previous"],
        candidate=content["candidate"],
        starts=int(content["starts"]),
        failed=None if failed is None else Failed(SlotRelease(**failed["release"]), str(failed["why"])),
    )
    if not {boot.confirmed, boot.previous, boot.candidate} <= {None, *SLOTS}:
        raise ValueError("a slot that does not exist")
    return boot
