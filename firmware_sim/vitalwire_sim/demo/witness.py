"""Hears what gateways say about models, and can offer one a file of its own as only the cloud should.

It holds the gateways' keys, so what it offers is sealed as it must be: a gateway that refuses such a file does so for
what the file is, which is the point.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from vitalwire_edge.inference.artifact import sha256
from vitalwire_edge.wire.messages import MessageError, seal, unseal
from vitalwire_edge.wire.models import (
    CHUNK_BYTES,
    ModelChunk,
    ModelOffer,
    ModelReport,
    ModelRequest,
    ToGateway,
    chunk_count,
    decode_from_gateway,
    encode_model,
)
from vitalwire_edge.wire.topics import TopicError, gateway_topic, parse

_MARK: Final = b'"created_ns":'


class Witness:
    """A client of the broker on `port`. `on_report` is called on the client's thread with a gateway and its report."""

    def __init__(
        self, port: int, site: str, keys: Mapping[str, bytes], on_report: Callable[[str, ModelReport], None]
    ) -> None:
        self._site = site
        self._keys = keys
        self._on_report = on_report
        self._file = b""
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="witness", protocol=paho.MQTTv5)
        topics = [(gateway_topic(site, name, "model-state"), SubscribeOptions(qos=1)) for name in keys]
        self._client.on_connect = lambda client, *_: client.subscribe(topics)
        self._client.on_message = self._heard
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def offer(self, gateway: str, data: bytes, *, version: int, identity: str) -> None:
        """Offer a gateway the file `data` as a beat model of that version and manifest; serve it when asked for it."""
        self._file = data
        size = len(data)
        self._say(gateway, ModelOffer("beat", version, identity, sha256(data), size, chunk_count(size)))

    def close(self) -> None:
        """End the connection."""
        self._client.disconnect()
        self._client.loop_stop()

    def _heard(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            gateway = parse(message.topic).gateway
            said = decode_from_gateway(unseal(self._keys[gateway], message.topic, bytes(message.payload)))
        except (MessageError, TopicError, KeyError):
            # Not from one of our gateways: nothing to witness.
            return
        match said:
            case ModelReport():
                self._on_report(gateway, said)
            case ModelRequest() if self._file and said.sha256 == sha256(self._file):
                for index in said.chunks:
                    start = index * CHUNK_BYTES
                    self._say(
                        gateway, ModelChunk(said.sha256, index, self._file[start : start + CHUNK_BYTES])
                    )

    def _say(self, gateway: str, message: ToGateway) -> None:
        topic = gateway_topic(self._site, gateway, "model")
        self._client.publish(topic, seal(self._keys[gateway], topic, encode_model(message)), qos=1)


def tampered(artifact: bytes) -> bytes:
    """A signed artifact with one bit of its manifest changed: the time that it says it was made."""
    at = artifact.index(_MARK) + len(_MARK)
    changed = bytearray(artifact)
    changed[at] ^= 1
    return bytes(changed)
