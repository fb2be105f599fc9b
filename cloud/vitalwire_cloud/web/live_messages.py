"""Text messages of the live WebSocket: each is a JSON array of these structs, told apart by `type`."""

import msgspec

from vitalwire_cloud.alerts.alarm import Alarm
from vitalwire_cloud.web.views import BeatView, DeviceView, LinkView, News2View, ScoreView, VitalView


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """First message: the wall as it is. Device indices in binary messages count through `devices` from 0."""

    site: str
    version: str
    now_ns: int
    devices: list[DeviceView]
    links: list[LinkView]
    alarms: list[Alarm]


class NewDevice(msgspec.Struct, frozen=True, kw_only=True, tag="device"):
    """A device that was born since; it gets the next index. The same device again has new channels."""

    index: int
    device: DeviceView


class NewVitals(msgspec.Struct, frozen=True, kw_only=True, tag="vitals"):
    """Numbers that were just stored; they may be history."""

    device: str
    vitals: list[VitalView]


class NewBeats(msgspec.Struct, frozen=True, kw_only=True, tag="beats"):
    """Beats that were just stored; they may be history."""

    device: str
    beats: list[BeatView]


class NewScores(msgspec.Struct, frozen=True, kw_only=True, tag="scores"):
    """Beat scores that were just stored; they may be history."""

    device: str
    scores: list[ScoreView]


class NewAlarm(msgspec.Struct, frozen=True, kw_only=True, tag="alarm"):
    """An alarm in its new state."""

    alarm: Alarm


class NewLink(msgspec.Struct, frozen=True, kw_only=True, tag="link"):
    """A link in its new state."""

    link: LinkView


class NewNews2(msgspec.Struct, frozen=True, kw_only=True, tag="news2"):
    """What `gateway` says of the NEWS2 of a device's wearer: newly computed, or null where it has none."""

    gateway: str
    device: str
    news2: News2View | None


class Clock(msgspec.Struct, frozen=True, kw_only=True, tag="clock"):
    """The server's clock, at least once a second: its absence tells the page that it sees the past."""

    now_ns: int


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag="lost"):
    """Events that were dropped since the connection began because the page read too slowly."""

    events: int


LiveMessage = (
    Hello | NewDevice | NewVitals | NewBeats | NewScores | NewAlarm | NewLink | NewNews2 | Clock | Lost
)
