"""One MQTT message into what the store takes, or into quarantine with the reason. Pure; nothing here raises."""

import functools
import math
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.store.interface import Item, Quarantined, SeriesKey
from vitalwire_edge.wire.blocks import unpack
from vitalwire_edge.wire.codes import VITALS, WAVE_UNITS, Code, ValueStatus
from vitalwire_edge.wire.messages import (
    MAX_EVIDENCE_SAMPLES,
    UNREADABLE,
    AlarmMessage,
    BeatEvidence,
    BeatsMessage,
    DataMessage,
    DeviceBirth,
    DeviceDeath,
    Flag,
    GatewayBirth,
    GatewayDeath,
    GatewayStatus,
    MessageError,
    ScoresMessage,
    Skip,
    VitalsMessage,
    WaveBlock,
    decode_data,
    decode_json,
)
from vitalwire_edge.wire.topics import Stream, Topic, TopicError, parse

EARLIEST_NS: Final = 1_577_836_800_000_000_000
"""2020-01-01T00:00:00Z: no gateway of ours ran before, so an earlier clock was never set."""

_INT64: Final = 2**63
_MAX_NAME: Final = 128
_MAX_ALARM_NAME: Final = 64
_MAX_TEXT: Final = 2000
_TAGS: Final = ("w", "v", "b", "m")
_MAX_EVIDENCE_HZ: Final = 1000
_MAX_EVIDENCE_UV: Final = 1_000_000
_STREAM_OF: Final[dict[type, Stream]] = {
    WaveBlock: "ecg",
    VitalsMessage: "vitals",
    BeatsMessage: "beat",
    ScoresMessage: "score",
}

topic_of: Final = functools.lru_cache(maxsize=16_384)(parse)
"""`parse`, which remembers: a ward says the same few topics all day."""

NoticeMessage = GatewayBirth | GatewayDeath | GatewayStatus | DeviceBirth | DeviceDeath
Sequenced = DataMessage | AlarmMessage


