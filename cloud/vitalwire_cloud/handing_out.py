"""Everything that is stored of one device in one span of time, as files that other programs read.

Waveforms are WFDB records of 16-bit steps exactly as stored (PhysioNet's signal and header formats), one per stretch
without a gap; numbers, beats, scores, minutes and what staff saw are CSV, alarms are JSON lines. `manifest.json` names
every file with its SHA-256.
"""

import csv
import hashlib
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import numpy as np

from vitalwire_cloud.metadata.entries import StaffEntry
from vitalwire_cloud.store.interface import DeviceRecord, Segment, StoreError, StoreReading
from vitalwire_edge.wire.codes import VITALS, Code
from vitalwire_edge.wire.messages import ChannelInfo

_T = TypeVar("_T")
_HOUR_NS: Final = 3_600_000_000_000
_DAY_NS: Final = 24 * _HOUR_NS
_ALARMS_AT_ONCE: Final = 1000
_NS: Final = 1_000_000_000


class HandedFile(msgspec.Struct, frozen=True):
    """One file: `rows` are its samples or lines."""

    name: str
    rows: int
    bytes: int
    sha256: str


class WaveFile(msgspec.Struct, frozen=True):
    """One WFDB record: when its first sample was, to the nanosecond, and what its flags say."""

    record: str
    channel: str
    start_ns: int
    rate_hz: float
    samples: int
    flags: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What was handed out."""

    device: str
    start_ns: int
    end_ns: int
    made_at_ns: int
    software: str
    simulated: bool | None
    gateway: str | None
    site: str | None
    waveforms: list[WaveFile]
    files: list[HandedFile]


def hand_out(
    store: StoreReading,
    device: str,
    start_ns: int,
    end_ns: int,
    folder: Path,
    *,
    said: Sequence[StaffEntry] = (),
) -> Manifest:
    """Write everything of `device` in [start_ns, end_ns) into `folder`, which must be empty or absent.

    `said` is what staff saw of its wearer in that time; neither is named.

    Raises `StoreError`, also for a device that the store does not know.
    """
    record = next((known for known in store.devices() if known.device == device), None)
    if record is None:
        raise StoreError(f"the store knows no device {device!r}: `vitalwire cloud audit` lists them")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise StoreError(f"{folder} is not empty: name a folder of its own")
        waveforms = list(_waveforms(store, record, start_ns, end_ns, folder))
        rows = _tables(store, device, start_ns, end_ns, folder)
        rows["staff.csv"] = _csv(
            folder / "staff.csv",
            ["entered_ns", "expires_ns", "what", "value"],
            ([each.entered_ns, each.expires_ns, each.what, each.value] for each in said),
        )
        rows |= {f"{wave.record}.dat": wave.samples for wave in waveforms}
        manifest = Manifest(
            device=device,
            start_ns=start_ns,
            end_ns=end_ns,
            made_at_ns=time.time_ns(),
            software=f"vitalwire {importlib.metadata.version('vitalwire')}",
            simulated=record.birth.simulated,
            gateway=record.gateway,
            site=record.site,
            waveforms=waveforms,
            files=[_handed(path, rows) for path in sorted(folder.iterdir())],
        )
        (folder / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}") from error
    return manifest


def _handed(path: Path, rows: dict[str, int]) -> HandedFile:
    content = path.read_bytes()
    return HandedFile(path.name, rows.get(path.name, 0), len(content), hashlib.sha256(content).hexdigest())


def _waveforms(
    store: StoreReading, record: DeviceRecord, start_ns: int, end_ns: int, folder: Path
) -> Iterator[WaveFile]:
    for channel in record.birth.channels:
        if channel.rate_mhz is None:
            continue
        code = Code(channel.code)
        number = 0
        for first_ns, last_ns in _spans(start_ns, end_ns, _HOUR_NS):
            for segment in store.strip(record.device, code, first_ns, last_ns):
                number += 1
                name = f"{code.name.lower()}-{number:04d}"
                _write_wfdb(folder, name, segment, channel)
                yield WaveFile(
                    name,
                    code.name.lower(),
                    segment.start_ns,
                    segment.rate_hz,
                    segment.samples.size,
                    segment.flags,
                )


def _write_wfdb(folder: Path, name: str, segment: Segment, channel: ChannelInfo) -> None:
    steps = np.rint(segment.samples / np.float32(segment.scale)).astype("<i2")
    (folder / f"{name}.dat").write_bytes(steps.tobytes())
    began = datetime.fromtimestamp(segment.start_ns // _NS, UTC)
    unit, per_unit = ("mV", 1000.0) if channel.unit == "uV" else (channel.unit, 1.0)
    checksum = int(steps.astype(np.int64).sum()) & 0xFFFF
    checksum -= 0x10000 if checksum & 0x8000 else 0
    gain = per_unit / segment.scale
    (folder / f"{name}.hea").write_text(
        f"{name} 1 {segment.rate_hz:.17g} {steps.size} {began:%H:%M:%S} {began:%d/%m/%Y}\n"
        f"{name}.dat 16 {gain:.17g}(0)/{unit} 16 0 {steps[0]} {checksum} 0 {channel.name}\n"
        f"# start_ns {segment.start_ns}\n",
        encoding="ascii",
        errors="replace",
    )


def _tables(store: StoreReading, device: str, start_ns: int, end_ns: int, folder: Path) -> dict[str, int]:
    def days(read: Callable[[str, int, int], list[_T]]) -> Iterator[_T]:
        for first_ns, last_ns in _spans(start_ns, end_ns, _DAY_NS):
            yield from read(device, first_ns, last_ns)

    return {
        "vitals.csv": _csv(
            folder / "vitals.csv",
            ["time_ns", "code", "name", "value", "unit", "status"],
            ([p.time_ns, p.code, *_named(p.code, p.value), p.status] for p in days(store.vitals)),
        ),
        "minutes.csv": _csv(
            folder / "minutes.csv",
            ["minute_ns", "code", "count", "mean", "low", "high"],
            ([m.minute_ns, m.code, m.count, m.mean, m.low, m.high] for m in days(store.rollups)),
        ),
        "beats.csv": _csv(
            folder / "beats.csv",
            ["r_ns", "rr_ms", "amplitude_uv", "width_ms", "quality", "wide"],
            (
                [b.r_ns, b.rr_ms, b.amplitude_uv, b.width_ms, b.quality, int(b.wide)]
                for b in days(store.beats)
            ),
        ),
        "scores.csv": _csv(
            folder / "scores.csv",
            ["r_ns", "score", "shape", "timing", "amplitude", "threshold", "model", "version"],
            (
                [s.r_ns, s.score, s.shape, s.timing, s.amplitude, s.threshold, s.model, s.version]
                for s in days(store.scores)
            ),
        ),
        "alarms.ndjson": _alarms(store, device, start_ns, end_ns, folder / "alarms.ndjson"),
    }


def _named(code: int, value: float | None) -> tuple[str, float | None, str]:
    known = VITALS.get(Code(code)) if code in Code.__members__.values() else None
    return ("", value, "") if known is None else (known.name, value, known.unit)


def _csv(path: Path, head: list[str], rows: Iterable[list[Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for row in rows:
            writer.writerow(["" if cell is None else cell for cell in row])
            count += 1
    return count


def _alarms(store: StoreReading, device: str, start_ns: int, end_ns: int, path: Path) -> int:
    count = after = 0
    with path.open("wb") as file:
        while found := store.alarm_messages(after, _ALARMS_AT_ONCE):
            after = found[-1].position
            for stored in found:
                if stored.device == device and start_ns <= stored.message.at_ns < end_ns:
                    file.write(msgspec.json.encode(stored.message) + b"\n")
                    count += 1
    return count


def _spans(start_ns: int, end_ns: int, step_ns: int) -> Iterator[tuple[int, int]]:
    for first_ns in range(start_ns, end_ns, step_ns):
        yield first_ns, min(first_ns + step_ns, end_ns)
