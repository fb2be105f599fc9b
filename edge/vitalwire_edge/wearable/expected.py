"""Which wearables are there, kept over a restart: one that does not come back afterwards is silent, and that alarms."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from vitalwire_edge.process.durable import write_durably
from vitalwire_edge.wire.topics import TopicError, identifier

log = structlog.get_logger()

FORMAT: Final = 1


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    devices: tuple[str, ...]


class ExpectedWearables:
    """The file of the wearables that did not say goodbye. Nothing here raises; what cannot be kept is logged once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = frozenset[str]()
        self._failed = False

    def load(self) -> tuple[str, ...]:
        """Who was there when the gateway ended, in a steady order."""
        try:
            file = msgspec.json.decode(self._path.read_bytes(), type=_File)
            if file.format != FORMAT:
                raise ValueError(f"format {file.format}, this program reads {FORMAT}")
            names = tuple(sorted(identifier(name, "device") for name in set(file.devices)))
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError, TopicError) as error:
            log.warning("expected_wearables_unreadable", path=str(self._path), reason=str(error))
            return ()
        self._kept = frozenset(names)
        return names

    def keep(self, devices: Iterable[str]) -> None:
        """Remember who is there; written only when that changed."""
        now = frozenset(devices)
        if now == self._kept:
            return
        try:
            write_durably(self._path, msgspec.json.encode(_File(devices=tuple(sorted(now)))))
        except OSError as error:
            if not self._failed:
                log.warning("expected_wearables_not_written", path=str(self._path), reason=str(error))
            self._failed = True
        else:
            self._kept, self._failed = now, False
