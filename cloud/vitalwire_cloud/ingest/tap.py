"""What live pages see where several workers store: every message once, in order, whoever takes it into the store.

A shared subscription deals the messages of one wearable out to all workers, so none of them sees its waveform whole.
The service with the page therefore listens to the data itself, beside its share: a subscription of its own keeps the
order in which each gateway published. What it hears is shown and goes nowhere else.
"""

import secrets
import time
from collections.abc import Callable, Hashable
from typing import Any, Final

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from vitalwire_cloud.config import MqttConfig
from vitalwire_cloud.ingest.credentials import show_credentials
from vitalwire_cloud.ingest.decoding import Accepted, read
from vitalwire_cloud.ingest.notices import live_events
from vitalwire_cloud.live import LinkEvent, LiveEvent, LiveHub, News2Event
from vitalwire_edge.wire import WIRE_VERSION
from vitalwire_edge.wire.topics import STREAMS

log = structlog.get_logger()

_REMEMBERED: Final = 50_000
_SHOWN: Final = tuple(stream for stream in STREAMS if stream != "alarm")
"""Alarms are told by the desk, in the state that they have there."""


class LinksOnly(LiveHub):
    """The hub for an ingest whose data the tap shows: only what births, deaths and status tell passes."""

    def __init__(self, hub: LiveHub) -> None:
        super().__init__()
        self._hub = hub

    def publish(self, events: list[LiveEvent]) -> None:
        """Hand the state of links, and the scores that came with it, to every reader."""
        told: list[LiveEvent] = [event for event in events if isinstance(event, LinkEvent | News2Event)]
        if told:
            self._hub.publish(told)


class LiveTap:
    """Hears all data of `site` (of all sites when None) and publishes it to `hub`. Reconnects by itself.

    Raises `ConfigError` for files that cannot be used. Nothing waits for it: what a broker drops because this
    service is too slow is missing on the page and nowhere else.
    """

    def __init__(
        self,
        config: MqttConfig,
        *,
        site: str | None,
        hub: LiveHub,
        max_future_s: float,
        revoked: Callable[[str], bool],
    ) -> None:
        self._config = config
        self._hub = hub
        self._revoked = revoked
        self._max_future_ns = round(max_future_s * 1e9)
        self._filters = [f"v{WIRE_VERSION}/{site or '+'}/+/+/{stream}" for stream in _SHOWN]
        self._known: dict[Hashable, None] = {}
        self._problem: str | None = "not connected yet"
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{config.client_id}-live-{secrets.token_hex(4)}",
            protocol=paho.MQTTv5,
        )
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        show_credentials(self._client, config)

    def start(self) -> None:
        """Connect in the background and keep connected."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = self._config.receive_maximum
        self._client.connect_async(
            self._config.host,
            self._config.port,
            keepalive=self._config.keepalive_s,
            clean_start=True,
            properties=properties,
        )
        self._client.loop_start()

    def close(self) -> None:
        """Say goodbye to the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def problem(self) -> str | None:
        """None while it hears what is published, else why not."""
        return None if self._problem is None else f"live view: {self._problem}"

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if reason.is_failure:
            self._problem = f"the broker refused: {reason}"
            return
        client.subscribe([(each, 1) for each in self._filters])

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        refused = [f for f, reason in zip(self._filters, reasons, strict=False) if reason.is_failure]
        self._problem = f"subscription refused: {', '.join(refused)}" if refused else None
        if refused:
            log.error("live_subscription_refused", filters=refused)

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._problem = f"connection lost: {reason}"

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        # What cannot be read is set aside by whoever stores it; a retained message is no live data.
        if message.retain:
            return
        found = read(
            message.topic,
            bytes(message.payload),
            received_ns=time.time_ns(),
            max_future_ns=self._max_future_ns,
        )
        if not isinstance(found, Accepted) or self._revoked(found.item.gateway):
            return
        place = (found.item.series, found.item.seq)
        if place in self._known:
            return
        self._known[place] = None
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        events = live_events([found.item], [found])
        if events:
            self._hub.publish(events)
