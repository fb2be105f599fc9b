"""One more ingest worker: it takes its share of the messages into a store that several processes share.

Alarm desk, models and page stay with the service that runs in full; it follows what workers store.
"""

import secrets
import threading
from typing import Final

import msgspec
import structlog

from vitalwire_cloud.config import CloudConfig
from vitalwire_cloud.ingest.commits import CommitTeller
from vitalwire_cloud.ingest.keys import KeyRing
from vitalwire_cloud.ingest.link import BrokerLink
from vitalwire_cloud.ingest.pipeline import Pipeline
from vitalwire_cloud.live import LiveHub
from vitalwire_cloud.service import ServiceError
from vitalwire_cloud.store.opening import open_store
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.health import HealthServer, Probe

log = structlog.get_logger()

_DRAIN_S: Final = 10.0
_WATCH_S: Final = 0.5


class _Nobody:
    """Watches nothing: the desk finds alarms in the store and sees gateways' states itself."""

    def gateway_seen(self, site: str, gateway: str) -> None:
        """Not of interest here."""

    def gateway_gone(self, gateway: str, *, expected: bool) -> None:
        """Not of interest here."""

    def gateway_is(self, gateway: str, *, session: str, boot: str) -> None:
        """Not of interest here."""

    def wake(self) -> None:
        """Not of interest here."""


def work(config: CloudConfig, stop: threading.Event) -> None:
    """Ingest until `stop` is set, then drain. Probes and metrics answer where the page would be.

    Raises `ServiceError`, `StoreError`, `ConfigError`.
    """
    if config.store.backend == "embedded":
        raise ConfigError(
            "role ingest: the embedded store takes one process; run the whole service, or set store.backend=influxdb"
        )
    # Two clients of one name would throw each other out of the broker.
    mqtt = msgspec.structs.replace(config.mqtt, client_id=f"{config.mqtt.client_id}-{secrets.token_hex(4)}")
    store = open_store(config)
    try:
        link = BrokerLink(mqtt, site=config.site, queue_messages=config.ingest.queue_messages)
        keys = KeyRing(config.keys)
        teller = CommitTeller(store, link, keys, interval_s=config.ingest.commit_interval_s)
        pipeline = Pipeline(
            link=link,
            store=store,
            teller=teller,
            hub=LiveHub(),
            watcher=_Nobody(),
            config=config.ingest,
            revoked=keys.revoked,
        )

        def live() -> str | None:
            return pipeline.failure() or (None if link.alive() else "the broker connection's thread ended")

        def ready() -> str | None:
            return live() or pipeline.problem() or store.ready() or link.problem()

        pipeline.start()
        link.start()
        try:
            with _probes(config, ready=ready, live=live) as probes:
                log.info("worker_listening", probes="{}:{}".format(*probes.address), data=config.data_dir)
                while not stop.wait(_WATCH_S):
                    failure = live()
                    if failure is not None:
                        log.error("worker_failed", reason=failure)
                        raise ServiceError(failure)
        finally:
            link.stop_receiving()
            if not pipeline.stop(_DRAIN_S):
                log.warning("drain_incomplete", effect="gateways send the rest again")
            link.close()
    finally:
        store.close()
    log.info("worker_stopped")


def _probes(config: CloudConfig, *, ready: Probe, live: Probe) -> HealthServer:
    host, port = config.web.host, config.web.port
    try:
        return HealthServer(host, port, ready=ready, live=live)
    except OSError as error:
        raise ServiceError(
            f"port {port} on {host} cannot be used for probes ({error.strerror or error}): choose another with --web"
        ) from error
