"""The store that the configuration names."""

from typing import Final

from vitalwire_cloud.config import CloudConfig, read_secret
from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.interface import Store, StoreReading, StoreUnavailableError
from vitalwire_cloud.store.reading import StoreReader
from vitalwire_edge.process.config import ConfigError

_LEDGER_FILE: Final = "ledger.sqlite"


def open_store(config: CloudConfig) -> Store:
    """The store, to write to. Raises `StoreError`, `ConfigError`.

    An InfluxDB server need not answer yet: until it does, the store is not ready.
    """
    if config.store.backend == "influxdb":
        return _influx(config)
    return EmbeddedStore(
        config.data, max_bytes=config.store.max_bytes, quarantine_rows=config.store.quarantine_rows
    )


def open_reader(config: CloudConfig) -> StoreReading:
    """The store, to look into beside a running service. Raises `StoreError`, `ConfigError`."""
    if config.store.backend == "influxdb":
        ledger = config.data / _LEDGER_FILE
        if config.store.influxdb.ledger_url is None and not ledger.is_file():
            raise StoreUnavailableError(
                f"there is no ledger of an InfluxDB store in {config.data}: "
                "name the --data-dir of a service that ran, or store.influxdb.ledger_url"
            )
        return _influx(config)
    return StoreReader(config.data)


def _influx(config: CloudConfig) -> Store:
    # The client takes half a second to import, which only those who use it should wait for.
    from vitalwire_cloud.store.influx.server import ServerAddress  # noqa: PLC0415
    from vitalwire_cloud.store.influx.store import InfluxStore  # noqa: PLC0415

    chosen = config.store.influxdb
    if not chosen.url.startswith(("http://", "https://")):
        raise ConfigError(f"store.influxdb.url {chosen.url!r}: write it as http://HOST:8086 or https://...")
    address = ServerAddress(
        url=chosen.url,
        bucket=chosen.bucket,
        org=chosen.org,
        token=""
        if chosen.token_file is None
        else read_secret(chosen.token_file, "store.influxdb.token_file"),
        timeout_s=chosen.timeout_s,
    )
    url = chosen.ledger_url or f"sqlite:///{(config.data / _LEDGER_FILE).absolute()}"
    return InfluxStore(address, url, quarantine_rows=config.store.quarantine_rows)
