"""What the InfluxDB store does when its server, its token or its network fails, and what it leaves on the server."""

import threading
from collections.abc import Callable, Iterator

import influx
import msgspec
import pytest
from stored import FS_HZ, SECOND_NS, T0, alarm, beats, item, scores, vitals, wave

from vitalwire_cloud.store.influx.server import InfluxServer, ServerAddress
from vitalwire_cloud.store.influx.store import InfluxStore
from vitalwire_cloud.store.interface import StoreError, StoreUnavailableError
from vitalwire_edge.wire.codes import Code

ECG = int(Code.ECG_I)


class Bench:
    """A bucket on our own InfluxDB, with the proxy that can be told to fail."""

    def __init__(self, influxd, proxy, address, folder) -> None:
        self.influxd, self.proxy, self.address = influxd, proxy, address
        self.ledger_url = f"sqlite:///{folder / 'ledger.sqlite'}"
        self._made: list[InfluxStore] = []

    def open(self, **changes) -> InfluxStore:
        address = msgspec.structs.replace(self.address, **changes)
        self._made.append(InfluxStore(address, self.ledger_url))
        return self._made[-1]

    def close(self) -> None:
        for store in self._made:
            store.close()


@pytest.fixture(scope="module")
def own_influxd(tmp_path_factory) -> Iterator[influx.Influxd]:
    influxd = influx.Influxd(tmp_path_factory.mktemp("influxd"))
    yield influxd
    influxd.close()


@pytest.fixture
def bench(own_influxd, tmp_path) -> Iterator[Bench]:
    proxy = influx.Proxy(own_influxd.port)
    with influx.Site(proxy.url).bucket() as address:
        made = Bench(own_influxd, proxy, address, tmp_path)
        yield made
        made.close()
        proxy.fail = proxy.token = None
    proxy.close()


@pytest.fixture
def page_url() -> Iterator[str]:
    """Something on the web that is no InfluxDB."""
    with influx.answering(200, b"<html>hello</html>") as url:
        yield url


def counted(store) -> tuple[int, int]:
    (found,) = store.audit()
    return found.samples, found.duplicated


def test_a_503_commits_nothing_and_the_next_try_writes_the_same_points(bench):
    store = bench.open()
    bench.proxy.fail = 503
    with pytest.raises(StoreUnavailableError, match="503"):
        store.write([wave(0), vitals(0)], [])
    assert store.committed("gw-1", "s-1") == []
    assert "503" in store.ready()
    bench.proxy.fail = None
    assert len(store.write([wave(0), vitals(0)], []).stored) == 2
    assert store.ready() is None
    first, second = ([line.rsplit(b" ", 1)[1] for line in body.splitlines()] for body in bench.proxy.writes)
    assert first == second
    assert [(a.stream, a.samples, a.duplicated) for a in store.audit()] == [
        ("ecg", FS_HZ, 0),
        ("vitals", 1, 0),
    ]


def test_an_answer_that_is_lost_after_the_write_leaves_nothing_twice(bench):
    store = bench.open()
    bench.proxy.swallow = True
    batch = [wave(0), wave(1), vitals(0), beats(0, T0)]
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        store.write(batch, [])
    assert store.audit() == []
    bench.proxy.swallow = False
    assert len(store.write(batch, []).stored) == 4
    assert [(a.samples, a.duplicated) for a in store.audit()] == [(1, 0), (2 * FS_HZ, 0), (1, 0)]
    assert store.counts().conflicts == 0


def test_points_left_by_a_failed_batch_are_not_a_conflict_with_themselves(bench):
    store = bench.open()
    store.write([wave(9), vitals(9)], [])
    bench.proxy.swallow = True
    with pytest.raises(StoreUnavailableError):
        store.write([wave(3), vitals(3)], [])
    bench.proxy.swallow = False
    assert store.write([wave(3), vitals(3)], []).conflicts == 0
    assert [a.duplicated for a in store.audit()] == [0, 0]


