"""What the store's part of `vitalwire doctor` looks at."""

from collections.abc import Iterator

from vitalwire_cloud.store.interface import StoreError
from vitalwire_cloud.store.reading import StoreReader
from vitalwire_edge.process.findings import Finding, Subject


def store(subject: Subject) -> Iterator[Finding]:
    """Can the store be read, and what does it hold?"""
    if subject.data_dir is None:
        yield Finding("store", "ok", "not looked at: name one with --data-dir")
        return
    try:
        reader = StoreReader(subject.data_dir)
    except StoreError as error:
        yield Finding("store", "problem", str(error))
        return
    try:
        devices = len(reader.devices())
        counts = reader.counts()
    except StoreError as error:
        yield Finding("store", "problem", str(error))
    else:
        yield Finding(
            "store",
            "warning" if counts.quarantined else "ok",
            f"{devices} devices, {counts.conflicts} conflicts, {counts.quarantined} quarantined messages",
            "look at them: vitalwire cloud quarantine list" if counts.quarantined else None,
        )
    finally:
        reader.close()
