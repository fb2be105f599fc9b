"""Waveform on demand over the API: ask for it, see who asked and whether it comes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Annotated, Protocol

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody

from vitalwire_cloud.live import LiveHub, Subscription, WaveEvent
from vitalwire_cloud.store.interface import DeviceRecord
from vitalwire_cloud.waveform import Demand, DemandError
from vitalwire_cloud.web.access import same_origin_guard
from vitalwire_cloud.web.problems import ProblemError
from vitalwire_cloud.web.views import Name
from vitalwire_edge.wire.messages import MAX_DEMAND_S


class Demands(Protocol):
    """Who asks gateways for waveform. Thread-safe."""

    def ask(
        self, site: str, gateway: str, device: str, *, seconds: float, asked_by: str, now_ns: int
    ) -> Demand:
        """Ask for the waveform of a device. Raises `DemandError`."""

    def came(self, device: str, now_ns: int) -> None:
        """Waveform of a device came."""

    def demands(self, *, now_ns: int) -> list[Demand]:
        """The newest demands, newest first."""


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants to see a live waveform, and for how long (seconds)."""

    by: Name
    seconds: Annotated[float, msgspec.Meta(ge=1, le=MAX_DEMAND_S)] = 60.0


def waveform_routes(
    demands: Demands | None, known: Callable[[str], DeviceRecord]
) -> list[Callable[..., object]]:
    """Routes of demands."""

    @get("/waveform-demands", sync_to_thread=True, summary="Who asked for whose waveform, newest first")
    def asked() -> list[Demand]:
        return [] if demands is None else demands.demands(now_ns=time.time_ns())

    @post(
        "/devices/{device:str}/waveform",
        sync_to_thread=True,
        guards=[same_origin_guard],
        status_code=HTTPStatus.ACCEPTED,
        summary="Have a gateway send the live waveform for a while; kept with the name of who asked",
    )
    def ask(device: FromPath[str], data: JSONBody[Wanted]) -> Demand:
        record = known(device)
        try:
            if demands is None:
                raise DemandError("this service asks no gateway: ask the one that does")
            return demands.ask(
                record.site,
                record.gateway,
                device,
                seconds=data.seconds,
                asked_by=data.by.strip(),
                now_ns=time.time_ns(),
            )
        except DemandError as error:
            raise ProblemError(HTTPStatus.CONFLICT, "not-asked", str(error), fix="then ask again") from error

    return [asked, ask]


@asynccontextmanager
async def watched(demands: Demands, hub: LiveHub) -> AsyncIterator[None]:
    """Tell `demands` of waveform that comes, for as long as the `async with` block lasts."""
    with hub.subscribe(asyncio.get_running_loop()) as subscription:
        task = asyncio.create_task(_follow(demands, subscription), name="demands")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _follow(demands: Demands, subscription: Subscription) -> None:
    while True:
        event = await subscription.get()
        if isinstance(event, WaveEvent):
            demands.came(event.device, time.time_ns())
