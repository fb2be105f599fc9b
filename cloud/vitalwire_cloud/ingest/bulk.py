"""Many messages at once: from the socket into the queue, and from the queue to the writer.

paho handles one packet per turn of its loop, with three reads from the socket and one wait for it; that was more work
than everything ingest does with a message. Here a PUBLISH with QoS 1 is taken from a buffer that one read fills.
Everything else still goes through paho.
"""

import queue
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

_READ_BYTES: Final = 64 * 1024
_PUBLISH_QOS1: Final = 0x32
_KIND_AND_QOS: Final = 0xF6
_RETAIN: Final = 0x01
_PUBACK: Final = 0x40
_URGENT: Final = "/alarm"


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A message as it came; `connection` and `mid` are what acknowledging it needs."""

    topic: str
    payload: bytes
    retained: bool
    received_ns: int
    connection: int
    mid: int


class Inbox(queue.Queue[Delivery]):
    """What came and is not written yet, bounded; one read from the socket may go over the bound."""

    def __init__(self, messages: int) -> None:
        super().__init__(messages)
        self._hurry = threading.Event()

    def put_all(self, deliveries: Sequence[Delivery], timeout_s: float) -> bool:
        """Put all in once there is room for one; False when there was none in time."""
        with self.not_full:
            if not self.not_full.wait_for(lambda: len(self.queue) < self.maxsize, timeout_s):
                return False
            self.queue.extend(deliveries)
            if len(self.queue) > self.maxsize // 4 or any(d.topic.endswith(_URGENT) for d in deliveries):
                self._hurry.set()
            self.not_empty.notify()
            return True

    def take(self, most: int, *, idle_s: float, linger_s: float) -> list[Delivery]:
        """What is there, at most `most`, after waiting up to `idle_s` for the first and `linger_s` for more.

        An alarm ends the waiting, and so does a queue that fills.
        """
        with self.not_empty:
            if not self.not_empty.wait_for(lambda: self.queue, idle_s):
                return []
            few = len(self.queue) < most
        if few:
            self._hurry.wait(linger_s)
        with self.mutex:
            taken = [self.queue.popleft() for _ in range(min(most, len(self.queue)))]
            if not self.queue:
                self._hurry.clear()
            self.not_full.notify_all()
            return taken


class BulkClient(paho.Client):
    """paho's client that hands all messages of one read to `on_bulk` and acknowledges many in one packet.

    Overridden are the two methods by which paho 2.1 and 2.2 take packets from the socket. `on_bulk` gets topic,
    payload, retained and identifier; it is called on the network thread.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._ahead = bytearray()
        self._source: Any = None

    def on_bulk(self, messages: list[tuple[str, bytes, bool, int]]) -> None:
        """What came with QoS 1; to be overridden or assigned."""
        raise NotImplementedError

    def acknowledge(self, mids: Sequence[int]) -> None:
        """PUBACKs for `mids`."""
        packets = b"".join(b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids)
        self._packet_queue(_PUBACK, packets, mids[-1], 1)

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._ahead:
            return super()._sock_recv(bufsize)
        data = bytes(self._ahead[:bufsize])
        del self._ahead[:bufsize]
        return data

    def _packet_read(self) -> MQTTErrorCode:
        source = self.socket()
        if source is not self._source:
            self._source = source
            self._ahead.clear()
        try:
            data = super()._sock_recv(_READ_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_AGAIN
        except OSError:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        if not data:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        self._ahead += data
        return self._packets()

    def _packets(self) -> MQTTErrorCode:
        """Deal with every whole packet that was read."""
        while True:
            messages, used = published(self._ahead)
            del self._ahead[:used]
            if messages:
                self.on_bulk(messages)
            if _whole(self._ahead, 0) is None:
                return MQTTErrorCode.MQTT_ERR_AGAIN
            done = super()._packet_read()
            if done != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return done


def published(data: bytearray) -> tuple[list[tuple[str, bytes, bool, int]], int]:
    """Topic, payload, retained and identifier of the PUBLISHes with QoS 1 that begin `data`, and their length.

    Ends before the first packet that is something else, that has more than 127 bytes of properties, that contradicts
    its own lengths, or that is not whole.
    """
    found: list[tuple[str, bytes, bool, int]] = []
    at = 0
    while at < len(data) and data[at] & _KIND_AND_QOS == _PUBLISH_QOS1:
        whole = _whole(data, at)
        if whole is None:
            break
        body, end = whole
        topic_end = body + 2 + (data[body] << 8 | data[body + 1]) if end - body > 4 else end
        if topic_end + 3 > end or data[topic_end + 2] > 127 or topic_end + 3 + data[topic_end + 2] > end:
            break
        topic = data[body + 2 : topic_end].decode("utf-8", "replace")
        mid = data[topic_end] << 8 | data[topic_end + 1]
        payload = bytes(data[topic_end + 3 + data[topic_end + 2] : end])
        found.append((topic, payload, bool(data[at] & _RETAIN), mid))
        at = end
    return found, at


def _whole(data: bytearray, at: int) -> tuple[int, int] | None:
    """Where the body of the packet at `at` begins and ends, if all of it is there."""
    length = shift = 0
    for place in range(at + 1, min(at + 5, len(data))):
        length |= (data[place] & 0x7F) << shift
        if data[place] < 0x80:
            end = place + 1 + length
            return (place + 1, end) if end <= len(data) else None
        shift += 7
    # Five bytes without an end are no length: paho says so.
    return (at + 5, at + 5) if len(data) >= at + 5 else None


def deliveries(messages: list[tuple[str, bytes, bool, int]], connection: int) -> list[Delivery]:
    """Messages with the time and the connection by which they came."""
    now_ns = time.time_ns()
    return [
        Delivery(topic, payload, retained, now_ns, connection, mid)
        for topic, payload, retained, mid in messages
    ]
