"""What happened in a demo: ground truth, the gateways' counters and the store read back, put side by side."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vitalwire_sim import truth
from vitalwire_sim.demo.retraining import NEEDED_S, ModelUpdate, RefusedModel
from vitalwire_sim.demo.run import Evidence, Plan

_BEFORE_NS: Final = 2_000_000_000
_BESIDE_NS: Final = 2_500_000_000
"""An ectopic beat makes itself and its neighbours unusual."""
MODEL_ALERT: Final = "beat_anomaly"
_GATEWAY_SETTLE_NS: Final = 60_000_000_000


class StreamReport(msgspec.Struct, frozen=True, kw_only=True):
    """One stream: `sent` is what the gateway accepted; `ecg` counts samples, the others messages."""

    device: str
    stream: str
    sent: int
    stored: int
    lost: int
    duplicated: int
    dropped_by_script: int = 0


class EpisodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """One scripted episode that had to be raised; `latency_ms` runs from its start to the stored alarm."""

    device: str
    kind: str
    start_ns: int
    raised: bool
    raised_by: str | None
    latency_ms: float | None


class AlertReport(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that nothing in the script explains."""

    device: str | None
    gateway: str
    kind: str
    priority: str
    onset_ns: int
    text: str


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds."""

    p50: float
    p99: float
    max: float


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of `vitalwire demo`."""

    scenario: str
    seed: int
    seconds: float
    streams: list[StreamReport]
    episodes: list[EpisodeReport]
    false_alerts: int
    false_alert_list: list[AlertReport]
    latency_ms: dict[str, Latency | None]
    wire_bytes_per_device_s: float
    models: list[ModelUpdate]
    refused: list[RefusedModel]
    cpu_s: dict[str, float]
    disturbances: list[dict[str, object]]
    problems: list[str]
    ok: bool


class Truth(msgspec.Struct, frozen=True):
    """Ground truth of one device."""

    start: truth.Start
    episodes: list[truth.EpisodeStart]
    cut: set[tuple[str, int]]
    ectopic_ns: list[int]
    end: truth.End | None

    def explains(self, kind: str, at_ns: int) -> bool:
        """Whether an episode of this device, or its recording, accounts for an alarm of `kind` at `at_ns`."""
        if kind == MODEL_ALERT and (
            # The script does not know which beats of a recording are unusual.
            self.start.recording is not None
            or any(abs(at_ns - r_ns) <= _BESIDE_NS for r_ns in self.ectopic_ns)
        ):
            return True
        return any(
            kind in (*episode.expects, *episode.allows) and covers(episode, at_ns)
            for episode in self.episodes
        )


def covers(episode: truth.EpisodeStart, at_ns: int) -> bool:
    """Whether `at_ns` lies in the episode or in the time its consequences last."""
    return episode.at_ns - _BEFORE_NS <= at_ns <= episode.end_ns + int(episode.settle_s * 1e9)


