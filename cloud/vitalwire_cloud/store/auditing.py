"""Reading a store back to prove what it holds: every block is decoded, every sample counted by its device's counter."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from vitalwire_cloud.store.interface import StoreError, StreamAudit
from vitalwire_cloud.store.segments import duration_ns
from vitalwire_edge.wire.blocks import unpack
from vitalwire_edge.wire.messages import MessageError

_SAME_BOOT_NS: Final = 60_000_000_000
"""Two blocks with one boot number belong to different boots when their sample 0 lies further apart than this: boot
numbers wrap around, and a wearable that was put back to factory state starts from 0 again."""


WaveRow = tuple[str, str, int, int, int, int, int, int, int, int, int, bytes]
"""Gateway, device, code, device boot, first sample, count, rate in mHz, start, end, stored (ns), codec, data."""


def audit(connection: sqlite3.Connection) -> list[StreamAudit]:
    """Every stream of the store, counted. Raises `StoreError` for a block that does not decode."""
    found = [*count_waves(connection.execute(_WAVES)), *_messages(connection)]
    skipped = {
        (gateway, device, stream): int(samples)
        for gateway, device, stream, samples in connection.execute(
            "SELECT gateway, device, stream, sum(samples) FROM skip JOIN series ON series.id = series"
            " GROUP BY gateway, device, stream"
        )
    }
    return with_skips(found, skipped)


def with_skips(found: list[StreamAudit], skipped: dict[tuple[str, str, str], int]) -> list[StreamAudit]:
    """Streams in a steady order, with the samples given up of each (gateway, device, stream).

    A `skip` names no channel: the samples given up of a device's `ecg` stream stand on its first channel.
    """
    left = dict(skipped)
    audits: list[StreamAudit] = []
    for a in sorted(found, key=lambda a: (a.gateway, a.device, a.stream, a.code)):
        given_up = left.pop((a.gateway, a.device, a.stream), 0)
        audits.append(
            StreamAudit(
                a.gateway,
                a.device,
                a.stream,
                a.code,
                a.messages,
                a.samples,
                a.duplicated,
                given_up,
                a.latency_ms,
            )
        )
    audits += [StreamAudit(g, d, stream, 0, 0, 0, 0, samples, []) for (g, d, stream), samples in left.items()]
    return audits


_WAVES: Final = (
    "SELECT series.gateway, channel.device, code, device_boot, first_sample, count, rate_mhz, start_ns, end_ns,"
    " stored_ns, codec, data FROM wave JOIN channel ON channel.id = channel JOIN series ON series.id = series"
)


def count_waves(rows: Iterable[WaveRow]) -> list[StreamAudit]:
    """Waveform streams of stored blocks. Raises `StoreError` for a block that does not decode."""
    intervals: dict[tuple[str, str, int], list[tuple[int, int, int, int]]] = defaultdict(list)
    latency: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for row in rows:
        gateway, device, code, boot, first, count, rate_mhz, start_ns, end_ns, stored_ns, codec, data = row
        try:
            unpack(codec, data, count)
        except MessageError as error:
            raise StoreError(
                f"block of {device} code {code} at {start_ns} ns does not decode: {error}"
            ) from error
        key = (gateway, device, code)
        intervals[key].append((boot, start_ns - duration_ns(first, rate_mhz), first, first + count))
        latency[key].append((stored_ns - end_ns) / 1e6)
    audits = []
    for key, held in intervals.items():
        total = sum(end - first for _, _, first, end in held)
        distinct = sum(_union(part) for part in _boots(held))
        audits.append(
            StreamAudit(key[0], key[1], "ecg", key[2], len(held), distinct, total - distinct, 0, latency[key])
        )
    return audits


def _boots(held: list[tuple[int, int, int, int]]) -> list[list[tuple[int, int]]]:
    """Sample intervals of (boot, time of sample 0, first, end), by the boot they really belong to."""
    parts: list[list[tuple[int, int]]] = []
    before: tuple[int, int] | None = None
    for boot, origin_ns, first, end in sorted(held):
        if before is None or before[0] != boot or origin_ns - before[1] > _SAME_BOOT_NS:
            parts.append([])
        parts[-1].append((first, end))
        before = (boot, origin_ns)
    return parts


def _union(intervals: Iterable[tuple[int, int]]) -> int:
    """Number of integers in half-open intervals, each counted once."""
    total = reached = 0
    for first, end in sorted(intervals):
        total += max(end - max(first, reached), 0)
        reached = max(reached, end)
    return total


_REPEATED_NUMBERS: Final = (
    "SELECT gateway, vital.device, count(*) FROM (SELECT series, device FROM vital"
    " GROUP BY device, time_ns, code HAVING count(*) > 1) AS vital JOIN series ON series.id = vital.series"
    " GROUP BY gateway, vital.device"
)
_REPEATED_BEATS: Final = (
    "SELECT gateway, beat.device, count(*) FROM (SELECT series, device FROM beat"
    " GROUP BY device, r_ns HAVING count(*) > 1) AS beat JOIN series ON series.id = beat.series"
    " GROUP BY gateway, beat.device"
)

_REPEATED_SCORES: Final = _REPEATED_BEATS.replace("beat", "score")


def _messages(connection: sqlite3.Connection) -> list[StreamAudit]:
    """Streams of messages; numbers, beats and scores that stand in the store twice count as duplicated."""
    repeated = {
        (stream, gateway, device): int(count)
        for stream, query in (
            ("vitals", _REPEATED_NUMBERS),
            ("beat", _REPEATED_BEATS),
            ("score", _REPEATED_SCORES),
        )
        for gateway, device, count in connection.execute(query)
    }
    latency: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for gateway, device, stream, late_ns in connection.execute(
        "SELECT gateway, device, stream, stored_ns - time_ns FROM message JOIN series ON series.id = series"
    ):
        latency[gateway, device, stream].append(late_ns / 1e6)
    return [
        StreamAudit(g, d, stream, 0, len(each), len(each), repeated.get((stream, g, d), 0), 0, each)
        for (g, d, stream), each in latency.items()
    ]
