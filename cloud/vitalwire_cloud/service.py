"""The cloud service in one process: ingest and alarm desk on threads, the web in the main thread."""

import importlib.metadata
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import uvicorn

from vitalwire_cloud.alerts.desk import AlarmDesk
from vitalwire_cloud.config import CloudConfig, read_secret
from vitalwire_cloud.ingest.commits import CommitTeller
from vitalwire_cloud.ingest.keys import KeyRing
from vitalwire_cloud.ingest.link import BrokerLink
from vitalwire_cloud.ingest.pipeline import Pipeline
from vitalwire_cloud.ingest.tap import LinksOnly, LiveTap
from vitalwire_cloud.live import AlarmEvent, LiveHub
from vitalwire_cloud.metadata.entries import Bedside
from vitalwire_cloud.metadata.register import PatientRegister, RegisterError, open_register
from vitalwire_cloud.order_desk import OrderDesk
from vitalwire_cloud.orders import OrderBook, OrderError, Place, open_orders
from vitalwire_cloud.registry import publishing
from vitalwire_cloud.registry.desk import ModelDesk
from vitalwire_cloud.registry.desks import Desk, Desks
from vitalwire_cloud.registry.ledger import ModelLedger, RegistryError, open_ledger
from vitalwire_cloud.registry.releases import open_releases
from vitalwire_cloud.retention import RetentionTask
from vitalwire_cloud.store.interface import Store, StoreError
from vitalwire_cloud.store.opening import open_store
from vitalwire_cloud.waveform import DemandDesk, DemandError
from vitalwire_cloud.web.access import UnsafeBindError, require_token
from vitalwire_cloud.web.app import create_app
from vitalwire_edge.inference import shipped
from vitalwire_edge.inference.artifact import read_manifest
from vitalwire_edge.inference.keys import KeyFileError, Signer
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.notify import supervised

log = structlog.get_logger()

_DRAIN_S: Final = 10.0
_WATCH_S: Final = 0.5
_WEB_GOODBYE_S: Final = 2


