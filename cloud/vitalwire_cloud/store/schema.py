"""Tables of the embedded store, their version and how an older file comes to it.

One row per waveform block, clustered by channel and time, with the bytes as they came over the wire: a strip is one
range scan and a block is written into one tree.
"""

import sqlite3
from collections.abc import Callable
from typing import Final

from vitalwire_cloud.store.interface import StoreError

APPLICATION_ID: Final = 0x76777374
"""`vwst`: tells our files from other SQLite files."""

FORMAT_VERSION: Final = 4

_VERSION_1: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE series (
    id INTEGER PRIMARY KEY, gateway TEXT NOT NULL, device TEXT NOT NULL, stream TEXT NOT NULL, session TEXT NOT NULL,
    UNIQUE (gateway, device, stream, session)
);
CREATE TABLE ledger (
    series INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (series, first)
) WITHOUT ROWID;
CREATE TABLE channel (
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, code INTEGER NOT NULL, UNIQUE (device, code)
);
CREATE TABLE wave (
    channel INTEGER NOT NULL, start_ns INTEGER NOT NULL, series INTEGER NOT NULL, seq INTEGER NOT NULL,
    end_ns INTEGER NOT NULL, device_boot INTEGER NOT NULL, first_sample INTEGER NOT NULL, count INTEGER NOT NULL,
    rate_mhz INTEGER NOT NULL, scale REAL NOT NULL, flags INTEGER NOT NULL, codec INTEGER NOT NULL, data BLOB NOT NULL,
    stored_ns INTEGER NOT NULL, boot TEXT, mono_ns INTEGER,
    PRIMARY KEY (channel, start_ns, series, seq)
) WITHOUT ROWID;
CREATE TABLE message (
    series INTEGER NOT NULL, seq INTEGER NOT NULL, time_ns INTEGER NOT NULL, flags INTEGER NOT NULL,
    stored_ns INTEGER NOT NULL, boot TEXT, mono_ns INTEGER, PRIMARY KEY (series, seq)
) WITHOUT ROWID;
CREATE TABLE vital (
    device TEXT NOT NULL, time_ns INTEGER NOT NULL, code INTEGER NOT NULL, series INTEGER NOT NULL,
    seq INTEGER NOT NULL, value REAL, status INTEGER NOT NULL,
    PRIMARY KEY (device, time_ns, code, series, seq)
) WITHOUT ROWID;
CREATE TABLE latest_vital (
    device TEXT NOT NULL, code INTEGER NOT NULL, time_ns INTEGER NOT NULL, value REAL, status INTEGER NOT NULL,
    PRIMARY KEY (device, code)
) WITHOUT ROWID;
CREATE TABLE rollup (
    device TEXT NOT NULL, minute_ns INTEGER NOT NULL, code INTEGER NOT NULL, count INTEGER NOT NULL,
    total REAL NOT NULL, low REAL NOT NULL, high REAL NOT NULL, PRIMARY KEY (device, minute_ns, code)
) WITHOUT ROWID;
CREATE TABLE beat (
    device TEXT NOT NULL, r_ns INTEGER NOT NULL, series INTEGER NOT NULL, seq INTEGER NOT NULL,
    place INTEGER NOT NULL, rr_ms REAL, amplitude_uv REAL, width_ms REAL, quality REAL NOT NULL,
    wide INTEGER NOT NULL, PRIMARY KEY (device, r_ns, series, seq, place)
) WITHOUT ROWID;
CREATE TABLE alarm (
    position INTEGER PRIMARY KEY AUTOINCREMENT, series INTEGER NOT NULL, seq INTEGER NOT NULL, alarm_id TEXT NOT NULL,
    at_ns INTEGER NOT NULL, body BLOB NOT NULL, stored_ns INTEGER NOT NULL, UNIQUE (series, seq)
);
CREATE TABLE skip (
    series INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, samples INTEGER NOT NULL,
    reason TEXT NOT NULL, stored_ns INTEGER NOT NULL, PRIMARY KEY (series, first, last)
) WITHOUT ROWID;
CREATE TABLE conflict (
    channel INTEGER NOT NULL, start_ns INTEGER NOT NULL, series INTEGER NOT NULL, seq INTEGER NOT NULL,
    other_series INTEGER NOT NULL, other_seq INTEGER NOT NULL, PRIMARY KEY (channel, start_ns, series, seq)
) WITHOUT ROWID;
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL, reason TEXT NOT NULL,
    received_ns INTEGER NOT NULL, gateway TEXT, device TEXT, stream TEXT, session TEXT, seq INTEGER
);
CREATE TABLE device (
    device TEXT PRIMARY KEY, site TEXT NOT NULL, gateway TEXT NOT NULL, birth BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE tally (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('store_id', lower(hex(randomblob(8))));
"""

_SCORES: Final = """
CREATE TABLE scorer (id INTEGER PRIMARY KEY, model TEXT NOT NULL, version INTEGER NOT NULL, UNIQUE (model, version));
CREATE TABLE score (
    device TEXT NOT NULL, r_ns INTEGER NOT NULL, series INTEGER NOT NULL, seq INTEGER NOT NULL,
    place INTEGER NOT NULL, score REAL, shape REAL, timing REAL, amplitude REAL, threshold REAL NOT NULL,
    scorer INTEGER NOT NULL, PRIMARY KEY (device, r_ns, series, seq, place)
) WITHOUT ROWID;
"""

_ERASURES: Final = """
CREATE TABLE erasure (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at_ns INTEGER NOT NULL, device TEXT NOT NULL, start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL, removed BLOB NOT NULL
);
"""

_BEAT: Final = _VERSION_1[_VERSION_1.index("CREATE TABLE beat") : _VERSION_1.index("CREATE TABLE alarm")]


def _optional_widths(connection: sqlite3.Connection) -> None:
    """Let a beat have no width and no amplitude; files that the very first version made insist on both."""
    insisting = connection.execute(
        "SELECT 1 FROM pragma_table_info('beat') WHERE name = 'width_ms' AND \"notnull\""
    ).fetchone()
    if insisting is not None:
        connection.execute("ALTER TABLE beat RENAME TO beat_before")
        _run(connection, _BEAT)
        connection.execute("INSERT INTO beat SELECT * FROM beat_before")
        connection.execute("DROP TABLE beat_before")


Migration = Callable[[sqlite3.Connection], None]

MIGRATIONS: Final[dict[int, Migration]] = {
    1: lambda connection: _run(connection, _SCORES),
    2: lambda connection: _run(connection, _ERASURES),
    3: _optional_widths,
}
"""Step from each version to the next one, run inside one transaction. Version 1 is the first."""


def newer(path: object, version: int) -> str:
    """What to say of a file from the future."""
    return (
        f"{path} was made by a newer vitalwire (format {version}, this one reads up to {FORMAT_VERSION}): "
        "install that version; nothing was changed"
    )


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Bring the file to `FORMAT_VERSION`.

    Raises `StoreError` for a newer file or one that is not ours, before anything is changed.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if tables and application != APPLICATION_ID:
        raise StoreError(f"{path} is an SQLite file of something else: choose another --data-dir")
    if version > FORMAT_VERSION:
        raise StoreError(newer(path, version))
    connection.execute("PRAGMA journal_mode = WAL")
    if version == FORMAT_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version == 0:
            _run(connection, _VERSION_1)
            version = 1
        while version < FORMAT_VERSION:
            MIGRATIONS[version](connection)
            version += 1
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Every statement, inside the transaction that is open."""
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(statement)
