"""A double of what InfluxDB 2.x alone has, as its published OpenAPI description says: tokens, buckets, delete.

Written from the description's `POST /write`, `POST /delete` (schema `DeletePredicateRequest`), `AuthorizationError`,
`ResourceNotFoundError` and `BadRequestError`; predicates are those of the documentation's delete predicate syntax.
"""

import json
import re
import threading
import urllib.parse
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
_TERM = re.compile(r'\s*(\w+)\s*=\s*"([^"]*)"\s*')


def nanoseconds(text: str) -> int:
    """RFC 3339 to nanoseconds. Raises `ValueError`."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"invalid RFC3339 time {text!r}")
    whole = int(datetime.fromisoformat(found[1] + "+00:00").timestamp())
    return whole * 10**9 + int((found[2] or "").ljust(9, "0"))


class InfluxTwo:
    """Holds lines by bucket. One organisation, one token."""

    org, token = "ward", "a-token"

    def __init__(self, *buckets: str) -> None:
        self.buckets: dict[str, list[str]] = {name: [] for name in buckets}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"two": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def delete(self, bucket: str, asked: dict[str, str]) -> None:
        """Delete as asked; both ends belong to the span. Raises `ValueError` for a request that is not valid."""
        missing = {"start", "stop"} - asked.keys()
        if missing or asked.keys() - {"start", "stop", "predicate"}:
            raise ValueError(f"invalid request: {sorted(asked)}")
        start, stop = nanoseconds(asked["start"]), nanoseconds(asked["stop"])
        wanted = {}
        for term in re.split(r"\s+AND\s+", asked.get("predicate", ""), flags=re.IGNORECASE):
            found = _TERM.fullmatch(term)
            if found is None:
                raise ValueError(f"invalid predicate {term!r}")
            wanted[found[1]] = found[2]
        self.buckets[bucket] = [
            line for line in self.buckets[bucket] if not self._matches(line, wanted, start, stop)
        ]

    @staticmethod
    def _matches(line: str, wanted: dict[str, str], start: int, stop: int) -> bool:
        head, _, rest = line.partition(" ")
        measurement, *tags = head.split(",")
        has = {"_measurement": measurement} | dict(tag.split("=", 1) for tag in tags)
        return start <= int(rest.rsplit(" ", 1)[1]) <= stop and wanted.items() <= has.items()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    two: InfluxTwo

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path, _, query = self.path.partition("?")
        asked = {key: values[0] for key, values in urllib.parse.parse_qs(query).items()}
        if path == "/ping":
            self._answer(204)
        elif self.headers.get("authorization") != f"Token {self.two.token}":
            self._answer(401, "unauthorized", "unauthorized access")
        elif asked.get("org") != self.two.org:
            self._answer(404, "not found", f'organization name "{asked.get("org")}" not found')
        elif asked.get("bucket") not in self.two.buckets:
            self._answer(404, "not found", f'bucket "{asked.get("bucket")}" not found')
        elif path == "/api/v2/write" and asked.get("precision") == "ns":
            self.two.buckets[asked["bucket"]] += body.decode().splitlines()
            self._answer(204)
        elif path == "/api/v2/delete":
            try:
                self.two.delete(asked["bucket"], json.loads(body))
            except ValueError as error:
                self._answer(400, "invalid", str(error))
            else:
                self._answer(204)
        else:
            self._answer(404, "not found", "path not found")

    do_POST = do_GET  # noqa: N815

    def _answer(self, status: int, code: str = "", message: str = "") -> None:
        body = b"" if status == 204 else json.dumps({"code": code, "message": message}).encode()
        self.send_response(status)
        self.send_header("X-Influxdb-Version", "v2.7.11")
        self.send_header("X-Influxdb-Build", "OSS")
        self.send_header("content-type", "application/json; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        return
