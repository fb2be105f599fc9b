"""What staff see at the bedside over the API: said of a wearable's wearer, and whether its gateway knows."""

import time
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from vitalwire_cloud.metadata.entries import (
    MAX_HOURS,
    Bedside,
    SayConsciousness,
    SayOxygen,
    SaySpo2Scale,
    StaffEntry,
    What,
    expiry_ns,
    said,
)
from vitalwire_cloud.metadata.register import PatientRegister
from vitalwire_cloud.orders import Place
from vitalwire_cloud.store.interface import DeviceRecord
from vitalwire_cloud.web.access import same_origin_guard
from vitalwire_cloud.web.patients_api import done, kept_register
from vitalwire_cloud.web.ports import Orders
from vitalwire_cloud.web.views import Name
from vitalwire_edge.wire.messages import Paced

EntryState = Literal["counts", "too_old", "other_wearer"]


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """Something staff said last. `state`: in NEWS2, too old for it, or said before the wearable changed hands."""

    what: What
    value: str
    author: str
    entered_ns: int
    expires_ns: int
    state: EntryState


class BedsideView(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the wearer; `delivered`: the gateway has confirmed that it knows all of it."""

    device: str
    patient: str | None
    paced: Paced
    entries: list[EntryView]
    delivered: bool


class Seen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `by` saw, at `seen_at` (with its zone; now by default), and for how many hours it counts."""

    by: Name
    consciousness: SayConsciousness | None = None
    oxygen: SayOxygen | None = None
    spo2_scale: SaySpo2Scale | None = None
    seen_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    hours: Annotated[float, msgspec.Meta(gt=0, le=MAX_HOURS)] | None = None


class Pacing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who says whether a patient has a pacemaker."""

    by: Name
    paced: Paced


def bedside_routes(
    register: PatientRegister | None,
    orders: Orders | None,
    known: Callable[[str], DeviceRecord],
    entry_hours: float,
) -> list[Callable[..., object]]:
    """Routes of what staff say. `entry_hours`: for how long an entry counts where whoever makes it does not say."""

    def shown(record: DeviceRecord) -> BedsideView:
        found = [] if register is None else done(lambda: register.bedsides(record.device))
        return _view(record, next(iter(found), None), orders)

    @get(
        "/devices/{device:str}/bedside",
        sync_to_thread=True,
        summary="What staff said last of the wearer, and whether the gateway knows",
    )
    def bedside(device: FromPath[str]) -> BedsideView:
        return shown(known(device))

    @post(
        "/devices/{device:str}/bedside",
        sync_to_thread=True,
        guards=[same_origin_guard],
        status_code=HTTPStatus.OK,
        summary="Say what you see of the wearer: consciousness, oxygen, SpO2 scale; NEWS2 counts it",
    )
    def say(device: FromPath[str], data: JSONBody[Seen]) -> BedsideView:
        kept, record, now_ns = kept_register(register), known(device), time.time_ns()
        entered_ns = now_ns if data.seen_at is None else _utc_ns(data.seen_at)
        expires_ns = expiry_ns(entered_ns, entry_hours if data.hours is None else data.hours)
        done(
            lambda: kept.say(
                device,
                said(data.consciousness, data.oxygen, data.spo2_scale),
                author=data.by.strip(),
                entered_ns=entered_ns,
                expires_ns=expires_ns,
                now_ns=now_ns,
            )
        )
        return shown(record)

    @post(
        "/patients/{patient:str}/paced",
        sync_to_thread=True,
        guards=[same_origin_guard],
        status_code=HTTPStatus.OK,
        summary="Whether a patient has a pacemaker; with one no beat is scored",
    )
    def paced(patient: FromPath[str], data: JSONBody[Pacing]) -> Pacing:
        kept = kept_register(register)
        by = data.by.strip()
        done(lambda: kept.set_paced(patient, data.paced, author=by, now_ns=time.time_ns()))
        return data

    return [bedside, say, paced]


def _view(record: DeviceRecord, bedside: Bedside | None, orders: Orders | None) -> BedsideView:
    place: Place = (record.site, record.gateway, record.device)
    after_ns, delivered = (0, False) if orders is None else orders.delivered(place, bedside)
    now_ns = time.time_ns()

    def entry(kept: StaffEntry) -> EntryView:
        state: EntryState = "too_old" if kept.expires_ns <= now_ns else "counts"
        return EntryView(
            what=kept.what,
            value=kept.value or "",
            author=kept.author,
            entered_ns=kept.entered_ns,
            expires_ns=kept.expires_ns,
            state="other_wearer" if kept.recorded_ns <= after_ns else state,
        )

    return BedsideView(
        device=record.device,
        patient=None if bedside is None else bedside.patient,
        paced="unknown" if bedside is None else bedside.paced,
        entries=[] if bedside is None else [entry(each) for each in bedside.entries],
        delivered=delivered,
    )


def _utc_ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
