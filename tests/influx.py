"""A real InfluxDB for tests: Debian's 1.6 behind a proxy that speaks 2.x's write path, or any server that is named.

`VITALWIRE_INFLUX_URL`, `_TOKEN`, `_ORG` and `_BUCKET` (the first letters of the buckets that are made) point the tests
at a real server.
"""

import contextlib
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from influxdb_client import BucketRetentionRules, InfluxDBClient

from vitalwire_cloud.store.influx.server import InfluxServer, ServerAddress, name

_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[monitor]
  store-enabled = false
"""


class Influxd:
    """Debian's InfluxDB 1.6 in its own process."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        """`settings` are of the server's own, as it takes them from its environment (`INFLUXDB_DATA_...`)."""
        program = shutil.which("influxd")
        assert program, "influxd is not installed: run scripts/servers.sh"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = folder / "influxdb.conf"
        config.write_text(_CONFIG.format(folder=folder, port=self.port))
        self._log = (folder / "influxd.log").open("ab")
        self._command = [program, "-config", str(config)]
        self._environment = os.environ | (settings or {})
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command, stdout=self._log, stderr=self._log, env=self._environment
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=2):
                    return
            except OSError:
                assert time.monotonic() < deadline, "influxd does not answer"
                threading.Event().wait(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self._log.close()


class Proxy:
    """Maps `/api/v2/write` to the `/write` of 1.x, everything else goes through; fails on demand.

    `fail` is a status to answer writes with, `token` the one that must be shown, `swallow` lets a write through and
    answers nothing.
    """

    def __init__(self, port: int) -> None:
        self.fail: int | None = None
        self.token: str | None = None
        self.swallow = False
        self.writes: list[bytes] = []
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Bound", (_Passing,), {"proxy": self, "port": port})
        )
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    proxy: Proxy
    port: int

    def setup(self) -> None:
        super().setup()
        self.upstream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def finish(self) -> None:
        self.upstream.close()
        with contextlib.suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path, _, query = self.path.partition("?")
        proxy = self.proxy
        if proxy.token is not None and self.headers.get("authorization") != f"Token {proxy.token}":
            self._answer(401, b'{"code":"unauthorized","message":"unauthorized access"}')
            return
        if path == "/api/v2/write":
            asked = urllib.parse.parse_qs(query)
            assert asked["precision"] == ["ns"]
            path, query = "/write", urllib.parse.urlencode({"db": asked["bucket"][0], "precision": "ns"})
            proxy.writes.append(body)
            if proxy.fail is not None:
                self._answer(proxy.fail, b'{"code":"unavailable","message":"told to fail"}')
                return
        status, data, version = self._ask(f"{path}?{query}", body)
        if path == "/write" and proxy.swallow:
            self.close_connection = True
            return
        self._answer(status, data, version)

    do_POST = do_GET  # noqa: N815

    def _ask(self, target: str, body: bytes) -> tuple[int, bytes, str]:
        headers = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "accept")}
        for _ in range(2):  # the first time over a connection that may be dead
            try:
                self.upstream.request(self.command, target, body, headers)
                answer = self.upstream.getresponse()
                return answer.status, answer.read(), answer.getheader("x-influxdb-version", "")
            except (OSError, http.client.HTTPException):
                self.upstream.close()
        return 502, b'{"message":"no answer behind the proxy"}', ""

    def _answer(self, status: int, body: bytes, version: str = "1.6.7") -> None:
        self.send_response(status)
        self.send_header("x-influxdb-version", version)
        self.send_header("content-type", "application/json")
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_args: object) -> None:
        return


@contextlib.contextmanager
def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[str]:
    """A server that says the same to everything; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class Site:
    """A server to make buckets on."""

    def __init__(self, url: str, *, token: str = "", org: str = "", prefix: str = "t") -> None:
        self.url, self.token, self.org, self._prefix = url, token, org, prefix

    @contextlib.contextmanager
    def bucket(self) -> Iterator[ServerAddress]:
        """An empty bucket, gone afterwards where the server can do that."""
        address = ServerAddress(
            url=self.url, token=self.token, org=self.org, bucket=f"{self._prefix}-{secrets.token_hex(4)}"
        )
        server = InfluxServer(address)
        generation = server.generation()
        if generation == 2:
            with InfluxDBClient(self.url, self.token, org=self.org) as client:
                buckets = client.buckets_api()
                made = buckets.create_bucket(
                    bucket_name=address.bucket, retention_rules=[BucketRetentionRules(every_seconds=0)]
                )
                yield address
                buckets.delete_bucket(made)
        elif generation == 3:
            body = f'{{"db":"{address.bucket}"}}'.encode()
            request = urllib.request.Request(f"{self.url}/api/v3/configure/database", body)
            request.add_header("authorization", f"Bearer {self.token}")
            request.add_header("content-type", "application/json")
            with urllib.request.urlopen(request, timeout=10):
                yield address
        else:
            server.query([f"CREATE DATABASE {name(address.bucket)}"])
            yield address
            server.query([f"DROP DATABASE {name(address.bucket)}"])
        server.close()


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """The named server, else one of our own behind the proxy."""
    url = os.environ.get("VITALWIRE_INFLUX_URL")
    if url:
        yield Site(
            url,
            token=os.environ.get("VITALWIRE_INFLUX_TOKEN", ""),
            org=os.environ.get("VITALWIRE_INFLUX_ORG", ""),
            prefix=os.environ.get("VITALWIRE_INFLUX_BUCKET", "vitalwire-test"),
        )
        return
    influxd = Influxd(folder)
    proxy = Proxy(influxd.port)
    try:
        yield Site(proxy.url)
    finally:
        proxy.close()
        influxd.close()
