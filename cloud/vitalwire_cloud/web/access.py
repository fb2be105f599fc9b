"""Who may ask: a bearer token where the page is reachable from elsewhere, and only pages of our own origin.

Without a token the service answers loopback names only, so that a web page that points its own name at 127.0.0.1
(DNS rebinding) reads nothing. Browsers cannot set headers on a WebSocket, so its token travels as a subprotocol
`vitalwire.bearer.<base64url of the token>` beside `vitalwire.v1`.
"""

import base64
import binascii
import hmac
import ipaddress
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from vitalwire_cloud.web.problems import ProblemError

PROTOCOL: Final = "vitalwire.v1"
BEARER_PROTOCOL: Final = "vitalwire.bearer."
MIN_TOKEN_CHARS: Final = 16

Connection = ASGIConnection[Any, Any, Any, Any]


class UnsafeBindError(Exception):
    """The service would be reachable from other machines without a token."""


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address without port) means this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_token(host: str, token: str | None) -> None:
    """Raise `UnsafeBindError` when `host` is reachable from elsewhere and `token` does not protect it."""
    if token is not None and len(token) < MIN_TOKEN_CHARS:
        raise UnsafeBindError(
            f"web token of {len(token)} characters: use at least {MIN_TOKEN_CHARS} random ones"
        )
    if token is None and not is_loopback(host):
        raise UnsafeBindError(f"web bound to {host} without a token: set one, or bind to 127.0.0.1")


def bearer_guard(token: str | None) -> Guard:
    """Guard that lets nobody pass without `token`; with None it lets everybody pass."""

    def guard(connection: Connection, _: BaseRouteHandler) -> None:
        if token is None:
            return
        given = _given_token(connection)
        if given is None or not hmac.compare_digest(given.encode(), token.encode()):
            raise NotAuthorizedException(
                "no bearer token" if given is None else "wrong bearer token",
                headers={"WWW-Authenticate": 'Bearer realm="vitalwire"'},
            )

    return guard


def _given_token(connection: Connection) -> str | None:
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given:
        return given.strip()
    for protocol in connection.headers.get("sec-websocket-protocol", "").split(","):
        name = protocol.strip()
        if name.startswith(BEARER_PROTOCOL):
            packed = name.removeprefix(BEARER_PROTOCOL)
            try:
                return base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                return ""
    return None


def same_origin_guard(connection: Connection, _: BaseRouteHandler) -> None:
    """Refuse what a page of another origin asks. Programs that are no browsers send no Origin and pass."""
    origin = connection.headers.get("origin")
    host = connection.headers.get("host", "")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        raise ProblemError(
            HTTPStatus.FORBIDDEN,
            "foreign-origin",
            f"origin {origin} is not {host}",
            fix="use the page that this service serves",
        )


def loopback_name_guard(connection: Connection, _: BaseRouteHandler) -> None:
    """Refuse every name but those of this machine; used where no token protects the service."""
    host = connection.headers.get("host", "")
    name = urlsplit(f"//{host}").hostname or ""
    if not is_loopback(name):
        raise ProblemError(
            HTTPStatus.MISDIRECTED_REQUEST,
            "foreign-host",
            f"host {host!r} is not a name of this machine",
            fix="use http://127.0.0.1, or set a web token",
        )
