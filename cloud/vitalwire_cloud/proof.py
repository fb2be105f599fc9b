"""What a data folder holds, read back: the evidence that nothing was lost or stored twice."""

from pathlib import Path

import msgspec
import numpy as np

from vitalwire_cloud.alerts.alarm import Alarm
from vitalwire_cloud.alerts.ledger import AlarmLedger
from vitalwire_cloud.store.interface import StoreReading


class Latency(msgspec.Struct, frozen=True, omit_defaults=True):
    """From the last sample of a message to its place in the store, in ms."""

    p50: float
    p99: float
    max: float
    values: list[float] | None = None


class StreamProof(msgspec.Struct, frozen=True):
    """One stream of one device (see `StreamAudit`)."""

    gateway: str
    device: str
    stream: str
    code: int
    messages: int
    samples: int
    duplicated: int
    skipped: int
    latency_ms: Latency


class Proof(msgspec.Struct, frozen=True):
    """Everything that was found. `alarm_messages` are those stored, `alarms` what the desk made of them."""

    streams: list[StreamProof]
    alarms: list[Alarm]
    alarm_messages: int
    conflicts: int
    duplicates: int
    quarantined: int


def gather(reader: StoreReading, desk: Path, *, with_values: bool) -> Proof:
    """Read a store, and the desk's alarms in the SQLite file `desk`, without changing them. Raises `StoreError`."""
    streams = [
        StreamProof(
            each.gateway,
            each.device,
            each.stream,
            each.code,
            each.messages,
            each.samples,
            each.duplicated,
            each.skipped,
            _latency(each.latency_ms, with_values),
        )
        for each in reader.audit()
    ]
    counts = reader.counts()
    alarm_messages = sum(stream.messages for stream in streams if stream.stream == "alarm")
    return Proof(
        streams, _alarms(desk), alarm_messages, counts.conflicts, counts.duplicates, counts.quarantined
    )


def _alarms(file: Path) -> list[Alarm]:
    if not file.is_file():
        return []
    ledger = AlarmLedger(f"sqlite:///{file.absolute()}", read_only=True)
    try:
        with ledger.transaction() as connection:
            return [record.alarm for record in ledger.records(connection, open_only=False)]
    finally:
        ledger.close()


def _latency(values: list[float], with_values: bool) -> Latency:
    if not values:
        return Latency(0.0, 0.0, 0.0, [] if with_values else None)
    p50, p99 = np.percentile(values, [50, 99])
    return Latency(float(p50), float(p99), max(values), values if with_values else None)
