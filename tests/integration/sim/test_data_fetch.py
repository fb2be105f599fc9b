"""`vitalwire data fetch` against a local server that breaks off, lies, and sends the wrong file."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from vitalwire_sim.data.cli import app
from vitalwire_sim.data.download import (
    ChecksumError,
    DownloadError,
    NotThereError,
    TruncatedError,
    download,
)
from vitalwire_sim.data.fetch import entries, select

BODY = bytes(range(256)) * 2000


class Server:
    """Serves `files`; `cut[path]` is how many answers still break off half way; records the ranges asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.broken: dict[str, int] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.ranges = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/db/"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.removeprefix("/db/")
        wanted = request.headers.get("Range")
        self.asked.append((path, wanted))
        if self.broken.get(path, 0) > 0:
            self.broken[path] -= 1
            request.send_error(503)
            return
        if path not in self.files:
            request.send_error(404)
            return
        body = self.files[path]
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if start >= len(body) and start:
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        rest = body[start:]
        if self.cut.get(path, 0) > 0:
            self.cut[path] -= 1
            rest = rest[: len(rest) // 2]
        request.wfile.write(rest)

    def database(self, **files: bytes) -> None:
        self.files = {name.replace("__", "/").replace("_", "."): body for name, body in files.items()}
        listed = [f"{hashlib.sha256(body).hexdigest()} {name}" for name, body in self.files.items()]
        self.files["SHA256SUMS.txt"] = "\n".join(listed).encode() + b"\n"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def get(server: Server, tmp_path, name: str = "a.dat", **options):
    target = tmp_path / name
    download(server.url + name, target, first_pause_s=0.01, **options)
    return target


def test_a_file_arrives_whole_and_is_not_fetched_twice(server, tmp_path):
    server.files["a.dat"] = BODY
    seen = []
    target = get(server, tmp_path, sha256=sha(BODY), progress=lambda have, total: seen.append((have, total)))
    assert target.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert not list(tmp_path.glob("*.part"))
    assert download(server.url + "a.dat", target, sha256=sha(BODY)) is False
    assert len(server.asked) == 1


def test_a_truncated_body_is_noticed_and_resumed_by_range(server, tmp_path):
    server.files["a.dat"] = BODY
    server.cut["a.dat"] = 2
    target = get(server, tmp_path, sha256=sha(BODY))
    assert target.read_bytes() == BODY
    half = len(BODY) // 2
    assert server.asked == [
        ("a.dat", None), ("a.dat", f"bytes={half}-"), ("a.dat", f"bytes={half + (len(BODY) - half) // 2}-")
    ]  # fmt: skip


def test_a_server_that_always_breaks_off_is_an_error_and_leaves_no_file(server, tmp_path):
    server.files["a.dat"] = BODY
    server.cut["a.dat"] = 99
    with pytest.raises(TruncatedError, match="of 512000 bytes came"):
        get(server, tmp_path, attempts=2)
    assert not (tmp_path / "a.dat").exists()
    assert (tmp_path / "a.dat.part").stat().st_size == 384_000
    server.cut["a.dat"] = 0
    assert get(server, tmp_path, sha256=sha(BODY)).read_bytes() == BODY
    assert server.asked[-1] == ("a.dat", "bytes=384000-")


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.files["a.dat"] = BODY
    server.ranges = False
    server.cut["a.dat"] = 1
    assert get(server, tmp_path, sha256=sha(BODY)).read_bytes() == BODY


def test_a_wrong_hash_is_refused_and_thrown_away(server, tmp_path):
    server.files["a.dat"] = BODY
    (tmp_path / "a.dat").write_bytes(b"what was here before")
    with pytest.raises(ChecksumError, match=sha(BODY)):
        get(server, tmp_path, sha256="0" * 64)
    assert (tmp_path / "a.dat").read_bytes() == b"what was here before"
    assert not (tmp_path / "a.dat.part").exists()


def test_a_stale_part_that_is_too_long_is_dropped(server, tmp_path):
    server.files["a.dat"] = BODY
    (tmp_path / "a.dat.part").write_bytes(BODY + b"more")
    assert get(server, tmp_path, sha256=sha(BODY)).read_bytes() == BODY


def test_a_passing_server_error_is_retried_and_a_404_is_not(server, tmp_path):
    server.files["a.dat"] = BODY
    server.broken["a.dat"] = 2
    assert get(server, tmp_path).read_bytes() == BODY
    server.asked.clear()
    with pytest.raises(NotThereError, match="404"):
        get(server, tmp_path, "b.dat")
    assert len(server.asked) == 1


def test_nobody_there_is_an_error_that_says_so(tmp_path):
    with pytest.raises(DownloadError, match="gave up after 2 attempts"):
        download("http://127.0.0.1:9/x", tmp_path / "x", attempts=2, first_pause_s=0.01)
    with pytest.raises(DownloadError, match="starts with https"):
        download("file:///etc/passwd", tmp_path / "x")


def test_records_are_selected_with_what_describes_the_whole(server):
    server.database(
        RECORDS=b"100\n101\n", LICENSE_txt=b"free", **{"100_dat": b"x", "100_hea": b"h", "1001_dat": b"n"}
    )
    names = {str(e.path) for e in select(entries(server.url), ["100"])}
    assert names == {"RECORDS", "LICENSE.txt", "100.dat", "100.hea"}
    with pytest.raises(DownloadError, match="no record '999'"):
        select(entries(server.url), ["999"])


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "a\\evil"])
def test_a_list_that_leads_outside_is_not_trusted(server, path):
    server.files["SHA256SUMS.txt"] = f"{'0' * 64} {path}\n".encode()
    with pytest.raises(DownloadError, match="leads outside"):
        entries(server.url)


@pytest.mark.parametrize("text", [b"<html>", b"", b"abc def\n"])
def test_something_that_is_no_list_is_named(server, text):
    server.files["SHA256SUMS.txt"] = text
    with pytest.raises(DownloadError, match=r"SHA256SUMS\.txt"):
        entries(server.url)


def test_the_command_fetches_verifies_resumes_and_tells_licence(server, tmp_path):
    server.database(RECORDS=b"a\n", sub__a_dat=BODY, sub__a_hea=b"a 1 250 10\n")
    server.cut["sub/a.dat"] = 1
    run = CliRunner().invoke(app, ["fetch", "mitdb", "--to", str(tmp_path), "--url", server.url])
    assert run.exit_code == 0, run.output
    assert (tmp_path / "mitdb" / "sub" / "a.dat").read_bytes() == BODY
    assert "3 files (3 new)" in run.output
    assert "ODC-By 1.0" in run.output
    again = CliRunner().invoke(app, ["fetch", "mitdb", "--to", str(tmp_path), "--url", server.url])
    assert "3 files (0 new)" in again.output


def test_the_command_fails_clearly(server, tmp_path):
    server.database(a_dat=BODY)
    server.files["a.dat"] = BODY[:-1] + b"!"
    wrong = CliRunner().invoke(app, ["fetch", "mine", "--to", str(tmp_path), "--url", server.url])
    assert wrong.exit_code == 1
    assert "SHA-256" in wrong.output
    assert not (tmp_path / "mine" / "a.dat").exists()
    gone = CliRunner().invoke(app, ["fetch", "mitdb", "--to", str(tmp_path), "--url", server.url + "no/"])
    assert gone.exit_code == 1
    assert "404" in gone.output
    unknown = CliRunner().invoke(app, ["fetch", "mitbd"])
    assert unknown.exit_code == 2
    assert "mitdb" in unknown.output
    assert "mitdb" in CliRunner().invoke(app, ["fetch"]).output
