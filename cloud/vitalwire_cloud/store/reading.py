"""Reading the embedded store, also while another process writes it or after one was killed."""

import queue
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from vitalwire_cloud.store import auditing, schema
from vitalwire_cloud.store.interface import (
    DeviceRecord,
    Erasure,
    Quarantined,
    Rollup,
    Segment,
    SeriesKey,
    StoreCounts,
    StoredAlarm,
    StoredBeat,
    StoredScore,
    StoreError,
    StoreUnavailableError,
    StreamAudit,
    VitalPoint,
)
from vitalwire_cloud.store.ranges import RangeSet, commit_of
from vitalwire_cloud.store.segments import Block, assemble
from vitalwire_edge.wire.messages import AlarmMessage, DeviceBirth, StreamCommit

FILE_NAME: Final = "store.sqlite"
MAX_BLOCK_NS: Final = 4_200_000_000
"""No stored block is longer than this."""

MAX_STRIP_NS: Final = 3_600_000_000_000
"""Longest strip in one answer: an hour of one lead at 250 Hz is 3.6 MB."""

_ASIDE: Final = (
    "SELECT topic, payload, reason, received_ns, gateway, device, stream, session, seq, id FROM quarantine"
)
_MAX_READERS: Final = 8
_BUSY_TIMEOUT_S: Final = 5.0


