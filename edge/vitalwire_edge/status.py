"""The gateway's own status page: is it well, what is on it, what waits. Device names and counts, no patient data."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from typing import Protocol

import msgspec

from vitalwire_edge.alarms import AlarmChange
from vitalwire_edge.clock.gateway_clock import Stamp
from vitalwire_edge.enrolment.watch import CertificateWatch
from vitalwire_edge.process.health import Page
from vitalwire_edge.sources.inbox import SourceState
from vitalwire_edge.wire.messages import DeviceStatus


class _Link(Protocol):
    @property
    def up(self) -> bool: ...

    @property
    def unconfirmed(self) -> int: ...

    @property
    def certificate(self) -> CertificateWatch: ...


class LinkView(msgspec.Struct, frozen=True):
    """The way to the cloud. `certificate_expires` is ISO 8601, the days left are by this gateway's clock."""

    up: bool
    unconfirmed: int
    certificate_expires: str | None = None
    certificate_days: float | None = None

    @classmethod
    def of(cls, link: "_Link", now: Stamp) -> "LinkView":
        """From the gateway's link."""
        expires = link.certificate.expires
        return cls(
            link.up,
            link.unconfirmed,
            None if expires is None else expires.isoformat(),
            link.certificate.days_left(now.utc_ns),
        )


class SpoolView(msgspec.Struct, frozen=True):
    """What the cloud has not committed."""

    rows: int
    used_bytes: int
    problem: str | None


class _Model(Protocol):
    @property
    def version(self) -> int: ...

    @property
    def on_probation(self) -> bool: ...

    @property
    def problem(self) -> str | None: ...


class ModelView(msgspec.Struct, frozen=True):
    """The beat model at work; version 0 for none."""

    version: int
    on_probation: bool
    problem: str | None

    @classmethod
    def of(cls, state: _Model) -> "ModelView":
        """From the gateway's models."""
        return cls(state.version, state.on_probation, state.problem)


class AlarmsView(msgspec.Struct, frozen=True):
    """How many alarms are open by priority, and how many the cloud has not confirmed; not which."""

    open: dict[str, int]
    unconfirmed: int


class SourceView(msgspec.Struct, frozen=True):
    """One way in."""

    kind: str
    where: str
    connected: int
    problem: str | None
    counters: dict[str, int]

    @classmethod
    def of(cls, state: SourceState) -> "SourceView":
        """From the source."""
        return cls(state.kind, state.where, state.connected, state.problem, state.counters)


class DeviceView(msgspec.Struct, frozen=True):
    """One wearable: whether it is there and how good its signal is, never what it measures."""

    device: str
    connected: bool
    battery_percent: int | None
    quality: float | None
    last_frame_age_s: float | None

    @classmethod
    def of(cls, status: DeviceStatus) -> "DeviceView":
        """From the wearable."""
        return cls(
            status.device, status.connected, status.battery_percent, status.quality, status.last_frame_age_s
        )


class StatusPage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the page shows, also as JSON."""

    site: str
    gateway: str
    software: str
    at_ns: int
    clock_synchronised: bool
    problems: tuple[str, ...]
    link: LinkView
    spool: SpoolView
    model: ModelView
    alarms: AlarmsView
    sources: tuple[SourceView, ...]
    devices: tuple[DeviceView, ...]


class AlarmBoard:
    """Open alarms, counted by priority. Changed by one thread, read by any."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], str] = {}

    def on_alarm(self, device: str, change: AlarmChange) -> None:
        """An alarm was raised, changed or cleared."""
        if change.phase == "cleared":
            self._open.pop((device, change.kind), None)
        else:
            self._open[device, change.kind] = change.priority

    def counts(self) -> dict[str, int]:
        """How many are open, by priority."""
        found = Counter(list(self._open.values()))
        return {priority: found[priority] for priority in ("high", "medium", "low")}


def pages(status: Callable[[], StatusPage]) -> dict[str, Page]:
    """`/` for people and `/status.json` for programs."""
    return {
        "/": lambda: ("text/html; charset=utf-8", page(status()).encode()),
        "/status.json": lambda: ("application/json", msgspec.json.encode(status())),
    }


def page(status: StatusPage) -> str:
    """The page as HTML that needs nothing else, and renews itself every 5 s."""
    at = datetime.fromtimestamp(status.at_ns / 1e9, UTC)
    clock = f"{at:%Y-%m-%d %H:%M:%S} UTC{'' if status.clock_synchronised else ' (not synchronised)'}"
    problems = "".join(f'<p class="bad">{escape(problem)}</p>' for problem in status.problems)
    opened = ", ".join(f"{count} {priority}" for priority, count in status.alarms.open.items())
    model = f"version {status.model.version}" if status.model.version else "none"
    facts = (
        ("Clock", clock),
        ("Link to the cloud", "up" if status.link.up else "down"),
        ("Certificate", _certificate(status)),
        ("Not confirmed by the cloud", f"{status.link.unconfirmed} messages"),
        ("Spool", f"{status.spool.rows} rows, {status.spool.used_bytes / 1e6:.1f} MB"),
        ("Beat model", model + (" on probation" if status.model.on_probation else "")),
        ("Open alarms", f"{opened}; {status.alarms.unconfirmed} not confirmed by the cloud"),
    )
    devices = [
        (
            d.device,
            "connected" if d.connected else "away",
            _known(d.last_frame_age_s, "{:.0f} s ago"),
            _known(d.quality, "{:.2f}"),
            _known(d.battery_percent, "{} %"),
        )
        for d in status.devices
    ]
    sources = [(s.kind, s.where, str(s.connected), s.problem or "works") for s in status.sources]
    title = f"{escape(status.gateway)} at {escape(status.site)}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>body{{font:16px/1.4 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}}
table{{border-collapse:collapse;margin:1rem 0;width:100%}}caption,th,td{{text-align:left;padding:.3rem .6rem}}
td,th{{border-bottom:1px solid #ccc}}caption{{font-weight:600}}.bad{{background:#b00020;color:#fff;padding:.5rem}}
.good{{background:#1b5e20;color:#fff;padding:.5rem}}</style></head>
<body><h1>{title}</h1>{problems or '<p class="good">This gateway is well.</p>'}
{_table("Gateway", (), facts)}
{_table("Devices", ("Device", "State", "Last heard", "Signal quality", "Battery"), devices)}
{_table("Sources", ("Source", "Where", "Wearables", "State"), sources)}
<p>vitalwire {escape(status.software)}. Not a certified medical device.</p></body></html>
"""


def _certificate(status: StatusPage) -> str:
    if status.link.certificate_expires is None or status.link.certificate_days is None:
        return "none"
    until = f"valid to {status.link.certificate_expires[:10]}"
    # A clock that may be wrong counts no days.
    return f"{until}, {status.link.certificate_days:.0f} days left" if status.clock_synchronised else until


def _table(caption: str, head: tuple[str, ...], rows: object) -> str:
    assert isinstance(rows, tuple | list)
    titles = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    none = "" if rows else "<tr><td>none</td></tr>"
    return f"<table><caption>{caption}</caption><tr>{titles}</tr>{body}{none}</table>"


def _known(value: float | None, shape: str) -> str:
    return "not known" if value is None else shape.format(value)