def test_a_conflict_behind_live_data_keeps_both_points(bench):
    store = bench.open()
    store.write([wave(n) for n in range(5)], [])
    result = store.write([wave(20, first_sample=2 * FS_HZ, start_ns=T0 + 2 * SECOND_NS), wave(21)], [])
    assert (len(result.stored), result.conflicts) == (2, 1)
    assert counted(store) == (6 * FS_HZ, FS_HZ)
    (moved,) = store.server.records('SELECT "moved_ns" FROM "wave"')
    assert (moved["time"], moved["moved_ns"]) == (T0 + 2 * SECOND_NS + 1, 1)
    (segment,) = store.strip("w-1", ECG, T0, T0 + 5 * SECOND_NS)
    assert segment.samples.size == 5 * FS_HZ


def test_backlog_behind_live_data_is_no_conflict(bench):
    store = bench.open()
    store.write([wave(n) for n in range(60, 70)], [])
    assert store.write([wave(n) for n in range(60)], []).conflicts == 0
    assert counted(store) == (70 * FS_HZ, 0)


def test_tags_are_device_and_channel_only(bench):
    store = bench.open()
    store.write([wave(0), vitals(0), beats(0, T0), scores(0, T0), item(alarm(0, "raised"), "alarm")], [])
    tags = {record["tagKey"] for record in store.server.records("SHOW TAG KEYS")}
    assert tags == {"device", "channel"}
    (series,) = store.server.query(["SHOW SERIES CARDINALITY"])[0]
    assert series.rows == [[5]]


def test_what_the_server_refuses_names_the_line_and_leaves_the_rest(bench):
    store = bench.open()
    # A number that is text since somebody else wrote it so: the server refuses every point of ours with that field.
    store.server.write([f'vitals,device=other heart_rate="much" {T0}'])
    with pytest.raises(StoreError, match="field type conflict") as refused:
        store.write([wave(0), vitals(0)], [])
    assert not isinstance(refused.value, StoreUnavailableError)
    assert store.audit() == []
    assert len(store.write([wave(0)], []).stored) == 1
    with pytest.raises(StoreError, match="heart_rate"):
        store.write([vitals(0)], [])
    assert [(a.stream, a.samples) for a in store.audit()] == [("ecg", FS_HZ)]
    assert store.ready() is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token": "wrong"}, "refuses the token.*token_file"),
        ({"bucket": "another"}, "create the bucket.*store.influxdb.bucket"),
        ({"url": "http://127.0.0.1:9"}, "does not answer.*store.influxdb.url"),
    ],
)
def test_a_wrong_address_says_which_setting_is_wrong(bench, changes, told):
    bench.proxy.token = "right"
    bench.address = msgspec.structs.replace(bench.address, token="right")
    right = bench.open()
    assert right.ready() is None
    store = bench.open(**changes)
    with pytest.raises(StoreUnavailableError, match=told):
        store.write([wave(0)], [])
    with pytest.raises(StoreUnavailableError, match=told):
        store.vitals("w-1", T0, T0 + SECOND_NS)
    assert store.ready() is not None
    assert "right" not in str(store.ready())
    assert right.committed("gw-1", "s-1") == []
    bench.address = msgspec.structs.replace(bench.address, token="")
    bench.proxy.token = None


def test_something_that_is_not_influxdb_is_told(page_url):
    server = InfluxServer(ServerAddress(url=page_url, bucket="b"))
    with pytest.raises(StoreUnavailableError, match="is it InfluxDB"):
        server.check()
    server.close()


def test_what_is_committed_survives_a_kill_of_the_server(bench):
    store = bench.open()
    for n in range(10):
        store.write([wave(n)], [])
    bench.influxd.kill()
    with pytest.raises(StoreUnavailableError):
        store.write([wave(10)], [])
    bench.influxd.start()
    assert len(store.write([wave(10), wave(9)], []).stored) == 1
    assert counted(store) == (11 * FS_HZ, 0)


