"""The whole service on a real InfluxDB: one process, then two that share broker, server and ledger."""

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator

import influx
import numpy as np
import pytest
from cloud_parts import BrokerProcess, wait_for
from raw_gateway import SAMPLES, SECOND_NS, ecg
from websockets.sync.client import connect

from vitalwire_cloud.web import packing
from vitalwire_edge.wire.messages import Flag


@pytest.fixture(scope="module")
def own_influxd(tmp_path_factory) -> Iterator[influx.Influxd]:
    influxd = influx.Influxd(tmp_path_factory.mktemp("influxd"))
    yield influxd
    influxd.close()


@pytest.fixture
def proxy(own_influxd, monkeypatch, tmp_path) -> Iterator[influx.Proxy]:
    """The server as every process of the test finds it: by its environment."""
    proxy = influx.Proxy(own_influxd.port)
    with influx.Site(proxy.url).bucket() as address:
        (tmp_path / "token").write_text("secret\n")
        settings = {
            "STORE__BACKEND": "influxdb",
            "STORE__INFLUXDB__URL": address.url,
            "STORE__INFLUXDB__BUCKET": address.bucket,
            "STORE__INFLUXDB__TOKEN_FILE": str(tmp_path / "token"),
        }
        for key, value in settings.items():
            monkeypatch.setenv(f"VITALWIRE_CLOUD_{key}", value)
        yield proxy
        proxy.fail = proxy.token = None
    proxy.close()


@pytest.fixture
def mosquitto(tmp_path) -> Iterator[BrokerProcess]:
    process = BrokerProcess("mosquitto", tmp_path)
    yield process
    process.close()


def stored(cloud, stream: str) -> int:
    _, metrics = cloud.get("/metrics")
    found = re.search(rf'vitalwire_ingest_stored_total{{stream="{stream}"}} (\S+)', metrics)
    return round(float(found[1])) if found else 0


def test_nothing_is_confirmed_while_the_server_refuses_and_everything_afterwards(
    proxy, mosquitto, clouds, gateways
):
    cloud = clouds(mosquitto)
    gateway = gateways(mosquitto.port, cloud.new_key())
    proxy.token = "secret"
    cloud.start()
    gateway.birth()
    proxy.fail = 503
    gateway.send_blocks(ecg(20))
    gateway.send_vitals()
    gateway.send_alarm("a-1", "raised")
    wait_for(lambda: "503" in cloud.get("/readyz")[1], "unreadiness")
    time.sleep(0.5)
    assert len(gateway.pending()) == 22
    proxy.fail = None
    assert gateway.all_confirmed(20)
    wait_for(lambda: cloud.get("/readyz")[0] == 200, "readiness")
    wait_for(cloud.alarms, "the alarm at the desk")
    proxy.token = "another"
    wait_for(lambda: "refuses the token" in cloud.get("/readyz")[1], "unreadiness for the token")
    proxy.token = "secret"
    ecg_proof = cloud.stream("ecg")
    assert (ecg_proof["samples"], ecg_proof["duplicated"]) == (20 * SAMPLES, 0)
    looked = cloud.command("quarantine", "list")
    assert (looked.returncode, looked.stdout.split(";")[0]) == (0, "0 shown")
    assert cloud.stop() == 0


@pytest.mark.usefixtures("proxy")
def test_two_workers_store_everything_once_also_when_one_is_killed(mosquitto, clouds, gateways):
    cloud = clouds(mosquitto)
    worker = clouds(mosquitto, "role=ingest")
    second = [
        gateways(mosquitto.port, cloud.new_key(name), name=name, device=f"w-{name}")
        for name in ("gw-1", "gw-2")
    ]
    cloud.start()
    worker.start()
    for gateway in second:
        gateway.many_tellers = True
        gateway.birth()
        gateway.send_blocks(ecg(60))
        for _ in range(20):
            gateway.send_vitals()
            gateway.send_beat()
    assert all(gateway.all_confirmed(30) for gateway in second)
    shares = [stored(cloud, "ecg"), stored(worker, "ecg")]
    assert sum(shares) == 120
    assert min(shares) > 0
    for gateway in second:
        gateway.send_blocks(ecg(60))
    worker.kill()
    assert all(gateway.all_confirmed(40, resend_every_s=1.5) for gateway in second)
    audit = cloud.audit()
    found = {
        (s["device"], s["stream"]): (s["messages"], s["samples"], s["duplicated"]) for s in audit["streams"]
    }
    for name in ("w-gw-1", "w-gw-2"):
        assert found[name, "ecg"] == (120, 120 * SAMPLES, 0)
        assert found[name, "vitals"] == found[name, "beat"] == (20, 20, 0)
    assert (audit["conflicts"], audit["quarantined"]) == (0, 0)
    assert cloud.stop() == 0


