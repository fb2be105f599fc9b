"""Keys of the gateways, one file each: what the cloud says to a gateway carries a proof made with its key.

An authority that revokes a gateway takes its key away and leaves a mark, `revoked/<gateway>`, by which ingest knows
that this gateway is not merely unknown.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from vitalwire_cloud import metrics

KEY_BYTES: Final = 32
REVOKED: Final = "revoked"
"""Folder beside the keys; a file in it names a gateway that is one no more."""

_LOOK_AGAIN_S: Final = 5.0

log = structlog.get_logger()


class KeyRing:
    """Keys in `folder`, as `<gateway>.key` with 64 hexadecimal digits; what changes there is noticed within seconds."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._keys: dict[str, bytes] = {}
        self._looked: dict[str, float] = {}
        self._missing: set[str] = set()
        self._revoked: frozenset[str] = frozenset()
        self._looked_for_revoked = -_LOOK_AGAIN_S

    def get(self, gateway: str) -> bytes | None:
        """Key of `gateway`, or None; a missing or unusable one is logged once."""
        now = self._clock()
        if now - self._looked.get(gateway, -_LOOK_AGAIN_S) < _LOOK_AGAIN_S:
            return self._keys.get(gateway)
        self._looked[gateway] = now
        path = self._folder / f"{gateway}.key"
        key, problem = b"", None
        try:
            key = bytes.fromhex(path.read_text(encoding="ascii").strip())
            if len(key) != KEY_BYTES:
                problem = f"holds {len(key)} bytes"
        except OSError as error:
            problem = str(error.strerror)
        except ValueError:
            problem = "is not hexadecimal"
        if problem is None:
            self._keys[gateway] = key
            self._missing.discard(gateway)
        else:
            self._keys.pop(gateway, None)
            if gateway not in self._missing and not self.revoked(gateway):
                log.warning(
                    "gateway_key_missing",
                    gateway=gateway,
                    file=str(path),
                    problem=problem,
                    effect="its data is stored but never confirmed, so its spool fills",
                    fix=f"put the gateway's {KEY_BYTES} bytes as hexadecimal digits into the file",
                )
            self._missing.add(gateway)
        metrics.KEYLESS.set(len(self._missing))
        return self._keys.get(gateway)

    def revoked(self, gateway: str) -> bool:
        """Whether `gateway` is revoked, as of a few seconds ago."""
        now = self._clock()
        if now - self._looked_for_revoked >= _LOOK_AGAIN_S:
            self._looked_for_revoked = now
            try:
                found = frozenset(path.name for path in (self._folder / REVOKED).iterdir())
            except FileNotFoundError:
                found = frozenset()
            except OSError as error:
                # Who was revoked stays revoked.
                log.warning("revoked_gateways_unreadable", folder=str(self._folder), reason=error.strerror)
                found = self._revoked
            if found != self._revoked:
                log.info("gateways_revoked", gateways=sorted(found))
            self._revoked = found
        return gateway in self._revoked
