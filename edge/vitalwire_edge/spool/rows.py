"""What lies in a spool, and what can be wrong with one."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from vitalwire_edge.wire.messages import AlarmMessage, BeatsMessage, ScoresMessage, VitalsMessage, WaveBlock
from vitalwire_edge.wire.topics import Stream

Message = WaveBlock | VitalsMessage | BeatsMessage | ScoresMessage | AlarmMessage

_BUSY_MS: Final = 5000


class SpoolError(Exception):
    """The spool file cannot be used; the message names the file and the fix."""


class SpoolFullError(SpoolError):
    """There is no room: nothing of the transaction was written."""


class SpoolCorruptError(SpoolError):
    """The file is damaged: it has to be set aside."""


class Entry(msgspec.Struct, frozen=True):
    """What is to be spooled: a message whose session and sequence the spool fills in.

    `samples` counts what the message carries: waveform samples of `code`, else 1 with code 0. `open_alarm` is the
    state to remember over a restart: (kind, encoded change, or None when the alarm has ended).
    """

    device: str
    stream: Stream
    message: Message
    mono_ns: int
    offset_ns: int
    synchronised: bool
    code: int = 0
    samples: int = 1
    open_alarm: tuple[str, bytes | None] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A spooled message as it lies in the file."""

    id: int
    device: str
    stream: Stream
    seq: int
    boot: str
    mono_ns: int
    offset_ns: int
    synchronised: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class SkipRow:
    """A range of a device's stream that was given up and not yet committed as such."""

    device: str
    stream: Stream
    first: int
    last: int
    samples: int
    reason: str


@dataclass(frozen=True, slots=True)
class Age:
    """A moment in this boot (`mono_ns`) and in UTC, for rows of other boots whose clock was synchronised.

    `utc_ns` is None while our own clock cannot be believed: then nothing of another boot is too old.
    """

    mono_ns: int
    utc_ns: int | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the spool has taken in over its life, of one waveform channel or one stream (code 0)."""

    device: str
    stream: Stream
    code: int
    messages: int
    samples: int
    evicted_messages: int
    evicted_samples: int


def translated(path: Path, error: sqlite3.Error) -> SpoolError:
    """The error of ours that says what SQLite's means and what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return SpoolCorruptError(f"spool {path} is damaged: {error}")
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return SpoolFullError(f"spool {path} cannot grow ({error}): free space on its disk")
    return SpoolError(f"spool {path}: {error}; check that the file and its folder may be written")


def connect(path: Path) -> sqlite3.Connection:
    """A connection that waits for the other side instead of failing."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    return connection