def test_two_workers_on_one_ledger_store_everything_once(bench):
    workers = [bench.open(), bench.open()]
    messages = [[wave(n), vitals(n), beats(n, T0 + n * SECOND_NS)] for n in range(60)]
    failures: list[BaseException] = []

    def share(worker: InfluxStore, mine: Callable[[int], bool]) -> None:
        try:
            for n, each in enumerate(messages):
                if mine(n):
                    worker.write(each, [])
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [
        threading.Thread(target=share, args=(workers[0], lambda n: n % 2 == 0 or n % 3 == 0)),
        threading.Thread(target=share, args=(workers[1], lambda n: n % 2 == 1 or n % 3 == 0)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    audit = {a.stream: (a.messages, a.samples, a.duplicated) for a in workers[0].audit()}
    assert audit == {"ecg": (60, 60 * FS_HZ, 0), "vitals": (60, 60, 0), "beat": (60, 60, 0)}
    assert [c.low_water for c in workers[1].committed("gw-1", "s-1")] == [60, 60, 60]
    assert workers[0].counts().duplicates == 3 * 20
    assert workers[0].counts().conflicts == 0


def test_what_one_worker_remembers_yields_to_what_another_stored(bench):
    first, second = bench.open(), bench.open()
    key = wave(0).series
    first.write([wave(0), wave(5)], [])
    assert second.write([wave(1), wave(5)], []).duplicates == 1
    assert first.held([key]) == first.committed("gw-1", "s-1")
    result = first.write([wave(1), wave(2), wave(3)], [])
    assert (len(result.stored), result.duplicates, result.conflicts) == (2, 1, 0)
    assert second.held([key]) == first.held([key]) == first.committed("gw-1", "s-1")
    assert counted(first) == (5 * FS_HZ, 0)


def test_a_batch_that_failed_is_not_remembered(bench):
    store = bench.open()
    store.write([wave(0)], [])
    bench.proxy.fail = 503
    with pytest.raises(StoreUnavailableError):
        store.write([wave(1), vitals(0)], [])
    bench.proxy.fail = None
    assert store.held([wave(1).series, vitals(0).series]) == store.committed("gw-1", "s-1")
    assert len(store.write([wave(0), wave(1), vitals(0)], []).stored) == 2
    assert [(a.samples, a.duplicated) for a in store.audit()] == [(2 * FS_HZ, 0), (1, 0)]


def test_points_that_are_half_written_are_not_there_yet(bench):
    store = bench.open()
    store.write([wave(0), vitals(0), beats(0, T0), scores(0, T0)], [])
    half = T0 + SECOND_NS
    store.server.write(
        [
            f'wave,device=w-1,channel=ecg_i boot=0i,first=250i,count=250i,session="s-1" {half}',
            f"vitals,device=w-1 heart_rate_status=0i,seq=1i {half}",
            f"beat,device=w-1 seq=1i {half}",
            f"score,device=w-1 score=1.0 {half}",
        ]
    )
    end = T0 + 9 * SECOND_NS
    assert sum(s.samples.size for s in store.strip("w-1", ECG, T0, end)) == FS_HZ
    assert [len(read("w-1", T0, end)) for read in (store.vitals, store.beats, store.scores)] == [1, 1, 1]
    assert [a.messages for a in store.audit()] == [1, 1, 1, 1]
    late = [wave(1), vitals(1), beats(1, half), scores(1, half)]
    store.write([wave(5), vitals(5), beats(5, T0 + 5 * SECOND_NS), scores(5, T0 + 5 * SECOND_NS)], [])
    assert store.write(late, []).conflicts == 0
    assert [a.duplicated for a in store.audit()] == [0, 0, 0, 0]


def test_alarms_of_two_workers_come_in_one_order(bench):
    first, second = bench.open(), bench.open()
    for n in range(6):
        (first, second)[n % 2].write([item(alarm(n, "updated"), "alarm")], [])
    found = first.alarm_messages(0, 9)
    assert [s.message.seq for s in found] == list(range(6))
    assert [s.position for s in found] == sorted({s.position for s in found})
    assert first.identity() == second.identity()


def test_a_newer_ledger_is_refused(bench):
    store = bench.open()
    with store.ledger.batch() as batch:
        batch._connection.exec_driver_sql("UPDATE meta SET value = '99' WHERE key = 'format'")
    with pytest.raises(StoreError, match=r"format 99.*update vitalwire"):
        bench.open()