class Wall:
    """The live socket of a page: waveform by device in the order in which it came, and the newest state of alarms."""

    def __init__(self, cloud) -> None:
        self.names: list[str] = []
        self.waves: dict[str, list[tuple[int, bytes]]] = {}
        self.alarms: dict[str, str] = {}
        self._url = f"ws://127.0.0.1:{cloud.web}/live"
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with connect(self._url, subprotocols=["vitalwire.v1"]) as socket:
            while not self._ending.is_set():
                try:
                    message = socket.recv(0.2)
                except TimeoutError:
                    continue
                if isinstance(message, bytes):
                    socket.send(str(self._blocks(message)))
                    continue
                for said in json.loads(message):
                    match said["type"]:
                        case "hello":
                            self.names = [device["device"] for device in said["devices"]]
                        case "alarm":
                            self.alarms[said["alarm"]["alarm_id"]] = said["alarm"]["state"]

    def _blocks(self, message: bytes) -> int:
        _, _, count, frame, _ = packing._MESSAGE.unpack_from(message)
        at = packing._MESSAGE.size
        for _ in range(count):
            index, flags, _, start_ns, _, _, samples = packing._BLOCK.unpack_from(message, at)
            at += packing._BLOCK.size
            if not flags & Flag.HISTORY:
                block = (start_ns, message[at : at + 2 * samples])
                self.waves.setdefault(self.names[index], []).append(block)
            at += 2 * samples
        return int(frame)

    def close(self) -> None:
        self._ending.set()
        self._thread.join(10)


@pytest.mark.usefixtures("proxy")
def test_a_page_sees_every_wearable_whole_and_in_order_whoever_stores_it(mosquitto, clouds, gateways):
    cloud = clouds(mosquitto)
    workers = [clouds(mosquitto, "role=ingest", folder=f"worker-{n}") for n in range(2)]
    cloud.start()
    ward = [
        gateways(mosquitto.port, cloud.new_key(name), name=name, device=f"w-{name}")
        for name in ("gw-1", "gw-2")
    ]
    for worker in workers:
        shutil.copytree(cloud.keys, worker.keys, dirs_exist_ok=True)
        worker.data = cloud.data
        worker.start()
    for gateway in ward:
        gateway.many_tellers = True
        gateway.birth()
    wait_for(lambda: len(json.loads(cloud.get("/api/v1/devices")[1])) == 2, "both wearables")
    wall = Wall(cloud)
    wait_for(lambda: len(wall.names) == 2, "the page's hello")
    sent = {gateway.device: ecg(40, seed=n) for n, gateway in enumerate(ward)}
    for gateway in ward:
        gateway.send_blocks(sent[gateway.device])
        gateway.send_alarm("a-" + gateway.name, "raised")
        gateway.resend()
    wait_for(lambda: all(len(wall.waves.get(gateway.device, [])) >= 40 for gateway in ward), "the waveforms")
    assert all(gateway.all_confirmed(30) for gateway in ward)
    wait_for(lambda: sorted(wall.alarms.values()) == ["active", "active"], "both alarms on the wall")
    for gateway in ward:
        gateway.send_alarm("a-" + gateway.name, "cleared")
    wait_for(lambda: set(wall.alarms.values()) == {"latched"}, "the end of both alarms")
    shares = [stored(each, "ecg") for each in (cloud, *workers)]
    assert sum(shares) == 80
    assert sum(share > 0 for share in shares) > 1, f"workers share the data, they stored {shares}"
    for gateway in ward:
        starts = [start_ns for start_ns, _ in wall.waves[gateway.device]]
        assert starts == [gateway.start_ns + n * SECOND_NS for n in range(40)]
        shown = np.frombuffer(b"".join(data for _, data in wall.waves[gateway.device]), "<i2")
        np.testing.assert_array_equal(shown, np.concatenate(sent[gateway.device]))
    wall.close()
    assert cloud.stop() == 0


def test_a_worker_without_a_shared_store_is_refused(embedded_broker, clouds):
    worker = clouds(embedded_broker, "role=ingest")
    worker.start(ready=False)
    assert worker.process.wait(20) == 2
    assert "store.backend=influxdb" in worker.log.read_text()


def test_the_running_service_deletes_what_is_kept_long_enough(mosquitto, clouds, gateways):
    cloud = clouds(mosquitto, "retention.waveform_days=0.0001", "retention.every_s=0.2")
    gateway = gateways(mosquitto.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    gateway.send_blocks(ecg(10))
    gateway.send_vitals()
    assert gateway.all_confirmed(20)
    wait_for(lambda: {s["stream"] for s in cloud.audit()["streams"]} == {"vitals"}, "the end of old waveform")
    assert cloud.stop() == 0
