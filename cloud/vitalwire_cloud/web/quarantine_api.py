"""What was set aside, over the API of the running service: look, try again, throw away."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

import msgspec
import structlog
from litestar import get, post
from litestar.params import FromPath, QueryParameter

from vitalwire_cloud.ingest.replay import Outcome, one, replay
from vitalwire_cloud.store.interface import Quarantined, Store
from vitalwire_cloud.web.access import same_origin_guard
from vitalwire_cloud.web.problems import ProblemError

log = structlog.get_logger()

_MAX_SHOWN = 1000


class AsideView(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be stored; `payload` in base64."""

    number: int
    topic: str
    reason: str
    received_ns: int
    seq: int | None
    payload: bytes


class QuarantineView(msgspec.Struct, frozen=True, kw_only=True):
    """The newest of what is set aside, and what became of the rest."""

    messages: list[AsideView]
    kept: int
    replayed: int
    discarded: int
    dropped: int


def quarantine_routes(store: Store, max_future_s: float) -> list[Callable[..., object]]:
    """Routes under /quarantine. They write, so each is asked for with the same origin."""

    def kept(number: int) -> Quarantined:
        found = one(store, number)
        if found is None:
            raise ProblemError(
                HTTPStatus.NOT_FOUND,
                "unknown-message",
                f"nothing is set aside under {number}",
                fix="list what is with /api/v1/quarantine",
            )
        return found

    @get("/quarantine", sync_to_thread=True, summary="Messages that could not be stored, newest first")
    def listed(limit: Annotated[int, QueryParameter(ge=1, le=_MAX_SHOWN)] = 50) -> QuarantineView:
        counts = store.counts()
        return QuarantineView(
            messages=[
                AsideView(
                    number=each.number,
                    topic=each.topic,
                    reason=each.reason,
                    received_ns=each.received_ns,
                    seq=each.seq,
                    payload=each.payload,
                )
                for each in store.quarantine(limit)
            ],
            kept=counts.quarantine_held,
            replayed=counts.quarantine_replayed,
            discarded=counts.quarantine_discarded,
            dropped=counts.quarantine_dropped,
        )

    @post(
        "/quarantine/{number:int}/replay",
        sync_to_thread=True,
        guards=[same_origin_guard],
        status_code=HTTPStatus.OK,
        summary="Try a message again: the same checks, the same store",
    )
    def again(number: FromPath[int]) -> Outcome:
        (outcome,) = replay(store, [kept(number)], max_future_ns=round(max_future_s * 1e9))
        log.info("message_replayed", number=number, topic=outcome.topic, outcome=outcome.what)
        return outcome

    @post(
        "/quarantine/{number:int}/discard",
        sync_to_thread=True,
        guards=[same_origin_guard],
        status_code=HTTPStatus.OK,
        summary="Throw a message away for good",
    )
    def thrown(number: FromPath[int]) -> Outcome:
        message = kept(number)
        store.discard(number)
        log.info("message_discarded", number=number, topic=message.topic)
        return Outcome(number, message.topic, "gone")

    return [listed, again, thrown]
