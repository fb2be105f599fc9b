"""How long staff waits: a strip, a day of minutes and the newest alarms, out of a store with a ward's day in it.

    python benchmarks/queries.py --patients 50 --hours 2
    python benchmarks/queries.py --patients 50 --hours 2 --influxdb

Every patient has a waveform of `--hours` in blocks of a second, a day of vital signs, one set a minute, and an alarm
every ten minutes of the day. Places and patients are drawn at random, so hardly anything is asked for twice. The memory
is the peak of the whole process, libraries, filling and asking. `--influxdb` asks Debian's InfluxDB 1.6 in place of the
embedded store, with its ledger in SQLite; its bytes are counted when it has compacted its files.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from servers import influx, settled_bytes
from traffic import heart

from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.influx.server import InfluxServer, ServerAddress
from vitalwire_cloud.store.influx.store import InfluxStore
from vitalwire_cloud.store.interface import Item, Store
from vitalwire_edge.wire.blocks import pack
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import AlarmMessage, VitalsMessage, VitalValue, WaveBlock

FS_HZ: Final = 250
T0: Final = 1_800_000_000 * 10**9
NS: Final = 10**9
DAY_S: Final = 86_400
ALARM_S: Final = 600
CODE: Final = int(Code.ECG_II)
BATCH: Final = 500


def fill(store: Store, patients: int, waveform_s: int) -> int:
    """A day of a ward; returns the samples."""
    hearts = [heart(60 * FS_HZ, 55 + number % 50, number) for number in range(patients)]
    packed = [[pack(counts[k * FS_HZ : (k + 1) * FS_HZ]) for k in range(60)] for counts in hearts]
    waiting: list[Item] = []

    def add(device: str, stream: str, seq: int, message: WaveBlock | VitalsMessage | AlarmMessage) -> None:
        waiting.append(Item("gw-1", device, stream, "s", seq, message, T0))
        if len(waiting) >= BATCH:
            store.write(waiting, [])
            waiting.clear()

    # As it arrives: a second of everybody, then the next.
    for second in range(waveform_s):
        for number in range(patients):
            codec, data = packed[number][second % 60]
            add(
                f"bed-{number}",
                "ecg",
                second,
                WaveBlock(
                    session="s",
                    seq=second,
                    flags=0,
                    code=CODE,
                    device_boot=0,
                    first_sample=second * FS_HZ,
                    start_ns=T0 + second * NS,
                    rate_mhz=FS_HZ * 1000,
                    scale=2.5,
                    count=FS_HZ,
                    codec=int(codec),
                    data=data,
                ),
            )
    for number in range(patients):
        device = f"bed-{number}"
        for minute in range(DAY_S // 60):
            values = (VitalValue(int(Code.SPO2), 97.0), VitalValue(int(Code.RESPIRATION_RATE), 15.0))
            add(
                device,
                "vitals",
                minute,
                VitalsMessage(session="s", seq=minute, flags=0, time_ns=T0 + minute * 60 * NS, values=values),
            )
        for k in range(DAY_S // ALARM_S):
            at_ns = T0 + k * ALARM_S * NS
            add(
                device,
                "alarm",
                k,
                AlarmMessage(
                    session="s",
                    seq=k,
                    flags=0,
                    alarm_id=f"{device}-{k}",
                    kind="spo2_low",
                    category="physiological",
                    priority="medium",
                    phase="raised",
                    onset_ns=at_ns,
                    at_ns=at_ns,
                    text="SpO2 is low",
                    rule="limit",
                ),
            )
    store.write(waiting, [])
    return patients * waveform_s * FS_HZ


def asked(ask: Callable[[np.random.Generator], int], times: int) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds; whatever is asked must find something."""
    rng = np.random.default_rng(3)
    took = np.empty(times)
    for k in range(times):
        began = time.perf_counter()
        found = ask(rng)
        took[k] = (time.perf_counter() - began) * 1000
        assert found > 0
    return float(np.percentile(took, 50)), float(np.percentile(took, 99))


@contextmanager
def opened(*, influxdb: bool) -> Iterator[tuple[Store, Callable[[], int]]]:
    """An empty store, and how many bytes it has on disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not influxdb:
            store: Store = EmbeddedStore(folder)
            yield store, lambda: sum(file.stat().st_size for file in folder.iterdir())
            store.close()
            return
        data = folder / "influxdb"
        with influx(data, compact=True) as (_, url, _pid):
            address = ServerAddress(url=url, bucket="ward")
            server = InfluxServer(address)
            server.query(['CREATE DATABASE "ward"'])
            server.close()
            store = InfluxStore(address, f"sqlite:///{folder / 'ledger.sqlite'}")
            yield (
                store,
                lambda: settled_bytes(data) + sum(file.stat().st_size for file in folder.glob("ledger*")),
            )
            store.close()


def measure(patients: int, waveform_s: int, times: int, *, influxdb: bool) -> dict[str, float]:
    """Fill a store and ask it."""
    with opened(influxdb=influxdb) as (store, disk_bytes):
        began = time.perf_counter()
        samples = fill(store, patients, waveform_s)
        filled_s = time.perf_counter() - began

        def bed(rng: np.random.Generator) -> str:
            return f"bed-{rng.integers(patients)}"

        def strip(rng: np.random.Generator) -> int:
            start = T0 + int(rng.integers(waveform_s - 10)) * NS
            return sum(s.samples.size for s in store.strip(bed(rng), CODE, start, start + 10 * NS))

        def day(rng: np.random.Generator) -> int:
            return len(store.rollups(bed(rng), T0, T0 + DAY_S * NS))

        def alarms(rng: np.random.Generator) -> int:
            return len(store.alarm_messages(int(rng.integers(max(1, patients * 100))), 100))

        def all_alarms(_rng: np.random.Generator) -> int:
            position, read = 0, 0
            while page := store.alarm_messages(position, 1000):
                position, read = page[-1].position, read + len(page)
            return read

        found = {"samples": float(samples), "fill_s": filled_s}
        for name, ask in (("strip_10_s", strip), ("day_of_minutes", day), ("alarms_100", alarms)):
            found[f"{name}_p50_ms"], found[f"{name}_p99_ms"] = asked(ask, times)
        found["day_of_alarms_p50_ms"], found["day_of_alarms_p99_ms"] = asked(all_alarms, max(5, times // 20))
        found["disk_mib"] = disk_bytes() / 2**20
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patients", type=int, default=50)
    parser.add_argument("--hours", type=float, default=2.0, help="of waveform")
    parser.add_argument("--times", type=int, default=500, help="how often each is asked")
    parser.add_argument("--influxdb", action="store_true", help="ask InfluxDB in place of the embedded store")
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    found = measure(given.patients, max(20, round(given.hours * 3600)), given.times, influxdb=given.influxdb)
    for name, value in found.items():
        sys.stdout.write(f"{name:24} {value:,.2f}\n")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
