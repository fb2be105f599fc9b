"""Messages between gateway and cloud.

What carries samples is MessagePack with structs as arrays; births, deaths, alarms, status and commands are JSON
because people read them. Every sequenced message names the gateway's `session` (born with its spool file, never
reused) and its `seq`, counted from 0 per (session, device, stream). Times are int64 nanoseconds UTC.
"""

import hashlib
import hmac
import re
from enum import IntFlag
from typing import Annotated, Final, Generic, Literal, TypeVar

import msgspec

from vitalwire_edge.wire.codes import MAX_SCALE, MIN_SCALE, Code, ValueStatus
from vitalwire_edge.wire.topics import Stream

MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_EVIDENCE_SAMPLES: Final = 1000
MAX_DEMAND_S: Final = 3600.0

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding hostile bytes may raise: besides its own errors msgspec lets these two through."""


class MessageError(ValueError):
    """A payload is not the message its topic promises, or breaks one of its bounds."""


class Flag(IntFlag):
    """What a reader must know about the data of one message."""

    UNSYNCHRONISED = 1
    """The gateway's clock was not synchronised: times are its best guess, see `boot` and `mono_ns`."""
    HISTORY = 2
    """Sent from the backlog, not live."""
    LEAD_OFF = 4
    """The electrodes were off: the samples are not physiology."""


class _Packed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    session: str
    seq: int
    flags: int


class Anchor(msgspec.Struct, frozen=True, array_like=True):
    """Where a message stands on its gateway's monotonic clock, for mapping it again once that clock is synchronised."""

    boot: str
    mono_ns: int


class WaveBlock(_Packed, frozen=True, tag="w"):
    """At most 4 s of one waveform channel.

    `start_ns` is the time of the first sample, `rate_mhz` the rate in millihertz (nominal, the real one is told by
    successive blocks), `scale` the channel's unit per step, `first_sample` the device's own counter since its boot
    `device_boot`, `data` the int16 samples behind `codec` (see `wire.blocks`).
    """

    code: int
    device_boot: int
    first_sample: int
    start_ns: int
    rate_mhz: int
    scale: float
    count: int
    codec: int
    data: bytes
    anchor: Anchor | None = None


class VitalValue(msgspec.Struct, frozen=True, array_like=True):
    """One number: MDC `code`, its value (None where `status` says there is none)."""

    code: int
    value: float | None
    status: int = ValueStatus.OK


class VitalsMessage(_Packed, frozen=True, tag="v"):
    """Numbers of one instant."""

    time_ns: int
    values: tuple[VitalValue, ...]
    anchor: Anchor | None = None


class BeatMark(msgspec.Struct, frozen=True, array_like=True):
    """One heart beat: time of its R peak, interval to the one before (None after a gap), what it looked like.

    Amplitude and width are None where noise or a gap did not let them be measured.
    `wide` says that the QRS is wider than, and unlike, the patient's own reference beat.
    """

    r_ns: int
    rr_ms: float | None
    amplitude_uv: float | None
    width_ms: float | None
    quality: float
    wide: bool


class BeatsMessage(_Packed, frozen=True, tag="b"):
    """Beats in order."""

    beats: tuple[BeatMark, ...]
    anchor: Anchor | None = None


class ScoreMark(msgspec.Struct, frozen=True, array_like=True):
    """What the beat model said of the beat whose R peak is at `r_ns`: higher is stranger, None where it abstained.

    `shape` and `timing` are the parts of the score in the same robust units of normal beats, `amplitude` the deviation
    of the QRS amplitude from the patient's own in standard deviations; all None where it abstained.
    """

    r_ns: int
    score: float | None
    shape: float | None = None
    timing: float | None = None
    amplitude: float | None = None


class ScoresMessage(_Packed, frozen=True, tag="m"):
    """Scores in order of time, all by one model.

    `model` is the SHA-256 of its manifest in hexadecimal, `version` the manifest's, `threshold` the score that the
    patient's next beat had to exceed for an alert when the message was made.
    """

    model: str
    version: int
    threshold: float
    scores: tuple[ScoreMark, ...]
    anchor: Anchor | None = None


