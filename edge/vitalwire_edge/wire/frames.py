"""The frame a wearable sends its gateway, over a serial line or TCP: versioned, little-endian, with a CRC.

Layout (bytes): sync `A5 5A` | version u8 | kind u8 | payload length u16 | sequence u32 | device clock u64 (us) |
payload | CRC-32 (IEEE 802.3) u32 over everything from the version on. The stream may lose, reorder, repeat or
corrupt anything; `FrameDecoder` finds the next good frame and counts what it threw away.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.wire.codes import MAX_SCALE, MIN_SCALE, Code, ValueStatus

FRAME_VERSION: Final = 1
SYNC: Final = b"\xa5\x5a"
MAX_PAYLOAD_BYTES: Final = 4096
MAX_BLOCK_SAMPLES: Final = 2000

_HEADER: Final = struct.Struct("<2sBBHIQ")
_CRC: Final = struct.Struct("<I")
_HELLO: Final = struct.Struct("<16sBB")
_CHANNEL: Final = struct.Struct("<IIf")
_WAVE: Final = struct.Struct("<BBHQ")
_VITAL: Final = struct.Struct("<IBf")
_STATUS: Final = struct.Struct("<BbH")
_LEAD_OFF: Final = 1
_CODES: Final = {int(code): code for code in Code}
_STATUSES: Final = {int(status): status for status in ValueStatus}


class FrameError(ValueError):
    """A frame cannot be built or read; the message names the field, its value and the limit."""


class FrameKind(IntEnum):
    """What the payload holds."""

    HELLO = 1
    WAVE = 2
    VITALS = 3
    STATUS = 4
    GOODBYE = 5


_KIND_OF_WAVE: Final = int(FrameKind.WAVE)
_INT16: Final = np.dtype("<i2")


@dataclass(frozen=True, slots=True)
class WaveChannel:
    """A waveform channel that the device announces: `rate_mhz` in millihertz, `scale` in channel units per step."""

    code: Code
    rate_mhz: int
    scale: float


@dataclass(frozen=True, slots=True)
class Hello:
    """First frame after connecting: who is talking, since which boot, with which channels.

    `device` has at most 16 characters of `a-z 0-9 -`. `boot` counts the device's restarts modulo 256: its sample
    counters start again from 0 when it changes.
    """

    device: str
    boot: int
    channels: tuple[WaveChannel, ...]


class Wave(msgspec.Struct, frozen=True):
    """`samples` (int16, shape (n,)) of `channel` (index into `Hello.channels`), counted from `first_sample`."""

    channel: int
    first_sample: int
    samples: NDArray[np.int16]
    lead_off: bool = False


class Reading(msgspec.Struct, frozen=True):
    """One number of a vital sign; `value` is NaN where `status` says there is none."""

    code: Code
    value: float
    status: ValueStatus = ValueStatus.OK


class Vitals(msgspec.Struct, frozen=True):
    """Numbers that the device measured at the frame's device clock."""

    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Battery in percent, received signal strength in dBm, frames that the device itself had to drop (modulo 65536)."""

    battery_percent: int
    rssi_dbm: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The device is going away on purpose."""


Payload = Hello | Wave | Vitals | Status | Goodbye


class Frame(msgspec.Struct, frozen=True):
    """A frame: its sequence (u32, one counter a boot), the device's monotonic clock and what it says."""

    sequence: int
    device_us: int
    payload: Payload


def encode(frame: Frame) -> bytes:
    """Bytes of `frame`. Raises `FrameError` when a field does not fit."""
    kind, payload = _encode_payload(frame.payload)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise FrameError(f"payload of {len(payload)} bytes: at most {MAX_PAYLOAD_BYTES}")
    try:
        header = _HEADER.pack(SYNC, FRAME_VERSION, kind, len(payload), frame.sequence, frame.device_us)
    except struct.error as error:
        raise FrameError(
            f"sequence {frame.sequence} or device clock {frame.device_us} us out of range"
        ) from error
    body = header[2:] + payload
    return SYNC + body + _CRC.pack(zlib.crc32(body))


def _encode_payload(payload: Payload) -> tuple[FrameKind, bytes]:
    try:
        match payload:
            case Hello(device, boot, channels):
                name = device.encode("ascii")
                if not 0 < len(name) <= 16:
                    raise FrameError(f"device name {device!r}: 1 to 16 characters")
                head = _HELLO.pack(name, boot, len(channels))
                return FrameKind.HELLO, head + b"".join(
                    _CHANNEL.pack(c.code, c.rate_mhz, c.scale) for c in channels
                )
            case Wave(channel, first_sample, samples, lead_off):
                if not 0 < samples.size <= MAX_BLOCK_SAMPLES:
                    raise FrameError(f"wave block of {samples.size} samples: 1 to {MAX_BLOCK_SAMPLES}")
                head = _WAVE.pack(channel, _LEAD_OFF if lead_off else 0, samples.size, first_sample)
                return FrameKind.WAVE, head + samples.astype("<i2", casting="safe").tobytes()
            case Vitals(readings):
                return FrameKind.VITALS, b"".join(_VITAL.pack(r.code, r.status, r.value) for r in readings)
            case Status(battery_percent, rssi_dbm, dropped):
                return FrameKind.STATUS, _STATUS.pack(battery_percent, rssi_dbm, dropped)
            case Goodbye():
                return FrameKind.GOODBYE, b""
    except (struct.error, UnicodeEncodeError, TypeError) as error:
        raise FrameError(f"{type(payload).__name__} does not fit its frame: {error}") from error


