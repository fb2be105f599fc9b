"""Configuration of one gateway: every key has a default that works on one machine."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from vitalwire_edge.alarms import AlarmConfig
from vitalwire_edge.ota.config import OtaConfig
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.software.config import SoftwareConfig
from vitalwire_edge.sources.config import SourcesConfig, check_sources
from vitalwire_edge.wire.topics import TopicError, identifier

KEY_BYTES = 32
_MOST_AROUND_S = 600
"""Waveform waits in memory: ten minutes of one lead are about 0.1 MB."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the configuration."""


class TlsConfig(Section, frozen=True):
    """TLS towards the broker: `ca_file` is what to trust (the system's if absent), the others who we are."""

    enabled: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class MqttConfig(Section, frozen=True):
    """The broker and how hard to try. `password_file` holds the password alone; none stands in a configuration."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password_file: str | None = None
    tls: TlsConfig = TlsConfig()
    keepalive_s: int = 10
    connect_timeout_s: float = 5.0
    retry_first_s: float = 0.5
    retry_max_s: float = 5.0
    """Short, because an alarm may be waiting; the jitter keeps a fleet from coming back at once."""
    status_every_s: float = 5.0
    unacknowledged_max: int = 64
    """Messages the broker may owe us a PUBACK for; its own receive maximum may lower it."""
    unconfirmed_max: int = 1024
    """Messages the cloud may owe us a commit for: the flow control."""
    resend_after_s: float = 10.0
    backlog_rows_s: float = 400.0
    """Pace of the backlog while live data goes first."""
    clock_patience_s: float = 60.0
    """How long after the first connection data waits for a clock that is not synchronised. Alarms never wait."""


class SpoolConfig(Section, frozen=True):
    """The file that holds what the cloud has not committed; beyond its caps the oldest waveform is given up first."""

    path: str = "vitalwire-spool.sqlite"
    max_bytes: int = 2 * 1024**3
    max_age_h: float = 72.0
    commit_every_ms: int = 100
    commit_rows: int = 200
    pending_rows: int = 5000
    """Rows that may wait in memory for a commit; beyond that the oldest waveform is dropped and counted."""


class ClockConfig(Section, frozen=True):
    """`trust_system` takes the system's clock for synchronised where nothing tells the kernel so (containers)."""

    trust_system: bool = False
    step_s: float = 0.5


class HealthConfig(Section, frozen=True):
    """Where probes and metrics answer; port 0 takes a free one."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 0


class TelemetryConfig(Section, frozen=True):
    """How data is cut, and what is known about the devices.

    `simulated` marks every wearable of this gateway as not a patient. `paced` and `not_paced` name the devices whose
    patient is known to have, or not to have, a pacemaker.

    `waveform` is what leaves of the ECG: "all", the surroundings of alarms of at least `waveform_priority` ("events"),
    or what the cloud asks for ("demand"). Beats, scores, vitals and alarms always leave.

    `trends` has intervals, HRV and ectopy told once a minute; `qtc` is the formula of the corrected QT.
    """

    waveform: Literal["all", "events", "demand"] = "all"
    waveform_before_s: float = 30.0
    waveform_after_s: float = 30.0
    waveform_priority: Literal["high", "medium", "low"] = "low"
    block_s: float = 1.0
    silent_after_s: float = 10.0
    reorder_frames: int = 8
    reorder_s: float = 1.0
    trends: bool = True
    qtc: Literal["fridericia", "bazett", "framingham", "hodges"] = "fridericia"
    simulated: bool = False
    paced: tuple[str, ...] = ()
    not_paced: tuple[str, ...] = ()

    def pacing(self, device: str) -> Literal["yes", "no", "unknown"]:
        """Whether the patient of `device` has a pacemaker."""
        if device in self.paced:
            return "yes"
        return "no" if device in self.not_paced else "unknown"


class AnnounceConfig(Section, frozen=True):
    """The local announcement of alarms that the cloud has not confirmed. `command` runs without a shell."""

    after_s: float = 5.0
    repeat_s: float = 15.0
    command: tuple[str, ...] = ()
    bell: bool = True


class ScoringConfig(Section, frozen=True):
    """What the beat model may do: so many alerts per patient-hour, in any window of up to an hour (plus a fifth)."""

    enabled: bool = True
    alerts_per_hour: Annotated[float, msgspec.Meta(gt=0, le=120)] = 6.0
    folder: str = ""
    """Where each patient's reference beat and calibration are kept over a restart; empty is beside the spool file."""


