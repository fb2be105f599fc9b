"""The typed API under /api/v1. Every range has a limit, so no query is unbounded."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final

from litestar import Router, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import Guard

from vitalwire_cloud.alerts.alarm import Alarm
from vitalwire_cloud.metadata.register import PatientRegister
from vitalwire_cloud.orders import Order
from vitalwire_cloud.store.interface import DeviceRecord, Store
from vitalwire_cloud.web.access import same_origin_guard
from vitalwire_cloud.web.bedside_api import bedside_routes
from vitalwire_cloud.web.links import LinkBoard
from vitalwire_cloud.web.patients_api import patient_routes
from vitalwire_cloud.web.ports import Desk, Info, Models, Orders
from vitalwire_cloud.web.problems import ProblemError
from vitalwire_cloud.web.quarantine_api import quarantine_routes
from vitalwire_cloud.web.views import (
    Acknowledgement,
    BeatView,
    DeviceView,
    Labelling,
    LabelView,
    ModelsView,
    RollupView,
    ScoreView,
    SegmentView,
    ServiceView,
    StripView,
    VitalView,
    beat_view,
    device_view,
    label_view,
    models_view,
    rollup_view,
    score_view,
    vital_view,
    wave_unit,
)
from vitalwire_cloud.web.waveform_api import Demands, waveform_routes
from vitalwire_edge.wire.topics import TopicError, identifier

MAX_ALARMS: Final = 1000
MODEL_ALERT: Final = "beat_anomaly"
_NS: Final = 1_000_000_000

StartNs = Annotated[int, QueryParameter(ge=0, le=2**63 - 1, description="First nanosecond UTC, included.")]
EndNs = Annotated[int, QueryParameter(ge=0, le=2**63 - 1, description="Last nanosecond UTC, excluded.")]


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a range of `what` may be, in seconds."""

    what: str
    seconds: int

    def check(self, start_ns: int, end_ns: int) -> None:
        """Raise `ProblemError` when the range is empty, reversed or too long."""
        if end_ns <= start_ns:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                "empty-range",
                f"range {start_ns}..{end_ns} of {self.what} is empty",
                fix="let end_ns be greater than start_ns (nanoseconds UTC)",
            )
        asked_s = (end_ns - start_ns) / _NS
        if asked_s > self.seconds:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                "range-too-long",
                f"{self.what} of {asked_s:.0f} s: at most {self.seconds} s at once",
                fix=f"ask for pieces of at most {self.seconds} s",
            )


STRIP: Final = Limit("a strip", 600)
VITAL_RANGE: Final = Limit("vitals", 2 * 3600)
BEAT_RANGE: Final = Limit("beats", 2 * 3600)
SCORE_RANGE: Final = Limit("scores", 2 * 3600)
ROLLUP_RANGE: Final = Limit("rollups", 7 * 24 * 3600)


