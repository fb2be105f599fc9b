"""The sources that a configuration enables."""

from vitalwire_edge.sources.config import SourcesConfig
from vitalwire_edge.sources.inbox import Inbox, Source, SourceError
from vitalwire_edge.sources.tcp import TcpSource


def build_sources(config: SourcesConfig, inbox: Inbox) -> list[Source]:
    """Every enabled source, not started. Raises `SourceError` when a package that one needs is missing."""
    sources: list[Source] = []
    if config.tcp.enabled:
        tcp = config.tcp
        sources.append(
            TcpSource(
                tcp.host,
                tcp.port,
                inbox,
                max_connections=tcp.max_connections,
                idle_close_s=tcp.idle_close_s,
            )
        )
    # Each is loaded when it is wanted: their packages are none that every gateway must have.
    try:
        if config.ble.enabled:
            from vitalwire_edge.sources.ble.source import BleSource  # noqa: PLC0415

            sources.append(BleSource(config.ble, inbox))
        if config.serial.enabled:
            from vitalwire_edge.sources.serial import SerialSource  # noqa: PLC0415

            sources += [SerialSource(port, config.serial, inbox) for port in config.serial.ports]
        if config.file.enabled:
            from vitalwire_edge.sources.file import FileSource  # noqa: PLC0415

            sources.append(FileSource(config.file, inbox))
    except ModuleNotFoundError as error:
        raise SourceError(f"a source needs {error.name}: install vitalwire[edge]") from error
    return sources
