"""What the store's part of `vitalwire doctor` looks at."""

from collections.abc import Iterator

from vitalwire_cloud.config import ENV_PREFIX, CloudConfig
from vitalwire_cloud.store.interface import StoreError
from vitalwire_cloud.store.opening import open_reader
from vitalwire_edge.process import config as layers
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.findings import Finding, Subject


def store(subject: Subject) -> Iterator[Finding]:
    """Can the store be read, and what does it hold?"""
    if subject.data_dir is None and subject.cloud_config is None:
        yield Finding("store", "ok", "not looked at: name one with --data-dir or --cloud-config")
        return
    try:
        flags = {"data_dir": None if subject.data_dir is None else str(subject.data_dir)}
        config = layers.load(CloudConfig, path=subject.cloud_config, env_prefix=ENV_PREFIX, flags=flags)
        reader = open_reader(config)
    except (StoreError, ConfigError) as error:
        yield Finding("store", "problem", str(error))
        return
    try:
        devices = len(reader.devices())
        counts = reader.counts()
        reader.latest_vitals("")
    except StoreError as error:
        yield Finding("store", "problem", str(error))
    else:
        yield Finding(
            "store",
            "warning" if counts.quarantine_held else "ok",
            f"{config.store.backend}: {devices} devices, {counts.conflicts} conflicts, "
            f"{counts.quarantine_held} quarantined messages",
            "look at them: vitalwire cloud quarantine list" if counts.quarantine_held else None,
        )
    finally:
        reader.close()