def api_router(
    *,
    store: Store,
    desk: Desk,
    info: Info,
    links: LinkBoard,
    models: Models | None,
    releases: Models | None,
    orders: Orders | None,
    patients: PatientRegister | None,
    guards: list[Guard],
    token_required: bool,
    demands: Demands | None,
    entry_hours: float,
    max_future_s: float,
) -> Router:
    """Routes of the API. Store and desk are asked on worker threads, never on the event loop."""
    known = _known_device(store)

    @get("/service", sync_to_thread=False, summary="What this service is")
    def service() -> ServiceView:
        return ServiceView(site=info.site, version=info.version, token_required=token_required)

    @get("/devices", sync_to_thread=True, summary="Every wearable with its newest numbers")
    def devices() -> list[DeviceView]:
        return [device_view(record, store.latest_vitals(record.device), links) for record in store.devices()]

    @get("/devices/{device:str}/strip", sync_to_thread=True, summary="Waveform, cut at gaps (at most 10 min)")
    def strip(device: FromPath[str], code: FromQuery[int], start_ns: StartNs, end_ns: EndNs) -> StripView:
        STRIP.check(start_ns, end_ns)
        _known_wave(known(device), code)
        segments = [
            SegmentView(
                start_ns=segment.start_ns,
                rate_hz=segment.rate_hz,
                flags=segment.flags,
                samples=segment.samples.tolist(),
            )
            for segment in store.strip(device, code, start_ns, end_ns)
        ]
        return StripView(
            device=device,
            code=code,
            unit=wave_unit(code),
            start_ns=start_ns,
            end_ns=end_ns,
            segments=segments,
        )

    @get("/devices/{device:str}/vitals", sync_to_thread=True, summary="Numbers (at most 2 h)")
    def vitals(device: FromPath[str], start_ns: StartNs, end_ns: EndNs) -> list[VitalView]:
        VITAL_RANGE.check(start_ns, end_ns)
        known(device)
        return [vital_view(point) for point in store.vitals(device, start_ns, end_ns)]

    @get("/devices/{device:str}/rollups", sync_to_thread=True, summary="Minutes of numbers (at most 7 days)")
    def rollups(device: FromPath[str], start_ns: StartNs, end_ns: EndNs) -> list[RollupView]:
        ROLLUP_RANGE.check(start_ns, end_ns)
        known(device)
        return [rollup_view(minute) for minute in store.rollups(device, start_ns, end_ns)]

    @get("/devices/{device:str}/beats", sync_to_thread=True, summary="Heart beats (at most 2 h)")
    def beats(device: FromPath[str], start_ns: StartNs, end_ns: EndNs) -> list[BeatView]:
        BEAT_RANGE.check(start_ns, end_ns)
        known(device)
        return [beat_view(beat) for beat in store.beats(device, start_ns, end_ns)]

    @get("/devices/{device:str}/scores", sync_to_thread=True, summary="Beat scores (at most 2 h)")
    def scores(device: FromPath[str], start_ns: StartNs, end_ns: EndNs) -> list[ScoreView]:
        SCORE_RANGE.check(start_ns, end_ns)
        known(device)
        return [score_view(score) for score in store.scores(device, start_ns, end_ns)]

    data = [service, devices, strip, vitals, rollups, beats, scores]
    return Router(
        path="/api/v1",
        route_handlers=[
            *data,
            *_alarm_routes(desk),
            *_label_routes(desk),
            *_model_routes(models, releases),
            *_order_routes(orders),
            *quarantine_routes(store, max_future_s),
            *waveform_routes(demands, known),
            *patient_routes(patients, orders, known),
            *bedside_routes(patients, orders, known, entry_hours),
        ],
        guards=guards,
        tags=["v1"],
    )


def _model_routes(models: Models | None, releases: Models | None) -> list[Callable[..., object]]:
    @get("/models", sync_to_thread=True, summary="Models, and the gateways that run them")
    def known_models() -> ModelsView:
        if models is None:
            return ModelsView(models=[], gateways=[])
        return models_view(models.models(), models.gateways(), models.reports())

    @get("/releases", sync_to_thread=True, summary="Releases of the gateways' software, and who runs them")
    def known_releases() -> ModelsView:
        if releases is None:
            return ModelsView(models=[], gateways=[])
        return models_view(releases.models(), releases.gateways(), releases.reports())

    return [known_models, known_releases]


def _order_routes(orders: Orders | None) -> list[Callable[..., object]]:
    @get("/orders", sync_to_thread=True, summary="What gateways were told to forget, and whether they did")
    def known_orders() -> list[Order]:
        return [] if orders is None else orders.orders()

    @post(
        "/sites/{site:str}/gateways/{gateway:str}/devices/{device:str}/new-patient",
        sync_to_thread=True,
        guards=[same_origin_guard],
        status_code=HTTPStatus.ACCEPTED,
        summary="Another patient wears this: the gateway forgets the one before",
    )
    def new_patient(site: FromPath[str], gateway: FromPath[str], device: FromPath[str]) -> Order:
        try:
            for name, what in ((site, "site"), (gateway, "gateway"), (device, "device")):
                identifier(name, what)
        except TopicError as error:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST, "bad-name", str(error), fix="use the names of the gateway's topics"
            ) from error
        if orders is None:
            raise ProblemError(
                HTTPStatus.NOT_FOUND, "no-orders", "this service gives no orders", fix="ask the one that does"
            )
        number = orders.new_patient(site, gateway, device, now_ns=time.time_ns())
        return Order(site=site, gateway=gateway, device=device, number=number, done_ns=None)

    return [known_orders, new_patient]


