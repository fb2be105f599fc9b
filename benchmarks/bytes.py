"""Bytes a second of one ECG lead, on the wire and on disk, beside JSON and line protocol with the same samples.

    python benchmarks/bytes.py --data ../shared/data/mitdb
    python benchmarks/bytes.py --data ../shared/data/mitdb --seconds 120 --influxdb

On the wire: whole MQTT 5 packets with topic and acknowledgement, one message for each frame, QoS 1; for vitalwire also
the cloud's sealed word of what is committed, one for each frame. On disk: the embedded store, beside the text
of JSON lines and of line protocol as they would lie in a file. The recordings are first leads of MIT-BIH, resampled to
250 Hz and rounded to steps of 5 uV; without --data, noisy beats that are made here. `--influxdb` also fills Debian's
InfluxDB 1.6 with both, once as we do and once with a point for each sample, and counts what is there after it has
compacted.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray
from scipy.signal import resample_poly
from servers import influx, settled_bytes
from traffic import heart

from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.influx.server import InfluxServer, ServerAddress
from vitalwire_cloud.store.influx.store import InfluxStore
from vitalwire_cloud.store.interface import Item
from vitalwire_edge.wire.blocks import pack
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import (
    Committed,
    StreamCommit,
    WaveBlock,
    encode_committed,
    encode_data,
    seal,
)
from vitalwire_edge.wire.topics import device_topic, gateway_topic

FS_HZ = 250
STEP_UV = 5.0
CODE = Code.ECG_II
T0 = 1_800_000_000 * 10**9
NS = 10**9
SESSION = "0123456789abcdef"
PUBACK_BYTES = 4
COMMITS_PER_S = 1.0
"""One lead: whatever is committed within half a second is told at once, and that is a message a second."""


def recordings(folder: Path, seconds: int) -> Iterator[NDArray[np.int16]]:
    """Steps of 5 uV at 250 Hz of each record's first lead."""
    for path in sorted(folder.glob("*.dat")):
        record = wfdb.rdrecord(str(path.with_suffix("")), channels=[0], sampto=360 * seconds)
        steps = np.round(resample_poly(record.p_signal[:, 0] * 1000, 25, 36) / STEP_UV)
        yield steps.astype(np.int16)


def made(seconds: int) -> Iterator[NDArray[np.int16]]:
    """Hearts of different rates."""
    for number in range(4):
        yield np.round(heart(seconds * FS_HZ, 55 + 12 * number, number) * (2.5 / STEP_UV)).astype(np.int16)


def published(topic: str, payload: bytes) -> int:
    """Bytes of a PUBLISH of QoS 1 without properties, and of its acknowledgement (MQTT 5.0, 3.3 and 3.4)."""
    rest = 2 + len(topic.encode()) + 2 + 1 + len(payload)
    length_bytes = 1 + (rest > 127) + (rest > 16_383)
    return 1 + length_bytes + rest + PUBACK_BYTES


def block(first: int, steps: NDArray[np.int16]) -> WaveBlock:
    """A frame as a gateway says it."""
    codec, data = pack(steps)
    return WaveBlock(
        session=SESSION,
        seq=1_000_000 + first // FS_HZ,
        flags=0,
        code=int(CODE),
        device_boot=1,
        first_sample=10**8 + first,
        start_ns=T0 + first * NS // FS_HZ,
        rate_mhz=FS_HZ * 1000,
        scale=STEP_UV,
        count=steps.size,
        codec=int(codec),
        data=data,
    )


def committed_bytes() -> int:
    """The cloud's sealed word for one stream, as a packet."""
    topic = gateway_topic("ward", "gw-1", "committed")
    said = Committed(T0, (StreamCommit("bed-1", "ecg", SESSION, 1_000_000),))
    return published(topic, seal(bytes(32), topic, encode_committed(said)))


def wire(steps: NDArray[np.int16], frame_s: int) -> dict[str, int]:
    """Bytes on the wire by way of saying it."""
    topic = device_topic("ward", "gw-1", "bed-1", "ecg")
    found = {"vitalwire": 0, "JSON": 0, "line protocol": 0}
    for first in range(0, steps.size - frame_s * FS_HZ + 1, frame_s * FS_HZ):
        part = steps[first : first + frame_s * FS_HZ]
        found["vitalwire"] += published(topic, encode_data(block(first, part)))
        found["JSON"] += published(topic, json_line(first, part))
        found["line protocol"] += published(topic, lines(first, part))
    found["vitalwire"] += round(steps.size / FS_HZ * COMMITS_PER_S / frame_s) * committed_bytes()
    return found