def build_report(plan: Plan, evidence: Evidence) -> DemoReport:
    """Judge a finished run. Reads files only; raises `truth.TruthError` when a wearable left none."""
    truths = [_truth(path) for path in evidence.truth_files]
    audit: dict[str, Any] = evidence.audit
    counters = [msgspec.json.decode(path.read_bytes()) for path in evidence.counter_files if path.exists()]
    problems = [*evidence.problems, *evidence.retrained.problems]
    if evidence.retrained.unfinished and evidence.elapsed_s >= NEEDED_S:
        problems.append(
            f"the run ended after {evidence.elapsed_s:.0f} s, before the model's circle was closed: "
            "this machine is slow or busy, give more --seconds"
        )
    streams = list(_streams(truths, counters, audit["streams"]))
    episodes = [episode for device in truths for episode in _episodes(device, audit["alarms"])]
    false_alerts = list(_false_alerts(truths, evidence, audit["alarms"]))
    to_store = [value for stream in audit["streams"] for value in stream["latency_ms"]["values"]]
    to_alert = [episode.latency_ms for episode in episodes if episode.latency_ms is not None]
    published = sum(device["bytes_published"] for c in counters for device in c["devices"].values())
    complete = (
        not problems
        and bool(streams)
        and all(stream.lost == 0 and stream.duplicated == 0 for stream in streams)
        and all(episode.raised for episode in episodes)
        and sum(stream.sent for stream in streams if stream.stream == "ecg") > 0
        and {stream.device for stream in streams} == {device.start.device for device in truths}
        and _circle_closed(plan, evidence)
    )
    return DemoReport(
        scenario=plan.scenario_name,
        seed=plan.seed,
        seconds=round(evidence.elapsed_s, 1),
        streams=streams,
        episodes=episodes,
        false_alerts=len(false_alerts),
        false_alert_list=false_alerts,
        latency_ms={"sample_to_store": _latency(to_store), "episode_to_alert": _latency(to_alert)},
        wire_bytes_per_device_s=round(published / max(len(truths) * evidence.elapsed_s, 1.0), 1),
        models=evidence.retrained.updates,
        refused=evidence.retrained.refused,
        cpu_s=evidence.cpu_s,
        disturbances=evidence.disturbances,
        problems=problems,
        ok=complete,
    )


def _circle_closed(plan: Plan, evidence: Evidence) -> bool:
    """Every gateway updated without missing a beat, and what is bad was refused, where there was time for it."""
    retrained = evidence.retrained
    if not retrained.wanted or evidence.elapsed_s < NEEDED_S:
        return all(update.beats_missed_in_swap == 0 for update in retrained.updates)
    return (
        {update.gateway for update in retrained.updates} == set(plan.scenario.gateways)
        and all(update.beats_missed_in_swap == 0 for update in retrained.updates)
        and retrained.to_refuse == {each.what for each in retrained.refused}
    )


def print_report(report: DemoReport, console: Console) -> None:
    """Tell a person."""
    table = Table("device", "stream", "sent", "stored", "lost", "twice", "dropped by script", title="Samples")
    for stream in report.streams:
        table.add_row(
            stream.device,
            stream.stream,
            *(f"{n:,}" for n in (stream.sent, stream.stored, stream.lost, stream.duplicated)),
            f"{stream.dropped_by_script:,}" if stream.dropped_by_script else "",
        )
    console.print(table)
    table = Table("device", "episode", "raised by", "after", title="Scripted episodes")
    for episode in report.episodes:
        after = (
            f"{episode.latency_ms / 1000:.1f} s"
            if episode.latency_ms is not None
            else "[red]not raised[/red]"
        )
        table.add_row(episode.device, episode.kind, episode.raised_by or "", after)
    if report.episodes:
        console.print(table)
    table = Table("gateway", "model", "learned from", "missed in the swap", title="Models over the air")
    for update in report.models:
        learned = escape(update.why) or f"{update.beats} beats of {update.patients} patients"
        table.add_row(
            update.gateway, f"{update.before} -> {update.after}", learned, str(update.beats_missed_in_swap)
        )
    if report.models:
        console.print(table)
    for refused in report.refused:
        console.print(f"{refused.what} refused by {refused.by}: {refused.reason}", markup=False)
    for alert in report.false_alert_list:
        console.print(
            f"unexplained: {alert.device or alert.gateway} {alert.kind}: {alert.text}", style="yellow"
        )
    for name, latency in report.latency_ms.items():
        if latency is not None:
            figures = f"p50 {latency.p50:.0f} ms, p99 {latency.p99:.0f} ms, max {latency.max:.0f} ms"
            console.print(f"{name.replace('_', ' ')}: {figures}")
    console.print(f"on the wire: {report.wire_bytes_per_device_s:.0f} B/s a device")
    console.print("CPU: " + ", ".join(f"{name} {used:.1f} s" for name, used in report.cpu_s.items()))
    for problem in report.problems:
        console.print(problem, style="red", markup=False)
    console.print("[green]ok[/green]" if report.ok else "[red]not ok[/red]")


