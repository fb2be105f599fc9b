"""Configuration of the cloud service: `vitalwire cloud run --config cloud.toml`, environment `VITALWIRE_CLOUD_*`."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from vitalwire_cloud.registry.config import ModelsConfig
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.logs import Level
from vitalwire_edge.wire.topics import TopicError, identifier

ENV_PREFIX = "VITALWIRE_CLOUD"

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class MqttConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker. `group` is the shared subscription that workers of one service have in common.

    `ca_file` turns TLS on; `cert_file` and `key_file` are our own certificate where the broker asks for one.
    """

    host: str = "127.0.0.1"
    port: Port = 1883
    client_id: str = "vitalwire-cloud"
    group: str = "ingest"
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    keepalive_s: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 30
    receive_maximum: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 500


class IngestConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Between broker and store. The queue bounds memory: a message has at most 64 KiB."""

    queue_messages: Annotated[int, msgspec.Meta(ge=1)] = 2000
    batch_messages: Annotated[int, msgspec.Meta(ge=1)] = 500
    linger_s: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    commit_interval_s: Seconds = 0.5
    max_future_s: Seconds = 86_400.0


class InfluxConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An InfluxDB server. `bucket` is the database on 1.x and 3; on 2.x it needs a database mapping of the same name.

    `ledger_url` is any SQLAlchemy URL of SQLite or PostgreSQL, by default an SQLite file in `data_dir`; services that
    store together must name the same one.
    """

    url: str = "http://127.0.0.1:8086"
    bucket: str = "vitalwire"
    org: str = ""
    token_file: str | None = None
    timeout_s: Seconds = 10.0
    ledger_url: str | None = None


class StoreConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where samples are kept. The embedded store lives in `data_dir`, `max_bytes` caps its file."""

    backend: Literal["embedded", "influxdb"] = "embedded"
    max_bytes: Annotated[int, msgspec.Meta(ge=1_048_576)] | None = None
    quarantine_rows: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    influxdb: InfluxConfig = InfluxConfig()


Days = Annotated[float, msgspec.Meta(gt=0)]


class RetentionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how many days each kind is kept; None keeps it for good. Minutes of vital signs and alarms always stay."""

    waveform_days: Days | None = None
    vitals_days: Days | None = None
    beats_days: Days | None = None
    scores_days: Days | None = None
    every_s: Seconds = 3600.0


class AlertsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The alarm desk. `url` is any SQLAlchemy URL; by default an SQLite file in `data_dir`.

    A name that two gateways are heard under in turn is an alarm until that has not shown for `gateway_twice_s`.
    """

    url: str | None = None
    gateway_silent_s: Seconds = 15.0
    death_grace_s: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    gateway_twice_s: Seconds = 300.0
    escalate_after_s: Seconds = 120.0


class PatientsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who wears what. `url` is any SQLAlchemy URL of SQLite or PostgreSQL; by default an SQLite file in `data_dir`.

    `entry_h` is for how many hours an entry of staff counts in NEWS2 where whoever makes it does not say.
    """

    url: str | None = None
    entry_h: Annotated[float, msgspec.Meta(gt=0, le=168)] = 12.0


class WebConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The page and its API. `token_file` holds the bearer token; it is needed beyond this machine."""

    host: str = "127.0.0.1"
    port: Port = 8080
    token_file: str | None = None


class CloudConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole service. `site` None serves every site of the broker.

    `role` ingest is a further worker beside a service that runs in full, on a store that both share.
    """

    role: Literal["all", "ingest"] = "all"
    site: str | None = None
    data_dir: str = "vitalwire-data"
    keys_dir: str | None = None
    log_level: Level = "info"
    mqtt: MqttConfig = MqttConfig()
    ingest: IngestConfig = IngestConfig()
    store: StoreConfig = StoreConfig()
    retention: RetentionConfig = RetentionConfig()
    alerts: AlertsConfig = AlertsConfig()
    patients: PatientsConfig = PatientsConfig()
    web: WebConfig = WebConfig()
    models: ModelsConfig = ModelsConfig()

    def __post_init__(self) -> None:
        if self.site is not None:
            try:
                identifier(self.site, "site")
            except TopicError as error:
                raise ValueError(str(error)) from error

    @property
    def data(self) -> Path:
        """Folder of store and alarms."""
        return Path(self.data_dir)

    @property
    def keys(self) -> Path:
        """Folder of the gateways' keys."""
        return Path(self.keys_dir) if self.keys_dir is not None else self.data / "keys"

    @property
    def desk_url(self) -> str:
        """Where the desk keeps its alarms."""
        return self.alerts.url or f"sqlite:///{(self.data / 'desk.sqlite').absolute()}"


def read_secret(path: str, what: str) -> str:
    """Secret in a file. Raises `ConfigError` naming the file when it cannot be read or is empty."""
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path} cannot be read: {error}") from error
    if not text:
        raise ConfigError(f"{what} {path} is empty")
    return text
