"""What every store backend does, and the values that pass through it."""

import functools
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.wire.messages import (
    AlarmMessage,
    BeatsMessage,
    DeviceBirth,
    ScoresMessage,
    Skip,
    StreamCommit,
    VitalsMessage,
    WaveBlock,
)
from vitalwire_edge.wire.topics import Stream


class StoreError(Exception):
    """The store could not do what was asked; nothing of the batch was written."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached or is full; the same batch may be tried again later."""


class SeriesKey(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """A stream of one device in one session of its gateway: what sequence numbers count."""

    gateway: str
    device: str
    stream: Stream
    session: str


_series_key: Final = functools.lru_cache(maxsize=16_384)(SeriesKey)


class Item(msgspec.Struct, frozen=True, gc=False):
    """One sequenced message of one device, as it came from its gateway, or the reason why it was set aside."""

    gateway: str
    device: str
    stream: Stream
    session: str
    seq: int
    message: WaveBlock | VitalsMessage | BeatsMessage | ScoresMessage | AlarmMessage | Skip
    received_ns: int

    @property
    def series(self) -> SeriesKey:
        """What its sequence number counts in."""
        return _series_key(self.gateway, self.device, self.stream, self.session)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that cannot be stored: kept with its reason.

    Where its place is known (`series` and `seq`) it counts as committed, so that its gateway lets go of it. `number`
    is what the store calls it, and grows; 0 before it is in a store.
    """

    topic: str
    payload: bytes
    reason: str
    received_ns: int
    series: SeriesKey | None = None
    seq: int | None = None
    number: int = 0


Replayed = Literal["stored", "known", "gone"]
"""What became of a message that was set aside: it is data now, it was data already, or nobody keeps it any more."""


@dataclass(slots=True)
class WriteResult:
    """What one batch did: `stored` are the items that were new, in order; duplicates and conflicts are counted."""

    stored: list[Item] = field(default_factory=list)
    duplicates: int = 0
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch without a gap: `samples` (float32, shape (n,)) in the channel's unit from `start_ns` at `rate_hz`.

    They are whole multiples of `scale`.
    """

    start_ns: int
    rate_hz: float
    samples: NDArray[np.float32]
    flags: int = 0
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class VitalPoint:
    """One stored number; `value` is None where the status says there is none."""

    time_ns: int
    code: int
    value: float | None
    status: int


@dataclass(frozen=True, slots=True)
class Rollup:
    """One minute of one vital sign."""

    minute_ns: int
    code: int
    count: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class StoredBeat:
    """One stored beat (see `BeatMark`)."""

    r_ns: int
    rr_ms: float | None
    amplitude_uv: float | None
    width_ms: float | None
    quality: float
    wide: bool


@dataclass(frozen=True, slots=True)
class StoredScore:
    """One stored beat score (see `ScoreMark`) with the model that gave it and the threshold of its message."""

    r_ns: int
    score: float | None
    shape: float | None
    timing: float | None
    amplitude: float | None
    threshold: float
    model: str
    version: int


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A device the store knows, with its last birth."""

    site: str
    gateway: str
    device: str
    birth: DeviceBirth


@dataclass(frozen=True, slots=True)
class StreamAudit:
    """What reading one stream back found: `samples` distinct ones, `duplicated` ones that are stored twice.

    For `ecg` samples are waveform samples of one `code`, elsewhere messages (code 0). `latency_ms` holds, per stored
    message, the time from its last sample to the store's commit.
    """

    gateway: str
    device: str
    stream: str
    code: int
    messages: int
    samples: int
    duplicated: int
    skipped: int
    latency_ms: list[float]


@dataclass(frozen=True, slots=True)
class StoredAlarm:
    """An alarm message in the order in which it was stored: `position` only grows.

    `device` is empty for an alarm about a gateway itself.
    """

    position: int
    gateway: str
    device: str
    message: AlarmMessage
    stored_ns: int


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """Totals over the life of the store.

    Of the `quarantined` some are not kept any more: `quarantine_dropped` had to make room for newer ones,
    `quarantine_replayed` became data, `quarantine_discarded` were thrown away by staff.
    """

    conflicts: int
    duplicates: int
    quarantined: int
    quarantine_dropped: int
    quarantine_replayed: int
    quarantine_discarded: int

    @property
    def quarantine_held(self) -> int:
        """How many are kept now."""
        return (
            self.quarantined - self.quarantine_dropped - self.quarantine_replayed - self.quarantine_discarded
        )


Kind = Literal["waveform", "vitals", "beats", "scores"]
"""What is kept for a time of its own."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased of one device, by whom and why; kept for good. `removed` counts points by what they were."""

    at_ns: int
    device: str
    start_ns: int
    end_ns: int
    by: str
    reason: str
    removed: dict[str, int]


class StoreReading(Protocol):
    """What can be asked of a store, also beside the service that writes it. Thread-safe."""

    def committed(self, gateway: str, session: str) -> list[StreamCommit]:
        """What is stored of every stream of a gateway's session."""

    def devices(self) -> list[DeviceRecord]:
        """Every device with its last birth, in a steady order."""

    def strip(self, device: str, code: int, start_ns: int, end_ns: int) -> list[Segment]:
        """Waveform of [start_ns, end_ns) in order of time, cut at gaps."""

    def vitals(self, device: str, start_ns: int, end_ns: int) -> list[VitalPoint]:
        """Numbers of [start_ns, end_ns) in order of time."""

    def latest_vitals(self, device: str) -> list[VitalPoint]:
        """The newest number of each code."""

    def rollups(self, device: str, start_ns: int, end_ns: int) -> list[Rollup]:
        """Minutes that begin in [start_ns, end_ns)."""

    def beats(self, device: str, start_ns: int, end_ns: int) -> list[StoredBeat]:
        """Beats of [start_ns, end_ns) in order of time."""

    def scores(self, device: str, start_ns: int, end_ns: int) -> list[StoredScore]:
        """Beat scores of [start_ns, end_ns) in order of time."""

    def alarm_messages(self, after: int, limit: int) -> list[StoredAlarm]:
        """At most `limit` alarm messages behind position `after`, in order."""

    def quarantine(self, limit: int) -> list[Quarantined]:
        """The newest messages that were set aside."""

    def set_aside(self, after: int, limit: int) -> list[Quarantined]:
        """At most `limit` messages that were set aside, behind number `after`, oldest first."""

    def counts(self) -> StoreCounts:
        """Totals of what was not stored as it came."""

    def identity(self) -> str:
        """Random name of this store, drawn when it was made; positions mean nothing in another one."""

    def audit(self) -> list[StreamAudit]:
        """Read everything back and count it, for the proof that nothing was lost or stored twice."""

    def erasures(self) -> list[Erasure]:
        """What was erased, in order."""

    def close(self) -> None:
        """Flush and let go of the files."""


class Store(StoreReading, Protocol):
    """A time-series store with a ledger. Thread-safe. `write` is atomic and durable when it returns.

    A second message with a known (device, stream, session, seq) changes nothing. A different sequence that holds
    samples at an existing time of the same channel is a conflict: kept and counted, never an overwrite.
    """

    def write(self, items: list[Item], quarantined: list[Quarantined]) -> WriteResult:
        """Store a batch and its ledger entries. Raises `StoreUnavailableError` with nothing written."""

    def held(self, keys: Collection[SeriesKey]) -> list[StreamCommit]:
        """What is stored of these series, as it is now; of one that is not known nothing is said."""

    def register(self, site: str, gateway: str, device: str, birth: DeviceBirth) -> None:
        """Remember a device and its channels from its birth."""

    def replay(self, number: int, item: Item) -> Replayed:
        """Store what was set aside as `number`, in its place, and keep it aside no longer: both or neither.

        Raises `StoreError` for what still cannot be stored, `StoreUnavailableError` when it may be tried again.
        """

    def discard(self, number: int, *, replayed: bool = False) -> bool:
        """Keep a message aside no longer; what was committed of it stays so. False when it was gone.

        `replayed` counts it as one that was taken after all.
        """

    def expire(self, kind: Kind, before_ns: int) -> int:
        """Delete what ended before a time and return how much that was; minutes of vital signs stay.

        What is committed stays committed. Raises `StoreError` where the server cannot delete.
        """

    def erase(self, device: str, start_ns: int, end_ns: int, *, by: str, reason: str) -> Erasure:
        """Delete everything of a device in [start_ns, end_ns), blocks and minutes that reach into it included.

        Leaves a record of that; what comes again is dropped as known. Raises `StoreError` where the server cannot
        delete.
        """

    def ready(self) -> str | None:
        """None when a write would work now, else why not."""