def _truth(path: Path) -> Truth:
    records = truth.read(path)
    starts = [r for r in records if isinstance(r, truth.Start)]
    if not starts:
        raise truth.TruthError(f"truth file {path}: the wearable never started")
    ends = [r for r in records if isinstance(r, truth.End)]
    return Truth(
        start=starts[0],
        episodes=[r for r in records if isinstance(r, truth.EpisodeStart)],
        cut={(r.kind, r.start_ns) for r in records if isinstance(r, truth.EpisodeEnd) and r.cut},
        ectopic_ns=[r.r_ns for r in records if isinstance(r, truth.BeatTruth) and r.symbol == "V"],
        end=ends[-1] if ends else None,
    )


def _streams(
    truths: list[Truth], counters: list[dict[str, Any]], audited: list[dict[str, Any]]
) -> Iterator[StreamReport]:
    accepted = {name: device["accepted"] for c in counters for name, device in c["devices"].items()}
    for device in truths:
        name = device.start.device
        for stream, sent in accepted.get(name, {}).items():
            rows = [row for row in audited if row["device"] == name and row["stream"] == stream]
            stored = sum(row["samples"] for row in rows)
            scripted = 0
            if device.end is not None and stream in {"ecg", "vitals"}:
                scripted = (device.end.ecg if stream == "ecg" else device.end.vitals).dropped_by_script
            yield StreamReport(
                device=name,
                stream=stream,
                sent=sent,
                stored=stored,
                lost=sent - stored,
                duplicated=sum(row["duplicated"] for row in rows),
                dropped_by_script=scripted,
            )


def _episodes(device: Truth, alarms: list[dict[str, Any]]) -> Iterator[EpisodeReport]:
    own = sorted((a for a in alarms if a["device"] == device.start.device), key=lambda a: a["raised_ns"])
    for episode in device.episodes:
        if not episode.expects:
            continue
        found = next(
            (a for a in own if a["kind"] in episode.expects and covers(episode, a["raised_ns"])), None
        )
        if found is None and (episode.kind, episode.at_ns) in device.cut:
            # Somebody ended the run before the episode was over; nothing can be said about it.
            continue
        yield EpisodeReport(
            device=device.start.device,
            kind=episode.kind,
            start_ns=episode.at_ns,
            raised=found is not None,
            raised_by=found["rule"] if found else None,
            latency_ms=round((found["stored_ns"] - episode.at_ns) / 1e6, 1) if found else None,
        )


def _false_alerts(
    truths: list[Truth], evidence: Evidence, alarms: list[dict[str, Any]]
) -> Iterator[AlertReport]:
    by_device = {device.start.device: device for device in truths}
    for alarm in alarms:
        device = by_device.get(alarm["device"])
        if device is not None:
            explained = device.explains(alarm["kind"], alarm["onset_ns"]) or device.explains(
                alarm["kind"], alarm["raised_ns"]
            )
        else:
            explained = any(_disturbed(d, alarm) for d in evidence.disturbances)
        if not explained:
            yield AlertReport(
                **{
                    field: alarm[field]
                    for field in ("device", "gateway", "kind", "priority", "onset_ns", "text")
                }
            )


def _disturbed(disturbance: dict[str, Any], alarm: dict[str, Any]) -> bool:
    if disturbance["gateway"] not in {None, alarm["gateway"]}:
        return False
    end_ns = disturbance["start_ns"] + int(disturbance["duration_s"] * 1e9) + _GATEWAY_SETTLE_NS
    return bool(disturbance["start_ns"] <= alarm["raised_ns"] <= end_ns)


def _latency(values: Iterable[float]) -> Latency | None:
    found = np.fromiter(values, dtype=np.float64)
    if found.size == 0:
        return None
    p50, p99 = np.percentile(found, (50, 99))
    return Latency(p50=round(float(p50), 1), p99=round(float(p99), 1), max=round(float(found.max()), 1))
