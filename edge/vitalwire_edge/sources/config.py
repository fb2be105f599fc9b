"""Configuration of the sources: all but TCP are off until they are enabled, an unknown key is an error."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.wire.topics import TopicError, identifier

_ADDRESS: Final = re.compile(
    r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
)


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the configuration."""


class TcpConfig(_Section, frozen=True):
    """Where wearables connect. Loopback unless somebody decides otherwise."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 7400
    max_connections: int = 64
    idle_close_s: float = 30.0


class BlePeripheral(_Section, frozen=True):
    """One wearable that may come in by Bluetooth: its address, and the device name it has here.

    Of a device that serves several people, such as a cuff, `user` takes the measurements of one.
    """

    address: str
    device: str
    user: int | None = None


class BleConfig(_Section, frozen=True):
    """Bluetooth LE. Nothing that `devices` does not list is ever connected."""

    enabled: bool = False
    adapter: str | None = None
    """Such as hci0; the system's default if absent."""
    devices: tuple[BlePeripheral, ...] = ()
    scan_s: float = 5.0
    pause_s: float = 5.0
    """Between two scans while a device is missing."""
    connect_timeout_s: float = 20.0
    retry_first_s: float = 1.0
    retry_max_s: float = 30.0
    idle_close_s: float = 30.0
    """A device that measures all the time and sends nothing for so long is connected anew."""


class SerialConfig(_Section, frozen=True):
    """Wearables that speak the frame protocol on serial lines."""

    enabled: bool = False
    ports: tuple[str, ...] = ()
    baud: int = 460_800
    retry_first_s: float = 0.5
    retry_max_s: float = 15.0


class FileConfig(_Section, frozen=True):
    """A recording replayed as wearable `device`: a WFDB record, EDF or CSV file."""

    enabled: bool = False
    record: str | None = None
    device: str = "replay"
    channel: str | None = None
    loop: bool = False


class SourcesConfig(_Section, frozen=True):
    """Where frames come from."""

    tcp: TcpConfig = TcpConfig()
    ble: BleConfig = BleConfig()
    serial: SerialConfig = SerialConfig()
    file: FileConfig = FileConfig()


def check_sources(config: SourcesConfig) -> None:
    """Raise `ConfigError` for values that the types allow and the sources cannot use."""
    if config.ble.enabled:
        _check_ble(config.ble)
    if config.serial.enabled:
        _check_serial(config.serial)
    if config.file.enabled:
        if config.file.record is None:
            raise ConfigError("sources.file.record is not set: name a WFDB record, an EDF or a CSV file")
        _device("sources.file.device", config.file.device)
    listed = [p.device for p in config.ble.devices] if config.ble.enabled else []
    _once("device", [*listed, *([config.file.device] if config.file.enabled else [])])


def _check_serial(serial: SerialConfig) -> None:
    if not serial.ports:
        raise ConfigError('sources.serial.ports is empty: name the lines, e.g. ["/dev/ttyUSB0"]')
    if serial.baud <= 0:
        raise ConfigError(f"sources.serial.baud = {serial.baud}: use a rate such as 115200")
    _once("sources.serial.ports", serial.ports)


def _check_ble(ble: BleConfig) -> None:
    if not ble.devices:
        raise ConfigError(
            "sources.ble.devices is empty: list each wearable as [[sources.ble.devices]] with address and device "
            "(vitalwire edge scan shows what is in reach)"
        )
    for peripheral in ble.devices:
        if not _ADDRESS.fullmatch(peripheral.address):
            raise ConfigError(
                f"sources.ble.devices address {peripheral.address!r}: write it as AA:BB:CC:DD:EE:FF"
            )
        _device("sources.ble.devices device", peripheral.device)
    _once("sources.ble.devices address", (p.address.lower() for p in ble.devices))


def _device(key: str, name: str) -> None:
    try:
        identifier(name, "device")
    except TopicError as error:
        raise ConfigError(f"{key}: {error}") from error


def _once(key: str, values: Iterable[str]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ConfigError(f"{key} {twice[0]!r} stands there twice: name each once")
