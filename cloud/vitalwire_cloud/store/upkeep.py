"""Deleting from the embedded store: what is too old, in small steps, and what somebody asked to be erased."""

# Names of tables and columns are put into statements from constants.
# ruff: noqa: S608

import sqlite3
from typing import Final

import msgspec

from vitalwire_cloud.store.interface import Erasure, Kind
from vitalwire_cloud.store.reading import MAX_BLOCK_NS

STEP_ROWS: Final = 2000
"""Rows deleted in one transaction, so that ingest never waits long."""

_MINUTE_NS: Final = 60_000_000_000
_LAST_SEQ: Final = 2**63 - 1
_TABLES: Final[dict[Kind, tuple[str, str, str]]] = {
    "vitals": ("vital", "time_ns", "vitals"),
    "beats": ("beat", "r_ns", "beat"),
    "scores": ("score", "r_ns", "score"),
}
"""Table, its column of time, and the stream whose messages go with it."""


def expire_some(connection: sqlite3.Connection, kind: Kind, before_ns: int) -> int:
    """Delete at most `STEP_ROWS` rows that ended before a time; 0 when none is left."""
    if kind == "waveform":
        return _first_of(
            connection,
            "SELECT id FROM channel ORDER BY id",
            "DELETE FROM wave WHERE (channel, start_ns, series, seq) IN (SELECT channel, start_ns, series, seq"
            " FROM wave WHERE channel = :owner AND start_ns < :before AND end_ns <= :before LIMIT :step)",
            before_ns,
        )
    table, column, _ = _TABLES[kind]
    key = _key(table)
    return _first_of(
        connection,
        "SELECT DISTINCT device FROM series ORDER BY device",
        f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table}"
        f" WHERE device = :owner AND {column} < :before LIMIT :step)",
        before_ns,
    )


def _first_of(connection: sqlite3.Connection, owners: str, delete: str, before_ns: int) -> int:
    """Run `delete` for each owner until it removes something."""
    for (owner,) in connection.execute(owners).fetchall():
        removed = connection.execute(
            delete, {"owner": owner, "before": before_ns, "step": STEP_ROWS}
        ).rowcount
        if removed:
            return removed
    return 0


def expire_messages(connection: sqlite3.Connection, kind: Kind, before_ns: int) -> int:
    """Delete at most `STEP_ROWS` records of a message's arrival that belong to what expired; 0 when none is left.

    Of each series those before the first one that is still kept.
    """
    if kind == "waveform":
        return 0
    stream = _TABLES[kind][2]
    for (series,) in connection.execute("SELECT id FROM series WHERE stream = ?", (stream,)).fetchall():
        kept = connection.execute(
            "SELECT seq FROM message WHERE series = ? AND time_ns >= ? ORDER BY seq LIMIT 1",
            (series, before_ns),
        ).fetchone()
        removed = connection.execute(
            "DELETE FROM message WHERE series = ? AND seq IN"
            " (SELECT seq FROM message WHERE series = ? AND seq < ? ORDER BY seq LIMIT ?)",
            (series, series, _LAST_SEQ if kept is None else kept[0], STEP_ROWS),
        ).rowcount
        if removed:
            return removed
    return 0


def _key(table: str) -> str:
    return {
        "vital": "device, time_ns, code, series, seq",
        "beat": "device, r_ns, series, seq, place",
        "score": "device, r_ns, series, seq, place",
    }[table]


def erase(connection: sqlite3.Connection, device: str, start_ns: int, end_ns: int) -> dict[str, int]:
    """Delete everything of a device in [start_ns, end_ns) and return how much, by what it was."""
    span = (device, start_ns, end_ns)
    removed: dict[str, int] = {}
    removed["waveform"] = connection.execute(
        "DELETE FROM wave WHERE channel IN (SELECT id FROM channel WHERE device = ?)"
        " AND end_ns > ? AND start_ns < ? AND start_ns > ?",
        (*span, start_ns - MAX_BLOCK_NS),
    ).rowcount
    for kind, (table, column, _) in _TABLES.items():
        removed[kind] = connection.execute(
            f"DELETE FROM {table} WHERE device = ? AND {column} >= ? AND {column} < ?", span
        ).rowcount
    removed["minutes"] = connection.execute(
        "DELETE FROM rollup WHERE device = ? AND minute_ns > ? AND minute_ns < ?",
        (device, start_ns - _MINUTE_NS, end_ns),
    ).rowcount
    removed["alarms"] = connection.execute(
        "DELETE FROM alarm WHERE series IN (SELECT id FROM series WHERE device = ?) AND at_ns >= ? AND at_ns < ?",
        span,
    ).rowcount
    removed["quarantine"] = connection.execute(
        "DELETE FROM quarantine WHERE device = ? AND received_ns >= ? AND received_ns < ?", span
    ).rowcount
    connection.execute(
        "DELETE FROM message WHERE series IN (SELECT id FROM series WHERE device = ?)"
        " AND time_ns >= ? AND time_ns < ?",
        span,
    )
    connection.execute("DELETE FROM latest_vital WHERE device = ? AND time_ns >= ? AND time_ns < ?", span)
    connection.execute(
        "INSERT OR IGNORE INTO latest_vital SELECT device, code, time_ns, value, status FROM vital"
        " WHERE device = ? ORDER BY time_ns DESC",
        (device,),
    )
    return removed


def record(connection: sqlite3.Connection, erasure: Erasure) -> None:
    """Keep that something was erased."""
    connection.execute(
        "INSERT INTO erasure (at_ns, device, start_ns, end_ns, by, reason, removed) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            erasure.at_ns,
            erasure.device,
            erasure.start_ns,
            erasure.end_ns,
            erasure.by,
            erasure.reason,
            msgspec.json.encode(erasure.removed),
        ),
    )
