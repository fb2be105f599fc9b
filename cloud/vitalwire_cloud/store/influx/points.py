"""From messages to lines of line protocol, and the names by which they are found again.

Tags are device and channel only; session, sequence and gateway are fields, or each restart of a gateway would begin
new series. Scores carry the model as a field for the same reason.
"""

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from vitalwire_cloud.store.interface import Item, Rollup, StoreError
from vitalwire_cloud.store.segments import duration_ns
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    Anchor,
    BeatsMessage,
    ScoresMessage,
    Skip,
    VitalsMessage,
    WaveBlock,
)

WAVE: Final = "wave"
VITALS: Final = "vitals"
BEAT: Final = "beat"
SCORE: Final = "score"
ALARM: Final = "alarm"
MINUTES: Final = "vitals_1m"

WHOLE: Final[dict[str, tuple[str, ...]]] = {
    WAVE: ("boot", "first", "count", "rate_mhz", "scale", "flags", "codec", "data"),
    VITALS: ("seq",),
    BEAT: ("quality", "wide"),
    SCORE: ("threshold", "model", "version"),
}
"""What a reader needs of a point. A server takes the fields of a point one by one, so a query beside a write may see
some and not yet the others; such a point is not committed and counts as absent."""

OWNER: Final = ("gateway", "session", "seq")

STATUS: Final = "_status"
"""Ending of the field that says how good the number of the same name is."""

_UNKNOWN: Final = "code_"
_INT64: Final = 2**63
_Fields = dict[str, float | bool | str | None]
_MAX_STRING_BYTES: Final = 64 * 1024


def channel_name(code: int) -> str:
    """Name of a code in tags and fields."""
    try:
        return Code(code).name.lower()
    except ValueError:
        return f"{_UNKNOWN}{code}"


def channel_code(name: str) -> int:
    """Inverse of `channel_name`."""
    if name.startswith(_UNKNOWN):
        return int(name.removeprefix(_UNKNOWN))
    return int(Code[name.upper()])


def whole(record: Mapping[str, object], names: Iterable[str]) -> bool:
    """Whether a record has all of these fields."""
    return all(record.get(name) is not None for name in names)


