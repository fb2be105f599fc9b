"""What `vitalwire doctor` looks at of the sources that a gateway's configuration enables."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vitalwire_edge.config import EdgeConfig
from vitalwire_edge.process import config as layers
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.findings import Finding, Subject
from vitalwire_edge.recordings.locate import data_folder, find
from vitalwire_edge.recordings.recording import RecordingError
from vitalwire_edge.sources.config import SourcesConfig, check_sources

_ADAPTERS: Final = Path("/sys/class/bluetooth")


def sources(subject: Subject, *, adapters: Path = _ADAPTERS) -> Iterator[Finding]:
    """Is there what each enabled source needs?"""
    if subject.edge_config is None:
        yield Finding(
            "sources", "ok", "not looked at: name the gateway's configuration with --edge-config FILE"
        )
        return
    try:
        settings = layers.load(EdgeConfig, path=subject.edge_config, env_prefix="VITALWIRE_EDGE").sources
        check_sources(settings)
    except ConfigError as error:
        yield Finding("sources", "problem", str(error), "mend the configuration")
        return
    yield from _enabled(settings, adapters)


def _enabled(config: SourcesConfig, adapters: Path) -> Iterator[Finding]:
    on = 0
    if config.tcp.enabled:
        on += 1
        yield Finding("sources", "ok", f"tcp listens on {config.tcp.host}:{config.tcp.port}")
    if config.ble.enabled:
        on += 1
        yield _bluetooth(config, adapters)
    for port in config.serial.ports if config.serial.enabled else ():
        on += 1
        yield _serial(port)
    if config.file.enabled and config.file.record is not None:
        on += 1
        yield _file(config.file.record)
    if not on:
        yield Finding("sources", "problem", "no source is enabled: no wearable can come in", "enable one")


def _bluetooth(config: SourcesConfig, adapters: Path) -> Finding:
    wanted = config.ble.adapter or "*"
    found = sorted(path.name for path in adapters.glob(wanted)) if adapters.is_dir() else []
    if found:
        return Finding("sources", "ok", f"ble: adapter {found[0]}, {len(config.ble.devices)} devices listed")
    named = f"adapter {config.ble.adapter}" if config.ble.adapter else "Bluetooth adapter"
    return Finding(
        "sources", "problem", f"ble: no {named} here", "plug one in, or sources.ble.enabled = false"
    )


def _serial(port: str) -> Finding:
    if not Path(port).exists():
        return Finding("sources", "problem", f"serial: {port} is not there", "plug it in, or mend the name")
    if not os.access(port, os.R_OK | os.W_OK):
        return Finding(
            "sources",
            "problem",
            f"serial: this user may not use {port}",
            "add the user to the group that owns it (often dialout)",
        )
    return Finding("sources", "ok", f"serial: {port} can be opened")


def _file(record: str) -> Finding:
    try:
        path = record if record == "toy" else str(find(record, data_folder(None)))
    except RecordingError as error:
        return Finding("sources", "problem", f"file: {error}", "mend sources.file.record")
    return Finding("sources", "ok", f"file: replays {path}")
