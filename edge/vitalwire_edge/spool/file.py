"""The spool's SQLite file: rows that the cloud has not committed, their sequence counters, and what was given up.

One thread writes (see `spool.Spool`), others read through `SpoolReader`. WAL with `synchronous=FULL`: a transaction
that returned survives a power cut. The file's `session` is born with it, so a sequence never means two things.
"""

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import astuple, replace
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec
import structlog

from vitalwire_edge.spool.rows import (
    Accepted,
    Age,
    Entry,
    SkipRow,
    SpoolCorruptError,
    SpoolError,
    connect,
    translated,
)
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    StreamCommit,
    encode_data,
    encode_json,
)
from vitalwire_edge.wire.topics import Stream

log = structlog.get_logger()

FORMAT: Final = 1
SACRIFICE: Final[tuple[Stream, ...]] = ("ecg", "score", "beat", "vitals", "alarm")
"""Order in which streams give way to a full spool."""

_PAGE_BYTES: Final = 4096
_EVICT_ROWS: Final = 256
_FREE_PAGES_KEPT: Final = 1024

_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counters (device TEXT, stream TEXT, next_seq INTEGER NOT NULL, PRIMARY KEY (device, stream)) WITHOUT ROWID;
CREATE TABLE accepted (
    device TEXT, stream TEXT, code INTEGER, messages INTEGER NOT NULL, samples INTEGER NOT NULL,
    evicted_messages INTEGER NOT NULL DEFAULT 0, evicted_samples INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (device, stream, code)
) WITHOUT ROWID;
CREATE TABLE rows (
    id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, stream TEXT NOT NULL, seq INTEGER NOT NULL,
    boot TEXT NOT NULL, mono_ns INTEGER NOT NULL, offset_ns INTEGER NOT NULL, synchronised INTEGER NOT NULL,
    code INTEGER NOT NULL, samples INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE UNIQUE INDEX rows_seq ON rows (device, stream, seq);
CREATE INDEX rows_stream ON rows (stream, id);
CREATE TABLE skips (
    device TEXT, stream TEXT, first INTEGER, last INTEGER NOT NULL, samples INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (device, stream, first)
) WITHOUT ROWID;
CREATE TABLE open_alarms (device TEXT, kind TEXT, change BLOB NOT NULL, PRIMARY KEY (device, kind)) WITHOUT ROWID;
"""

_MIGRATIONS: Final[dict[int, Callable[[sqlite3.Connection], None]]] = {}
"""From a format to the next one."""


class SpoolFile:
    """The writer's side of the file. Not thread-safe. Raises `SpoolError` and its kinds."""

    def __init__(self, path: Path, boot: str) -> None:
        self.path = path
        self._boot = boot
        try:
            self._db = connect(path)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise translated(path, error) from error
        self._next: dict[tuple[str, str], int] = {
            (device, stream): seq
            for device, stream, seq in self._db.execute("SELECT device, stream, next_seq FROM counters")
        }
        self.rows: int = self._db.execute("SELECT count(*) FROM rows").fetchone()[0]

    def _prepare(self) -> None:
        db = self._db
        fresh = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        self._readable(0 if fresh else db.execute("PRAGMA user_version").fetchone()[0], fresh=fresh)
        if fresh:
            db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 500")
        db.execute("PRAGMA journal_size_limit = 4194304")
        if fresh:
            session = uuid4().hex
            birth = f"INSERT INTO meta VALUES ('session', '{session}'); PRAGMA user_version = {FORMAT};"  # noqa: S608
            db.executescript(f"BEGIN; {_SCHEMA} {birth} COMMIT;")
        found = db.execute("PRAGMA user_version").fetchone()[0]
        while found < FORMAT:
            _MIGRATIONS[found](db)
            found += 1
            db.execute(f"PRAGMA user_version = {found}")
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        session = db.execute("SELECT value FROM meta WHERE key = 'session'").fetchone()
        if verdict != "ok" or session is None:
            raise SpoolCorruptError(f"spool {self.path} is damaged: {verdict}")
        self.session: str = session[0]

    def _readable(self, found: int, *, fresh: bool) -> None:
        """Raise `SpoolError` for a file of another format, before anything in it is changed."""
        if found > FORMAT:
            raise SpoolError(
                f"spool {self.path} was made by a newer vitalwire (format {found}, this one reads up to {FORMAT}): "
                "install that version, or move the file away; nothing was changed"
            )
        if not fresh and found < FORMAT and found not in _MIGRATIONS:
            raise SpoolError(
                f"spool {self.path} has format {found}, which this program does not know: move the file away"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def append(self, entries: Iterable[Entry]) -> list[tuple[Entry, int]]:
        """Write `entries` in one transaction, with their sequences. All or nothing."""
        following = dict(self._next)
        rows: list[tuple[object, ...]] = []
        stored: list[tuple[Entry, int]] = []
        taken: dict[tuple[str, str, int], list[int]] = {}
        for entry in entries:
            key = entry.device, entry.stream
            seq = following.get(key, 0)
            following[key] = seq + 1
            message = msgspec.structs.replace(entry.message, session=self.session, seq=seq)
            payload = encode_json(message) if isinstance(message, AlarmMessage) else encode_data(message)
            rows.append(
                (
                    *key,
                    seq,
                    self._boot,
                    entry.mono_ns,
                    entry.offset_ns,
                    entry.synchronised,
                    entry.code,
                    entry.samples,
                    payload,
                )
            )
            counts = taken.setdefault((*key, entry.code), [0, 0])
            counts[0] += 1
            counts[1] += entry.samples
            stored.append((entry, seq))
        with _Transaction(self) as db:
            db.executemany(
                "INSERT INTO rows (device, stream, seq, boot, mono_ns, offset_ns, synchronised, code, samples, payload)"
                " VALUES (?,?,?,?,?,?,?,?,?,?)",
                rows,
            )
            db.executemany(
                "INSERT INTO counters VALUES (?,?,?)"
                " ON CONFLICT (device, stream) DO UPDATE SET next_seq = excluded.next_seq",
                [(*key, following[key]) for key in {(e.device, e.stream) for e, _ in stored}],
            )
            db.executemany(
                "INSERT INTO accepted (device, stream, code, messages, samples) VALUES (?,?,?,?,?)"
                " ON CONFLICT (device, stream, code) DO UPDATE SET"
                " messages = messages + excluded.messages, samples = samples + excluded.samples",
                [(*key, *counts) for key, counts in taken.items()],
            )
            for entry, _ in stored:
                if entry.open_alarm is not None:
                    _remember(db, entry.device, *entry.open_alarm)
        self._next = following
        self.rows += len(stored)
        return stored

    def confirm(self, commits: Iterable[StreamCommit]) -> int:
        """Delete what `commits` say is in the store, of this session. Returns the rows deleted."""
        deleted = 0
        with _Transaction(self) as db:
            for commit in commits:
                if commit.session != self.session:
                    continue
                key = commit.device, commit.stream
                for first, last in ((0, commit.low_water - 1), *commit.ranges):
                    if last >= first:
                        deleted += db.execute(
                            "DELETE FROM rows WHERE device = ? AND stream = ? AND seq BETWEEN ? AND ?",
                            (*key, first, last),
                        ).rowcount
                        db.execute(
                            "DELETE FROM skips WHERE device = ? AND stream = ? AND first >= ? AND last <= ?",
                            (*key, first, last),
                        )
        self.rows -= deleted
        return deleted

    def evict(
        self, stream: Stream, reason: str, *, older_than: Age | None = None, sparing: Collection[int] = ()
    ) -> tuple[int, int]:
        """Give up the oldest rows of `stream`, at most 256, and note them as skipped. Returns (rows, samples).

        `sparing` are row ids that are under way to the cloud and stay.
        """
        with _Transaction(self) as db:
            found = db.execute(
                "SELECT id, device, seq, code, samples, boot, mono_ns, offset_ns, synchronised FROM rows"
                " WHERE stream = ? ORDER BY id LIMIT ?",
                (stream, _EVICT_ROWS + len(sparing)),
            ).fetchall()
            victims = [
                row[:5]
                for row in found
                if row[0] not in sparing and (older_than is None or self._older(older_than, *row[5:]))
            ][:_EVICT_ROWS]
            skips: dict[str, list[SkipRow]] = {}
            for row_id, device, seq, code, samples in victims:
                db.execute("DELETE FROM rows WHERE id = ?", (row_id,))
                db.execute(
                    "UPDATE accepted SET evicted_messages = evicted_messages + 1, evicted_samples = evicted_samples + ?"
                    " WHERE device = ? AND stream = ? AND code = ?",
                    (samples, device, stream, code),
                )
                _extend(skips.setdefault(device, []), SkipRow(device, stream, seq, seq, samples, reason))
            db.executemany(
                "INSERT INTO skips VALUES (?,?,?,?,?,?)",
                [astuple(skip) for ranges in skips.values() for skip in ranges],
            )
        self.rows -= len(victims)
        return len(victims), sum(row[4] for row in victims)

    def _older(self, age: Age, boot: str, mono_ns: int, offset_ns: int, synchronised: int) -> bool:
        if boot == self._boot:
            return mono_ns < age.mono_ns
        return bool(synchronised) and age.utc_ns is not None and mono_ns + offset_ns < age.utc_ns

    def trim(self) -> None:
        """Give free pages beyond a reserve back to the disk, a few at a time."""
        try:
            if self._db.execute("PRAGMA freelist_count").fetchone()[0] > _FREE_PAGES_KEPT:
                self._db.execute("PRAGMA incremental_vacuum(256)").fetchall()
        except sqlite3.Error as error:
            raise translated(self.path, error) from error

    def shrink_log(self) -> None:
        """Move what is committed from the write-ahead log into the file, so that its space is free again."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise translated(self.path, error) from error

    def used_bytes(self) -> int:
        """Bytes of pages in use, free ones not counted."""
        pages = self._db.execute("PRAGMA page_count").fetchone()[0]
        free = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return int((pages - free) * _PAGE_BYTES)

    def accepted(self) -> list[Accepted]:
        """Everything taken in since the file was made."""
        return [
            Accepted(*row)
            for row in self._db.execute(
                "SELECT device, stream, code, messages, samples, evicted_messages, evicted_samples FROM accepted"
            )
        ]

    def open_alarms(self) -> list[tuple[str, bytes]]:
        """(device, encoded change) of every alarm that was open at the last write."""
        return [tuple(row) for row in self._db.execute("SELECT device, change FROM open_alarms")]


class _Transaction:
    """BEGIN IMMEDIATE to COMMIT; any SQLite error rolls back and comes out as a `SpoolError`."""

    def __init__(self, file: SpoolFile) -> None:
        self._file = file

    def __enter__(self) -> sqlite3.Connection:
        db = self._file._db  # noqa: SLF001 - part of the file
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise translated(self._file.path, error) from error
        return db

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        db = self._file._db  # noqa: SLF001 - part of the file
        if error is None:
            try:
                db.execute("COMMIT")
            except sqlite3.Error as late:
                self._roll_back(db)
                raise translated(self._file.path, late) from late
            return
        self._roll_back(db)
        if isinstance(error, sqlite3.Error):
            raise translated(self._file.path, error) from error

    @staticmethod
    def _roll_back(db: sqlite3.Connection) -> None:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _remember(db: sqlite3.Connection, device: str, kind: str, change: bytes | None) -> None:
    if change is None:
        db.execute("DELETE FROM open_alarms WHERE device = ? AND kind = ?", (device, kind))
    else:
        db.execute("INSERT OR REPLACE INTO open_alarms VALUES (?,?,?)", (device, kind, change))


def _extend(ranges: list[SkipRow], skip: SkipRow) -> None:
    """Add to the last range where it continues it. Ranges of earlier calls stay as they may have been announced."""
    if ranges and ranges[-1].last == skip.first - 1:
        skip = replace(skip, first=ranges[-1].first, samples=ranges[-1].samples + skip.samples)
        ranges[-1] = skip
    else:
        ranges.append(skip)


def open_or_set_aside(path: Path, boot: str) -> tuple[SpoolFile, Path | None]:
    """The file at `path`, new if there is none; a damaged one is renamed and a new session begins.

    Returns the file and where the damaged one went, if there was one. Raises `SpoolError` for everything else.
    """
    try:
        return SpoolFile(path, boot), None
    except SpoolCorruptError as error:
        aside = set_aside(path)
        log.critical("spool_set_aside", path=str(path), aside=str(aside), error=str(error))
        return SpoolFile(path, boot), aside


def set_aside(path: Path) -> Path:
    """Rename a damaged spool and its companions. Returns the new name."""
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns() // 1_000_000}")
    for suffix in ("", "-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.replace(aside.with_name(aside.name + suffix))
    return aside