@dataclass(frozen=True, slots=True)
class Accepted:
    """A sequenced message that may be stored; `samples` (int16, shape (n,)) of a waveform block, unpacked."""

    item: Item
    samples: NDArray[np.int16] | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A birth, death or status: state, not data. A `retained` one may be long out of date."""

    topic: Topic
    message: NoticeMessage
    retained: bool = False


def read(
    topic_text: str, payload: bytes, *, received_ns: int, max_future_ns: int, retained: bool = False
) -> Accepted | Notice | Quarantined:
    """What `payload` on `topic_text` is."""
    try:
        topic = topic_of(topic_text)
    except TopicError as error:
        return Quarantined(topic_text, payload, str(error), received_ns)
    try:
        if topic.device is None or topic.stream is None:
            return _notice(topic, payload, retained)
        return _sequenced(
            topic, topic.device, topic.stream, payload, received_ns, received_ns + max_future_ns
        )
    except MessageError as error:
        series, seq = _place(topic, payload)
        return Quarantined(topic_text, payload, str(error), received_ns, series, seq)


def _notice(topic: Topic, payload: bytes, retained: bool) -> Notice:
    message: NoticeMessage
    match topic.device, topic.verb:
        case None, "birth":
            message = decode_json(payload, GatewayBirth)
        case None, "death":
            message = decode_json(payload, GatewayDeath)
        case None, "status":
            message = decode_json(payload, GatewayStatus)
        case str(), "birth":
            message = decode_json(payload, DeviceBirth)
        case str(), "death":
            message = decode_json(payload, DeviceDeath)
        case _:
            raise MessageError(f"nothing is expected on {topic}")
    return Notice(topic, message, retained)


def _sequenced(
    topic: Topic, device: str, stream: Stream, payload: bytes, received_ns: int, latest_ns: int
) -> Accepted:
    message: Sequenced
    if stream == "alarm" and payload.startswith(b"{"):
        message = decode_json(payload, AlarmMessage)
    else:
        message = decode_data(payload)
        if not isinstance(message, Skip) and _STREAM_OF[type(message)] != stream:
            raise MessageError(f"{type(message).__name__} on topic {topic}: its topic ends in another stream")
    _text("session", message.session, _MAX_NAME)
    samples = _check(message, latest_ns)
    seq = message.first if isinstance(message, Skip) else message.seq
    return Accepted(Item(topic.gateway, device, stream, message.session, seq, message, received_ns), samples)


def _check(message: Sequenced, latest_ns: int) -> NDArray[np.int16] | None:
    """Samples of a block. Raises `MessageError` for what `decode_data` lets through and no store should hold."""
    samples: NDArray[np.int16] | None = None
    match message:
        case Skip():
            _counters(message.samples)
            return None
        case WaveBlock():
            if Code(message.code) not in WAVE_UNITS:
                raise MessageError(f"code {message.code} is not a waveform")
            _counters(message.device_boot, message.flags)
            _clock(message.flags, latest_ns, message.start_ns)
            samples = unpack(message.codec, message.data, message.count)
        case VitalsMessage():
            if not message.values:
                raise MessageError("vitals without a number")
            _clock(message.flags, latest_ns, message.time_ns)
            for number in message.values:
                _vital(number.code, number.value, number.status)
        case BeatsMessage():
            if not message.beats:
                raise MessageError("beats without a beat")
            _clock(message.flags, latest_ns, *(beat.r_ns for beat in message.beats))
            for beat in message.beats:
                _finite(beat.rr_ms, beat.amplitude_uv, beat.width_ms, beat.quality)
        case ScoresMessage():
            _scores(message, latest_ns)
        case AlarmMessage():
            _alarm(message, latest_ns)
    _counters(message.flags)
    if message.anchor is not None:
        _counters(message.anchor.mono_ns)
    return samples


def _scores(message: ScoresMessage, latest_ns: int) -> None:
    if not message.scores:
        raise MessageError("scores without a score")
    _counters(message.version)
    _clock(message.flags, latest_ns, *(mark.r_ns for mark in message.scores))
    _finite(message.threshold)
    for mark in message.scores:
        _finite(mark.score, mark.shape, mark.timing, mark.amplitude)


def _alarm(message: AlarmMessage, latest_ns: int) -> None:
    _counters(message.seq, message.onset_ns, message.at_ns)
    _clock(message.flags, latest_ns, message.onset_ns, message.at_ns)
    _finite(message.value, message.limit)
    _text("alarm id", message.alarm_id, _MAX_ALARM_NAME)
    _text("kind", message.kind, _MAX_ALARM_NAME)
    _text("rule", message.rule, _MAX_NAME)
    for text in (message.text, *message.notes):
        _text("text", text, _MAX_TEXT)
    if message.evidence is not None:
        _evidence(message.evidence)


def _evidence(seen: BeatEvidence) -> None:
    """Two lines that can be drawn over each other."""
    _counters(seen.r_ns, seen.version)
    _finite(seen.score, seen.threshold, seen.shape, seen.timing, seen.amplitude)
    length = len(seen.observed_uv)
    if not 0 < length <= MAX_EVIDENCE_SAMPLES or len(seen.expected_uv) != length:
        raise MessageError(
            f"evidence of {length} observed and {len(seen.expected_uv)} expected samples: "
            f"use as many of both, 1 to {MAX_EVIDENCE_SAMPLES}"
        )
    if not 0 < seen.rate_hz <= _MAX_EVIDENCE_HZ or not 0 <= seen.r_index < length:
        raise MessageError(f"evidence at {seen.rate_hz} Hz with its R peak at {seen.r_index} of {length}")
    if any(abs(sample) > _MAX_EVIDENCE_UV for sample in (*seen.observed_uv, *seen.expected_uv)):
        raise MessageError(f"evidence with a sample beyond {_MAX_EVIDENCE_UV} uV")


def _text(what: str, text: str, longest: int) -> None:
    """Databases disagree about NUL and about what is too long, so neither gets that far."""
    if not 0 < len(text) <= longest or "\0" in text:
        raise MessageError(f"{what} of {len(text)} characters: use 1 to {longest}, without NUL")


def _counters(*values: int) -> None:
    for value in values:
        if not 0 <= value < _INT64:
            raise MessageError(f"{value} is negative or beyond 64 bits")


def _clock(flags: int, latest_ns: int, *times_ns: int) -> None:
    """A gateway that knows its clock is not synchronised says so; its times are mapped later and so not judged."""
    if flags & Flag.UNSYNCHRONISED:
        return
    for time_ns in times_ns:
        if time_ns < EARLIEST_NS:
            raise MessageError(f"time {time_ns} ns is before 2020: set the gateway's clock")
        if time_ns > latest_ns:
            raise MessageError(f"time {time_ns} ns is too far in the future: set the gateway's clock")


def _finite(*values: float | None) -> None:
    if any(value is not None and not math.isfinite(value) for value in values):
        raise MessageError("a value is not a finite number")


def _vital(code: int, value: float | None, status: int) -> None:
    try:
        quantity, state = VITALS[Code(code)], ValueStatus(status)
    except (ValueError, KeyError) as error:
        raise MessageError(f"vital sign with code {code} and status {status} is unknown") from error
    _finite(value)
    carries = state in {ValueStatus.OK, ValueStatus.QUESTIONABLE}
    if carries != (value is not None):
        raise MessageError(f"{quantity.name} of value {value} with status {state.name}")
    if value is not None and not quantity.low <= value <= quantity.high:
        raise MessageError(f"{quantity.name} {value} {quantity.unit} is not possible")


def _place(topic: Topic, payload: bytes) -> tuple[SeriesKey | None, int | None]:
    """Where a message that cannot be stored stands in its stream, if that can be told."""
    if topic.device is None or topic.stream is None:
        return None, None
    session: Any = None
    seq: Any = None
    try:
        if payload.startswith(b"{"):
            tree = msgspec.json.decode(payload)
            session, seq = (tree.get("session"), tree.get("seq")) if isinstance(tree, dict) else (None, None)
        else:
            tree = msgspec.msgpack.decode(payload)
            if isinstance(tree, list) and len(tree) > 2 and tree[0] in _TAGS:
                session, seq = tree[1], tree[2]
    except UNREADABLE:
        return None, None
    known = isinstance(session, str) and 0 < len(session) <= _MAX_NAME
    if not known or type(seq) is not int or not 0 <= seq < _INT64:
        return None, None
    return SeriesKey(topic.gateway, topic.device, topic.stream, session), seq
