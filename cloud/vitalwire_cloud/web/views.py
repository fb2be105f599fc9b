"""What the API and the live WebSocket say. Times are nanoseconds UTC; values are in the named UCUM unit."""

import time
from typing import Annotated, Literal

import msgspec

from vitalwire_cloud.alerts.alarm import Alarm, Verdict
from vitalwire_cloud.live import LinkEvent, News2Event
from vitalwire_cloud.registry.ledger import Gateway, Model, Reported
from vitalwire_cloud.store.interface import DeviceRecord, Rollup, StoredBeat, StoredScore, VitalPoint
from vitalwire_cloud.web.links import NEWS2_CURRENT_NS, NEWS2_KEPT_NS, LinkBoard
from vitalwire_edge.alarms.news2 import worded
from vitalwire_edge.wire.codes import VITALS, WAVE_UNITS, Code
from vitalwire_edge.wire.messages import (
    BeatEvidence,
    ChannelInfo,
    News2Band,
    News2Parameter,
    Spo2Scale,
    TooOld,
)
from vitalwire_edge.wire.models import ModelReport

MAX_ACKNOWLEDGE_S = 8 * 3600
Name = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$")
]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that is said."""


class LinkView(View, frozen=True):
    """Whether a gateway, or a wearable behind it, is there."""

    gateway: str
    device: str | None
    state: Literal["online", "offline"]
    at_ns: int
    battery_percent: int | None
    quality: float | None
    backlog_rows: int | None


class VitalView(View, frozen=True):
    """One number; `value` is null where `status` (0 ok, 1 questionable, 2 sensor off, 3 invalid) says there is none."""

    time_ns: int
    code: int
    name: str
    unit: str
    value: float | None
    status: int


class ChannelView(View, frozen=True):
    """A channel that a device offers; a waveform where it has a rate."""

    code: int
    name: str
    unit: str
    loinc: str | None
    rate_hz: float | None


class News2View(View, frozen=True):
    """The NEWS2 of a wearable's wearer as its gateway computed it at `at_ns` (by this service's clock).

    `text` is how staff reads `total`: where something is `missing` it is a lower bound, and what is missing has no
    points. From `stale_ns` on it is no current score, only the last one known; from `gone_ns` on not even that.
    `too_old` is what staff entered so long ago that it counts no more.
    """

    gateway: str
    at_ns: int
    stale_ns: int
    gone_ns: int
    text: str
    total: int
    band: News2Band
    points: dict[News2Parameter, int]
    missing: list[News2Parameter]
    too_old: list[TooOld]
    scale: Spo2Scale


class DeviceView(View, frozen=True):
    """A wearable with its channels, its newest numbers, its link, and its wearer's NEWS2 (null where there is none)."""

    device: str
    gateway: str
    site: str
    simulated: bool
    paced: Literal["yes", "no", "unknown"]
    channels: list[ChannelView]
    vitals: list[VitalView]
    link: LinkView | None
    news2: News2View | None


class SegmentView(View, frozen=True):
    """A stretch of waveform without a gap."""

    start_ns: int
    rate_hz: float
    flags: int
    samples: list[float]


class StripView(View, frozen=True):
    """Waveform of [start_ns, end_ns), cut at gaps; a gap is what no segment covers."""

    device: str
    code: int
    unit: str
    start_ns: int
    end_ns: int
    segments: list[SegmentView]


class RollupView(View, frozen=True):
    """One minute of one vital sign."""

    minute_ns: int
    code: int
    name: str
    unit: str
    count: int
    mean: float
    low: float
    high: float


class BeatView(View, frozen=True):
    """One heart beat."""

    r_ns: int
    rr_ms: float | None
    amplitude_uv: float | None
    width_ms: float | None
    quality: float
    wide: bool


class ScoreView(View, frozen=True):
    """What the beat model said of one beat; null where it abstained. `version` is the model's."""

    r_ns: int
    score: float | None
    shape: float | None
    timing: float | None
    amplitude: float | None
    threshold: float
    version: int


class Labelling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody says of a model alert."""

    verdict: Verdict
    by: Name


class LabelView(View, frozen=True):
    """A model alert that staff confirmed or rejected."""

    alarm_id: str
    gateway: str
    device: str | None
    raised_ns: int
    verdict: Verdict
    by: str
    at_ns: int
    evidence: BeatEvidence | None


class ModelView(View, frozen=True):
    """A model that gateways may run: `stage` says how far its rollout is."""

    version: int
    name: str
    manifest_sha256: str
    stage: str
    why: str


class GatewayModelView(View, frozen=True):
    """The model that a gateway runs (version 0: none), and the last it said of any: `state` of version `about`."""

    gateway: str
    version: int
    reported_ns: int
    about: int | None
    state: str | None
    detail: str


class ModelsView(View, frozen=True):
    """Models and who runs them."""

    models: list[ModelView]
    gateways: list[GatewayModelView]


class Acknowledgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who takes an alarm, and for how long nobody else needs to be called (seconds)."""

    by: Name
    for_s: Annotated[float, msgspec.Meta(ge=1, le=MAX_ACKNOWLEDGE_S)] = 120.0


