"""One MQTT 5 connection to the broker, driven by whoever owns it; no thread of its own.

A fresh client per connection: paho keeps unacknowledged messages in memory and would send them again by itself, while
here only the spool decides what is sent. Callbacks only append to `events`.
"""

import os
import select
import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from vitalwire_edge.config import MqttConfig, read_password

_FIRST_FAILURE: Final = 0x80
_BROKER_LIMIT: Final = 65_535
_GOODBYE_S: Final = 0.5
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the ssl module does not name."""


class ConnectionFailedError(Exception):
    """The broker cannot be reached or does not let us in; the message says which."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The broker let us in; it wants at most `receive_max` messages unacknowledged."""

    receive_max: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker did not let us in."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection is gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """PUBACK of message `mid`; `refusal` names the reason code when the broker did not take it."""

    mid: int
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """SUBACK; `refusal` names the reason code when the broker denied it."""

    refusal: str | None


@dataclass(frozen=True, slots=True)
class Received:
    """A message to us."""

    topic: str
    payload: bytes


Event = Opened | Refused | Ended | Acknowledged | Subscribed | Received


class Connection:
    """A connection being made or open. `wait` moves bytes and fills `events`; everything on one thread.

    `dates` says whether the clock is right, so that the dates in the broker's certificate can be judged.

    Raises `ConnectionFailedError` when the TCP or TLS connection cannot be made.
    """

    def __init__(
        self, config: MqttConfig, client_id: str, *, will_topic: str, will: bytes, dates: bool = True
    ) -> None:
        self.events: deque[Event] = deque()
        self.bytes_published = 0
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
        client.connect_timeout = config.connect_timeout_s
        client.max_inflight_messages_set(_BROKER_LIMIT)
        client.will_set(will_topic, will, qos=1)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        self._client = client
        if config.username is not None:
            password = read_password(Path(config.password_file)) if config.password_file else None
            client.username_pw_set(config.username, password)
        try:
            if config.tls.enabled:
                client.tls_set_context(_tls_context(config, dates=dates))
            client.connect(
                config.host, config.port, keepalive=config.keepalive_s, clean_start=True, properties=None
            )
        except (OSError, ValueError, paho.WebsocketConnectionError) as error:
            raise ConnectionFailedError(f"{config.host}:{config.port}: {error}") from error

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, expiry_s: int | None = None, retain: bool = False
    ) -> int:
        """Hand a message to the connection and return its id. Call only while open."""
        properties = None
        if expiry_s is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = expiry_s
        info = self._client.publish(topic, payload, qos=qos, retain=retain, properties=properties)
        self.bytes_published += len(topic) + len(payload)
        return info.mid

    def subscribe(self, topics: list[str]) -> None:
        """Ask for `topics` at QoS 1."""
        self._client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in topics])

    def wait(self, timeout_s: float, wake: socket.socket) -> None:
        """Move bytes for at most `timeout_s`, less if `wake` becomes readable or something happened."""
        connected = self._client.socket()
        if connected is None:
            if not any(isinstance(event, Ended | Refused) for event in self.events):
                self.events.append(Ended("connection lost"))
            return
        pending = isinstance(connected, ssl.SSLSocket) and connected.pending() > 0
        writers = [connected] if self._client.want_write() else []
        readable, writable, _ = select.select(
            [connected, wake], writers, [], 0 if pending or self.events else timeout_s
        )
        if connected in readable or pending:
            self._client.loop_read()
        if connected in writable:
            self._client.loop_write()
        self._client.loop_misc()

    def close(self) -> None:
        """Say goodbye to the broker (which then sends no will) and let go."""
        connected = self._client.socket()
        if connected is None:
            return
        # What the broker still says has to be taken: closing on unread bytes resets the connection, and the broker
        # may then lose the goodbye and send the will. paho closes its own end at once, so another is kept.
        with socket.socket(fileno=os.dup(connected.fileno())) as end:
            self._client.disconnect()
            self._let_go()
            _end(end)

    def abandon(self) -> None:
        """Let go without a goodbye: the broker sends the will."""
        self._let_go()

    def _let_go(self) -> None:
        connected = self._client.socket()
        if connected is not None:
            connected.close()

    def _on_connect(
        self, _c: paho.Client, _u: Any, _f: Any, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self.events.append(Refused(str(code)))
        else:
            self.events.append(Opened(int(getattr(properties, "ReceiveMaximum", _BROKER_LIMIT))))

    def _on_disconnect(
        self, _c: paho.Client, _u: Any, _f: Any, code: ReasonCode, _p: Properties | None
    ) -> None:
        self.events.append(Ended(str(code)))

    def _on_publish(
        self, _c: paho.Client, _u: Any, mid: int, code: ReasonCode, _p: Properties | None
    ) -> None:
        self.events.append(Acknowledged(mid, str(code) if code.value >= _FIRST_FAILURE else None))

    def _on_subscribe(
        self, _c: paho.Client, _u: Any, _mid: int, codes: list[ReasonCode], _p: Properties | None
    ) -> None:
        refused = next((str(code) for code in codes if code.value >= _FIRST_FAILURE), None)
        self.events.append(Subscribed(refused))

    def _on_message(self, _c: paho.Client, _u: Any, message: paho.MQTTMessage) -> None:
        self.events.append(Received(message.topic, bytes(message.payload)))


def _end(end: socket.socket) -> None:
    """Say that nothing more comes and read until the other side has ended too, or takes too long."""
    until = time.monotonic() + _GOODBYE_S
    try:
        end.shutdown(socket.SHUT_WR)
        while (left := until - time.monotonic()) > 0:
            end.settimeout(left)
            if not end.recv(65_536):
                return
    except OSError:
        # Reset or too slow: the connection is over either way.
        return


def _tls_context(config: MqttConfig, *, dates: bool) -> ssl.SSLContext:
    """TLS 1.2 or newer, the broker's name checked, our certificate shown if there is one.

    Without `dates` a certificate is judged by its signature and name alone: a gateway that started without a clock
    would find every certificate not valid yet, and would never hear what time it is.
    """
    context = ssl.create_default_context(cafile=config.tls.ca_file)
    if not dates:
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.tls.cert_file is not None:
        context.load_cert_chain(config.tls.cert_file, config.tls.key_file)
    return context
