"""Messages come back as they were, keep their bytes, and everything else is a named error."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalwire_edge.wire import messages as m
from vitalwire_edge.wire import topics

BLOCK = m.WaveBlock(
    session="s1",
    seq=5,
    flags=m.Flag.HISTORY,
    code=131330,
    device_boot=1,
    first_sample=250,
    start_ns=1_800_000_000_000_000_000,
    rate_mhz=250_000,
    scale=5.0,
    count=3,
    codec=0,
    data=b"\x01\x00\x02\x00\x03\x00",
)
VITALS = m.VitalsMessage(
    session="s1",
    seq=6,
    flags=0,
    time_ns=1,
    values=(m.VitalValue(150456, 97.0), m.VitalValue(147842, None, 2)),
)
BEATS = m.BeatsMessage(session="s1", seq=7, flags=0, beats=(m.BeatMark(9, None, 1.0, 90.0, 1.0, False),))
SKIP = m.Skip("s1", 3, 4, 500, "size")


@pytest.mark.parametrize("message", [BLOCK, VITALS, BEATS, SKIP])
def test_round_trip(message):
    assert m.decode_data(m.encode_data(message)) == message


@pytest.mark.parametrize(
    ("message", "golden"),
    [
        (
            BLOCK,
            "9ea177a273310502ce0002010201ccfacf18fae27693b40000ce0003d090cb40140000000000000300c406010002000300c0",
        ),
        (VITALS, "97a176a273310600019293ce00024bb8cb40584000000000000093ce00024182c002c0"),
        (BEATS, "96a162a273310700919609c0cb3ff0000000000000cb4056800000000000cb3ff0000000000000c2c0"),
        (SKIP, "96a173a273310304cd01f4a473697a65"),
    ],
)
def test_golden_bytes(message, golden):
    assert m.encode_data(message).hex() == golden


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rate_mhz": 0}, "0 mHz"),
        ({"count": 0}, "0 samples"),
        ({"count": 1026}, "longer than 4 s"),
        ({"scale": float("nan")}, "scale nan"),
        ({"scale": -5.0}, "scale -5"),
        ({"code": 1}, "unknown code 1"),
        ({"start_ns": -1}, "negative"),
        ({"seq": -1}, "negative"),
    ],
)
def test_a_block_out_of_bounds_is_refused(change, named):
    with pytest.raises(m.MessageError, match=named):
        m.decode_data(m.encode_data(msgspec.structs.replace(BLOCK, **change)))


@given(st.binary(max_size=400))
def test_noise_is_a_message_error_and_nothing_else(noise):
    with pytest.raises(m.MessageError):
        m.decode_data(b"\xc1" + noise)
    for kind in (m.AlarmMessage, m.GatewayBirth, m.Command):
        with pytest.raises(m.MessageError):
            m.decode_json(noise, kind)
    with pytest.raises(m.MessageError):
        m.unseal(b"k" * 32, "t", noise)


def test_an_oversized_message_is_refused_before_it_is_read():
    with pytest.raises(m.MessageError, match="at most 65536"):
        m.decode_data(bytes(m.MAX_MESSAGE_BYTES + 1))


def test_a_seal_holds_for_its_key_and_topic_only():
    key, topic = b"k" * 32, "v1/ward/gw-a/committed"
    sealed = m.seal(key, topic, b"payload")
    assert m.unseal(key, topic, sealed) == b"payload"
    for other_key, other_topic in ((b"x" * 32, topic), (key, "v1/ward/gw-b/committed")):
        with pytest.raises(m.MessageError, match="wrong key"):
            m.unseal(other_key, other_topic, sealed)


names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)


@given(names, names, names, st.sampled_from(topics.STREAMS))
def test_topics_round_trip(site, gateway, device, stream):
    parsed = topics.parse(topics.device_topic(site, gateway, device, stream))
    assert (parsed.site, parsed.gateway, parsed.device, parsed.stream) == (site, gateway, device, stream)
    assert topics.parse(topics.gateway_topic(site, gateway, "status")).stream is None


@pytest.mark.parametrize(
    "topic",
    ["", "v2/a/b/c/ecg", "v1/a/b/ecg", "v1/a/b/c/nope", "v1/A/b/c/ecg", "v1/a/#/c/ecg", "v1/a/b/c/d/ecg"],
)
def test_foreign_topics_are_refused(topic):
    with pytest.raises(topics.TopicError):
        topics.parse(topic)
