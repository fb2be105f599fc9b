"""`/healthz`, `/readyz`, `/metrics`, and what pages a process has beside them, where it serves no other HTTP."""

import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

Probe = Callable[[], str | None]
"""None when all is well, else the reason why not."""

Page = Callable[[], tuple[str, bytes]]
"""Content type and body."""

_ONLY_ITSELF: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""No page here loads anything, runs anything or is shown inside another."""


class HealthServer:
    """Serves the probes on a thread of its own; `address` is what it is bound to (port 0 picks a free one).

    Raises `OSError` when the address is taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ready: Probe,
        live: Probe,
        pages: Mapping[str, Page] | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        handler = _handler({"/healthz": live, "/readyz": ready}, dict(pages or {}), registry)
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that answer."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(
    probes: dict[str, Probe], pages: dict[str, Page], registry: CollectorRegistry
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif self.path in probes:
                problem = probes[self.path]()
                status = HTTPStatus.OK if problem is None else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, "text/plain; charset=utf-8", f"{problem or 'ok'}\n".encode())
            elif self.path in pages:
                self._answer(HTTPStatus.OK, *pages[self.path]())
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"not found\n")

        def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Content-Security-Policy", _ONLY_ITSELF)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            """Say nothing: a probe every few seconds is not an event."""

    return Handler
