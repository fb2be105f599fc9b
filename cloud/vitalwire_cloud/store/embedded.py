"""The default store: one SQLite file, one writing process, no server.

Write-ahead log with `synchronous=FULL`, so what `write` returned from survives a crash and a power cut. Readers never
wait for the writer.
"""

import fcntl
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prometheus_client import Histogram

from vitalwire_cloud.store import schema, upkeep
from vitalwire_cloud.store.interface import (
    Erasure,
    Item,
    Kind,
    Quarantined,
    Replayed,
    SeriesKey,
    StoreError,
    StoreUnavailableError,
    WriteResult,
)
from vitalwire_cloud.store.reading import FILE_NAME, StoreReader, connect
from vitalwire_cloud.store.writing import BatchWriter
from vitalwire_edge.wire.messages import DeviceBirth, StreamCommit, encode_json

_LOCK_NAME: Final = "store.lock"
_MIN_FREE_BYTES: Final = 64 * 1024 * 1024
_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
_PAGE_BYTES: Final = 4096

_WRITE_S: Final = Histogram(
    "vitalwire_store_write_seconds",
    "One batch from begin to durable",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
)


class EmbeddedStore(StoreReader):
    """Store in `folder` (made if absent). Thread-safe; one process at a time may hold it.

    `max_bytes` caps the file, `quarantine_rows` what is set aside. Raises `StoreUnavailableError` when another process
    writes there or the folder cannot be used, `StoreError` when the file is not one of ours.
    """

    def __init__(self, folder: Path, *, max_bytes: int | None = None, quarantine_rows: int = 10_000) -> None:
        self._lock = threading.Lock()
        self._problem: str | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._held = (folder / _LOCK_NAME).open("ab")
        except OSError as error:
            raise StoreUnavailableError(f"data folder {folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._held.close()
            raise StoreUnavailableError(
                f"another process writes the store in {folder}: the embedded store takes one service at a time; "
                "stop it or choose another --data-dir"
            ) from error
        try:
            self._connection = self._open(folder / FILE_NAME, max_bytes)
            super().__init__(folder)
        except BaseException:
            self._held.close()
            raise
        self._batch = BatchWriter(self._connection, quarantine_rows)

    def _open(self, path: Path, max_bytes: int | None) -> sqlite3.Connection:
        connection = connect(path, create=True)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
            schema.prepare(connection, str(path))
            if max_bytes is not None:
                connection.execute(f"PRAGMA max_page_count = {max(max_bytes // _PAGE_BYTES, 1)}")
        except sqlite3.Error as error:
            connection.close()
            raise StoreUnavailableError(f"store {path}: {error}") from error
        except StoreError:
            connection.close()
            raise
        return connection

    def write(self, items: list[Item], quarantined: list[Quarantined]) -> WriteResult:
        """Store a batch and its ledger entries: all of it, durable on return, or none.

        The time stored with each row is read just before the commit. Raises `StoreUnavailableError` when the same
        batch may be tried again, `StoreError` when one of its messages cannot be stored.
        """
        with _WRITE_S.time(), self._transaction():
            return self._batch.write(items, quarantined, time.time_ns())

    def held(self, keys: Collection[SeriesKey]) -> list[StreamCommit]:
        """What is stored of these series, as it is now; of one that is not known nothing is said."""
        with self._lock:
            # Nobody else writes, so what the writer remembers is what is there.
            found = self._batch.held(keys)
        for gateway, session in {(key.gateway, key.session) for key in keys if key not in found}:
            for commit in self.committed(gateway, session):
                found[SeriesKey(gateway, commit.device, commit.stream, session)] = commit
        return [found[key] for key in keys if key in found]

    def register(self, site: str, gateway: str, device: str, birth: DeviceBirth) -> None:
        """Remember a device and its channels from its birth. Raises as `write` does."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO device (device, site, gateway, birth) VALUES (?, ?, ?, ?)",
                (device, site, gateway, encode_json(birth)),
            )

    def replay(self, number: int, item: Item) -> Replayed:
        """Store what was set aside as `number` and keep it aside no longer. Raises as `write` does."""
        with self._transaction():
            return self._batch.replay(number, item, time.time_ns())

    def discard(self, number: int, *, replayed: bool = False) -> bool:
        """Keep a message aside no longer; False when it was gone. Raises as `write` does."""
        with self._transaction():
            return self._batch.discard(number, "replayed" if replayed else "discarded")

    def expire(self, kind: Kind, before_ns: int) -> int:
        """Delete what ended before a time, in small transactions; the file keeps its size and reuses the room."""
        total = 0
        for step in (upkeep.expire_some, upkeep.expire_messages):
            removed = -1
            while removed:
                with self._transaction() as connection:
                    removed = step(connection, kind, before_ns)
                total += removed if step is upkeep.expire_some else 0
        return total

    def erase(self, device: str, start_ns: int, end_ns: int, *, by: str, reason: str) -> Erasure:
        """Delete everything of a device in [start_ns, end_ns), overwritten in the file; keep a record of that."""
        with self._transaction() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            removed = upkeep.erase(connection, device, start_ns, end_ns)
            erasure = Erasure(time.time_ns(), device, start_ns, end_ns, by, reason, removed)
            upkeep.record(connection, erasure)
        with self._lock:
            # What was deleted also stands in the log, until it is emptied.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._connection.execute("PRAGMA secure_delete = OFF")
        return erasure

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, with the writer's lock. Raises as `write` does."""
        with self._lock:
            self._begin()
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except (sqlite3.Error, OverflowError) as error:
                self._roll_back()
                raise self._refusal(error) from error
            except BaseException:
                self._roll_back()
                raise
            self._problem = None

    def ready(self) -> str | None:
        """None when a write would work now, else why not."""
        problem = self._problem
        if problem is None and self.free_bytes() < _MIN_FREE_BYTES:
            return f"the disk of {self.folder} has less than {_MIN_FREE_BYTES >> 20} MiB left: make room"
        return problem

    def close(self) -> None:
        """Flush and let go of the files."""
        super().close()
        with self._lock:
            self._connection.close()
            self._held.close()

    def _begin(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    def _roll_back(self) -> None:
        self._batch.forget()
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _refusal(self, error: sqlite3.Error | OverflowError) -> StoreError:
        refused = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, OverflowError)
        if isinstance(error, refused):
            return StoreError(f"a message cannot be stored: {error}")
        self._problem = f"store {self._path}: {error}"
        if "full" in str(error):
            self._problem += "; make room on the disk or raise store.max_bytes"
        return StoreUnavailableError(self._problem)
