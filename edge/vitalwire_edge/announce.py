"""Says an alarm aloud at the gateway while the cloud has not confirmed it. When that fails it says so too.

An alarm of high or medium priority that is not in the store 5 s after it was raised is announced here: a critical log
line, the terminal's bell where there is a terminal, and the configured command, again and again until the cloud has
it or the condition is over.
"""

import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

import structlog

from vitalwire_edge.alarms import AlarmChange
from vitalwire_edge.config import AnnounceConfig
from vitalwire_edge.spool.rows import Entry
from vitalwire_edge.wire.messages import AlarmMessage, Priority, StreamCommit

log = structlog.get_logger()

_TICK_S: Final = 0.25
_COMMAND_S: Final = 10.0
_MOST: Final = 256


@dataclass(slots=True)
class _Waiting:
    device: str
    kind: str
    priority: Priority
    text: str
    due_s: float
    announced: int = 0
    seq: int | None = None


class Announcer:
    """Watches raised alarms until they are confirmed. Its methods may be called from any thread."""

    def __init__(self, config: AnnounceConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._waiting: dict[str, _Waiting] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announce", daemon=True)
        self.counters: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Fall silent."""
        self._stop.set()
        self._thread.join(_COMMAND_S)

    def alive(self) -> bool:
        """Whether it still watches."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Alarms that the cloud has not confirmed."""
        return len(self._waiting)

    def on_alarm(self, device: str, change: AlarmChange) -> None:
        """An alarm was raised, changed or cleared."""
        with self._lock:
            known = self._waiting.get(change.alarm_id)
            if change.phase == "cleared":
                if known is not None and known.announced:
                    log.warning("alarm_over_unconfirmed", device=device, kind=change.kind)
                self._waiting.pop(change.alarm_id, None)
            elif change.priority != "low" and known is None and change.phase == "raised":
                self._watch(change.alarm_id, device, change.kind, change.priority, change.text, None)

    def recover(self, device: str, message: AlarmMessage) -> None:
        """An alarm that was in the spool, not confirmed, when the gateway started."""
        with self._lock:
            if message.phase == "cleared":
                self._waiting.pop(message.alarm_id, None)
            elif message.priority != "low":
                self._watch(
                    message.alarm_id, device, message.kind, message.priority, message.text, message.seq
                )

    def on_stored(self, stored: list[tuple[Entry, int]]) -> None:
        """The spool gave sequences: now a commit can be matched."""
        for entry, seq in stored:
            if isinstance(entry.message, AlarmMessage):
                with self._lock:
                    known = self._waiting.get(entry.message.alarm_id)
                    if known is not None and known.seq is None:
                        known.seq = seq

    def on_confirmed(self, commits: tuple[StreamCommit, ...]) -> None:
        """The cloud has these."""
        alarms = {commit.device: commit for commit in commits if commit.stream == "alarm"}
        if not alarms:
            return
        with self._lock:
            for alarm_id, known in list(self._waiting.items()):
                commit = alarms.get(known.device)
                if commit is not None and known.seq is not None and _holds(commit, known.seq):
                    del self._waiting[alarm_id]
                    if known.announced:
                        log.info("alarm_confirmed_late", device=known.device, kind=known.kind)

    def _watch(
        self, alarm_id: str, device: str, kind: str, priority: Priority, text: str, seq: int | None
    ) -> None:
        if len(self._waiting) >= _MOST:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            self.counters["forgotten"] += 1
        due_s = time.monotonic() + self._config.after_s
        self._waiting[alarm_id] = _Waiting(device, kind, priority, text, due_s, seq=seq)

    def _run(self) -> None:
        while not self._stop.wait(_TICK_S):
            now = time.monotonic()
            with self._lock:
                due = [w for w in self._waiting.values() if w.due_s <= now]
                for waiting in due:
                    waiting.due_s = now + self._config.repeat_s
                    waiting.announced += 1
            for waiting in due:
                self._announce(waiting)

    def _announce(self, waiting: _Waiting) -> None:
        self.counters["announced"] += 1
        log.critical(
            "alarm_not_confirmed",
            device=waiting.device,
            kind=waiting.kind,
            priority=waiting.priority,
            text=waiting.text,
            times=waiting.announced,
        )
        if self._config.bell and sys.stderr.isatty():
            sys.stderr.write("\a")
            sys.stderr.flush()
        if self._config.command:
            arguments = [*self._config.command, waiting.device, waiting.kind, waiting.priority, waiting.text]
            try:
                subprocess.run(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=_COMMAND_S,
                    check=True,
                )
            except (OSError, subprocess.SubprocessError) as error:
                self.counters["announce_failed"] += 1
                log.critical("announce_command_failed", command=self._config.command[0], error=str(error))


def _holds(commit: StreamCommit, seq: int) -> bool:
    return seq < commit.low_water or any(first <= seq <= last for first, last in commit.ranges)