class ServiceError(Exception):
    """The service cannot run, or ended because a part of it failed; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Running:
    """The parts of a service at work, and what its probes say."""

    site: str
    version: str
    store: Store
    desk: AlarmDesk
    hub: LiveHub
    link: BrokerLink
    pipeline: Pipeline
    models: ModelLedger
    releases: ModelLedger
    orders: OrderBook
    patients: PatientRegister
    demands: DemandDesk
    tap: LiveTap | None

    def ready(self) -> str | None:
        """None when data flows from broker to store to staff, else the first reason why not."""
        return (
            self.live()
            or self.pipeline.problem()
            or self.store.ready()
            or self.desk.problem()
            or self.link.problem()
            or (None if self.tap is None else self.tap.problem())
        )

    def live(self) -> str | None:
        """None while the process is worth keeping."""
        dead = None if self.link.alive() else "the broker connection's thread ended"
        return self.pipeline.failure() or self.desk.failure() or dead


@contextmanager
def started(config: CloudConfig) -> Iterator[Running]:
    """Store, desk and ingest at work; on leaving the queue is drained into the store.

    Raises `StoreError` when the store cannot be opened and `ConfigError` for secrets that cannot be read.
    """
    store = open_store(config)
    hub = LiveHub()
    try:
        desk = AlarmDesk(
            store=store,
            url=config.desk_url,
            config=config.alerts,
            on_change=lambda alarms: hub.publish([AlarmEvent(alarm) for alarm in alarms]),
        )
        try:
            link = BrokerLink(config.mqtt, site=config.site, queue_messages=config.ingest.queue_messages)
            keys = KeyRing(config.keys)
            teller = CommitTeller(store, link, keys, interval_s=config.ingest.commit_interval_s)
            tap = _tap(config, hub, keys)
            with _desks(config, link, keys, store) as desks:
                pipeline = Pipeline(
                    link=link,
                    store=store,
                    teller=teller,
                    hub=hub if tap is None else LinksOnly(hub),
                    watcher=desk,
                    config=config.ingest,
                    models=Desks(desks.by_verb),
                    revoked=keys.revoked,
                )
                upkeep = RetentionTask(store, config.retention)
                desk.start()
                pipeline.start()
                link.start()
                if tap is not None:
                    tap.start()
                upkeep.start()
                try:
                    yield Running(
                        config.site or "all sites",
                        importlib.metadata.version("vitalwire"),
                        store,
                        desk,
                        hub,
                        link,
                        pipeline,
                        desks.models.ledger,
                        desks.software.ledger,
                        desks.orders.book,
                        desks.patients,
                        desks.demands,
                        tap,
                    )
                finally:
                    link.stop_receiving()
                    if tap is not None:
                        tap.close()
                    if not pipeline.stop(_DRAIN_S):
                        log.warning("drain_incomplete", effect="gateways send the rest again")
                    link.close()
                    upkeep.close()
        finally:
            desk.close()
    finally:
        store.close()


def _tap(config: CloudConfig, hub: LiveHub, keys: KeyRing) -> LiveTap | None:
    """Where other workers may take a share of the data, the page listens itself."""
    if config.store.backend == "embedded":
        return None
    max_future_s = config.ingest.max_future_s
    return LiveTap(config.mqtt, site=config.site, hub=hub, max_future_s=max_future_s, revoked=keys.revoked)


@dataclass(frozen=True, slots=True)
class _AtWork:
    """The desks that speak with gateways."""

    models: ModelDesk
    software: ModelDesk
    orders: OrderDesk
    patients: PatientRegister
    demands: DemandDesk

    @property
    def by_verb(self) -> dict[str, Desk]:
        """Who hears what."""
        return {"model-state": self.models, "software-state": self.software, "cmd-done": self.orders}


@contextmanager
def _desks(config: CloudConfig, link: BrokerLink, keys: KeyRing, store: Store) -> Iterator[_AtWork]:
    """The desks for models, software and orders, at work. Raises `ServiceError`, `ConfigError`."""
    key_file, rollout = config.models.signing_key_file, config.models.rollout
    with ExitStack() as stack:
        try:
            signer = None if key_file is None else Signer.read(Path(key_file))
            ledger = stack.enter_context(closing(open_ledger(config.data)))
            _know_shipped(ledger)
            releases = stack.enter_context(closing(open_releases(config.data)))
            orders = stack.enter_context(closing(open_orders(config.data)))
            patients = stack.enter_context(closing(open_register(config.data, config.patients.url)))
            demands = stack.enter_context(closing(DemandDesk(config.data, link.publish, keys.get)))
        except KeyFileError as error:
            raise ConfigError(str(error)) from error
        except (RegistryError, OrderError, RegisterError, DemandError) as error:
            raise ServiceError(str(error)) from error
        desks = _AtWork(
            ModelDesk(ledger, link.publish, keys.get, config=rollout, signer=signer),
            ModelDesk(releases, link.publish, keys.get, config=rollout, kind="software"),
            OrderDesk(orders, link.publish, keys.get, bedsides=partial(_bedsides, store, patients)),
            patients,
            demands,
        )
        for desk in (desks.models, desks.software, desks.orders):
            desk.start()
            stack.callback(desk.stop)
        yield desks


def _bedsides(store: Store, patients: PatientRegister) -> dict[Place, Bedside]:
    """What is known at the bedside of every wearable that a gateway has. Raises `OrderError`."""
    try:
        worn = {each.device: each for each in patients.bedsides()}
        known = store.devices() if worn else []
    except (RegisterError, StoreError) as error:
        raise OrderError(str(error)) from error
    return {
        (each.site, each.gateway, each.device): worn[each.device] for each in known if each.device in worn
    }


def _know_shipped(ledger: ModelLedger) -> None:
    """Enter the model that new gateways start with, so that what replaces it names it and has a higher version."""
    data, trust = shipped.first(), shipped.trust()
    manifest, _ = read_manifest(data, trust)
    if all(model.version < manifest.version for model in ledger.models()):
        publishing.register(ledger, data, trust, now_ns=time.time_ns(), stage="idle", why="shipped")


def serve(config: CloudConfig, stop: threading.Event) -> None:
    """Run until `stop` is set or a signal comes, then drain. Only in the main thread.

    Raises `ServiceError`, `StoreError`, `ConfigError`.
    """
    token = _web_token(config.web.host, config.web.token_file)
    with _bound(config.web.host, config.web.port) as sock, started(config) as running:
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(
                    store=running.store,
                    desk=running.desk,
                    hub=running.hub,
                    info=running,
                    models=running.models,
                    releases=running.releases,
                    orders=running.orders,
                    patients=running.patients,
                    demands=running.demands,
                    entry_hours=config.patients.entry_h,
                    token=token,
                    max_future_s=config.ingest.max_future_s,
                ),
                log_config=None,
                access_log=False,
                server_header=False,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=_WEB_GOODBYE_S,
            )
        )
        failures: list[str] = []
        guard = threading.Thread(
            target=_guard, args=(running, server, stop, failures), name="guard", daemon=True
        )
        guard.start()
        host, port = sock.getsockname()[:2]
        broker = f"{config.mqtt.host}:{config.mqtt.port}"
        log.info("cloud_listening", web=f"http://{host}:{port}/", broker=broker, data=config.data_dir)
        # A signal makes the server end cleanly; afterwards it raises the signal again, which sets `stop`.
        with supervised(running.live):
            server.run(sockets=[sock])
        stop.set()
        guard.join()
    if failures:
        raise ServiceError(failures[0])
    log.info("cloud_stopped")


def _guard(running: Running, server: uvicorn.Server, stop: threading.Event, failures: list[str]) -> None:
    """End the server when asked to, or when a part died that nothing but a restart brings back."""
    while not stop.wait(_WATCH_S):
        failure = running.live()
        if failure is not None:
            failures.append(failure)
            log.error("service_failed", reason=failure)
            break
    server.should_exit = True


def _web_token(host: str, file: str | None) -> str | None:
    token = None if file is None else read_secret(file, "token file")
    try:
        require_token(host, token)
    except UnsafeBindError as error:
        raise ConfigError(f"{error} (web.token_file names the file with the token)") from error
    return token


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """Listening socket of the web. Raises `ServiceError` naming the port when it cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(128)
            yield sock
    except OSError as error:
        raise ServiceError(
            f"web port {port} on {host} cannot be used ({error.strerror or error}): stop what holds it "
            f"(ss -ltnp 'sport = :{port}' shows it) or choose another with --web"
        ) from error
