"""The durable spool: a bounded queue in memory in front of one writer thread that commits in groups.

Nothing counts as accepted before its transaction returned. On a full disk rows wait in memory, the oldest waveform
gives way first and alarms last, everything given up is counted, and the writer keeps trying.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Final, Protocol

import structlog

from vitalwire_edge.spool.file import SACRIFICE, open_or_set_aside, set_aside
from vitalwire_edge.spool.rows import Accepted, Age, Entry, SpoolCorruptError, SpoolError, SpoolFullError
from vitalwire_edge.wire.messages import StreamCommit
from vitalwire_edge.wire.topics import Stream

log = structlog.get_logger()

_RETRY_S: Final = 1.0
_KEEP_HOUSE_S: Final = 1.0


class SpoolListener(Protocol):
    """Who wants to know what the writer did; called on its thread, must be quick."""

    def on_stored(self, stored: list[tuple[Entry, int]]) -> None:
        """These entries are durable, with these sequences."""

    def on_confirmed(self, commits: tuple[StreamCommit, ...]) -> None:
        """The cloud has these, and the spool has let them go."""


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What the spool holds and what went wrong."""

    session: str
    rows: int
    used_bytes: int
    pending: int
    problem: str | None


class Spool:
    """Opens the file (a damaged one is set aside), and writes on its own thread until `close`.

    `max_bytes` and `max_age_s` cap what is kept. Raises `SpoolError` when the file cannot be opened.
    `believed_utc_ns` tells UTC, or None while the gateway's clock is not synchronised: a wrong clock ages nothing.
    `under_way` names the row ids that the sender has on the wire: they are not given up for space.
    """

    def __init__(
        self,
        path: Path,
        boot: str,
        *,
        max_bytes: int = 2 * 1024**3,
        max_age_s: float = 72 * 3600.0,
        commit_every_s: float = 0.1,
        commit_rows: int = 200,
        pending_rows: int = 5000,
        believed_utc_ns: Callable[[], int | None] = time.time_ns,
    ) -> None:
        self._path = path
        self._believed_utc_ns = believed_utc_ns
        self._boot = boot
        self._max_bytes = max_bytes
        self._max_age_ns = round(max_age_s * 1e9)
        self._commit_every_s = commit_every_s
        self._commit_rows = commit_rows
        self._pending_rows = pending_rows
        self._wake = threading.Condition()
        self._pending: deque[Entry] = deque()
        self._commits: deque[tuple[StreamCommit, ...]] = deque(maxlen=256)
        self._writing = 0
        self._stopping = False
        self._listeners: list[SpoolListener] = []
        self.counters: Counter[str] = Counter()
        self.under_way: Callable[[], Collection[int]] = tuple
        self._file, aside = open_or_set_aside(path, boot)
        if aside is not None:
            self.counters["spool_set_aside"] += 1
        self.session = self._file.session
        self._state = SpoolState(self.session, self._file.rows, self._file.used_bytes(), 0, None)
        self._accepted = self._file.accepted()
        self.open_alarms = self._file.open_alarms()
        self._kept_house_s = time.monotonic()
        self._retry_at_s = 0.0
        self._damage: SpoolCorruptError | None = None
        self._damaged_aside = False
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def state(self) -> SpoolState:
        """What the writer last saw."""
        return self._state

    @property
    def accepted(self) -> list[Accepted]:
        """What has been made durable since the file was made, as of the last second."""
        return self._accepted

    @property
    def idle(self) -> bool:
        """Whether nothing waits in memory and the cloud has everything."""
        return not self._pending and self._file.rows == 0

    @property
    def written(self) -> bool:
        """Whether nothing waits in memory."""
        return not self._pending

    def listen(self, listener: SpoolListener) -> None:
        """Tell `listener` what is stored and confirmed. Before `start`."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def alive(self) -> bool:
        """Whether the writer runs."""
        return self._thread.is_alive()

    def put(self, entry: Entry) -> None:
        """Hand over an entry; never blocks. When too many wait the oldest of the least important stream is dropped."""
        with self._wake:
            self._pending.append(entry)
            if len(self._pending) > self._pending_rows:
                self._drop_pending()
            if len(self._pending) >= self._commit_rows or entry.stream == "alarm":
                self._wake.notify()

    def confirm(self, commits: tuple[StreamCommit, ...]) -> None:
        """Let go of what the cloud has; commits are cumulative, so a lost one does no harm."""
        own = tuple(commit for commit in commits if commit.session == self.session)
        with self._wake:
            self._commits.append(own)

    def close(self, timeout_s: float = 10.0) -> int:
        """Write what waits and stop. Returns how many rows could not be written."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._file.close()
        return len(self._pending)

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._stopping:
                    self._wake.wait(self._commit_every_s)
                stopping = self._stopping
            if self._damage is not None and time.monotonic() < self._retry_at_s and not stopping:
                continue
            try:
                if self._damage is not None:
                    self._begin_anew(self._damage)
                wrote = self._write()
                self._let_go()
                if stopping or time.monotonic() - self._kept_house_s >= _KEEP_HOUSE_S:
                    self._keep_house()
            except SpoolCorruptError as error:
                self._damage = error
                continue
            except SpoolError as error:
                self._complain(error)
                wrote = False
            if stopping and (not wrote or not self._pending):
                return

    def _write(self) -> bool:
        """Commit what waits, in groups. False while an earlier failure is being waited out."""
        if time.monotonic() < self._retry_at_s and not self._stopping:
            return False
        while True:
            with self._wake:
                batch = list(islice(self._pending, self._commit_rows))
                self._writing = len(batch)
            if not batch:
                return True
            try:
                stored = self._append(batch)
            finally:
                self._writing = 0
            self._recovered()
            for listener in self._listeners:
                _tell(partial(listener.on_stored, stored))

    def _append(self, batch: list[Entry]) -> list[tuple[Entry, int]]:
        try:
            stored = self._file.append(batch)
        except SpoolFullError:
            # Once a try: a disk that others filled must not cost us everything we hold.
            self._file.shrink_log()
            self._make_room("disk", SACRIFICE[:-1])
            stored = self._file.append(batch)
        except SpoolError:
            raise
        except Exception:
            # An entry that cannot be encoded or bound would block everything behind it.
            log.exception("spool_entry_unusable", entries=len(batch))
            return self._append_singly(batch)
        self._written(len(batch))
        return stored

    def _append_singly(self, batch: list[Entry]) -> list[tuple[Entry, int]]:
        stored: list[tuple[Entry, int]] = []
        for entry in batch:
            try:
                stored += self._file.append([entry])
            except SpoolError:
                if not stored:
                    raise
                break
            except Exception:
                log.exception("spool_entry_dropped", device=entry.device, stream=entry.stream)
                self.counters[f"unusable_{entry.stream}_rows"] += 1
            self._written(1)
        return stored

    def _written(self, count: int) -> None:
        with self._wake:
            for _ in range(count):
                self._pending.popleft()
            self._writing -= count

    def _let_go(self) -> None:
        """Delete what the cloud has, in one transaction: each writes every page it touches to the flash."""
        with self._wake:
            waiting = list(self._commits)
        if not waiting:
            return
        self._file.confirm(chain.from_iterable(waiting))
        with self._wake:
            for commits in waiting:
                # The oldest may have given way to newer ones meanwhile.
                if self._commits and self._commits[0] is commits:
                    self._commits.popleft()
        for commits in waiting:
            for listener in self._listeners:
                _tell(partial(listener.on_confirmed, commits))

    def _keep_house(self) -> None:
        """Enforce the caps, give space back, and refresh what others may read."""
        self._kept_house_s = time.monotonic()
        utc_ns = self._believed_utc_ns()
        oldest = Age(
            time.monotonic_ns() - self._max_age_ns, None if utc_ns is None else utc_ns - self._max_age_ns
        )
        for stream in SACRIFICE[:-1]:
            self._count_evicted(stream, "age", self._file.evict(stream, "age", older_than=oldest))
        while self._file.used_bytes() > self._max_bytes and self._make_room("size", SACRIFICE):
            pass
        self._file.trim()
        self._accepted = self._file.accepted()
        self._state = SpoolState(
            self.session,
            self._file.rows,
            self._file.used_bytes(),
            len(self._pending),
            self._state.problem,
        )

    def _make_room(self, reason: str, streams: tuple[Stream, ...]) -> bool:
        """Give up some of the least important rows. False when nothing can be given up."""
        for stream in streams:
            for sparing in (self.under_way(), ()):
                rows_samples = self._file.evict(stream, reason, sparing=sparing)
                if rows_samples[0]:
                    self._count_evicted(stream, reason, rows_samples)
                    return True
        return False

    def _count_evicted(self, stream: str, reason: str, rows_samples: tuple[int, int]) -> None:
        rows, samples = rows_samples
        if rows:
            self.counters[f"evicted_{reason}_{stream}_rows"] += rows
            self.counters[f"evicted_{reason}_{stream}_samples"] += samples
            log.warning("spool_evicted", stream=stream, reason=reason, rows=rows, samples=samples)

    def _drop_pending(self) -> None:
        """Give up one entry in memory; called with the lock held. What is just being written stays."""
        for stream in SACRIFICE:
            for index, entry in enumerate(islice(self._pending, self._writing, None), self._writing):
                if entry.stream == stream:
                    del self._pending[index]
                    self.counters[f"unspooled_{stream}_rows"] += 1
                    self.counters[f"unspooled_{stream}_samples"] += entry.samples
                    return

    def _complain(self, error: SpoolError) -> None:
        self._retry_at_s = time.monotonic() + _RETRY_S
        self.counters["spool_write_errors"] += 1
        if self._state.problem is None:
            log.critical("spool_cannot_write", error=str(error), pending=len(self._pending))
        self._state = SpoolState(
            self.session, self._state.rows, self._state.used_bytes, len(self._pending), str(error)
        )

    def _recovered(self) -> None:
        if self._state.problem is not None:
            log.info("spool_writes_again", pending=len(self._pending))
            self._state = SpoolState(
                self.session, self._state.rows, self._state.used_bytes, len(self._pending), None
            )

    def _begin_anew(self, error: SpoolCorruptError) -> None:
        """The file broke under us: put it aside and go on with a new session. A step that fails is tried again."""
        self._file.close()
        try:
            if not self._damaged_aside:
                aside = set_aside(self._path)
                self._damaged_aside = True
                self.counters["spool_set_aside"] += 1
                log.critical("spool_set_aside", path=str(self._path), aside=str(aside), error=str(error))
            self._file, _ = open_or_set_aside(self._path, self._boot)
        except (OSError, SpoolCorruptError) as failed:
            raise SpoolError(
                f"spool {self._path} is damaged and no new one can be made ({failed}): replace its disk, "
                "or give the gateway the right to write in its folder"
            ) from failed
        self.session = self._file.session
        self._damaged_aside = False
        self._damage = None


def _tell(what: Callable[[], None]) -> None:
    """What a listener does wrong must not stop the writer."""
    try:
        what()
    except Exception:
        log.exception("spool_listener_failed")