class ServiceView(View, frozen=True):
    """What this service is."""

    site: str
    version: str
    token_required: bool


def link_view(event: LinkEvent) -> LinkView:
    """View of a link event."""
    return LinkView(
        gateway=event.gateway,
        device=event.device,
        state=event.state,
        at_ns=event.at_ns,
        battery_percent=event.battery_percent,
        quality=event.quality,
        backlog_rows=event.backlog_rows,
    )


def news2_view(event: News2Event) -> News2View | None:
    """View of a score; None where there is none."""
    score = event.score
    if score is None:
        return None
    return News2View(
        gateway=event.gateway,
        at_ns=event.at_ns,
        stale_ns=event.at_ns + NEWS2_CURRENT_NS,
        gone_ns=event.at_ns + NEWS2_KEPT_NS,
        text=worded(score.total, complete=not score.missing),
        total=score.total,
        band=score.band,
        points=score.points,
        missing=list(score.missing),
        too_old=list(score.too_old),
        scale=score.scale,
    )


def vital_view(point: VitalPoint) -> VitalView:
    """View of a number with its name and unit."""
    name, unit = _named(point.code)
    return VitalView(
        time_ns=point.time_ns, code=point.code, name=name, unit=unit, value=point.value, status=point.status
    )


def rollup_view(minute: Rollup) -> RollupView:
    """View of a minute with its name and unit."""
    name, unit = _named(minute.code)
    return RollupView(
        minute_ns=minute.minute_ns,
        code=minute.code,
        name=name,
        unit=unit,
        count=minute.count,
        mean=minute.mean,
        low=minute.low,
        high=minute.high,
    )


def beat_view(beat: StoredBeat) -> BeatView:
    """View of a beat."""
    return BeatView(
        r_ns=beat.r_ns,
        rr_ms=beat.rr_ms,
        amplitude_uv=beat.amplitude_uv,
        width_ms=beat.width_ms,
        quality=beat.quality,
        wide=beat.wide,
    )


def score_view(score: StoredScore) -> ScoreView:
    """View of a beat's score."""
    return ScoreView(
        r_ns=score.r_ns,
        score=score.score,
        shape=score.shape,
        timing=score.timing,
        amplitude=score.amplitude,
        threshold=score.threshold,
        version=score.version,
    )


def label_view(alarm: Alarm) -> LabelView | None:
    """View of a labelled alarm; None where nobody labelled it."""
    if alarm.label is None:
        return None
    return LabelView(
        alarm_id=alarm.alarm_id,
        gateway=alarm.gateway,
        device=alarm.device,
        raised_ns=alarm.raised_ns,
        verdict=alarm.label.verdict,
        by=alarm.label.by,
        at_ns=alarm.label.at_ns,
        evidence=alarm.evidence,
    )


def models_view(models: list[Model], gateways: list[Gateway], reports: list[Reported]) -> ModelsView:
    """View of the registry, with the newest report of each gateway."""
    newest = {(each.site, each.gateway): each.report for each in sorted(reports, key=lambda r: r.received_ns)}
    return ModelsView(
        models=[
            ModelView(
                version=model.version,
                name=model.name,
                manifest_sha256=model.manifest_sha256,
                stage=model.stage,
                why=model.why,
            )
            for model in models
        ],
        gateways=[_gateway_model(gateway, newest.get(gateway.key)) for gateway in gateways],
    )


def _gateway_model(gateway: Gateway, report: ModelReport | None) -> GatewayModelView:
    return GatewayModelView(
        gateway=gateway.gateway,
        version=gateway.running_version,
        reported_ns=gateway.reported_ns,
        about=None if report is None else report.version,
        state=None if report is None else report.state,
        detail="" if report is None else report.detail,
    )


def device_view(record: DeviceRecord, vitals: list[VitalPoint], links: LinkBoard) -> DeviceView:
    """View of a device, with what gateways said last of it."""
    link = links.of(record.gateway, record.device)
    scored = links.news2(record.device, time.time_ns())
    return DeviceView(
        device=record.device,
        gateway=record.gateway,
        site=record.site,
        simulated=record.birth.simulated,
        paced=record.birth.paced,
        channels=[channel_view(channel) for channel in record.birth.channels],
        vitals=[vital_view(point) for point in vitals],
        link=None if link is None else link_view(link),
        news2=None if scored is None else news2_view(scored),
    )


def channel_view(channel: ChannelInfo) -> ChannelView:
    """View of a channel."""
    return ChannelView(
        code=channel.code,
        name=channel.name,
        unit=channel.unit,
        loinc=channel.loinc,
        rate_hz=None if channel.rate_mhz is None else channel.rate_mhz / 1000,
    )


def wave_unit(code: int) -> str:
    """UCUM unit of a waveform channel, empty where it is not one of ours."""
    return WAVE_UNITS.get(Code(code), "") if code in Code.__members__.values() else ""


def _named(code: int) -> tuple[str, str]:
    quantity = VITALS.get(Code(code)) if code in Code.__members__.values() else None
    return (str(code), "") if quantity is None else (quantity.name, quantity.unit)
