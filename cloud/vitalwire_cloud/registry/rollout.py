"""Who is offered a model, and when a rollout goes on or stops. Pure: figures in, decisions out."""

from collections.abc import Iterable
from typing import Final

import msgspec

from vitalwire_cloud.registry.config import RolloutConfig
from vitalwire_cloud.registry.ledger import Gateway, Model, Reported, Stage
from vitalwire_edge.inference.refusal import Refusal

Key = tuple[str, str]
"""Site and name of a gateway."""

_OF_THE_MOMENT: Final = frozenset({Refusal.NO_ROOM.value, Refusal.EXPIRED.value, Refusal.UNSATISFIED.value})
_OF_THE_GATEWAY: Final = frozenset(
    {
        Refusal.NO_ROOM.value,
        Refusal.OLDER_VERSION.value,
        Refusal.WRONG_HARDWARE.value,
        Refusal.UNSATISFIED.value,
    }
)
"""Reasons that say something about one gateway and nothing about the model."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What gateways said last about one model."""

    running: frozenset[Key]
    candidate: frozenset[Key]
    refused: dict[Key, str]


def progress(reports: Iterable[Reported]) -> Progress:
    """Where each gateway stands, from the reports about one model."""
    last: dict[Key, Reported] = {}
    for each in reports:
        key = each.site, each.gateway
        if key not in last or each.received_ns >= last[key].received_ns:
            last[key] = each
    return Progress(
        running=frozenset(key for key, each in last.items() if each.report.state == "running"),
        candidate=frozenset(key for key, each in last.items() if each.report.state == "candidate"),
        refused={
            key: each.report.reason or "" for key, each in last.items() if each.report.state == "refused"
        },
    )


def choose_first(
    model: Model, present: Iterable[Key], made: Progress, config: RolloutConfig
) -> tuple[Key, ...]:
    """The gateways that get `model` first: named ones, else those present, by name.

    One that refused for a reason of its own gives its place to another.
    """
    unfit = {key for key, reason in made.refused.items() if reason in _OF_THE_GATEWAY}
    chosen = [key for key in model.first if key not in unfit]
    named = [(site, gateway) for site, _, gateway in (name.partition("/") for name in config.first_names)]
    wanted = max(config.first, len(named))
    for key in (*named, *(() if named else sorted(present))):
        if len(chosen) < wanted and key not in chosen and key not in unfit:
            chosen.append(key)
    return tuple(chosen)


def next_stage(model: Model, made: Progress, config: RolloutConfig) -> tuple[Stage, str] | None:
    """Stage to move to and why, or None to stay."""
    against = {key: reason for key, reason in made.refused.items() if reason not in _OF_THE_GATEWAY}
    told = ", ".join(f"{site}/{gateway}: {reason}" for (site, gateway), reason in sorted(against.items())[:5])
    if model.stage == "first":
        if against:
            return "halted", f"refused by a first gateway ({told})"
        if model.first and set(model.first) <= made.running:
            return "all", f"confirmed by {len(model.first)} first gateways"
    if model.stage == "all":
        tried = len(made.running) + len(made.candidate) + len(against)
        if len(against) > max(1, config.tolerated * tried):
            return "halted", f"refused by {len(against)} of {tried} gateways ({told})"
    return None


def wants(model: Model, gateway: Key, made: Progress) -> bool:
    """Whether `gateway` shall be offered `model`."""
    if model.stage not in ("first", "all") or (model.stage == "first" and gateway not in model.first):
        return False
    if gateway in made.running or gateway in made.candidate:
        return False
    reason = made.refused.get(gateway)
    return reason is None or reason in _OF_THE_MOMENT


def stranded(model: Model, gateways: Iterable[Gateway]) -> tuple[Key, ...]:
    """Gateways that still run `model` although its rollout was stopped."""
    if model.stage != "halted":
        return ()
    return tuple(each.key for each in gateways if each.running_sha256 == model.manifest_sha256)
