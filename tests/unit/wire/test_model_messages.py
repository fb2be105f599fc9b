"""Messages about models come back as they were, keep their bytes, and fit into 64 KiB with their seal."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalwire_edge.wire import messages as m
from vitalwire_edge.wire import models as w
from vitalwire_edge.wire import topics

HASH, FILE = "ab" * 32, "cd" * 32
OFFER = w.ModelOffer("beat", 3, HASH, FILE, 100_000, 2)
CHUNK = w.ModelChunk(FILE, 1, b"\x01\x02")
REQUEST = w.ModelRequest(FILE, (0, 2))
REPORT = w.ModelReport(
    at_ns=1,
    state="refused",
    name="beat",
    version=3,
    manifest_sha256=HASH,
    sha256=FILE,
    running_version=2,
    running_sha256=HASH,
    reason="too_slow",
    detail="late",
    p99_us=2.5,
)


@pytest.mark.parametrize("message", [OFFER, CHUNK])
def test_round_trip_to_a_gateway(message):
    assert w.decode_to_gateway(w.encode_model(message)) == message


@pytest.mark.parametrize("message", [REQUEST, REPORT])
def test_round_trip_from_a_gateway(message):
    assert w.decode_from_gateway(w.encode_model(message)) == message


def packed(text: str) -> str:
    return "d940" + text.encode().hex()


@pytest.mark.parametrize(
    ("message", "golden"),
    [
        (OFFER, f"97a26d6fa46265617403{packed(HASH)}{packed(FILE)}ce000186a002"),
        (CHUNK, f"94a26d63{packed(FILE)}01c4020102"),
        (REQUEST, f"93a26d72{packed(FILE)}920002"),
        (
            REPORT,
            (
                f"9fa26d7301a772656675736564a46265617403{packed(HASH)}{packed(FILE)}02{packed(HASH)}"
                "a8746f6f5f736c6f77a46c617465cb4004000000000000c0c0c0"
            ),
        ),
    ],
)
def test_golden_bytes(message, golden):
    assert w.encode_model(message).hex() == golden


def test_the_largest_chunk_fits_into_64_kib_with_its_envelope():
    key, topic = b"k" * 32, topics.gateway_topic("s" * 32, "g" * 32, "model")
    last = w.chunk_count(w.MAX_ARTIFACT_BYTES) - 1
    sealed = m.seal(key, topic, w.encode_model(w.ModelChunk(FILE, last, b"\xff" * w.CHUNK_BYTES)))
    assert len(sealed) + len(topic) <= m.MAX_MESSAGE_BYTES
    assert len(w.decode_to_gateway(m.unseal(key, topic, sealed)).data) == w.CHUNK_BYTES


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"chunks": 3}, "in 3 chunks"),
        ({"size": 0, "chunks": 0}, "0 bytes"),
        ({"size": -1, "chunks": 0}, "-1 bytes"),
        ({"version": 0}, "version 0"),
        ({"name": "../x"}, "name '../x'"),
        ({"sha256": "../../etc/passwd"}, "64 hexadecimal"),
        ({"manifest_sha256": "AB" * 32}, "64 hexadecimal"),
    ],
)
def test_an_offer_out_of_bounds_is_refused(change, named):
    with pytest.raises(m.MessageError, match=named):
        w.decode_to_gateway(w.encode_model(msgspec.structs.replace(OFFER, **change)))


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (w.ModelChunk(FILE, -1, b"x"), "chunk -1"),
        (w.ModelChunk(FILE, 2**40, b"x"), "beyond"),
        (w.ModelChunk(FILE, 0, b""), "chunk of 0 bytes"),
        (w.ModelChunk(FILE, 0, bytes(w.CHUNK_BYTES + 1)), "chunk of 61441 bytes"),
    ],
)
def test_a_chunk_out_of_bounds_is_refused(message, named):
    with pytest.raises(m.MessageError, match=named):
        w.decode_to_gateway(w.encode_model(message))


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (w.ModelRequest(FILE, ()), "request of 0"),
        (w.ModelRequest(FILE, tuple(range(17))), "request of 17"),
        (w.ModelRequest(FILE, (2**40,)), "beyond"),
        (msgspec.structs.replace(REPORT, detail="x" * 401), "400 characters"),
        (msgspec.structs.replace(REPORT, at_ns=-1), "negative"),
        (msgspec.structs.replace(REPORT, running_sha256="no"), "64 hexadecimal"),
        (msgspec.structs.replace(REPORT, state="happy"), "Invalid enum value"),
    ],
)
def test_a_request_or_report_out_of_bounds_is_refused(message, named):
    with pytest.raises(m.MessageError, match=named):
        w.decode_from_gateway(w.encode_model(message))


@given(st.binary(max_size=400))
def test_noise_is_a_message_error_and_nothing_else(noise):
    for decode in (w.decode_to_gateway, w.decode_from_gateway):
        with pytest.raises(m.MessageError):
            decode(b"\xc1" + noise)


def test_text_that_is_none_is_a_message_error():
    for message, decode in ((OFFER, w.decode_to_gateway), (REPORT, w.decode_from_gateway)):
        payload = w.encode_model(message)
        with pytest.raises(m.MessageError):
            decode(payload.replace(message.name.encode(), b"\xff" * len(message.name)))


def test_an_oversized_message_is_refused_before_it_is_read():
    for decode in (w.decode_to_gateway, w.decode_from_gateway):
        with pytest.raises(m.MessageError, match="at most 65536"):
            decode(bytes(m.MAX_MESSAGE_BYTES + 1))


def test_a_gateway_hears_and_says_models_on_two_topics():
    down, up = (topics.gateway_topic("ward", "gw-a", verb) for verb in ("model", "model-state"))
    assert topics.parse(down).verb == "model"
    assert topics.parse(up).verb == "model-state"