def _decode_wave(buffer: bytes, start: int, length: int) -> Wave:
    """The wave in `length` bytes of `buffer` from `start` on. Raises `FrameError` when it is none."""
    if length < _WAVE.size:
        raise FrameError(f"wave of {length} bytes: at least {_WAVE.size}")
    channel, flags, count, first_sample = _WAVE.unpack_from(buffer, start)
    if length != _WAVE.size + 2 * count or not 0 < count <= MAX_BLOCK_SAMPLES:
        raise FrameError(f"wave of {length} bytes does not hold {count} samples")
    samples = np.frombuffer(buffer, _INT16, count, start + _WAVE.size).astype(np.int16)
    return Wave(channel, first_sample, samples, bool(flags & _LEAD_OFF))


def _decode_payload(kind: int, payload: bytes) -> Payload:
    """Structs of `payload`. Raises `FrameError` when the bytes are not what `kind` promises."""
    try:
        match FrameKind(kind):
            case FrameKind.HELLO:
                name, boot, count = _HELLO.unpack_from(payload)
                if len(payload) != _HELLO.size + count * _CHANNEL.size:
                    raise FrameError(f"hello of {len(payload)} bytes does not hold {count} channels")
                channels = tuple(
                    WaveChannel(Code(code), rate_mhz, scale)
                    for code, rate_mhz, scale in _CHANNEL.iter_unpack(payload[_HELLO.size :])
                )
                if any(c.rate_mhz == 0 or not MIN_SCALE <= c.scale <= MAX_SCALE for c in channels):
                    raise FrameError(
                        f"hello with a channel of rate 0 or a scale not in {MIN_SCALE} to {MAX_SCALE}"
                    )
                return Hello(name.rstrip(b"\0").decode("ascii"), boot, channels)
            case FrameKind.VITALS:
                return Vitals(
                    tuple(
                        [
                            Reading(_CODES[code], value, _STATUSES[status])
                            for code, status, value in _VITAL.iter_unpack(payload)
                        ]
                    )
                )
            case FrameKind.STATUS:
                return Status(*_STATUS.unpack(payload))
            case FrameKind.GOODBYE:
                return Goodbye()
            case FrameKind.WAVE:
                return _decode_wave(payload, 0, len(payload))
    except (struct.error, UnicodeDecodeError) as error:
        raise FrameError(f"frame of kind {kind}: {error}") from error
    except KeyError as error:
        raise FrameError(f"vitals with unknown code or status {error}") from error
    except ValueError as error:
        raise error if isinstance(error, FrameError) else FrameError(str(error)) from error


@dataclass(slots=True)
class FrameCounters:
    """What a decoder saw and threw away since it started."""

    frames: int = 0
    garbage_bytes: int = 0
    bad_crc: int = 0
    bad_version: int = 0
    bad_payload: int = 0

    @property
    def thrown_away(self) -> int:
        """Grows whenever anything but `frames` does."""
        return self.garbage_bytes + self.bad_crc + self.bad_version + self.bad_payload


@dataclass(slots=True)
class FrameDecoder:
    """Turns a byte stream, cut anywhere, into frames; skips to the next sync mark on anything it cannot trust.

    Holds at most one largest frame of undecided bytes.
    """

    counters: FrameCounters = field(default_factory=FrameCounters)
    _buffer: bytes = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield every frame that `data` completes. Never raises: what cannot be read is counted and dropped."""
        buffer = self._buffer + data if self._buffer else data
        position = self._settled = 0
        try:
            while position < len(buffer) and (frame_end := self._next(buffer, position)) is not None:
                position, frame = frame_end
                if frame is not None:
                    yield frame
        finally:
            # What stays is shorter than one largest frame, since _next always moves past anything longer.
            self._buffer = buffer[self._settled :]

    _settled: int = 0

    def _next(self, buffer: bytes, start: int) -> tuple[int, Frame | None] | None:
        """Next (position, frame or None when bytes were skipped), or None when more bytes are needed."""
        found = buffer.find(SYNC, start)
        if found < 0:
            keep = 1 if buffer[-1:] == SYNC[:1] and len(buffer) > start else 0
            self.counters.garbage_bytes += len(buffer) - keep - start
            self._settled = len(buffer) - keep
            return None
        self.counters.garbage_bytes += found - start
        self._settled = found
        if len(buffer) - found < _HEADER.size:
            return None
        _, version, kind, length, sequence, device_us = _HEADER.unpack_from(buffer, found)
        if version != FRAME_VERSION:
            self.counters.bad_version += 1
            return self._skip(found)
        if length > MAX_PAYLOAD_BYTES:
            return self._skip(found)
        end = found + _HEADER.size + length + _CRC.size
        if len(buffer) < end:
            return None
        crc_at = end - _CRC.size
        if zlib.crc32(buffer[found + len(SYNC) : crc_at]) != _CRC.unpack_from(buffer, crc_at)[0]:
            self.counters.bad_crc += 1
            return self._skip(found)
        self._settled = end
        payload_at = found + _HEADER.size
        try:
            if kind == _KIND_OF_WAVE:  # nearly every frame is one
                payload: Payload = _decode_wave(buffer, payload_at, length)
            else:
                payload = _decode_payload(kind, buffer[payload_at:crc_at])
        except FrameError:
            self.counters.bad_payload += 1
            return end, None
        self.counters.frames += 1
        return end, Frame(sequence, device_us, payload)

    def _skip(self, found: int) -> tuple[int, None]:
        self.counters.garbage_bytes += len(SYNC)
        self._settled = found + len(SYNC)
        return found + len(SYNC), None
