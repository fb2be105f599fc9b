"""Speed of the embedded store beside the naive table with one row per sample, on the same disk in the same run.

Usage: python benchmarks/store.py [--seconds 600] [--devices 8] [--repeats 5] [--json FILE]

Both get the same waveform (250 Hz, noisy sine) in the same batches with the same durability (write-ahead log,
synchronous=FULL); the store also keeps its ledger and packs nothing itself, since blocks arrive packed. Ratios are what
counts; the figures in a second depend on the machine.
"""

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.interface import Item
from vitalwire_edge.wire.blocks import pack, unpack
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import WaveBlock

FS_HZ = 250
T0 = 1_790_000_000_000_000_000
SECOND_NS = 1_000_000_000
BATCH = 100
CODE = int(Code.ECG_I)


def blocks(seconds: int, devices: int) -> list[Item]:
    """One block a second of every device, in the order in which they would arrive."""
    rng = np.random.default_rng(1)
    items = []
    for second in range(seconds):
        for device in range(devices):
            at = np.arange(second * FS_HZ, (second + 1) * FS_HZ)
            samples = (400 * np.sin(at / 9.0) + rng.normal(0, 6, FS_HZ)).astype(np.int16)
            codec, data = pack(samples)
            message = WaveBlock(
                session="s",
                seq=second,
                flags=0,
                code=CODE,
                device_boot=0,
                first_sample=second * FS_HZ,
                start_ns=T0 + second * SECOND_NS,
                rate_mhz=FS_HZ * 1000,
                scale=2.5,
                count=FS_HZ,
                codec=int(codec),
                data=data,
            )
            items.append(Item("gw-1", f"w-{device}", "ecg", "s", second, message, T0))
    return items


def write_store(folder: Path, items: list[Item]) -> tuple[EmbeddedStore, float]:
    """The store and the seconds it took."""
    store = EmbeddedStore(folder)
    begin = time.perf_counter()
    for at in range(0, len(items), BATCH):
        store.write(items[at : at + BATCH], [])
    return store, time.perf_counter() - begin


def write_naive(folder: Path, items: list[Item]) -> tuple[sqlite3.Connection, float]:
    """The naive table and the seconds it took."""
    connection = sqlite3.connect(folder / "naive.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE sample (device TEXT, time_ns INTEGER, value INTEGER, PRIMARY KEY (device, time_ns)) WITHOUT ROWID"
    )
    begin = time.perf_counter()
    for at in range(0, len(items), BATCH):
        connection.execute("BEGIN IMMEDIATE")
        for item in items[at : at + BATCH]:
            block = item.message
            assert isinstance(block, WaveBlock)
            times = block.start_ns + np.arange(block.count) * (SECOND_NS // FS_HZ)
            values = unpack(block.codec, block.data, block.count)
            connection.executemany(
                "INSERT INTO sample VALUES (?, ?, ?)",
                zip([item.device] * block.count, times.tolist(), values.tolist(), strict=True),
            )
        connection.execute("COMMIT")
    return connection, time.perf_counter() - begin


def strip_ms(read: object, seconds: int, repeats: int) -> float:
    """Median time of a 10 s strip somewhere in the recording."""
    assert callable(read)
    taken = []
    for start in np.random.default_rng(2).integers(0, seconds - 10, repeats):
        begin = time.perf_counter()
        count = read(T0 + int(start) * SECOND_NS, T0 + (int(start) + 10) * SECOND_NS)
        taken.append((time.perf_counter() - begin) * 1e3)
        assert count == 10 * FS_HZ
    return statistics.median(taken)


def size_bytes(folder: Path) -> int:
    """What stands on the disk."""
    return sum(file.stat().st_size for file in folder.iterdir())


def measure(seconds: int, devices: int) -> dict[str, float]:
    """One run of both."""
    items = blocks(seconds, devices)
    samples = len(items) * FS_HZ
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        store, store_s = write_store(Path(one), items)
        naive, naive_s = write_naive(Path(other), items)

        def from_store(start: int, end: int) -> int:
            return sum(s.samples.size for s in store.strip("w-0", CODE, start, end))

        def from_naive(start: int, end: int) -> int:
            rows = naive.execute(
                "SELECT value FROM sample WHERE device = 'w-0' AND time_ns >= ? AND time_ns < ? ORDER BY time_ns",
                (start, end),
            ).fetchall()
            return np.array(rows, dtype=np.float32).size

        store_ms, naive_ms = strip_ms(from_store, seconds, 200), strip_ms(from_naive, seconds, 200)
        begin = time.perf_counter()
        assert sum(a.samples for a in store.audit()) == samples
        audit_s = time.perf_counter() - begin
        store.close()
        naive.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        naive.close()
        store_bytes, naive_bytes = size_bytes(Path(one)), size_bytes(Path(other))
    return {
        "store_samples_per_s": samples / store_s,
        "naive_samples_per_s": samples / naive_s,
        "write_ratio": naive_s / store_s,
        "store_bytes_per_sample": store_bytes / samples,
        "naive_bytes_per_sample": naive_bytes / samples,
        "size_ratio": naive_bytes / store_bytes,
        "store_strip_ms": store_ms,
        "naive_strip_ms": naive_ms,
        "strip_ratio": naive_ms / store_ms,
        "audit_samples_per_s": samples / audit_s,
    }


def main() -> None:
    """Measure and print medians with the range over the repeats."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    runs = [measure(given.seconds, given.devices) for _ in range(given.repeats)]
    for name in runs[0]:
        values = sorted(run[name] for run in runs)
        print(f"{name:24} {statistics.median(values):14,.3f}   ({values[0]:,.3f} to {values[-1]:,.3f})")
    if given.json is not None:
        given.json.write_text(json.dumps(runs, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