def _label_routes(desk: Desk) -> list[Callable[..., object]]:
    @post(
        "/alarms/{alarm_id:str}/label",
        sync_to_thread=True,
        guards=[same_origin_guard],
        status_code=HTTPStatus.OK,
        summary="Confirm or reject a model alert",
    )
    def label(alarm_id: FromPath[str], data: JSONBody[Labelling]) -> Alarm:
        alarm = desk.get(alarm_id)
        if alarm is None:
            raise _unknown_alarm(alarm_id)
        if alarm.evidence is None:
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "not-a-model-alert",
                f"alarm {alarm_id!r} was raised by the rule {alarm.rule!r}",
                fix=f"only alerts of the beat model (kind {MODEL_ALERT}) are confirmed or rejected",
            )
        return desk.label(alarm_id, verdict=data.verdict, by=data.by)

    @get(
        "/labels", sync_to_thread=True, summary="Model alerts that staff confirmed or rejected, newest first"
    )
    def labels() -> list[LabelView]:
        return [view for alarm in desk.labelled(MODEL_ALERT) if (view := label_view(alarm)) is not None]

    return [label, labels]


def _unknown_alarm(alarm_id: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.NOT_FOUND,
        "unknown-alarm",
        f"no alarm {alarm_id!r}",
        fix="list what is open with /api/v1/alarms",
    )


def _alarm_routes(desk: Desk) -> list[Callable[..., object]]:
    @get("/alarms", sync_to_thread=True, summary="Alarms, newest first")
    def alarms(
        open_only: Annotated[
            bool, QueryParameter(name="open", description="Leave out cleared alarms.")
        ] = True,
        limit: Annotated[int, QueryParameter(ge=1, le=MAX_ALARMS)] = 200,
    ) -> list[Alarm]:
        newest = sorted(desk.list(open_only), key=lambda alarm: alarm.raised_ns, reverse=True)
        return newest[:limit]

    @post(
        "/alarms/{alarm_id:str}/acknowledge",
        sync_to_thread=True,
        guards=[same_origin_guard],
        status_code=HTTPStatus.OK,
        summary="Take an alarm",
    )
    def acknowledge(alarm_id: FromPath[str], data: JSONBody[Acknowledgement]) -> Alarm:
        alarm = desk.get(alarm_id)
        if alarm is None:
            raise _unknown_alarm(alarm_id)
        if alarm.state == "cleared":
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "alarm-cleared",
                f"alarm {alarm_id!r} is over and was seen",
                fix="list what is open with /api/v1/alarms",
            )
        return desk.acknowledge(alarm_id, by=data.by.strip(), for_s=data.for_s)

    return [alarms, acknowledge]


def _known_device(store: Store) -> Callable[[str], DeviceRecord]:
    def known(device: str) -> DeviceRecord:
        for record in store.devices():
            if record.device == device:
                return record
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            "unknown-device",
            f"no device {device!r}",
            fix="list the devices with /api/v1/devices",
        )

    return known


def _known_wave(record: DeviceRecord, code: int) -> None:
    waves = {channel.code: channel.name for channel in record.birth.channels if channel.rate_mhz is not None}
    if code not in waves:
        offered = ", ".join(f"{code} ({name})" for code, name in waves.items()) or "no waveform"
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            "unknown-channel",
            f"device {record.device!r} has no waveform with code {code}",
            fix=f"it has {offered}",
        )
