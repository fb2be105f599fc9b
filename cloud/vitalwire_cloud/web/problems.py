"""Errors as the API tells them: problem details after RFC 9457, each naming the thing and the fix."""

from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from vitalwire_cloud.store.interface import StoreError, StoreUnavailableError

_log = structlog.get_logger()
_MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Body of an error: `title` is the kind, `detail` names thing and value, `fix` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    fix: str = ""


class ProblemError(Exception):
    """A request that cannot be answered as asked."""

    def __init__(self, status: HTTPStatus, kind: str, detail: str, *, fix: str) -> None:
        super().__init__(f"{detail}: {fix}")
        self.problem = Problem(f"urn:vitalwire:problem:{kind}", status.phrase, status, detail, fix)


Anyone = Request[Any, Any, Any]


def _answer(problem: Problem, headers: dict[str, str] | None = None) -> Response[Problem]:
    return Response(problem, status_code=problem.status, media_type=_MEDIA_TYPE, headers=headers or {})


def answer_problem(_: Anyone, error: ProblemError) -> Response[Problem]:
    """A problem that this service raised itself."""
    return _answer(error.problem)


def answer_http(request: Anyone, error: HTTPException) -> Response[Problem]:
    """What the framework refuses: unknown paths, wrong methods, parameters of the wrong type."""
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.NOT_FOUND:
        detail, fix = f"there is nothing at {request.url.path}", "see /schema for what there is"
    elif isinstance(error, ValidationException):
        wrong = error.extra if isinstance(error.extra, list) else []
        told = [f"{item.get('key', 'body')}: {item.get('message', '')}" for item in wrong]
        detail, fix = "; ".join(told) or error.detail, "send what /schema describes"
    else:
        detail, fix = error.detail, "see /schema for how to ask"
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    return _answer(Problem("about:blank", status.phrase, status, detail, fix), headers)


def answer_store(request: Anyone, error: StoreError) -> Response[Problem]:
    """A store that cannot answer now, or at all."""
    _log.warning("store failed a request", path=request.url.path, error=str(error))
    away = isinstance(error, StoreUnavailableError)
    status = HTTPStatus.SERVICE_UNAVAILABLE if away else HTTPStatus.INTERNAL_SERVER_ERROR
    fix = "try again in a few seconds" if away else "look into the log of the service"
    return _answer(Problem("urn:vitalwire:problem:store", status.phrase, status, str(error), fix))


def answer_unforeseen(request: Anyone, error: Exception) -> Response[Problem]:
    """Anything else is a defect of ours: logged in full, told without internals."""
    _log.error("request failed", path=request.url.path, method=request.method, exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    detail = f"{request.method} {request.url.path} failed"
    return _answer(Problem("about:blank", status.phrase, status, detail, "look into the log of the service"))
