"""What the gateway counted, for the status message, the metrics page and the counters file."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vitalwire_edge.ota.gateway import ModelState
from vitalwire_edge.sources.inbox import SourceState
from vitalwire_edge.spool.rows import Accepted
from vitalwire_edge.spool.spool import SpoolState


class DeviceReport(msgspec.Struct, frozen=True):
    """One wearable: `accepted` are ECG samples, else messages, that the spool made durable; `evicted` those it gave up.

    `ecg_samples` splits the ECG samples by channel code. `bytes_published` are payloads and topics, repeats included,
    since the agent started, as are the ECG samples `withheld` by `telemetry.waveform`: neither accepted nor lost.
    """

    accepted: dict[str, int]
    ecg_samples: dict[str, int]
    evicted: dict[str, int]
    dropped: dict[str, int]
    bytes_published: int
    withheld: int = 0


class CountersFile(msgspec.Struct, frozen=True):
    """What `--counters` writes every second. `accepted` and `evicted` run over the life of the spool file."""

    site: str
    gateway: str
    session: str
    at_ns: int
    spool_rows: int
    counters: dict[str, int]
    devices: dict[str, DeviceReport]
    model: ModelState | None = None


def device_reports(
    accepted: list[Accepted],
    dropped: dict[str, dict[str, int]],
    bytes_published: dict[str, int],
    withheld: dict[str, int],
) -> dict[str, DeviceReport]:
    """Reports of every device that the spool or the sources know."""
    names = sorted({row.device for row in accepted} | set(dropped))
    reports = {}
    for name in names:
        rows = [row for row in accepted if row.device == name]
        taken: dict[str, int] = {}
        evicted: dict[str, int] = {}
        for row in rows:
            taken[row.stream] = taken.get(row.stream, 0) + row.samples
            if row.evicted_samples:
                evicted[row.stream] = evicted.get(row.stream, 0) + row.evicted_samples
        reports[name] = DeviceReport(
            accepted=taken,
            ecg_samples={str(row.code): row.samples for row in rows if row.stream == "ecg"},
            evicted=evicted,
            dropped=dropped.get(name, {}),
            bytes_published=bytes_published.get(name, 0),
            withheld=withheld.get(name, 0),
        )
    return reports


def total(*sources: Counter[str]) -> Counter[str]:
    """Sum of counters that other threads go on counting in; each is copied at once, as it cannot be walked safely."""
    together: Counter[str] = Counter()
    for source in sources:
        together.update(dict(source))
    return together


def write_atomically(path: Path, report: CountersFile) -> None:
    """Replace the file at `path`; a reader sees the old one or the new one. Raises `OSError`."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    fresh.replace(path)


class Reported(Protocol):
    """What the metrics page reads."""

    def report(self) -> CountersFile:
        """Everything counted so far."""

    def spool_state(self) -> SpoolState:
        """What the spool holds."""

    def gauges(self) -> dict[str, float]:
        """Present states, by name."""

    def source_states(self) -> list[SourceState]:
        """How every source stands."""


class EdgeCollector(Collector):
    """Turns the agent's own counters into Prometheus metrics when they are asked for."""

    def __init__(self, agent: Reported) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        """Metrics of this moment."""
        report = self._agent.report()
        accepted = CounterMetricFamily(
            "vitalwire_edge_accepted", "Samples (ECG) or messages made durable", labels=("device", "stream")
        )
        dropped = CounterMetricFamily(
            "vitalwire_edge_dropped", "What did not get through", labels=("device", "reason")
        )
        sent = CounterMetricFamily("vitalwire_edge_published_bytes", "Payload and topic", labels=("device",))
        for name, device in report.devices.items():
            sent.add_metric((name,), device.bytes_published)
            for stream, count in device.accepted.items():
                accepted.add_metric((name, stream), count)
            for reason, count in device.dropped.items():
                dropped.add_metric((name, reason), count)
        withheld = GaugeMetricFamily(
            "vitalwire_edge_withheld_samples", "ECG samples that stay here by policy", labels=("device",)
        )
        for name, device in report.devices.items():
            withheld.add_metric((name,), device.withheld)
        yield withheld
        events = CounterMetricFamily("vitalwire_edge_events", "Things that happened", labels=("event",))
        for event, count in report.counters.items():
            events.add_metric((event,), count)
        yield from (accepted, dropped, sent, events)
        state = self._agent.spool_state()
        yield GaugeMetricFamily("vitalwire_edge_spool_rows", "Rows not committed", value=state.rows)
        yield GaugeMetricFamily("vitalwire_edge_spool_bytes", "Bytes in use", value=state.used_bytes)
        yield from _sources(self._agent.source_states())
        for name, value in self._agent.gauges().items():
            yield GaugeMetricFamily(f"vitalwire_edge_{name}", name.replace("_", " "), value=value)


def _sources(states: list[SourceState]) -> Iterator[Metric]:
    labels = ("source", "where")
    works = GaugeMetricFamily("vitalwire_edge_source_up", "1 while the source works", labels=labels)
    connected = GaugeMetricFamily("vitalwire_edge_source_connected", "Wearables on it", labels=labels)
    events = CounterMetricFamily(
        "vitalwire_edge_source_events", "What the source counted", labels=(*labels, "event")
    )
    for state in states:
        works.add_metric((state.kind, state.where), float(state.problem is None))
        connected.add_metric((state.kind, state.where), float(state.connected))
        for event, count in state.counters.items():
            events.add_metric((state.kind, state.where, event), count)
    yield from (works, connected, events)
