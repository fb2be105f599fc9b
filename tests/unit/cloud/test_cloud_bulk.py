"""Packets taken from a buffer are those that paho would have taken, wherever the buffer is cut."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalwire_cloud.ingest.bulk import Delivery, Inbox, published


def publish(topic: bytes, payload: bytes, mid: int, *, head: int = 0x32, properties: bytes = b"") -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + (mid.to_bytes(2, "big") if head & 6 else b"")
    body += bytes([len(properties)]) + properties + payload
    length, rest = b"", len(body)
    while True:
        rest, low = divmod(rest, 128)
        length += bytes([low | (0x80 if rest else 0)])
        if not rest:
            return bytes([head]) + length + body


messages = st.lists(
    st.tuples(st.text("abc/", min_size=1, max_size=40), st.binary(max_size=300), st.booleans(), st.integers(1, 65535)),
    max_size=5,
)  # fmt: skip


@given(messages, st.data())
def test_whole_packets_come_out_and_the_rest_stays(wanted, data):
    packets = [publish(t.encode(), p, m, head=0x33 if retained else 0x32) for t, p, retained, m in wanted]
    stream = b"".join(packets)
    cut = data.draw(st.integers(0, len(stream)))
    found, used = published(bytearray(stream[:cut]))
    rest, more = published(bytearray(stream[used:]))
    assert found + rest == wanted
    assert used + more == len(stream)
    assert used <= cut


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data):
    found, used = published(bytearray(data))
    assert used <= len(data)
    assert all(len(payload) < used for _, payload, _, _ in found)


@pytest.mark.parametrize(
    "other",
    [
        publish(b"t", b"x", 1, head=0x30),
        publish(b"t", b"x", 1, head=0x34),
        publish(b"t", b"x", 1, properties=bytes(2) * 64),
        b"\xd0\x00",
        b"\x32\x03\x00\x09t",
        b"\x32\x06\x00\x01t\x00\x01\x09",
    ],
    ids=[
        "qos 0",
        "qos 2",
        "long properties",
        "pong",
        "topic beyond the packet",
        "properties beyond the packet",
    ],
)
def test_everything_else_is_left_to_paho(other):
    known = publish(b"a", b"p", 7, properties=b"\x01\x01")
    assert published(bytearray(known + other + known)) == ([("a", b"p", False, 7)], len(known))


def delivery(topic: str = "v1/s/g/d/ecg") -> Delivery:
    return Delivery(topic, b"", False, 0, 1, 1)


def test_a_batch_lingers_but_not_with_an_alarm_in_it():
    inbox = Inbox(100)
    inbox.put_all([delivery()], 0)
    began = time.monotonic()
    assert len(inbox.take(10, idle_s=1, linger_s=0.1)) == 1
    assert time.monotonic() - began >= 0.1
    inbox.put_all([delivery(), delivery("v1/s/g/d/alarm")], 0)
    began = time.monotonic()
    assert len(inbox.take(10, idle_s=30, linger_s=30)) == 2
    assert time.monotonic() - began < 10


def test_a_full_inbox_takes_nothing_until_there_is_room():
    inbox = Inbox(4)
    assert inbox.put_all([delivery()] * 4, 0)
    assert not inbox.put_all([delivery()], 0.01)
    waiting = threading.Thread(target=inbox.put_all, args=([delivery()], 30))
    waiting.start()
    assert len(inbox.take(3, idle_s=0, linger_s=0)) == 3
    waiting.join()
    assert inbox.qsize() == 2
    assert inbox.take(0, idle_s=0, linger_s=0) == []
