"""`/healthz`, `/readyz` and `/metrics`. The probes need no token and tell no more than why."""

from http import HTTPStatus
from typing import Any

from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import Guard
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from vitalwire_cloud.web.ports import Info


def probe_routes(info: Info, guards: list[Guard]) -> list[HTTPRouteHandler]:
    """Routes of the probes; `guards` protect the metrics."""

    @get("/healthz", sync_to_thread=True, summary="Whether the process is worth keeping", tags=["probes"])
    def healthz() -> Response[str]:
        return _answer(info.live())

    @get("/readyz", sync_to_thread=True, summary="Whether it can do its work now", tags=["probes"])
    def readyz() -> Response[str]:
        return _answer(info.ready())

    @get("/metrics", sync_to_thread=True, guards=guards, summary="Counters for Prometheus", tags=["probes"])
    def metrics() -> Response[bytes]:
        return Response[Any](generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})

    return [healthz, readyz, metrics]


def _answer(problem: str | None) -> Response[str]:
    status = HTTPStatus.OK if problem is None else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(f"{problem or 'ok'}\n", status_code=status, media_type=MediaType.TEXT)