class EdgeConfig(Section, frozen=True):
    """Everything about one gateway. `key_file` holds the gateway's 32-byte key in hexadecimal."""

    site: str = "home"
    gateway: str = "gw1"
    key_file: str | None = None
    drain_s: float = 5.0
    mqtt: MqttConfig = MqttConfig()
    spool: SpoolConfig = SpoolConfig()
    sources: SourcesConfig = SourcesConfig()
    alarms: AlarmConfig = AlarmConfig()
    clock: ClockConfig = ClockConfig()
    health: HealthConfig = HealthConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    announce: AnnounceConfig = AnnounceConfig()
    scoring: ScoringConfig = ScoringConfig()
    models: OtaConfig = OtaConfig()
    software: SoftwareConfig = SoftwareConfig()

    @property
    def patient_folder(self) -> Path:
        """Where patients' baselines are kept."""
        return Path(self.scoring.folder or f"{self.spool.path}.patients")

    @property
    def models_placed(self) -> OtaConfig:
        """`models` with a folder."""
        folder = self.models.folder or f"{self.spool.path}.models"
        return msgspec.structs.replace(self.models, folder=folder)


def check(config: EdgeConfig) -> None:
    """Raise `ConfigError` for values that the types allow and the gateway cannot use."""
    try:
        identifier(config.site, "site")
        identifier(config.gateway, "gateway")
    except TopicError as error:
        raise ConfigError(str(error)) from error
    if not 0.2 <= config.telemetry.block_s <= 4.0:
        raise ConfigError(f"telemetry.block_s = {config.telemetry.block_s}: use 0.2 to 4 seconds")
    for key in ("waveform_before_s", "waveform_after_s"):
        if not 0 <= getattr(config.telemetry, key) <= _MOST_AROUND_S:
            raise ConfigError(
                f"telemetry.{key} = {getattr(config.telemetry, key)}: use 0 to {_MOST_AROUND_S} seconds"
            )
    if config.spool.max_bytes < 1024**2:
        raise ConfigError(f"spool.max_bytes = {config.spool.max_bytes}: use at least 1 MiB")
    if config.mqtt.keepalive_s < 1:
        raise ConfigError(
            f"mqtt.keepalive_s = {config.mqtt.keepalive_s}: without it a dead link is never noticed"
        )
    check_sources(config.sources)
    if config.sources.file.enabled and not config.telemetry.simulated:
        raise ConfigError(
            "sources.file replays a recording, and telemetry.simulated is not set: what is replayed must never be "
            "taken for a patient; set telemetry.simulated = true, on a gateway that carries no patient"
        )
    if config.key_file is None:
        raise ConfigError("key_file is not set: name the file with this gateway's 32-byte key in hexadecimal")


def read_key(path: Path) -> bytes:
    """The gateway's key. Raises `ConfigError` when the file cannot be read or does not hold 32 bytes in hexadecimal."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise ConfigError(f"key_file {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"key_file {path}: does not hold hexadecimal text") from error
    if len(key) != KEY_BYTES:
        raise ConfigError(f"key_file {path}: holds {len(key)} bytes, not {KEY_BYTES}")
    return key


def read_password(path: Path) -> str:
    """The broker password. Raises `ConfigError` when the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"mqtt.password_file {path}: {error}") from error
