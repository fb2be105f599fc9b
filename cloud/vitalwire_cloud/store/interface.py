"""What every store backend does, and the values that pass through it."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.wire.messages import (
    AlarmMessage,
    BeatsMessage,
    DeviceBirth,
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


@dataclass(frozen=True, slots=True)
class Item:
    """One sequenced message of one device, as it came from its gateway, or the reason why it was set aside."""

    gateway: str
    device: str
    stream: Stream
    session: str
    seq: int
    message: WaveBlock | VitalsMessage | BeatsMessage | AlarmMessage | Skip
    received_ns: int


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that cannot be stored: kept with its reason, counted as committed where its sequence is known."""

    topic: str
    payload: bytes
    reason: str
    received_ns: int


@dataclass(slots=True)
class WriteResult:
    """What one batch did: `stored` are the items that were new, in order; duplicates and conflicts are counted."""

    stored: list[Item] = field(default_factory=list)
    duplicates: int = 0
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch without a gap: `samples` (float32, shape (n,)) in the channel's unit from `start_ns` at `rate_hz`."""

    start_ns: int
    rate_hz: float
    samples: NDArray[np.float32]
    flags: int = 0


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
    amplitude_uv: float
    width_ms: float
    quality: float
    wide: bool


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


class Store(Protocol):
    """A time-series store with a ledger. Thread-safe. `write` is atomic and durable when it returns.

    A second message with a known (device, stream, session, seq) changes nothing. A different sequence that holds
    samples at an existing time of the same channel is a conflict: kept and counted, never an overwrite.
    """

    def write(self, items: list[Item], quarantined: list[Quarantined]) -> WriteResult:
        """Store a batch and its ledger entries. Raises `StoreUnavailableError` with nothing written."""

    def register(self, site: str, gateway: str, device: str, birth: DeviceBirth) -> None:
        """Remember a device and its channels from its birth."""

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

    def audit(self) -> list[StreamAudit]:
        """Read everything back and count it, for the proof that nothing was lost or stored twice."""

    def ready(self) -> str | None:
        """None when a write would work now, else why not."""

    def close(self) -> None:
        """Flush and let go of the files."""
