"""Waveform on demand: who asked for whose, until when, and whether it came. Kept on disk, as access to patient data is.

Thread-safe. A demand ends by itself; the gateway closes its gate at the same time.
"""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog

from vitalwire_cloud.registry.desk import Publish
from vitalwire_edge.wire.messages import MAX_DEMAND_S, Command, encode_json, seal
from vitalwire_edge.wire.topics import gateway_topic

log = structlog.get_logger()

_FILE: Final = "demands.sqlite"
_APPLICATION_ID: Final = 0x76776465
"""`vwde`."""
_FORMAT: Final = 1
_LIFE_S: Final = 30
_NS: Final = 1_000_000_000
_KEPT: Final = 10_000
_SHOWN: Final = 200
_COLUMNS: Final = "site, gateway, device, asked_by, at_ns, until_ns, came_ns"


class DemandError(Exception):
    """The demand cannot be made; the message says why and what to do."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asked for the waveform of `device` from `at_ns` to `until_ns`; the first of it came at `came_ns`.

    `asked`: none came yet. `streaming`: it does. `ended`: its time is over, with or without an answer.
    """

    site: str
    gateway: str
    device: str
    asked_by: str
    at_ns: int
    until_ns: int
    came_ns: int | None
    state: Literal["asked", "streaming", "ended"]


class DemandDesk:
    """Asks gateways and remembers it in `folder`. Raises `DemandError` for a file that is not ours or newer."""

    def __init__(self, folder: Path, publish: Publish, key_of: Callable[[str], bytes | None]) -> None:
        self._publish = publish
        self._key_of = key_of
        self._lock = threading.Lock()
        path = folder / _FILE
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(path)
        except BaseException:
            self._db.close()
            raise
        self._waiting: dict[str, int] = {}
        """Devices whose waveform has not come, and until when it is expected."""

    def _prepare(self, path: Path) -> None:
        try:
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            fresh = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not fresh and self._db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
                raise DemandError(f"{path} is an SQLite file of something else: move it away")
            if version > _FORMAT:
                raise DemandError(
                    f"{path} was made by a newer vitalwire (format {version}, this one reads up to {_FORMAT}): "
                    "install that version; nothing was changed"
                )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            if fresh:
                self._db.executescript(
                    "BEGIN; CREATE TABLE demand (id INTEGER PRIMARY KEY AUTOINCREMENT, site TEXT NOT NULL,"
                    " gateway TEXT NOT NULL, device TEXT NOT NULL, asked_by TEXT NOT NULL, at_ns INTEGER NOT NULL,"
                    f" until_ns INTEGER NOT NULL, came_ns INTEGER); PRAGMA application_id = {_APPLICATION_ID};"
                    f" PRAGMA user_version = {_FORMAT}; COMMIT;"
                )
        except sqlite3.Error as error:
            raise DemandError(f"{path}: {error}") from error

    def ask(
        self, site: str, gateway: str, device: str, *, seconds: float, asked_by: str, now_ns: int
    ) -> Demand:
        """Tell the gateway, and keep who asked before that. Raises `DemandError`."""
        if not 0 < seconds <= MAX_DEMAND_S:
            raise DemandError(f"{seconds:g} s of waveform: ask for at most {MAX_DEMAND_S:g} s at once")
        key = self._key_of(gateway)
        if key is None:
            raise DemandError(f"there is no key of {gateway}: put {gateway}.key into the keys' folder")
        until_ns = now_ns + round(seconds * _NS)
        row = (site, gateway, device, asked_by, now_ns, until_ns, None)
        with self._lock:
            number = self._db.execute(
                f"INSERT INTO demand ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                row,
            ).lastrowid
            self._db.execute("DELETE FROM demand WHERE id <= (SELECT max(id) FROM demand) - ?", (_KEPT,))
            self._waiting[device] = until_ns
        topic = gateway_topic(site, gateway, "cmd")
        command = Command(
            command="waveform",
            at_ns=now_ns,
            expires_ns=now_ns + _LIFE_S * _NS,
            device=device,
            seconds=seconds,
        )
        if not self._publish(topic, seal(key, topic, encode_json(command)), expiry_s=_LIFE_S):
            with self._lock:
                self._waiting.pop(device, None)
                self._db.execute("UPDATE demand SET until_ns = at_ns WHERE id = ?", (number,))
            raise DemandError("there is no connection to the broker: try again when there is one")
        log.info("waveform_demanded", gateway=gateway, device=device, seconds=seconds, by=asked_by)
        return _demand(row, now_ns)

    def came(self, device: str, now_ns: int) -> None:
        """Waveform of a device came; cheap where nobody waits for it."""
        if device not in self._waiting:
            return
        with self._lock:
            until_ns = self._waiting.pop(device, 0)
            if now_ns < until_ns:
                self._db.execute(
                    "UPDATE demand SET came_ns = ? WHERE device = ? AND came_ns IS NULL AND until_ns > ?",
                    (now_ns, device, now_ns),
                )

    def demands(self, *, now_ns: int) -> list[Demand]:
        """The newest demands, newest first."""
        with self._lock:
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM demand ORDER BY id DESC LIMIT ?",  # noqa: S608
                (_SHOWN,),
            ).fetchall()
        return [_demand(row, now_ns) for row in rows]

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()


def _demand(row: tuple[str, str, str, str, int, int, int | None], now_ns: int) -> Demand:
    site, gateway, device, asked_by, at_ns, until_ns, came_ns = row
    going = now_ns < until_ns
    return Demand(
        site=site,
        gateway=gateway,
        device=device,
        asked_by=asked_by,
        at_ns=at_ns,
        until_ns=until_ns,
        came_ns=came_ns,
        state="ended" if not going else "asked" if came_ns is None else "streaming",
    )
