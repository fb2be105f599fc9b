"""From messages to lines of line protocol, and the names by which they are found again.

Tags are device and channel only; session, sequence and gateway are fields, or each restart of a gateway would begin
new series. Scores carry the model as a field for the same reason.
"""

import binascii
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from vitalwire_cloud.store.interface import Item, Rollup, StoreError
from vitalwire_cloud.store.segments import duration_ns
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    Anchor,
    BeatMark,
    BeatsMessage,
    ScoreMark,
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
_Fields = dict[str, float | str | None]
_MAX_STRING_BYTES: Final = 64 * 1024


@functools.lru_cache(maxsize=256)
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


class SeriesName(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """A series of the server: measurement and tags."""

    measurement: str
    device: str
    channel: str = ""


series_name: Final = functools.lru_cache(maxsize=16_384)(SeriesName)
"""`SeriesName`, made once for each: a ward fills the same few all day."""


class Point(msgspec.Struct, frozen=True, gc=False):
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
        moved = time_ns - self.time_ns
        if moved:
            return f"{_head(self.series)} {self.fields},moved_ns={moved}i {time_ns}"
        return f"{_head(self.series)} {self.fields} {time_ns}"


def points_of(item: Item, stored_ns: int) -> list[Point]:
    """Points of one message. Raises `StoreError` for what the line protocol cannot say; skips have no point."""
    message = item.message
    match message:
        case WaveBlock():
            return [_wave(item, message, stored_ns)]
        case VitalsMessage():
            return [_vitals(item, message, stored_ns)]
        case BeatsMessage():
            return [
                _mark(item, BEAT, beat.r_ns, place, _beat(beat), message.anchor, stored_ns)
                for place, beat in enumerate(message.beats)
            ]
        case ScoresMessage():
            by: _Fields = {
                "threshold": message.threshold,
                "model": message.model,
                "version": message.version,
            }
            return [
                _mark(item, SCORE, score.r_ns, place, _written(_parts(score) | by), message.anchor, stored_ns)
                for place, score in enumerate(message.scores)
            ]
        case AlarmMessage():
            fields: _Fields = {
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
            return [_mark(item, ALARM, message.at_ns, 0, _written(fields), message.anchor, stored_ns)]
        case Skip():
            return []


def minute_line(device: str, channel: str, minute: Rollup) -> str:
    """Line of one minute that is kept when its numbers expire."""
    fields: _Fields = {"n": minute.count, "mean": minute.mean, "low": minute.low, "high": minute.high}
    return f"{_head(series_name(MINUTES, device, channel))} {_written(fields)} {minute.minute_ns}"


def _wave(item: Item, block: WaveBlock, stored_ns: int) -> Point:
    data = binascii.b2a_base64(block.data, newline=False).decode("ascii")
    if len(data) > _MAX_STRING_BYTES:
        raise StoreError(f"data has {len(data)} characters: a string of a point has at most 64 KiB")
    _bounded(block.device_boot, block.first_sample, block.count, block.rate_mhz, block.codec)
    end_ns = block.start_ns + duration_ns(block.count, block.rate_mhz)
    fields = (
        f"boot={block.device_boot}i,first={block.first_sample}i,count={block.count}i,rate_mhz={block.rate_mhz}i,"
        f'scale={_real("scale", block.scale)},codec={int(block.codec)}i,data="{data}",'
        f"{_origin(item, end_ns, block.flags, block.anchor, stored_ns)}"
    )
    return Point(
        series_name(WAVE, item.device, channel_name(block.code)), block.start_ns, end_ns, item, fields
    )


def _vitals(item: Item, message: VitalsMessage, stored_ns: int) -> Point:
    # A server takes one value of a field, so of a number that is said twice the last one counts.
    said: dict[str, str] = {}
    for number in message.values:
        name = channel_name(number.code)
        status = f"{name}{STATUS}={int(number.status)}i"
        said[name] = status if number.value is None else f"{name}={_real(name, number.value)},{status}"
    at_ns = message.time_ns
    fields = f"{','.join(said.values())},{_origin(item, at_ns, message.flags, message.anchor, stored_ns)}"
    return Point(series_name(VITALS, item.device, ""), at_ns, at_ns + 1, item, fields, names=frozenset(said))


def _beat(beat: BeatMark) -> str:
    return (
        f"{_known('rr_ms', beat.rr_ms)}{_known('amplitude_uv', beat.amplitude_uv)}"
        f"{_known('width_ms', beat.width_ms)}quality={_real('quality', beat.quality)},"
        f"wide={'true' if beat.wide else 'false'}"
    )


def _parts(score: ScoreMark) -> _Fields:
    return {
        "score": score.score,
        "shape": score.shape,
        "timing": score.timing,
        "amplitude": score.amplitude,
    }


def _mark(
    item: Item,
    measurement: str,
    time_ns: int,
    place: int,
    written: str,
    anchor: Anchor | None,
    stored_ns: int,
) -> Point:
    flags = 0 if isinstance(item.message, Skip) else item.message.flags
    fields = f"{written},place={place}i,{_origin(item, time_ns, flags, anchor, stored_ns)}"
    return Point(series_name(measurement, item.device, ""), time_ns, time_ns + 1, item, fields, place)


def _origin(item: Item, end_ns: int, flags: int, anchor: Anchor | None, stored_ns: int) -> str:
    """Whose point it is, and when it was stored."""
    _bounded(flags, item.seq, end_ns)
    origin = (
        f"flags={int(flags)}i,{_owner(item.gateway, item.session)},seq={item.seq}i,"
        f"stored_ns={stored_ns}i,late_ms={(stored_ns - end_ns) // 1_000_000}i"
    )
    if anchor is None:
        return origin
    _bounded(anchor.mono_ns)
    return f"{origin},anchor_boot={_quoted('anchor_boot', anchor.boot)},mono_ns={anchor.mono_ns}i"


@functools.lru_cache(maxsize=4096)
def _owner(gateway: str, session: str) -> str:
    return f"gateway={_quoted('gateway', gateway)},session={_quoted('session', session)}"


def _written(fields: _Fields) -> str:
    return ",".join(f"{name}={_value(name, value)}" for name, value in fields.items() if value is not None)


_FLOATS: Final = frozenset(
    {"score", "shape", "timing", "amplitude", "threshold", "value", "limit", "mean", "low", "high"}
)
"""Fields that stay floats whatever number comes first: a server keeps the type of the first point."""


def _value(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return _quoted(name, value)
    if name in _FLOATS or isinstance(value, float):
        return _real(name, value)
    _bounded(value)
    return f"{value}i"


def _known(name: str, value: float | None) -> str:
    return "" if value is None else f"{name}={_real(name, value)},"


def _real(name: str, value: float) -> str:
    if not math.isfinite(value):
        raise StoreError(f"{name} is {value}: points hold finite numbers")
    return repr(float(value))


def _quoted(name: str, value: str) -> str:
    if len(value.encode()) > _MAX_STRING_BYTES:
        raise StoreError(f"{name} has {len(value)} characters: a string of a point has at most 64 KiB")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bounded(*values: int) -> None:
    for value in values:
        if not -_INT64 <= value < _INT64:
            raise StoreError(f"{value} is beyond what points hold: their integers have 64 bits")


_ESCAPED: Final = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})


@functools.lru_cache(maxsize=16_384)
def _head(series: SeriesName) -> str:
    """Measurement and tags."""
    device = f"device={series.device.translate(_ESCAPED)}"
    return f"{series.measurement},{device}" + (f",channel={series.channel}" if series.channel else "")