def json_line(first: int, steps: NDArray[np.int16]) -> bytes:
    """A message as people write it who send JSON."""
    values = [round(float(value) * STEP_UV / 1000, 3) for value in steps]
    text = {"device": "bed-1", "time_ns": T0 + first * NS // FS_HZ, "rate_hz": FS_HZ, "ecg_mv": values}
    return json.dumps(text, separators=(",", ":")).encode()


def lines(first: int, steps: NDArray[np.int16]) -> bytes:
    """A point for each sample."""
    return b"".join(
        b"ecg,device=bed-1 mv=%.3f %d\n" % (value * STEP_UV / 1000, T0 + (first + k) * NS // FS_HZ)
        for k, value in enumerate(steps)
    )


def disk(steps: NDArray[np.int16]) -> dict[str, int]:
    """Bytes on disk by way of keeping it, frames of a second."""
    found = {"vitalwire": 0, "JSON": 0, "line protocol": 0}
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder))
        items = []
        for first in range(0, steps.size - FS_HZ + 1, FS_HZ):
            part = steps[first : first + FS_HZ]
            items.append(Item("gw-1", "bed-1", "ecg", SESSION, first // FS_HZ, block(first, part), T0))
            found["JSON"] += len(json_line(first, part)) + 1
            found["line protocol"] += len(lines(first, part))
        for at in range(0, len(items), 100):
            store.write(items[at : at + 100], [])
        store.close()
        found["vitalwire"] = sum(file.stat().st_size for file in Path(folder).iterdir())
    return found


def in_influxdb(every: list[NDArray[np.int16]]) -> dict[str, float]:
    """Bytes in InfluxDB by way of keeping it there, frames of a second, each recording a device of its own."""
    found = {}
    for way in ("vitalwire", "line protocol"):
        with (
            tempfile.TemporaryDirectory() as name,
            influx(Path(name) / "influxdb", compact=True) as (_, url, _pid),
        ):
            folder, address = Path(name), ServerAddress(url=url, bucket="bytes", timeout_s=60)
            server = InfluxServer(address)
            server.query(['CREATE DATABASE "bytes"'])
            before = settled_bytes(folder)
            store = InfluxStore(address, f"sqlite:///{folder / 'ledger.sqlite'}")
            for number, steps in enumerate(every):
                device = f"bed-{number}"
                seconds = range(0, steps.size - FS_HZ + 1, FS_HZ)
                if way == "vitalwire":
                    items = [
                        Item(
                            "gw-1", device, "ecg", SESSION, at // FS_HZ, block(at, steps[at : at + FS_HZ]), T0
                        )
                        for at in seconds
                    ]
                    for k in range(0, len(items), 100):
                        store.write(items[k : k + 100], [])
                else:
                    for at in range(0, steps.size, 20 * FS_HZ):
                        text = lines(at, steps[at : at + 20 * FS_HZ]).decode().replace("bed-1", device)
                        server.write(text.splitlines())
            store.close()
            server.close()
            found[way] = float(settled_bytes(folder) - before)
    return found


def coded(steps: NDArray[np.int16]) -> int:
    """Bytes of the messages alone, frames of four seconds: the figure that has a bar."""
    size = 4 * FS_HZ
    return sum(
        len(encode_data(block(first, steps[first : first + size])))
        for first in range(0, steps.size - size + 1, size)
    )


def measure(every: list[NDArray[np.int16]], *, influxdb: bool) -> dict[str, dict[str, float]]:
    """Bytes a second, over all recordings."""
    seconds = sum(steps.size // (4 * FS_HZ) * 4 for steps in every)
    rows: dict[str, dict[str, float]] = {}
    for name, of in (
        ("wire, frames of 1 s", lambda steps: wire(steps, 1)),
        ("wire, frames of 4 s", lambda steps: wire(steps, 4)),
        ("disk", disk),
    ):
        total: dict[str, float] = {}
        for steps in every:
            for way, size in of(steps[: steps.size // (4 * FS_HZ) * 4 * FS_HZ]).items():
                total[way] = total.get(way, 0.0) + size / seconds
        rows[name] = total
    if influxdb:
        rows["disk, InfluxDB 1.6"] = {way: size / seconds for way, size in in_influxdb(every).items()}
    rows["message alone, frames of 4 s"] = {"vitalwire": sum(coded(steps) for steps in every) / seconds}
    return rows


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="WFDB folder at 360 Hz, such as mitdb; made up without")
    parser.add_argument("--seconds", type=int, default=300, help="of each recording")
    parser.add_argument("--influxdb", action="store_true", help="also fill InfluxDB 1.6")
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    every = list(recordings(given.data, given.seconds) if given.data else made(given.seconds))
    rows = measure(every, influxdb=given.influxdb)
    write = sys.stdout.write
    write(
        "| bytes a second of one lead | vitalwire | JSON | line protocol | JSON / ours | line protocol / ours |\n"
    )
    write("|---|---|---|---|---|---|\n")
    for name, row in rows.items():
        ours = row["vitalwire"]
        others = [row.get(way) for way in ("JSON", "line protocol")]
        cells = [f"{ours:.1f}", *("" if v is None else f"{v:,.0f}" for v in others)]
        cells += ["" if v is None else f"{v / ours:.1f}" for v in others]
        write(f"| {name} | {' | '.join(cells)} |\n")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
