"""Who wears what over the API: admit pseudonyms, hand wearables out and take them back, with who did it."""

import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import TypeVar

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from vitalwire_cloud.metadata.register import Assignment, Patient, PatientRegister, RegisterError
from vitalwire_cloud.store.interface import DeviceRecord
from vitalwire_cloud.web.access import same_origin_guard
from vitalwire_cloud.web.ports import Orders
from vitalwire_cloud.web.problems import ProblemError
from vitalwire_cloud.web.views import Name
from vitalwire_edge.wire.messages import Paced

_T = TypeVar("_T")


class Wearers(msgspec.Struct, frozen=True):
    """Patients, the last admitted first, and every interval in order of time."""

    patients: list[Patient]
    assignments: list[Assignment]


class Admission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who admits a patient, and whether that one has a pacemaker."""

    by: Name
    paced: Paced = "unknown"


class Handing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who hands a wearable to whom; without a patient it is nobody's from now on."""

    by: Name
    patient: str | None = None


class Leaving(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who discharges a patient."""

    by: Name


def patient_routes(
    register: PatientRegister | None, orders: Orders | None, known: Callable[[str], DeviceRecord]
) -> list[Callable[..., object]]:
    """Routes of patients and wearables. A wearable that changes hands is begun anew by its gateway."""

    def begin_anew(record: DeviceRecord, now_ns: int) -> None:
        if orders is not None:
            orders.new_patient(record.site, record.gateway, record.device, now_ns=now_ns)

    @get("/patients", sync_to_thread=True, summary="Patients as pseudonyms, and who wears or wore what")
    def wearers() -> Wearers:
        if register is None:
            return Wearers([], [])
        return Wearers(done(register.patients), done(register.assignments))

    @post(
        "/patients", sync_to_thread=True, guards=[same_origin_guard], summary="Admit a patient as a pseudonym"
    )
    def admit(data: JSONBody[Admission]) -> Patient:
        kept, now_ns = kept_register(register), time.time_ns()
        return done(lambda: kept.admit(author=data.by.strip(), now_ns=now_ns, paced=data.paced))

    @post(
        "/devices/{device:str}/wearer",
        sync_to_thread=True,
        guards=[same_origin_guard],
        status_code=HTTPStatus.OK,
        summary="From now on a wearable is this patient's, or nobody's",
    )
    def hand(device: FromPath[str], data: JSONBody[Handing]) -> Wearers:
        kept, record, now_ns, by = kept_register(register), known(device), time.time_ns(), data.by.strip()
        to = data.patient
        held = done(lambda: kept.patient_of(device, now_ns))
        if to is None:
            done(lambda: kept.standby(device, at_ns=now_ns, author=by, now_ns=now_ns))
        elif held is None:
            done(lambda: kept.assign(device, to, start_ns=now_ns, author=by, now_ns=now_ns))
        elif held != to:
            done(lambda: kept.transfer(device, to, at_ns=now_ns, author=by, now_ns=now_ns))
        # Also where it was theirs already: whoever asks again may do so because no gateway was told.
        begin_anew(record, now_ns)
        return wearers_of(kept)

    @post(
        "/patients/{patient:str}/discharge",
        sync_to_thread=True,
        guards=[same_origin_guard],
        status_code=HTTPStatus.OK,
        summary="A patient leaves; what was worn is nobody's from now on",
    )
    def discharge(patient: FromPath[str], data: JSONBody[Leaving]) -> Wearers:
        kept, now_ns, by = kept_register(register), time.time_ns(), data.by.strip()
        for device in done(lambda: kept.discharge(patient, at_ns=now_ns, author=by, now_ns=now_ns)):
            # One that never sent anything has no gateway that knows of it.
            with suppress(ProblemError):
                begin_anew(known(device), now_ns)
        return wearers_of(kept)

    return [wearers, admit, hand, discharge]


def wearers_of(register: PatientRegister) -> Wearers:
    """Everything the register holds."""
    return Wearers(done(register.patients), done(register.assignments))


def kept_register(register: PatientRegister | None) -> PatientRegister:
    """The register of this service. Raises `ProblemError` where it has none."""
    if register is None:
        raise ProblemError(
            HTTPStatus.NOT_FOUND, "no-patients", "this service keeps no patients", fix="ask the one that does"
        )
    return register


def done(do: Callable[[], _T]) -> _T:
    """What `do` returns; what the register refuses is a conflict. Raises `ProblemError`."""
    try:
        return do()
    except RegisterError as error:
        raise ProblemError(HTTPStatus.CONFLICT, "not-done", str(error), fix="look who wears what") from error
