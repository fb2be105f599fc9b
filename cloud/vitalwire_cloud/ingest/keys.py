"""Keys of the gateways, one file each: what the cloud says to a gateway carries a proof made with its key."""

import time
from pathlib import Path
from typing import Final

import structlog

from vitalwire_cloud import metrics

KEY_BYTES: Final = 32
_LOOK_AGAIN_S: Final = 5.0

log = structlog.get_logger()


class KeyRing:
    """Keys in `folder`, as `<gateway>.key` with 64 hexadecimal digits; a new file is found within seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[str, bytes] = {}
        self._missing: dict[str, float] = {}

    def get(self, gateway: str) -> bytes | None:
        """Key of `gateway`, or None; a missing or unusable one is logged once."""
        if gateway in self._keys:
            return self._keys[gateway]
        now = time.monotonic()
        if now - self._missing.get(gateway, -_LOOK_AGAIN_S) < _LOOK_AGAIN_S:
            return None
        path = self._folder / f"{gateway}.key"
        try:
            key = bytes.fromhex(path.read_text(encoding="ascii").strip())
            problem = None if len(key) == KEY_BYTES else f"holds {len(key)} bytes"
        except OSError as error:
            problem = str(error.strerror)
        except ValueError:
            problem = "is not hexadecimal"
        if problem is None:
            self._keys[gateway] = key
            self._missing.pop(gateway, None)
        else:
            if gateway not in self._missing:
                log.warning(
                    "gateway_key_missing",
                    gateway=gateway,
                    file=str(path),
                    problem=problem,
                    effect="its data is stored but never confirmed, so its spool fills",
                    fix=f"put the gateway's {KEY_BYTES} bytes as hexadecimal digits into the file",
                )
            self._missing[gateway] = now
        metrics.KEYLESS.set(len(self._missing))
        return self._keys.get(gateway)