def counts_of(tally: dict[str, int], *, conflicts: int, held: int) -> StoreCounts:
    """Totals from what a store counts by name and from `held`, what it keeps set aside."""
    gone = [int(tally.get(f"quarantine_{what}", 0)) for what in ("dropped", "replayed", "discarded")]
    return StoreCounts(conflicts, int(tally.get("duplicates", 0)), held + sum(gone), *gone)


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Connection to the file with its own transactions. Raises `StoreUnavailableError`."""
    mode = "rwc" if create else "rw"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=_BUSY_TIMEOUT_S,
        )
        connection.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"store {path}: {error}") from error
    return connection


class StoreReader:
    """Everything that can be asked of a store folder without writing to it. Thread-safe.

    Raises `StoreUnavailableError` where there is no store, `StoreError` where it is not one of ours.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / FILE_NAME
        if not self._path.is_file():
            raise StoreUnavailableError(
                f"there is no store in {folder}: name the --data-dir of a service that ran"
            )
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue(_MAX_READERS)
        self._slots = threading.BoundedSemaphore(_MAX_READERS)
        with self._reading() as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > schema.FORMAT_VERSION:
                raise StoreError(schema.newer(self._path, version))
            if version < schema.FORMAT_VERSION:
                raise StoreError(
                    f"{self._path} has format {version}, this software reads {schema.FORMAT_VERSION}: "
                    "start the service once to bring it up to date"
                )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that cannot write, in one consistent snapshot."""
        with self._slots:
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                connection = connect(self._path, create=False)
                connection.execute("PRAGMA query_only = 1")
            try:
                connection.execute("BEGIN")
                yield connection
            except sqlite3.Error as error:
                raise StoreUnavailableError(f"store {self._path}: {error}") from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._idle.put_nowait(connection)

    def committed(self, gateway: str, session: str) -> list[StreamCommit]:
        """What is stored of every stream of a gateway's session."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT device, stream, first, last FROM series JOIN ledger ON ledger.series = series.id"
                " WHERE gateway = ? AND session = ? ORDER BY device, stream, first",
                (gateway, session),
            ).fetchall()
        sets: dict[SeriesKey, RangeSet] = {}
        for device, stream, first, last in rows:
            sets.setdefault(SeriesKey(gateway, device, stream, session), RangeSet()).add(first, last)
        return [commit_of(key, held) for key, held in sets.items()]

    def devices(self) -> list[DeviceRecord]:
        """Every device with its last birth, by site, gateway and name."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT site, gateway, device, birth FROM device ORDER BY site, gateway, device"
            ).fetchall()
        return [
            DeviceRecord(site, gateway, device, msgspec.json.decode(birth, type=DeviceBirth))
            for site, gateway, device, birth in rows
        ]

    def strip(self, device: str, code: int, start_ns: int, end_ns: int) -> list[Segment]:
        """Waveform of [start_ns, end_ns) in order of time, cut at gaps. Raises `StoreError` beyond an hour."""
        if end_ns - start_ns > MAX_STRIP_NS:
            raise StoreError(f"a strip of {(end_ns - start_ns) / 1e9:.0f} s: ask for at most 3600 s at once")
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT wave.start_ns, device_boot, first_sample, count, rate_mhz, scale, flags, codec, data"
                " FROM wave WHERE channel = (SELECT id FROM channel WHERE device = ? AND code = ?)"
                " AND start_ns > ? AND start_ns < ? AND end_ns > ? ORDER BY start_ns",
                (device, code, start_ns - MAX_BLOCK_NS, end_ns, start_ns),
            ).fetchall()
        return assemble((Block(*row) for row in rows), start_ns, end_ns)

    def vitals(self, device: str, start_ns: int, end_ns: int) -> list[VitalPoint]:
        """Numbers of [start_ns, end_ns) in order of time."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT time_ns, code, value, status FROM vital"
                " WHERE device = ? AND time_ns >= ? AND time_ns < ? ORDER BY time_ns, code",
                (device, start_ns, end_ns),
            ).fetchall()
        return [VitalPoint(*row) for row in rows]

    def latest_vitals(self, device: str) -> list[VitalPoint]:
        """The newest number of each code."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT time_ns, code, value, status FROM latest_vital WHERE device = ? ORDER BY code",
                (device,),
            ).fetchall()
        return [VitalPoint(*row) for row in rows]

    def rollups(self, device: str, start_ns: int, end_ns: int) -> list[Rollup]:
        """Minutes that begin in [start_ns, end_ns)."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT minute_ns, code, count, total / count, low, high FROM rollup"
                " WHERE device = ? AND minute_ns >= ? AND minute_ns < ? ORDER BY minute_ns, code",
                (device, start_ns, end_ns),
            ).fetchall()
        return [Rollup(*row) for row in rows]

    def beats(self, device: str, start_ns: int, end_ns: int) -> list[StoredBeat]:
        """Beats of [start_ns, end_ns) in order of time."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT r_ns, rr_ms, amplitude_uv, width_ms, quality, wide FROM beat"
                " WHERE device = ? AND r_ns >= ? AND r_ns < ? ORDER BY r_ns",
                (device, start_ns, end_ns),
            ).fetchall()
        return [
            StoredBeat(r, rr, amplitude, width, quality, bool(wide))
            for r, rr, amplitude, width, quality, wide in rows
        ]

    def scores(self, device: str, start_ns: int, end_ns: int) -> list[StoredScore]:
        """Beat scores of [start_ns, end_ns) in order of time."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT r_ns, score, shape, timing, amplitude, threshold, model, version FROM score"
                " JOIN scorer ON scorer.id = scorer WHERE device = ? AND r_ns >= ? AND r_ns < ? ORDER BY r_ns",
                (device, start_ns, end_ns),
            ).fetchall()
        return [StoredScore(*row) for row in rows]

    def alarm_messages(self, after: int, limit: int) -> list[StoredAlarm]:
        """At most `limit` alarm messages behind position `after`, in order."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT position, gateway, device, body, stored_ns FROM alarm JOIN series ON series.id = series"
                " WHERE position > ? ORDER BY position LIMIT ?",
                (after, limit),
            ).fetchall()
        return [
            StoredAlarm(position, gateway, device, msgspec.json.decode(body, type=AlarmMessage), stored_ns)
            for position, gateway, device, body, stored_ns in rows
        ]

    def quarantine(self, limit: int) -> list[Quarantined]:
        """The newest messages that were set aside, newest first."""
        return self._set_aside(f"{_ASIDE} ORDER BY id DESC LIMIT ?", limit)

    def set_aside(self, after: int, limit: int) -> list[Quarantined]:
        """At most `limit` messages that were set aside, behind number `after`, oldest first."""
        return self._set_aside(f"{_ASIDE} WHERE id > ? ORDER BY id LIMIT ?", after, limit)

    def _set_aside(self, query: str, *parameters: int) -> list[Quarantined]:
        with self._reading() as connection:
            rows = connection.execute(query, parameters).fetchall()
        found = []
        for topic, payload, reason, received_ns, gateway, device, stream, session, seq, number in rows:
            series = None if gateway is None else SeriesKey(gateway, device, stream, session)
            found.append(Quarantined(topic, payload, reason, received_ns, series, seq, number))
        return found

    def counts(self) -> StoreCounts:
        """Totals of what was not stored as it came."""
        with self._reading() as connection:
            tally = dict(connection.execute("SELECT name, value FROM tally").fetchall())
            conflicts = int(connection.execute("SELECT count(*) FROM conflict").fetchone()[0])
            held = int(connection.execute("SELECT count(*) FROM quarantine").fetchone()[0])
        return counts_of(tally, conflicts=conflicts, held=held)

    def identity(self) -> str:
        """Random name of this store, drawn when it was made."""
        with self._reading() as connection:
            return str(connection.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()[0])

    def audit(self) -> list[StreamAudit]:
        """Read everything back, decode every block and count it."""
        with self._reading() as connection:
            return auditing.audit(connection)

    def erasures(self) -> list[Erasure]:
        """What was erased, in order."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT at_ns, device, start_ns, end_ns, by, reason, removed FROM erasure ORDER BY id"
            ).fetchall()
        return [
            Erasure(
                at_ns, device, start_ns, end_ns, by, reason, msgspec.json.decode(removed, type=dict[str, int])
            )
            for at_ns, device, start_ns, end_ns, by, reason, removed in rows
        ]

    def free_bytes(self) -> int:
        """Room left on the disk."""
        return shutil.disk_usage(self.folder).free

    def close(self) -> None:
        """Let go of the files."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return