class Skip(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """The gateway gave up `first..last` (inclusive) of a stream: evicted for space or age. Counts as committed."""

    session: str
    first: int
    last: int
    samples: int
    reason: str


DataMessage = WaveBlock | VitalsMessage | BeatsMessage | ScoresMessage | Skip

Priority = Literal["high", "medium", "low"]
Category = Literal["physiological", "technical"]
Phase = Literal["raised", "updated", "cleared"]
Paced = Literal["yes", "no", "unknown"]
Consciousness = Literal["alert", "confusion", "voice", "pain", "unresponsive"]
"""ACVPU: what a person at the bedside says of a patient."""
Spo2Scale = Literal[1, 2]
News2Band = Literal["low", "low_medium", "medium", "high", "incomplete"]
News2Parameter = Literal["respiration", "spo2", "oxygen", "systolic", "pulse", "consciousness", "temperature"]
StaffWord = Literal["consciousness", "oxygen", "spo2_scale"]
_Moment = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class BeatEvidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The beat that a model alert is about: what was seen and what the model expected, to draw one over the other.

    Whole microvolts at `rate_hz`, the R peak (at `r_ns`) at index `r_index`; both of the same length, at most
    `MAX_EVIDENCE_SAMPLES`. `model` is the SHA-256 of the manifest in hexadecimal; the parts are those of `ScoreMark`.
    """

    r_ns: int
    rate_hz: int
    r_index: int
    observed_uv: tuple[int, ...]
    expected_uv: tuple[int, ...]
    score: float
    threshold: float
    shape: float
    timing: float
    amplitude: float
    model: str
    version: int


class AlarmMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of one alarm condition on the gateway (IEC 60601-1-8 terms).

    `alarm_id` stays the same from raised to cleared. `onset_ns` is when the condition began in the signal, `at_ns`
    when the gateway decided. `value` and `limit` are in the unit of `quantity` where the alarm has one.
    """

    session: str
    seq: int
    flags: int
    alarm_id: str
    kind: str
    priority: Priority
    category: Category
    phase: Phase
    onset_ns: int
    at_ns: int
    text: str
    rule: str
    value: float | None = None
    limit: float | None = None
    notes: tuple[str, ...] = ()
    anchor: Anchor | None = None
    evidence: BeatEvidence | None = None


class ChannelInfo(msgspec.Struct, frozen=True):
    """A waveform channel or a vital sign that a device offers."""

    code: int
    name: str
    unit: str
    loinc: str | None = None
    rate_mhz: int | None = None
    scale: float | None = None


class ClockState(msgspec.Struct, frozen=True):
    """The gateway's clock: `offset_ns` is UTC minus the monotonic clock of `boot`."""

    boot: str
    synchronised: bool
    offset_ns: int


class GatewayBirth(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway is here (again). Answered with what is committed."""

    session: str
    at_ns: int
    software: str
    clock: ClockState
    devices: tuple[str, ...]


class GatewayDeath(msgspec.Struct, frozen=True, kw_only=True):
    """The broker's last will for a gateway, or its own goodbye when `expected`."""

    session: str
    expected: bool


class DeviceBirth(msgspec.Struct, frozen=True, kw_only=True):
    """A wearable is here, with its full channel list. `paced` is the patient's pacemaker flag."""

    session: str
    at_ns: int
    device_boot: int
    simulated: bool
    channels: tuple[ChannelInfo, ...]
    paced: Paced = "unknown"


class DeviceDeath(msgspec.Struct, frozen=True, kw_only=True):
    """A wearable is gone: it said goodbye, or its source closed or fell silent."""

    session: str
    at_ns: int
    reason: Literal["goodbye", "closed", "silent"]


class TooOld(msgspec.Struct, frozen=True, kw_only=True):
    """Something staff said so long ago that NEWS2 counts it no more."""

    what: StaffWord
    entered_ns: _Moment


class News2Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The NEWS2 of a wearable's wearer as its gateway computed it last, at `at_ns`.

    `total` is the score where `missing` is empty, else a lower bound; what is missing has no `points`.
    """

    at_ns: _Moment
    total: Annotated[int, msgspec.Meta(ge=0, le=20)]
    band: News2Band
    points: dict[News2Parameter, Annotated[int, msgspec.Meta(ge=0, le=3)]]
    missing: Annotated[tuple[News2Parameter, ...], msgspec.Meta(max_length=7)] = ()
    too_old: Annotated[tuple[TooOld, ...], msgspec.Meta(max_length=3)] = ()
    scale: Spo2Scale = 1


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """State of one wearable. Counters run since the agent started.

    `news2` is null where there is no score (the wearable is away, its wearer new, the rule off), and absent where this
    message does not tell: an older gateway, or one with more wearables than fit.
    """

    device: str
    connected: bool
    battery_percent: int | None
    quality: float | None
    last_frame_age_s: float | None
    frames: int
    dropped: dict[str, int]
    news2: News2Status | msgspec.UnsetType | None = msgspec.UNSET


class GatewayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Sent every few seconds; its absence is an alarm."""

    session: str
    at_ns: int
    clock: ClockState
    spool_rows: int
    spool_bytes: int
    unconfirmed: int
    counters: dict[str, int]
    devices: tuple[DeviceStatus, ...]


class StreamCommit(msgspec.Struct, frozen=True, array_like=True):
    """What is in the store of one stream: all below `low_water`, and the inclusive `ranges` above."""

    device: str
    stream: Stream
    session: str
    low_water: int
    ranges: tuple[tuple[int, int], ...] = ()


class Committed(msgspec.Struct, frozen=True, array_like=True):
    """What ingest has durably stored, cumulative per stream; nothing else leaves a spool."""

    at_ns: int
    streams: tuple[StreamCommit, ...]


_V = TypeVar("_V")


class Entered(msgspec.Struct, Generic[_V], frozen=True, kw_only=True):
    """Something only a person can say: seen at `entered_ns`, worth nothing from `expires_ns` on."""

    value: _V
    entered_ns: _Moment
    expires_ns: _Moment


class StaffState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that staff say of whoever wears a device, and nothing of who that is; None was not said.

    `oxygen`: breathing supplemental oxygen; `spo2_scale` 2 only where a clinician prescribed it. `paced` unknown leaves
    the gateway's own configuration in force.
    """

    consciousness: Entered[Consciousness] | None = None
    oxygen: Entered[bool] | None = None
    spo2_scale: Entered[Spo2Scale] | None = None
    paced: Paced = "unknown"


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the cloud asks of a gateway.

    `rebirth` makes it say all births again; `waveform` makes it send the waveform of `device` for the next `seconds`,
    at most `MAX_DEMAND_S`, and what it still holds of the time before; `new_patient` makes it forget, once for each
    `order` that is higher than the one before, all that it learned of the patient of `device`; `staff` makes it put
    `staff` in place of all that staff said of that patient before, unless a `new_patient` with a higher `order` came.
    """

    command: Literal["rebirth", "waveform", "new_patient", "staff"]
    at_ns: int
    expires_ns: int
    device: str | None = None
    seconds: float | None = None
    order: int | None = None
    staff: StaffState | None = None


class Obeyed(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway has done what `order` said, and that is on disk. Sealed with the gateway's key."""

    command: Literal["new_patient", "staff"]
    order: int
    device: str
    at_ns: int


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """A payload from cloud to gateway with the proof that it was made for this gateway."""

    payload: bytes
    mac: bytes


_pack: Final = msgspec.msgpack.Encoder()
_json: Final = msgspec.json.Encoder()
_unpack_data: Final = msgspec.msgpack.Decoder(DataMessage)
_unpack_sealed: Final = msgspec.msgpack.Decoder(Sealed)
JsonMessage = (
    AlarmMessage | GatewayBirth | GatewayDeath | DeviceBirth | DeviceDeath | GatewayStatus | Command | Obeyed
)
_M = TypeVar("_M", bound=JsonMessage)


def encode_data(message: DataMessage) -> bytes:
    """MessagePack of a sequenced message."""
    return _pack.encode(message)


def decode_data(payload: bytes) -> DataMessage:
    """Message of `payload`. Raises `MessageError` naming what is wrong; checks bounds, not codec data."""
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(f"message of {len(payload)} bytes: at most {MAX_MESSAGE_BYTES}")
    try:
        message: DataMessage = _unpack_data.decode(payload)
    except UNREADABLE as error:
        raise MessageError(f"not a data message: {error}") from error
    _check_bounds(message)
    return message


_MAX_BLOCK_NS: Final = 4_100_000_000
_INT64: Final = 2**63
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def _check_bounds(message: DataMessage) -> None:
    match message:
        case WaveBlock():
            if message.code not in Code.__members__.values():
                raise MessageError(f"wave block with unknown code {message.code}")
            if not 0 < message.rate_mhz <= 10_000_000 or message.count <= 0:
                raise MessageError(f"wave block of {message.count} samples at {message.rate_mhz} mHz")
            if message.count * 1_000_000_000_000 // message.rate_mhz > _MAX_BLOCK_NS:
                raise MessageError(f"wave block of {message.count} samples is longer than 4 s")
            if not MIN_SCALE <= message.scale <= MAX_SCALE:
                raise MessageError(f"wave block with scale {message.scale}: {MIN_SCALE} to {MAX_SCALE}")
            times: tuple[int, ...] = (message.start_ns, message.first_sample)
        case VitalsMessage():
            times = (message.time_ns,)
        case BeatsMessage():
            times = tuple(beat.r_ns for beat in message.beats)
        case ScoresMessage():
            if not _SHA256.fullmatch(message.model):
                raise MessageError("scores do not name their model by the SHA-256 of its manifest")
            times = (message.version, *(score.r_ns for score in message.scores))
        case Skip():
            if message.first > message.last:
                raise MessageError(f"skip of {message.first}..{message.last} is empty")
            times = (message.first, message.last)
    seq = 0 if isinstance(message, Skip) else message.seq
    if not all(0 <= value < _INT64 for value in (*times, seq)):
        raise MessageError("a time, counter or sequence is negative or beyond 64 bits")


def encode_json(message: JsonMessage) -> bytes:
    """JSON of a message that people read."""
    return _json.encode(message)


def decode_json(payload: bytes, kind: type[_M]) -> _M:
    """Message of `kind` from JSON. Raises `MessageError` naming what is wrong."""
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(f"message of {len(payload)} bytes: at most {MAX_MESSAGE_BYTES}")
    try:
        return msgspec.json.decode(payload, type=kind)
    except UNREADABLE as error:
        raise MessageError(f"not a {kind.__name__}: {error}") from error


def seal(key: bytes, topic: str, payload: bytes) -> bytes:
    """`payload` for `topic` with its HMAC-SHA256 under the gateway's key, as bytes of a `Sealed`."""
    return _pack.encode(Sealed(payload, _mac(key, topic, payload)))


def unseal(key: bytes, topic: str, sealed: bytes) -> bytes:
    """Payload of `sealed`. Raises `MessageError` when it was not made with `key` for `topic`."""
    try:
        envelope = _unpack_sealed.decode(sealed)
    except UNREADABLE as error:
        raise MessageError(f"not a sealed message: {error}") from error
    if not hmac.compare_digest(envelope.mac, _mac(key, topic, envelope.payload)):
        raise MessageError(f"sealed message on {topic}: wrong key")
    return envelope.payload


def _mac(key: bytes, topic: str, payload: bytes) -> bytes:
    return hmac.new(key, topic.encode() + b"\0" + payload, hashlib.sha256).digest()


def encode_committed(message: Committed) -> bytes:
    """MessagePack of what is committed, to be sealed."""
    return _pack.encode(message)


def decode_committed(payload: bytes) -> Committed:
    """Committed ranges of an unsealed payload. Raises `MessageError`."""
    try:
        return msgspec.msgpack.decode(payload, type=Committed)
    except UNREADABLE as error:
        raise MessageError(f"not a committed message: {error}") from error