@dataclass(frozen=True, slots=True)
class SeriesName:
    """A series of the server: measurement and tags."""

    measurement: str
    device: str
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One point on its way: `fields` are written out already.

    What decides whether two points clash: the span [time_ns, end_ns) and, for waveforms, the device's counters; for
    numbers, which `names` they hold. `place` tells the beats of one message apart.
    """

    series: SeriesName
    time_ns: int
    end_ns: int
    item: Item
    fields: str
    place: int = 0
    names: frozenset[str] = frozenset()

    def line(self, time_ns: int) -> str:
        """Line at `time_ns`, which says how far it was moved to stand beside a conflicting point."""
        head = f"{self.series.measurement},{_tags(self.series)} {self.fields}"
        moved = time_ns - self.time_ns
        return f"{head},moved_ns={moved}i {time_ns}" if moved else f"{head} {time_ns}"


def points_of(item: Item, stored_ns: int) -> Iterator[Point]:
    """Points of one message. Raises `StoreError` for what the line protocol cannot say; skips have no point."""
    message = item.message
    match message:
        case WaveBlock():
            yield _wave(item, message, stored_ns)
        case VitalsMessage():
            yield _vitals(item, message, stored_ns)
        case BeatsMessage():
            for place, beat in enumerate(message.beats):
                fields: _Fields = {
                    "rr_ms": beat.rr_ms,
                    "amplitude_uv": beat.amplitude_uv,
                    "width_ms": beat.width_ms,
                    "quality": beat.quality,
                    "wide": beat.wide,
                }
                yield _mark(item, BEAT, beat.r_ns, place, fields, message.anchor, stored_ns)
        case ScoresMessage():
            for place, score in enumerate(message.scores):
                fields = {
                    "score": score.score,
                    "shape": score.shape,
                    "timing": score.timing,
                    "amplitude": score.amplitude,
                    "threshold": message.threshold,
                    "model": message.model,
                    "version": message.version,
                }
                yield _mark(item, SCORE, score.r_ns, place, fields, message.anchor, stored_ns)
        case AlarmMessage():
            fields = {
                "alarm_id": message.alarm_id,
                "kind": message.kind,
                "priority": message.priority,
                "category": message.category,
                "phase": message.phase,
                "onset_ns": message.onset_ns,
                "text": message.text,
                "rule": message.rule,
                "value": message.value,
                "limit": message.limit,
            }
            yield _mark(item, ALARM, message.at_ns, 0, fields, message.anchor, stored_ns)
        case Skip():
            return


def minute_line(device: str, channel: str, minute: Rollup) -> str:
    """Line of one minute that is kept when its numbers expire."""
    fields: _Fields = {"n": minute.count, "mean": minute.mean, "low": minute.low, "high": minute.high}
    written = ",".join(f"{name}={_value(name, value)}" for name, value in fields.items() if value is not None)
    return f"{MINUTES},{_tags(SeriesName(MINUTES, device, channel))} {written} {minute.minute_ns}"


def _wave(item: Item, block: WaveBlock, stored_ns: int) -> Point:
    fields: _Fields = {
        "boot": block.device_boot,
        "first": block.first_sample,
        "count": block.count,
        "rate_mhz": block.rate_mhz,
        "scale": block.scale,
        "codec": block.codec,
        "data": base64.b64encode(block.data).decode(),
    }
    end_ns = block.start_ns + duration_ns(block.count, block.rate_mhz)
    return Point(
        SeriesName(WAVE, item.device, channel_name(block.code)),
        block.start_ns,
        end_ns,
        item,
        _fields(item, fields, end_ns, block.flags, block.anchor, stored_ns),
    )


def _vitals(item: Item, message: VitalsMessage, stored_ns: int) -> Point:
    fields: _Fields = {}
    for number in message.values:
        name = channel_name(number.code)
        fields[name] = None if number.value is None else float(number.value)
        fields[name + STATUS] = number.status
    return Point(
        SeriesName(VITALS, item.device),
        message.time_ns,
        message.time_ns + 1,
        item,
        _fields(item, fields, message.time_ns, message.flags, message.anchor, stored_ns),
        names=frozenset(channel_name(number.code) for number in message.values),
    )


def _mark(
    item: Item,
    measurement: str,
    time_ns: int,
    place: int,
    fields: _Fields,
    anchor: Anchor | None,
    stored_ns: int,
) -> Point:
    flags = 0 if isinstance(item.message, Skip) else item.message.flags
    written = _fields(item, {**fields, "place": place}, time_ns, flags, anchor, stored_ns)
    return Point(SeriesName(measurement, item.device), time_ns, time_ns + 1, item, written, place)


def _fields(
    item: Item,
    fields: _Fields,
    end_ns: int,
    flags: int,
    anchor: Anchor | None,
    stored_ns: int,
) -> str:
    everything: _Fields = {
        **fields,
        "flags": int(flags),
        "gateway": item.gateway,
        "session": item.session,
        "seq": item.seq,
        "stored_ns": stored_ns,
        "late_ms": (stored_ns - end_ns) // 1_000_000,
    }
    if anchor is not None:
        everything |= {"anchor_boot": anchor.boot, "mono_ns": anchor.mono_ns}
    return ",".join(
        f"{name}={_value(name, value)}" for name, value in everything.items() if value is not None
    )


_FLOATS: Final = frozenset(
    {
        "scale",
        "rr_ms",
        "amplitude_uv",
        "width_ms",
        "quality",
        "score",
        "shape",
        "timing",
        "amplitude",
        "threshold",
    }
    | {"value", "limit", "mean", "low", "high"}
)
"""Fields that stay floats whatever number comes first: a server keeps the type of the first point."""


def _value(name: str, value: float | bool | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if len(value.encode()) > _MAX_STRING_BYTES:
            raise StoreError(f"{name} has {len(value)} characters: a string of a point has at most 64 KiB")
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if name in _FLOATS or isinstance(value, float):
        value = float(value)
        if not math.isfinite(value):
            raise StoreError(f"{name} is {value}: points hold finite numbers")
        return repr(value)
    if not -_INT64 <= value < _INT64:
        raise StoreError(f"{name} is {value}: integers of points have 64 bits")
    return f"{int(value)}i"


_ESCAPED: Final = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})


def _tags(series: SeriesName) -> str:
    device = f"device={series.device.translate(_ESCAPED)}"
    return f"{device},channel={series.channel}" if series.channel else device
