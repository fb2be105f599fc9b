"""The connection to the broker: MQTT 5, manual acknowledgement, one bounded queue between callback and writer."""

import functools
import random
import threading
from collections.abc import Sequence
from typing import Any, Final

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from vitalwire_cloud import metrics
from vitalwire_cloud.config import MqttConfig
from vitalwire_cloud.ingest.bulk import BulkClient, Delivery, Inbox, deliveries
from vitalwire_cloud.ingest.credentials import show_credentials
from vitalwire_edge.wire import WIRE_VERSION
from vitalwire_edge.wire.messages import MAX_MESSAGE_BYTES
from vitalwire_edge.wire.topics import STREAMS

log = structlog.get_logger()

_QOS: Final = 1
_MAX_OUTGOING: Final = 1000
_FULL_POLL_S: Final = 0.25
_MARGIN_BYTES: Final = 4 * 1024


class BrokerLink:
    """Receives into `queue` and publishes. Reconnects by itself with growing, randomised pauses.

    The callback only enqueues. When the queue is full it waits, which stops reading from the socket: memory stays
    bounded, and a broker that gives up on us sends again after the reconnect. Raises `ConfigError` for files that
    cannot be used.
    """

    def __init__(self, config: MqttConfig, *, site: str | None, queue_messages: int) -> None:
        self.queue = Inbox(queue_messages)
        self._config = config
        self._filters = subscriptions(site, config.group)
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._subscribing: int | None = None
        self._connection = 0
        self._problem = "not connected yet"
        self._denied = False
        self._refused: str | None = None
        self._client = BulkClient(
            CallbackAPIVersion.VERSION2, client_id=config.client_id, protocol=paho.MQTTv5, manual_ack=True
        )
        self._client.max_queued_messages_set(_MAX_OUTGOING)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_bulk = self._on_bulk  # type: ignore[method-assign]
        self._client.on_publish = self._on_publish
        show_credentials(self._client, config)

    def start(self) -> None:
        """Connect in the background and keep connected."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = self._config.receive_maximum
        properties.MaximumPacketSize = MAX_MESSAGE_BYTES + _MARGIN_BYTES
        self._spread_reconnects()
        self._client.connect_async(
            self._config.host,
            self._config.port,
            keepalive=self._config.keepalive_s,
            clean_start=True,
            properties=properties,
        )
        self._client.loop_start()

    def stop_receiving(self) -> None:
        """Take nothing more; what is queued stays."""
        self._stopping.set()

    def close(self) -> None:
        """Say goodbye to the broker."""
        self._stopping.set()
        self._client.disconnect()
        self._client.loop_stop()
        metrics.CONNECTED.set(0)

    def problem(self) -> str | None:
        """None while subscribed and allowed to publish, else what is wrong."""
        if not self._connected.is_set():
            return f"broker {self._address}: {self._problem}"
        return None if self._refused is None else f"broker {self._address}: {self._refused}"

    def alive(self) -> bool:
        """Whether the client's own thread runs."""
        name = f"paho-mqtt-client-{self._config.client_id}"
        return any(thread.name == name for thread in threading.enumerate())

    @property
    def connected(self) -> bool:
        """Whether it is subscribed."""
        return self._connected.is_set()

    @property
    def connection(self) -> int:
        """Counts the connections made so far."""
        return self._connection

    @property
    def _address(self) -> str:
        return f"{self._config.host}:{self._config.port}"

    def acknowledge(self, batch: Sequence[Delivery]) -> None:
        """Tell the broker that a batch is dealt with, but for what came over a connection that is gone."""
        mids = [each.mid for each in batch if each.connection == self._connection and each.mid]
        if mids:
            self._client.acknowledge(mids)

    def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        """Publish with QoS 1; False when it was not even queued because there is no connection."""
        if not self._connected.is_set():
            return False
        info = self._client.publish(topic, payload, qos=_QOS, properties=_properties(expiry_s))
        return info.rc == paho.MQTT_ERR_SUCCESS

    def _spread_reconnects(self) -> None:
        # Many services that lost one broker must not come back in step.
        self._client.reconnect_delay_set(min_delay=1, max_delay=random.randint(8, 16))

    def _on_connect(
        self,
        client: paho.Client,
        _data: Any,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        _p: Properties | None,
    ) -> None:
        self._connection += 1
        if reason.is_failure:
            self._problem, self._denied = f"refused: {reason}", True
            log.error("broker_refused", broker=self._address, reason=str(reason))
            return
        options = SubscribeOptions(qos=_QOS)
        _, self._subscribing = client.subscribe([(topic_filter, options) for topic_filter in self._filters])

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, mid: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        if mid != self._subscribing:
            return
        refused = [f for f, reason in zip(self._filters, reasons, strict=False) if reason.is_failure]
        if refused:
            self._problem, self._denied = f"subscription refused: {', '.join(refused)}", True
            log.error("broker_refused_subscription", broker=self._address, filters=refused)
            return
        self._denied = False
        self._connected.set()
        metrics.CONNECTED.set(1)
        log.info("broker_connected", broker=self._address)

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        self._spread_reconnects()
        self._problem, self._denied = "no answer", False
        log.warning("broker_unreachable", broker=self._address)

    def _on_disconnect(
        self,
        _client: paho.Client,
        _data: Any,
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _p: Properties | None,
    ) -> None:
        self._connected.clear()
        metrics.CONNECTED.set(0)
        self._spread_reconnects()
        if not self._denied:
            # A broker that refuses also hangs up; why it refused is what helps.
            self._problem = f"connection lost: {reason}"
        if not self._stopping.is_set():
            log.warning("broker_lost", broker=self._address, reason=str(reason))

    def _on_publish(
        self, _client: paho.Client, _data: Any, _mid: int, reason: ReasonCode, _p: Properties | None
    ) -> None:
        """Access rules that forbid publishing show nowhere but here: the message is acknowledged and thrown away."""
        refused = f"publishing refused: {reason}" if reason.is_failure else None
        if refused is not None and self._refused is None:
            log.error("broker_refused_publishing", broker=self._address, reason=str(reason))
        self._refused = refused

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        mid = message.mid if message.qos else 0
        self._on_bulk([(message.topic, bytes(message.payload), message.retain, mid)])

    def _on_bulk(self, messages: list[tuple[str, bytes, bool, int]]) -> None:
        came = deliveries(messages, self._connection)
        while not self._stopping.is_set() and not self.queue.put_all(came, _FULL_POLL_S):
            continue


@functools.lru_cache(maxsize=64)
def _properties(expiry_s: int | None) -> Properties:
    """Properties of a message; made once, because paho makes them anew from a table of all that MQTT has."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if expiry_s is not None:
        properties.MessageExpiryInterval = expiry_s
    return properties


def subscriptions(site: str | None, group: str) -> list[str]:
    """Topic filters: data shared between the workers of `group`, state to every one of them."""
    head = f"v{WIRE_VERSION}/{site or '+'}/+"
    # A group of its own for every stream: the embedded broker keeps one read position per group name, whatever the
    # filter, so streams that shared a name would take each other's messages.
    shared = [f"$share/{group}-{stream}/{head}/+/{stream}" for stream in STREAMS]
    verbs = ("birth", "death", "status", "model-state", "software-state", "cmd-done")
    state = [f"{head}/{verb}" for verb in verbs]
    return [*shared, *state, f"{head}/+/birth", f"{head}/+/death"]
