"""What InfluxDB 2.x alone has, against a double of its published description; and what 3 Core has not."""

from collections.abc import Iterator

import influx
import pytest
from influx_two import InfluxTwo
from stored import SECOND_NS, T0

from vitalwire_cloud.store.influx.server import DeletionRefusedError, InfluxServer, ServerAddress, rfc3339
from vitalwire_cloud.store.influx.store import InfluxStore
from vitalwire_cloud.store.interface import StoreUnavailableError


@pytest.fixture
def two() -> Iterator[InfluxTwo]:
    double = InfluxTwo("vitals")
    yield double
    double.close()


def server_of(two: InfluxTwo, **changes: str) -> InfluxServer:
    fields = {"url": two.url, "bucket": "vitals", "org": two.org, "token": two.token}
    return InfluxServer(ServerAddress(**{**fields, **changes}))


def test_points_are_deleted_by_predicate_device_and_span(two):
    server = server_of(two)
    lines = [
        f"{measurement},device={device} seq={n}i {T0 + n * SECOND_NS}"
        for measurement in ("beat", "score")
        for device in ("w-1", "w-2")
        for n in range(5)
    ]
    server.write(lines)
    assert two.buckets["vitals"] == lines
    server.delete(["beat"], "w-1", T0 + SECOND_NS, T0 + 3 * SECOND_NS)
    gone = [line for line in lines if line not in two.buckets["vitals"]]
    assert gone == [f"beat,device=w-1 seq={n}i {T0 + n * SECOND_NS}" for n in (1, 2)]
    server.delete(["beat", "score"], None, 0, T0 + 2 * SECOND_NS)
    left = sorted(int(line.rsplit(" ", 1)[1]) for line in two.buckets["vitals"])
    assert min(left) == T0 + 2 * SECOND_NS
    server.close()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token": "another"}, r"refuses the token.*token_file"),
        ({"bucket": "another"}, r'bucket "another" not found.*store\.influxdb\.bucket'),
        ({"org": "another"}, r'organization name "another" not found.*store\.influxdb\.org'),
    ],
)
def test_tokens_buckets_and_organisations_that_are_wrong_are_named(two, changes, told):
    server = server_of(two, **changes)
    with pytest.raises(StoreUnavailableError, match=told):
        server.write(["beat,device=w-1 seq=0i 1"])
    with pytest.raises(StoreUnavailableError, match=told):
        server.delete(["beat"], "w-1", 0, 1)
    assert two.buckets["vitals"] == []
    server.close()


def test_times_keep_their_nanoseconds():
    assert rfc3339(T0 + 123_456_789) == "2026-09-21T14:13:20.123456789Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000000000Z"


def test_where_a_server_cannot_delete_erasure_is_refused_and_leaves_no_record(tmp_path):
    with influx.answering(200, b"{}", {"x-influxdb-version": "3.5.0"}) as url:
        store = InfluxStore(ServerAddress(url=url, bucket="b"), f"sqlite:///{tmp_path / 'ledger.sqlite'}")
        with pytest.raises(DeletionRefusedError, match=r"InfluxDB 3 Core.*embedded store"):
            store.erase("w-1", 0, T0, by="x", reason="y")
        with pytest.raises(DeletionRefusedError, match="own retention period"):
            store.expire("waveform", T0)
        assert store.erasures() == []
        store.close()
