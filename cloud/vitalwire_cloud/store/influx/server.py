"""Talking to InfluxDB: line protocol through its client, reading with InfluxQL, which 1.8, 2.x and 3 Core answer."""

# Queries are put together from `name` and `literal`, which quote, and from numbers.
# ruff: noqa: S608

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast
from urllib.parse import urlencode

import msgspec
import urllib3
from influxdb_client import InfluxDBClient, WritePrecision  # type: ignore[attr-defined]
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from vitalwire_cloud.store.interface import StoreError, StoreUnavailableError

_ASKED_AT_ONCE: Final = 4000
"""Characters of statements in one request: they travel in its address, and proxies bound those to 8 KiB."""

_CHANGES: Final = ("DELETE", "CREATE", "DROP")
_RETRIED: Final = frozenset({408, 429})
_SHORT: Final = 300
_NANOSECONDS: Final = cast("Any", WritePrecision.NS)  # the client declares its constants without values

Generation = Literal[1, 2, 3]


class DeletionRefusedError(StoreError):
    """The server has no way to delete points."""


class ServerAddress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where points go. `bucket` is the database where the server has no buckets; `token` is never logged."""

    url: str
    bucket: str
    org: str = ""
    token: str = ""
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Table:
    """One series of an answer: its tags, the names of its columns, its rows (the first column is the time)."""

    tags: dict[str, str]
    columns: list[str]
    rows: list[list[Any]]

    def records(self) -> Iterator[dict[str, Any]]:
        """Each row by column name, with the tags."""
        for row in self.rows:
            yield {**self.tags, **dict(zip(self.columns, row, strict=True))}


class _Series(msgspec.Struct):
    columns: list[str]
    values: list[list[Any]] = []
    tags: dict[str, str] = {}


class _Result(msgspec.Struct):
    series: list[_Series] = []
    error: str | None = None
    partial: bool = False


class _Answer(msgspec.Struct):
    results: list[_Result] = []
    error: str | None = None


_decode: Final = msgspec.json.Decoder(_Answer)


class InfluxServer:
    """One bucket of one server. Thread-safe. Writes are synchronous: what `write` returned from is in its log.

    Raises `StoreUnavailableError` where the same call may work later (no answer, 5xx, an unusable token or bucket:
    an operator mends those), `StoreError` with the server's own words for what it will never take.
    """

    def __init__(self, address: ServerAddress) -> None:
        self._address = address
        self._name = f"InfluxDB {address.url} bucket {address.bucket!r}"
        self._client = InfluxDBClient(
            url=address.url, token=address.token, org=address.org, timeout=round(address.timeout_s * 1000)
        )
        self._writer = self._client.write_api(write_options=SYNCHRONOUS)
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(address.timeout_s), retries=False, maxsize=8, block=True
        )

    @property
    def name(self) -> str:
        """For messages."""
        return self._name

    def write(self, lines: Iterable[str]) -> None:
        """Write lines of line protocol in one request. A refusal (400) means that some of them will never be taken."""
        body = "\n".join(lines).encode()
        if not body:
            return
        try:
            self._writer.write(self._address.bucket, self._address.org, body, _NANOSECONDS)
        except ApiException as error:
            raise self._refusal(error.status or 0, _words(error.body)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._silence(error) from error

    def query(self, statements: list[str]) -> list[list[Table]]:
        """Answer of each InfluxQL statement, times in nanoseconds."""
        found: list[list[Table]] = []
        part: list[str] = []
        for statement in statements:
            if part and sum(map(len, part)) + len(statement) > _ASKED_AT_ONCE:
                found += self._query(part)
                part = []
            part.append(statement)
        return found + self._query(part) if part else found

    def records(self, statement: str) -> list[dict[str, Any]]:
        """Every row of one statement, by column name."""
        (tables,) = self.query([statement])
        return [record for table in tables for record in table.records()]

    def _query(self, statements: list[str]) -> list[list[Table]]:
        # Asking is a GET in the published description of 2.x; 1.x wants a POST for what changes something.
        method = "POST" if statements[0].startswith(_CHANGES) else "GET"
        fields = {"db": self._address.bucket, "epoch": "ns", "q": "; ".join(statements)}
        status, body, _ = self._raw(method, "/query", fields)
        if status != 200:
            raise self._refusal(status, _words(body))
        try:
            answer = _decode.decode(body)
        except msgspec.DecodeError as error:
            raise StoreUnavailableError(
                f"{self._name} answered a query with something else than JSON: is it InfluxDB?"
            ) from error
        for result in answer.results:
            if result.error is not None or result.partial:
                raise self._refusal(0, result.error or "the answer was cut short")
        if answer.error is not None or len(answer.results) != len(statements):
            raise self._refusal(0, answer.error or "an answer is missing")
        return [[Table(s.tags, s.columns, s.values) for s in result.series] for result in answer.results]

    def generation(self) -> Generation:
        """Major version, from what `/ping` says."""
        status, body, headers = self._raw("GET", "/ping", None)
        if status not in (200, 204):
            raise self._refusal(status, _words(body))
        version = headers.get("x-influxdb-version") or _version(body)
        major = version.lstrip("v").partition(".")[0]
        return 2 if major == "2" else 3 if major == "3" else 1

    def check(self) -> None:
        """Raise what keeps reads from working: address, token, bucket."""
        self.query(["SHOW MEASUREMENTS LIMIT 1"])

    def must_delete(self) -> None:
        """Raise `DeletionRefusedError` where the server cannot delete points."""
        if self.generation() == 3:
            raise DeletionRefusedError(
                f"{self._name} cannot delete points (InfluxDB 3 Core has no way to): "
                "keep data that must be erasable on the embedded store or on InfluxDB 1.x or 2.x, "
                "and set the database's own retention period"
            )

    def delete(self, measurements: Iterable[str], device: str | None, start_ns: int, end_ns: int) -> None:
        """Delete the points of [start_ns, end_ns), of one device or of all. Raises `DeletionRefusedError`."""
        self.must_delete()
        generation = self.generation()
        for measurement in measurements:
            if generation == 2:
                self._delete_api(measurement, device, start_ns, end_ns)
            else:
                where = f"time >= {start_ns} AND time < {end_ns}"
                if device is not None:
                    where = f"device = {literal(device)} AND {where}"
                self.query([f"DELETE FROM {name(measurement)} WHERE {where}"])

    def _delete_api(self, measurement: str, device: str | None, start_ns: int, end_ns: int) -> None:
        predicate = f'_measurement="{measurement}"'
        if device is not None:
            predicate += f' AND device="{device}"'
        try:
            self._client.delete_api().delete(
                rfc3339(start_ns),
                rfc3339(end_ns - 1),
                predicate,
                bucket=self._address.bucket,
                org=self._address.org,
            )
        except ApiException as error:
            raise self._refusal(error.status or 0, _words(error.body)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._silence(error) from error

    def close(self) -> None:
        """Let go of connections."""
        rest: Any = self._client.api_client.rest_client
        self._client.close()  # type: ignore[no-untyped-call]
        # It closes once more when the interpreter ends, which then has nothing left to close with.
        rest.pool_manager = None
        self._pool.clear()

    def _raw(
        self, method: str, path: str, fields: dict[str, str] | None
    ) -> tuple[int, bytes, urllib3.HTTPHeaderDict]:
        headers = {"Authorization": f"Token {self._address.token}"} if self._address.token else {}
        url = self._address.url.rstrip("/") + path
        if fields and method == "GET":
            url = f"{url}?{urlencode(fields)}"
        form = urlencode(fields).encode() if fields and method == "POST" else None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            answer = self._pool.request(method, url, body=form, headers=headers)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._silence(error) from error
        return answer.status, answer.data, answer.headers

    def _silence(self, error: Exception) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{self._name} does not answer ({error}): start it, or correct store.influxdb.url"
        )

    def _refusal(self, status: int, words: str) -> StoreError:
        if status in (401, 403):
            return StoreUnavailableError(
                f"{self._name} refuses the token ({status}: {words}): "
                "store.influxdb.token_file must name one that may read and write this bucket"
            )
        if status == 404 or "database not found" in words:
            return StoreUnavailableError(
                f"{self._name} is not there ({words}): create the bucket (and, on 2.x, its database mapping), "
                "or correct store.influxdb.bucket and store.influxdb.org"
            )
        if status >= 500 or status in _RETRIED:
            return StoreUnavailableError(f"{self._name} cannot take it now ({status}: {words})")
        return StoreError(f"{self._name} refuses it: {words}")


def literal(value: str) -> str:
    """String literal of InfluxQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def name(value: str) -> str:
    """Quoted identifier of InfluxQL."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def rfc3339(time_ns: int) -> str:
    """UTC with nine decimals."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _version(body: bytes) -> str:
    """Version in the body of `/ping`, where 3 Core says it too."""
    try:
        return str(msgspec.json.decode(body).get("version", ""))
    except (msgspec.DecodeError, AttributeError):
        return ""


def _words(body: bytes | str | None) -> str:
    """What an error's body says, short."""
    if not body:
        return "no reason given"
    try:
        found = msgspec.json.decode(body)
        said = found.get("error") or found.get("message") or str(found)
    except (msgspec.DecodeError, AttributeError):
        said = body if isinstance(body, str) else body.decode(errors="replace")
    return str(said)[:_SHORT]
