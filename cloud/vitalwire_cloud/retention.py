"""Keeping each kind of data as long as the configuration says: the running service does it by itself."""

import threading
import time
from typing import Final

import structlog

from vitalwire_cloud.config import RetentionConfig
from vitalwire_cloud.store.interface import Kind, Store, StoreError

log = structlog.get_logger()

_DAY_NS: Final = 86_400_000_000_000


def limits(config: RetentionConfig, now_ns: int) -> dict[Kind, int]:
    """Before which time each kind is deleted; what is kept for good is not named."""
    days: dict[Kind, float | None] = {
        "waveform": config.waveform_days,
        "vitals": config.vitals_days,
        "beats": config.beats_days,
        "scores": config.scores_days,
    }
    return {kind: now_ns - round(kept * _DAY_NS) for kind, kept in days.items() if kept is not None}


def expire(store: Store, config: RetentionConfig, now_ns: int) -> dict[Kind, int]:
    """Delete everything that is kept long enough; how much that was, by kind. Raises `StoreError`."""
    removed = {kind: store.expire(kind, before_ns) for kind, before_ns in limits(config, now_ns).items()}
    log.info("retention_done", **removed)
    return removed


class RetentionTask:
    """Expires on a thread of its own, at the start and then every `config.every_s`."""

    def __init__(self, store: Store, config: RetentionConfig) -> None:
        self._store = store
        self._config = config
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Begin, unless everything is kept for good."""
        if limits(self._config, 0):
            self._thread.start()

    def close(self) -> None:
        """End after the step that runs."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                expire(self._store, self._config, time.time_ns())
            except StoreError as error:
                # What is too old stays for another round; nothing else depends on it.
                log.warning("retention_failed", error=str(error))
            self._stop.wait(self._config.every_s)
