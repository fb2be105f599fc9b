"""One table from the JSON of several runs: every bar, our figure over the seeds, the best peer of the same runs.

What labels of other patients add to a figure stands in a column of its own.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from vitalwire_cloud.evaluation.report import AT_MOST, LABELLED, Report, reaches, shown

COMMANDS: Final[dict[str, str]] = {
    "beatgan": "anomaly --protocol beatgan",
    "inter-patient": "anomaly",
    "naming": "naming",
    "qrs": "qrs",
    "calibration": "calibration",
    "vitals": "vitals",
    "int8": "int8",
    "rhythm": "rhythm",
    "synthesis": "synthesis",
}
"""What `vitalwire evaluate` is asked, by protocol."""

WEIGHED: Final = frozenset({"naming", "calibration", "int8"})
"""Protocols that judge what labels had a part in."""

_PART: Final = " alone"
"""How a part of our own score is called, which is no peer."""

HEADS: Final = (
    "protocol",
    "figure",
    "ours: mean (least to most)",
    "with labels",
    "best peer",
    "bar",
    "`vitalwire evaluate`",
)


class SummaryError(ValueError):
    """A file is not what `vitalwire evaluate --json` writes."""


def read(paths: Iterable[Path]) -> list[Report]:
    """Reports in files, or in all JSON files of folders. Raises `SummaryError`."""
    reports = []
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise SummaryError(
                f"{path} holds no JSON: give what `vitalwire evaluate --json` or `--report` wrote"
            )
        for file in files:
            try:
                reports.append(msgspec.json.decode(file.read_bytes(), type=Report))
            except (OSError, msgspec.MsgspecError) as error:
                raise SummaryError(f"{file}: {error}; give what `vitalwire evaluate --json` wrote") from error
    return reports


def rows(reports: Sequence[Report]) -> list[tuple[str, ...]]:
    """A row for every figure that has a bar, by protocol, in the columns of `HEADS`; reached ones are bold."""
    found = []
    for protocol in sorted({each.protocol for each in reports}, key=_place):
        runs = sorted((each for each in reports if each.protocol == protocol), key=lambda each: each.seed)
        seeds = {each.seed for each in runs}
        if len(seeds) != len(runs):
            raise SummaryError(f"{protocol}: two runs have one seed; give each seed once")
        if {frozenset(each.records) for each in runs} != {frozenset(runs[0].records)}:
            raise SummaryError(f"{protocol}: the runs judged different records; give runs over the same ones")
        for name in runs[0].bar or runs[0].metrics:
            ours = [each.metrics[name] for each in runs if name in each.metrics]
            if ours:
                found.append(_row(protocol, name, ours, runs))
    return found


def _row(protocol: str, name: str, ours: Sequence[float], runs: Sequence[Report]) -> tuple[str, ...]:
    bar = runs[0].bar.get(name)
    labelled: Sequence[float] = [
        each.metrics[f"{LABELLED}{name}"] for each in runs if f"{LABELLED}{name}" in each.metrics
    ]
    if protocol in WEIGHED:
        ours, labelled = (), ours
    told, with_labels = (_told(name, values, bar) for values in (ours, labelled))
    command = COMMANDS.get(protocol, protocol)
    limit = "" if bar is None else shown(bar)
    return (protocol, name, told, with_labels, _best_peer(name, runs), limit, f"`{command}`")


def _told(name: str, values: Sequence[float], bar: float | None) -> str:
    """Mean and spread of a figure over the runs, bold where the mean reaches the bar; empty without a value."""
    if not values:
        return ""
    mean = sum(values) / len(values)
    told = shown(mean)
    if bar is not None and reaches(name, mean, bar):
        told = f"**{told}**"
    if len(values) > 1:
        told += f" ({shown(min(values))} to {shown(max(values))})"
    return told


def _best_peer(name: str, runs: Sequence[Report]) -> str:
    """The peer with the best mean over the runs that have it in each."""
    means = {}
    for peer in runs[0].peers:
        if peer.endswith(_PART):
            continue
        values = [each.peers[peer][name] for each in runs if name in each.peers.get(peer, {})]
        if len(values) == len(runs):
            means[peer] = sum(values) / len(values)
    if not means:
        return ""
    best = (min if name in AT_MOST else max)(means, key=lambda peer: means[peer])
    return f"{shown(means[best])} ({best})"


def _place(protocol: str) -> int:
    known = list(COMMANDS)
    return known.index(protocol) if protocol in known else len(known)


def markdown(reports: Sequence[Report]) -> str:
    """The table as Markdown."""
    lines = [HEADS, tuple("---" for _ in HEADS), *rows(reports)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
