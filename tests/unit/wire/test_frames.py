"""Frames survive any cut, any garbage and any damage; what is lost is counted."""

import math
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalwire_edge.wire.codes import Code, ValueStatus
from vitalwire_edge.wire.frames import (
    MAX_PAYLOAD_BYTES,
    SYNC,
    Frame,
    FrameDecoder,
    FrameError,
    Goodbye,
    Hello,
    Reading,
    Status,
    Vitals,
    Wave,
    WaveChannel,
    encode,
)

f32 = st.floats(width=32, allow_nan=False)
payloads = st.one_of(
    st.builds(
        Hello,
        st.from_regex(r"[a-z0-9-]{1,16}", fullmatch=True),
        st.integers(0, 255),
        st.lists(
            st.builds(
                WaveChannel,
                st.sampled_from(Code),
                st.integers(1, 2**32 - 1),
                st.floats(2.0**-20, 1000, width=32),
            ),
            max_size=12,
        ).map(tuple),
    ),
    st.builds(
        lambda channel, first, values, off: Wave(channel, first, np.array(values, dtype=np.int16), off),
        st.integers(0, 255),
        st.integers(0, 2**64 - 1),
        st.lists(st.integers(-32768, 32767), min_size=1, max_size=100),
        st.booleans(),
    ),
    st.builds(
        Vitals,
        st.lists(
            st.builds(Reading, st.sampled_from(Code), f32, st.sampled_from(ValueStatus)), max_size=8
        ).map(tuple),
    ),
    st.builds(Status, st.integers(0, 255), st.integers(-128, 127), st.integers(0, 65535)),
    st.just(Goodbye()),
)
frames = st.builds(Frame, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), payloads)


def same(left: Frame, right: Frame) -> bool:
    if isinstance(left.payload, Wave) and isinstance(right.payload, Wave):
        a, b = left.payload, right.payload
        return (
            (left.sequence, left.device_us, a.channel, a.first_sample, a.lead_off)
            == (right.sequence, right.device_us, b.channel, b.first_sample, b.lead_off)
        ) and np.array_equal(a.samples, b.samples)
    return left == right


def fed(data: bytes, sizes: list[int]) -> tuple[list[Frame], FrameDecoder]:
    decoder, out, at = FrameDecoder(), [], 0
    for size in [*sizes, len(data)]:
        out += decoder.feed(data[at : at + size])
        at += size
    return out, decoder


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 60), max_size=40))
def test_any_cut_gives_the_same_frames(sent, sizes):
    received, decoder = fed(b"".join(map(encode, sent)), sizes)
    assert len(received) == len(sent)
    assert all(map(same, received, sent))
    assert decoder.counters.garbage_bytes == 0


@given(st.lists(st.tuples(st.binary(max_size=40), frames), max_size=6), st.binary(max_size=40))
def test_garbage_between_frames_is_skipped_and_nothing_wrong_comes_out(parts, tail):
    # A sync mark inside the garbage may hide up to one frame length; enough padding ends the wait.
    data = b"".join(garbage.replace(SYNC[:1], b"\0") + encode(frame) for garbage, frame in parts) + tail
    received, decoder = fed(data + bytes(MAX_PAYLOAD_BYTES + 32), [])
    assert len(received) == len(parts)
    assert all(same(got, frame) for got, (_, frame) in zip(received, parts, strict=True))
    assert decoder.counters.garbage_bytes >= sum(len(g) for g, _ in parts)


@given(st.lists(frames, min_size=3, max_size=6), st.data())
def test_a_flipped_bit_costs_at_most_its_own_frame(sent, data):
    raw = [bytearray(encode(frame)) for frame in sent]
    hit = data.draw(st.integers(0, len(raw) - 1))
    bit = data.draw(st.integers(0, 8 * len(raw[hit]) - 1))
    raw[hit][bit // 8] ^= 1 << bit % 8
    received, _ = fed(b"".join(map(bytes, raw)) + bytes(MAX_PAYLOAD_BYTES + 32), [])
    kept = [frame for index, frame in enumerate(sent) if index != hit]
    assert len(received) == len(kept)
    assert all(map(same, received, kept))


@given(st.binary(max_size=20_000))
def test_noise_never_raises_and_the_buffer_stays_small(noise):
    decoder = FrameDecoder()
    for start in range(0, len(noise), 512):
        list(decoder.feed(noise[start : start + 512]))
        assert len(decoder._buffer) <= MAX_PAYLOAD_BYTES + 512 + 32


def test_a_newer_version_is_counted_not_read():
    raw = bytearray(encode(Frame(1, 2, Goodbye())))
    raw[2] = 9
    received, decoder = fed(bytes(raw) + bytes(64), [])
    assert received == []
    assert decoder.counters.bad_version == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"\x07" + struct.pack("<f", math.nan),  # truncated reading
        struct.pack("<IBf", 999, 0, 1.0),  # unknown code
        struct.pack("<IBf", Code.SPO2, 9, 1.0),  # unknown status
    ],
)
def test_a_good_crc_around_a_bad_payload_is_counted(payload):
    body = struct.pack("<BBHIQ", 1, 3, len(payload), 0, 0) + payload
    received, decoder = fed(SYNC + body + struct.pack("<I", zlib.crc32(body)), [])
    assert received == []
    assert decoder.counters.bad_payload == 1


@pytest.mark.parametrize(
    "frame",
    [
        Frame(-1, 0, Goodbye()),
        Frame(0, 2**64, Goodbye()),
        Frame(0, 0, Hello("a-name-of-17-char", 0, ())),
        Frame(0, 0, Wave(0, 0, np.zeros(0, dtype=np.int16))),
        Frame(0, 0, Wave(0, 0, np.zeros(2001, dtype=np.int16))),
        Frame(0, 0, Status(300, 0, 0)),
    ],
)
def test_what_does_not_fit_is_refused_by_name(frame):
    with pytest.raises(FrameError, match=r"\d"):
        encode(frame)


def test_golden_bytes():
    frame = Frame(7, 1_000_000, Wave(0, 250, np.array([0, -1, 300], dtype=np.int16), lead_off=True))
    assert encode(frame).hex() == (
        "a55a010212000700000040420f000000000000010300fa000000000000000000ffff2c01d997c2af"
    )
