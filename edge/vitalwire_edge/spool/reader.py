"""The sender's side of the spool file."""

import sqlite3
from pathlib import Path
from typing import Final

from vitalwire_edge.spool.rows import Row, SkipRow, connect, translated


class SpoolReader:
    """The sender's side of the file: reads what is committed to disk, writes nothing. One thread."""

    _COLUMNS: Final = "id, device, stream, seq, boot, mono_ns, offset_ns, synchronised, payload"

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = connect(path)
            self._db.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise translated(path, error) from error

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def last_id(self) -> int:
        """Highest row id ever given, 0 for none."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'rows'").fetchone()
        return int(row[0]) if row else 0

    def alarms(self, after_id: int, limit: int) -> list[Row]:
        """Alarm rows with an id above `after_id`, oldest first."""
        return self._rows("stream = 'alarm' AND id > ? ORDER BY id LIMIT ?", (after_id, limit))

    def others(self, after_id: int, to_id: int, limit: int) -> list[Row]:
        """Rows of the other streams with after_id < id <= to_id, oldest first."""
        return self._rows(
            "id > ? AND id <= ? AND stream <> 'alarm' ORDER BY id LIMIT ?", (after_id, to_id, limit)
        )

    def by_id(self, row_id: int) -> Row | None:
        """One row, or None when it is gone."""
        rows = self._rows("id = ?", (row_id,))
        return rows[0] if rows else None

    def skips(self, limit: int) -> list[SkipRow]:
        """Ranges that were given up and are not committed."""
        try:
            return [SkipRow(*row) for row in self._db.execute("SELECT * FROM skips LIMIT ?", (limit,))]
        except sqlite3.Error as error:
            raise translated(self._path, error) from error

    def _rows(self, condition: str, values: tuple[int, ...]) -> list[Row]:
        try:
            found = self._db.execute(
                f"SELECT {self._COLUMNS} FROM rows WHERE {condition}",  # noqa: S608 - conditions stand above
                values,
            ).fetchall()
        except sqlite3.Error as error:
            raise translated(self._path, error) from error
        return [Row(*row) for row in found]
