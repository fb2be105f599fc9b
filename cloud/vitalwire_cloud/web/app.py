"""Puts the web together: API, live WebSocket, page, probes, description, and the headers every answer carries."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final

from litestar import Litestar, MediaType, Response, get
from litestar.config.compression import CompressionConfig
from litestar.datastructures import MutableScopeHeaders
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.static_files import create_static_files_router
from litestar.types import Guard, Message, Scope

from vitalwire_cloud.config import IngestConfig, PatientsConfig
from vitalwire_cloud.live import LiveHub
from vitalwire_cloud.metadata.register import PatientRegister
from vitalwire_cloud.store.interface import Store, StoreError
from vitalwire_cloud.web.access import bearer_guard, loopback_name_guard, same_origin_guard
from vitalwire_cloud.web.api import api_router
from vitalwire_cloud.web.links import LinkBoard
from vitalwire_cloud.web.live_socket import live_route
from vitalwire_cloud.web.openapi_page import PlainPage
from vitalwire_cloud.web.ports import Desk, Info, Models, Orders
from vitalwire_cloud.web.probes import probe_routes
from vitalwire_cloud.web.problems import (
    ProblemError,
    answer_http,
    answer_problem,
    answer_store,
    answer_unforeseen,
)
from vitalwire_cloud.web.waveform_api import Demands, watched

STATIC: Final = Path(__file__).parent / "static"
MAX_BODY_BYTES: Final = 16 * 1024

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def create_app(
    *,
    store: Store,
    desk: Desk,
    hub: LiveHub,
    info: Info,
    models: Models | None = None,
    releases: Models | None = None,
    orders: Orders | None = None,
    patients: PatientRegister | None = None,
    demands: Demands | None = None,
    token: str | None = None,
    entry_hours: float = PatientsConfig().entry_h,
    max_future_s: float = IngestConfig().max_future_s,
) -> Litestar:
    """The web application.

    With `token` the API, the live WebSocket and the metrics ask for it as a bearer token; without one they answer only
    under names of this machine. The page itself and the probes hold no data and are open.
    """
    links = LinkBoard()
    protect: list[Guard] = [bearer_guard(token)] if token is not None else [loopback_name_guard]

    @asynccontextmanager
    async def follow(_: Litestar) -> AsyncIterator[None]:
        async with links.watch(hub), nullcontext() if demands is None else watched(demands, hub):
            yield

    return Litestar(
        route_handlers=[
            _page,
            create_static_files_router(path="/static", directories=[STATIC], cache_control=None),
            *probe_routes(info, protect),
            api_router(
                store=store,
                desk=desk,
                info=info,
                links=links,
                models=models,
                releases=releases,
                orders=orders,
                patients=patients,
                guards=protect,
                token_required=token is not None,
                demands=demands,
                entry_hours=entry_hours,
                max_future_s=max_future_s,
            ),
            live_route(
                store=store,
                desk=desk,
                hub=hub,
                info=info,
                links=links,
                guards=[same_origin_guard, *protect],
            ),
        ],
        lifespan=[follow],
        before_send=[_add_headers],
        compression_config=CompressionConfig(backend="gzip", gzip_compress_level=4, exclude=["/live"]),
        request_max_body_size=MAX_BODY_BYTES,
        exception_handlers={
            ProblemError: answer_problem,
            StoreError: answer_store,
            HTTPException: answer_http,
            Exception: answer_unforeseen,
        },
        openapi_config=OpenAPIConfig(
            title="vitalwire",
            version=info.version,
            description="What the cloud of vitalwire knows about its wearables. Times are nanoseconds UTC.",
            path="/schema",
            render_plugins=[PlainPage(), JsonRenderPlugin(path="/openapi.json")],
            use_handler_docstrings=True,
        ),
        logging_config=None,
    )


@get("/", include_in_schema=False, sync_to_thread=False)
def _page() -> Response[bytes]:
    return Response((STATIC / "index.html").read_bytes(), media_type=MediaType.HTML)


async def _add_headers(message: Message, scope: Scope) -> None:
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    for name, value in HEADERS.items():
        headers[name] = value
    headers["cache-control"] = "no-cache" if scope["path"].startswith("/static/") else "no-store"
