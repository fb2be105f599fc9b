"""What a process remembers of the ledger between its batches, for as long as nobody else changes it.

A batch that finds everything here asks the ledger nothing. SQLite tells by `PRAGMA data_version` whether another
connection committed something; PostgreSQL has no such sign, so there nothing is remembered.
"""

import sqlite3
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from vitalwire_cloud.store.influx.points import SeriesName
from vitalwire_cloud.store.interface import SeriesKey
from vitalwire_cloud.store.ranges import RangeSet

_VERSION: Final = "PRAGMA data_version"
_MOST: Final = 50_000
"""Series of either kind; beyond, everything is looked up again."""


@dataclass(slots=True)
class Memory:
    """Numbers and ranges of the ledger's series, and up to where the server's series are filled."""

    ids: dict[SeriesKey, int] = field(default_factory=dict)
    held: dict[SeriesKey, RangeSet] = field(default_factory=dict)
    written: dict[SeriesKey, list[tuple[int, int]]] = field(default_factory=dict)
    newest: dict[SeriesName, int] = field(default_factory=dict)
    _source: Any = None
    _version: int = -1

    def forget(self) -> None:
        """Look everything up again, as after a transaction of which nothing was kept."""
        self.ids.clear()
        self._forget_state()
        self._source = None

    def _forget_state(self) -> None:
        self.held.clear()
        self.written.clear()
        self.newest.clear()

    def begin(self, connection: sa.Connection, *, lite: bool) -> None:
        """Forget what may have changed; the transaction of `connection` has begun and keeps other writers out."""
        source = connection.connection.dbapi_connection
        if not lite or source is not self._source or max(len(self.ids), len(self.newest)) > _MOST:
            self.forget()
        if lite:
            version = int(connection.exec_driver_sql(_VERSION).scalar_one())
            if version != self._version:
                self._forget_state()
            self._source, self._version = source, version

    def current(self) -> bool:
        """Whether nobody else has committed anything since the last transaction ended well."""
        if self._source is None:
            return False
        try:
            (version,) = self._source.execute(_VERSION).fetchone()
        except sqlite3.Error:
            # Whoever asks the database then hears what is wrong with it.
            return False
        return bool(version == self._version)
