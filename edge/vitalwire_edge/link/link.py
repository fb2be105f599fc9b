"""The link to the cloud: one supervised thread between the spool and the broker.

Publishes only while connected, deletes nothing itself: the spool lets go of what a sealed `committed` message names.
A PUBACK only says that the broker has a message, and with a failing reason code not even that.
"""

import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.config import MqttConfig
from vitalwire_edge.enrolment.watch import CertificateWatch
from vitalwire_edge.link import connection as mqtt
from vitalwire_edge.link.connection import Connection, ConnectionFailedError
from vitalwire_edge.link.outbox import Outbox, Outgoing
from vitalwire_edge.link.reconnect import LinkPhase, Reconnect
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.spool.reader import SpoolReader
from vitalwire_edge.spool.rows import SpoolError
from vitalwire_edge.spool.spool import Spool
from vitalwire_edge.wire.messages import (
    Command,
    DeviceBirth,
    DeviceDeath,
    GatewayBirth,
    GatewayDeath,
    GatewayStatus,
    MessageError,
    decode_committed,
    decode_json,
    encode_json,
    seal,
    unseal,
)
from vitalwire_edge.wire.topics import GatewayVerb, device_topic, gateway_topic, parse

log = structlog.get_logger()

_IDLE_S: Final = 0.25
_CONNACK_NS: Final = 10_000_000_000
_COMMITTED_PATIENCE_NS: Final = 3_000_000_000
"""How long history waits after a birth for the cloud to say what it already has."""
_REFUSED_RETRY_NS: Final = 30_000_000_000
_HURRY_S: Final = 2.0
_CERTIFICATE_NS: Final = 2_000_000_000
_STATUS_EXPIRY_S: Final = 30


@dataclass(frozen=True, slots=True)
class Presence:
    """What the link says about the gateway, and whom it tells a command; called on the link's thread."""

    birth: Callable[[], GatewayBirth]
    devices: Callable[[], dict[str, DeviceBirth | DeviceDeath]]
    status: Callable[[], GatewayStatus]
    obey: Callable[[Command], None] | None = None


class ModelTraffic(Protocol):
    """Who keeps the gateway in models, or software; payloads are unsealed. On the link's thread, must be quick."""

    def connected(self) -> None:
        """The link is up: what is at work and what is missing has to be said again."""

    def receive(self, payload: bytes) -> None:
        """An offer or a chunk came."""

    def take(self) -> list[bytes]:
        """What is to be said now; it is gone from there."""


_Path = tuple[GatewayVerb | None, GatewayVerb, ModelTraffic | None]
"""Topic on which somebody hears, topic on which he speaks, and who."""


class Link:
    """Publishes the spool of `site`/`gateway` until `stop`. `key` is the gateway's for sealed messages."""

    def __init__(
        self,
        config: MqttConfig,
        site: str,
        gateway: str,
        key: bytes,
        *,
        spool: Spool,
        clock: GatewayClock,
        presence: Presence,
        models: ModelTraffic | None = None,
        software: ModelTraffic | None = None,
        orders: ModelTraffic | None = None,
    ) -> None:
        """`models`, `software` and `orders` each have topics of their own for what is heard and said."""
        paths: tuple[_Path, ...] = (
            ("model", "model-state", models),
            ("software", "software-state", software),
            (None, "cmd-done", orders),
        )
        self._heard_by: dict[str, ModelTraffic] = {
            heard: traffic for heard, _, traffic in paths if heard and traffic is not None
        }
        self._hears: tuple[GatewayVerb, ...] = (
            "cmd",
            "committed",
            *(heard for heard, _, traffic in paths if heard is not None and traffic is not None),
        )
        self._said_by = [(said, traffic) for _, said, traffic in paths if traffic is not None]
        self._config = config
        self._site = site
        self._gateway = gateway
        self._key = key
        self._spool = spool
        self._clock = clock
        self._presence = presence
        shown = config.tls.cert_file if config.tls.enabled else None
        self.certificate = CertificateWatch(None if shown is None else Path(shown))
        self._certificate_ns = 0
        self.counters: Counter[str] = Counter()
        self.device_bytes: Counter[str] = Counter()
        self.reconnect = Reconnect(first_s=config.retry_first_s, most_s=config.retry_max_s)
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._stop = threading.Event()
        self._announced: dict[str, DeviceBirth | DeviceDeath] = {}
        self._connection: Connection | None = None
        self._unacknowledged: dict[int, Outgoing | None] = {}
        self._own: deque[tuple[str, bytes]] = deque()
        """Births, deaths and what the parts say, until the broker has room for it; nothing is added while it waits."""
        self._births_due = False
        self._unacknowledged_max = config.unacknowledged_max
        self._backlog_from_ns = 0
        self._hold_until_ns: int | None = None
        self._status_ns = 0
        self._deadline_ns = 0
        self._failure_logged = ""
        self._open_spool()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def alive(self) -> bool:
        """Whether the link's thread runs."""
        return self._thread.is_alive()

    @property
    def up(self) -> bool:
        """Whether the broker has let us in."""
        return self.reconnect.phase is LinkPhase.UP

    @property
    def unconfirmed(self) -> int:
        """Messages the cloud owes us a commit for."""
        return self._outbox.unconfirmed

    def wake(self) -> None:
        """There is something new to send. Any thread."""
        try:
            self._wake_out.send(b"\0")
        except OSError:
            # Full: the link is already asked to wake up, many times over. Closed: it has ended.
            return

    def stop(self, timeout_s: float = 5.0) -> None:
        """Say an expected death if connected, disconnect, end the thread."""
        self._stop.set()
        self.wake()
        self._thread.join(timeout_s)
        self._wake_in.close()
        self._wake_out.close()

    def _open_spool(self) -> None:
        self._session = self._spool.session
        self._reader = SpoolReader(self._spool.path)
        self._outbox = Outbox(
            self._reader,
            self._session,
            self._clock,
            unconfirmed_max=self._config.unconfirmed_max,
            resend_after_s=self._config.resend_after_s,
            backlog_rows_s=self._config.backlog_rows_s,
        )
        self._spool.under_way = lambda: self._outbox.under_way

    def _run(self) -> None:
        """Supervise: whatever goes wrong costs the connection, never the thread."""
        while not self._stop.is_set():
            try:
                self._turn()
            except (ConnectionFailedError, SpoolError, ConfigError, OSError, MessageError) as error:
                self._lose(str(error))
            except Exception as error:
                log.exception("link_error")
                self.counters["link_errors"] += 1
                self._lose(f"{type(error).__name__}: {error}")
        try:
            self._say_goodbye()
        except (ConnectionFailedError, OSError) as error:
            log.warning("link_goodbye_failed", reason=str(error))
        self.reconnect.stopped()
        self._reader.close()

    def _turn(self) -> None:
        now = time.monotonic_ns()
        if self._connection is None:
            if self.reconnect.may_connect(now):
                self._connect(now)
            else:
                self._sleep(min(_IDLE_S, max(0.0, (self.reconnect.retry_ns - now) * 1e-9)))
            return
        self._connection.wait(_IDLE_S, self._wake_in)
        self._drain_wake()
        while self._connection is not None and self._connection.events:
            self._handle(self._connection.events.popleft())
        if self.up:
            self._serve()
        elif self._connection is not None and time.monotonic_ns() > self._deadline_ns:
            self._lose("the broker does not answer")

    def _connect(self, now: int) -> None:
        self.reconnect.connecting()
        if self._spool.session != self._session:
            self._reader.close()
            self._open_spool()
        self._deadline_ns = now + _CONNACK_NS
        self.certificate.replaced()
        self._connection = Connection(
            self._config,
            f"vitalwire-{self._site}-{self._gateway}",
            will_topic=gateway_topic(self._site, self._gateway, "death"),
            will=encode_json(GatewayDeath(session=self._session, expected=False)),
            dates=self._clock.synchronised,
        )

    def _lose(self, reason: str) -> None:
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None
        was_up = self.up
        wait_s = self.reconnect.failed(time.monotonic_ns())
        self.counters["disconnects" if was_up else "connect_failures"] += 1
        self._unacknowledged.clear()
        self._own.clear()
        if was_up or reason != self._failure_logged:
            log.warning("link_down", reason=reason, retry_s=round(wait_s, 2))
            self._failure_logged = reason

    def _handle(self, event: mqtt.Event) -> None:
        match event:
            case mqtt.Opened(receive_max):
                self._unacknowledged_max = max(1, min(self._config.unacknowledged_max, receive_max))
                self._begin()
            case mqtt.Refused(reason):
                self._lose(f"the broker refused us: {reason}")
            case mqtt.Ended(reason):
                self._lose(reason)
            case mqtt.Acknowledged(mid, refusal):
                self._acknowledged(mid, refusal)
            case mqtt.Subscribed(refusal):
                if refusal is not None:
                    self.counters["subscribe_refused"] += 1
                    log.error("subscribe_refused", reason=refusal, fix="let this gateway read its own prefix")
            case mqtt.Received(topic, payload):
                self._receive(topic, payload)

    def _begin(self) -> None:
        """The connection is open: subscribe, say who is here, start over with the spool."""
        assert self._connection is not None
        self.reconnect.connected(time.monotonic_ns())
        self._failure_logged = ""
        self.counters["connects"] += 1
        log.info("link_up", broker=f"{self._config.host}:{self._config.port}")
        self._outbox.restart()
        if self._hold_until_ns is None:
            # With a link the clock gets its time, too: data that waits for it is stored where it belongs.
            self._hold_until_ns = time.monotonic_ns() + round(self._config.clock_patience_s * 1e9)
        self._connection.subscribe([gateway_topic(self._site, self._gateway, verb) for verb in self._hears])
        self._births()
        for _, traffic in self._said_by:
            traffic.connected()
        self._status_ns = 0

    def _births(self) -> None:
        """Say who is here; where that is still being said, all of it again afterwards."""
        self._backlog_from_ns = time.monotonic_ns() + _COMMITTED_PATIENCE_NS
        if self._own:
            self._births_due = True
            return
        self._births_due = False
        topic = gateway_topic(self._site, self._gateway, "birth")
        self._own.append((topic, encode_json(self._presence.birth())))
        self._announced = {}
        self._announce_devices()

    def _announce_devices(self) -> None:
        for device, said in self._presence.devices().items():
            if self._announced.get(device) != said:
                self._announced[device] = said
                verb = "birth" if isinstance(said, DeviceBirth) else "death"
                topic = device_topic(self._site, self._gateway, device, verb)  # type: ignore[arg-type]
                self._own.append((topic, encode_json(said)))
        self._send_own()

    def _send_own(self) -> None:
        """Publish what waits, as far as the broker's receive maximum (MQTT 5, 3.3.4) lets it."""
        assert self._connection is not None
        while self._own and len(self._unacknowledged) < self._unacknowledged_max:
            topic, payload = self._own.popleft()
            self._unacknowledged[self._connection.publish(topic, payload)] = None

    def _serve(self) -> None:
        now = time.monotonic_ns()
        if self._spool.session != self._session:
            self._lose("the spool began a new session")
            return
        if now >= self._certificate_ns:
            self._certificate_ns = now + _CERTIFICATE_NS
            if self.certificate.replaced():
                self._change_certificate(now)
                return
        assert self._connection is not None
        self._send_own()
        if not self._own:
            if self._births_due:
                self._births()
            self._announce_devices()
        if now >= self._status_ns:
            self._status_ns = now + round(self._config.status_every_s * 1e9)
            topic = gateway_topic(self._site, self._gateway, "status")
            payload = encode_json(self._presence.status())
            self._connection.publish(topic, payload, qos=0, expiry_s=_STATUS_EXPIRY_S)
        for verb, traffic in () if self._own else self._said_by:
            topic = gateway_topic(self._site, self._gateway, verb)
            for payload in traffic.take():
                self._own.append((topic, seal(self._key, topic, payload)))
        self._send_own()
        room = self._unacknowledged_max - len(self._unacknowledged)
        hold = not self._clock.synchronised and now < (self._hold_until_ns or 0)
        for outgoing in self._outbox.next(now, room, backlog=now >= self._backlog_from_ns, hold=hold):
            topic = device_topic(self._site, self._gateway, outgoing.device, outgoing.stream)
            mid = self._connection.publish(topic, outgoing.payload)
            self._unacknowledged[mid] = outgoing
            self.counters["published"] += 1
            self.device_bytes[outgoing.device] += len(topic) + len(outgoing.payload)
        self.counters["resent"] = self._outbox.resent

    def _change_certificate(self, now: int) -> None:
        """Come back at once with the new certificate. Nobody died, and what is not confirmed is sent again."""
        assert self._connection is not None
        log.info("certificate_replaced", expires=str(self.certificate.expires))
        self._connection.close()
        self._connection = None
        self._unacknowledged.clear()
        self._own.clear()
        self.counters["certificates_changed"] += 1
        self.reconnect.again(now)

    def _acknowledged(self, mid: int, refusal: str | None) -> None:
        outgoing = self._unacknowledged.pop(mid, None)
        if refusal is None:
            return
        self.counters["publish_refused"] += 1
        if self.counters["publish_refused"] == 1:
            log.error(
                "publish_refused",
                reason=refusal,
                stream=outgoing.stream if outgoing else "birth",
                fix="let this gateway write to its own prefix",
            )
        if outgoing is not None and outgoing.row_id is not None:
            self._outbox.lost(outgoing.row_id, time.monotonic_ns() + _REFUSED_RETRY_NS)

    def _receive(self, topic: str, sealed: bytes) -> None:
        try:
            payload = unseal(self._key, topic, sealed)
            if topic.endswith("/committed"):
                committed = decode_committed(payload)
                self._outbox.confirmed(committed.streams)
                self._spool.confirm(committed.streams)
                self._backlog_from_ns = 0
                self.counters["committed_received"] += 1
            elif (traffic := self._heard_by.get(parse(topic).verb)) is not None:
                traffic.receive(payload)
            elif topic.endswith("/cmd"):
                self._obey(decode_json(payload, Command))
        except MessageError as error:
            self.counters["sealed_rejected"] += 1
            if self.counters["sealed_rejected"] == 1:
                log.warning("sealed_message_rejected", topic=topic, reason=str(error))

    def _obey(self, command: Command) -> None:
        if self._clock.synchronised and command.expires_ns < self._clock.now().utc_ns:
            self.counters["commands_expired"] += 1
            return
        if command.command != "rebirth":
            if self._presence.obey is not None:
                self._presence.obey(command)
            return
        self.counters["rebirths"] += 1
        log.info("rebirth")
        self._births()
        self._outbox.hurry(time.monotonic_ns(), _HURRY_S)

    def _say_goodbye(self) -> None:
        if self._connection is None:
            return
        if self.up:
            self._announce_devices()
            topic = gateway_topic(self._site, self._gateway, "death")
            goodbye = encode_json(GatewayDeath(session=self._session, expected=True))
            self._own.append((topic, goodbye))
            until = time.monotonic() + 1.0
            while time.monotonic() < until and self._connection is not None:
                self._send_own()
                if not self._unacknowledged:
                    break
                self._connection.wait(0.1, self._wake_in)
                self._drain_wake()
                while self._connection is not None and self._connection.events:
                    self._handle(self._connection.events.popleft())
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _drain_wake(self) -> None:
        try:
            while self._wake_in.recv(4096):
                pass
        except BlockingIOError:
            return
