"""Waveform on demand over the API: sealed for its gateway, kept with a name, its state told, or refused."""

import sqlite3
import time

import pytest
from litestar.testing import TestClient
from ward import SECOND_NS, Ward

from vitalwire_cloud.waveform import DemandDesk, DemandError
from vitalwire_edge.wire.messages import Command, decode_json, unseal

KEY = b"k" * 32


class Broker:
    """What was published, while there is a connection."""

    def __init__(self) -> None:
        self.connected = True
        self.said: list[tuple[str, bytes, int | None]] = []

    def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        if self.connected:
            self.said.append((topic, payload, expiry_s))
        return self.connected


@pytest.fixture
def broker(ward: Ward) -> Broker:
    broker = Broker()
    ward.demands = DemandDesk(ward.store.folder, broker.publish, {"gw-a": KEY}.get)
    return broker


@pytest.fixture
def asking(ward: Ward, broker: Broker):
    assert broker.connected
    with TestClient(ward.app(), base_url="http://127.0.0.1") as client:
        yield client
    ward.demands.close()


def first(client: TestClient, until=lambda _: True) -> dict:
    deadline = time.monotonic() + 5
    while not until(found := client.get("/api/v1/waveform-demands").json()[0]):
        assert time.monotonic() < deadline, found
    return found


def test_a_demand_is_sealed_for_its_gateway_and_its_state_is_told(asking, ward: Ward, broker: Broker) -> None:
    answer = asking.post("/api/v1/devices/chest-1/waveform", json={"by": " RN Ada ", "seconds": 2})
    assert (answer.status_code, answer.json()["state"]) == (202, "asked")
    ((topic, sealed, expiry_s),) = broker.said
    command = decode_json(unseal(KEY, topic, sealed), Command)
    assert (topic, command.command, command.device) == ("v1/ward-3/gw-a/cmd", "waveform", "chest-1")
    assert (command.seconds, expiry_s) == (2.0, 30)
    ward.beds["chest-2"].second(time.time_ns())
    assert first(asking)["came_ns"] is None
    ward.beds["chest-1"].second(time.time_ns())
    streaming = first(asking, lambda found: found["state"] == "streaming")
    assert (streaming["asked_by"], streaming["until_ns"] - streaming["at_ns"]) == ("RN Ada", 2 * SECOND_NS)
    ended = first(asking, lambda found: found["state"] == "ended")
    assert ended["came_ns"] == streaming["came_ns"]


def test_what_cannot_be_asked_is_refused_with_its_reason(asking, broker: Broker) -> None:
    def refused(device: str, **body: object) -> tuple[int, str]:
        answer = asking.post(f"/api/v1/devices/{device}/waveform", json=body)
        return answer.status_code, answer.json()["detail"]

    assert refused("chest-2", by="A") == (409, "there is no key of gw-b: put gw-b.key into the keys' folder")
    assert refused("nobody", by="A")[0] == 404
    assert refused("chest-1", by="A", seconds=3601)[0] == 400
    assert refused("chest-1", by="")[0] == 400
    foreign = {"origin": "https://elsewhere.example"}
    assert (
        asking.post("/api/v1/devices/chest-1/waveform", json={"by": "A"}, headers=foreign).status_code == 403
    )
    broker.connected = False
    assert "no connection to the broker" in refused("chest-1", by="A")[1]
    assert [demand["state"] for demand in asking.get("/api/v1/waveform-demands").json()] == ["ended"]
    assert broker.said == []


def test_who_asked_outlives_the_service(tmp_path) -> None:
    broker, now_ns = Broker(), time.time_ns()
    desk = DemandDesk(tmp_path, broker.publish, {"gw-a": KEY}.get)
    desk.ask("s", "gw-a", "w-1", seconds=60, asked_by="RN Ada", now_ns=now_ns)
    desk.close()
    desk = DemandDesk(tmp_path, broker.publish, {}.get)
    (kept,) = desk.demands(now_ns=now_ns + SECOND_NS)
    assert (kept.asked_by, kept.device, kept.state) == ("RN Ada", "w-1", "asked")
    desk.close()
    raw = sqlite3.connect(tmp_path / "demands.sqlite")
    raw.execute("PRAGMA user_version = 9")
    raw.close()
    with pytest.raises(DemandError, match="newer vitalwire"):
        DemandDesk(tmp_path, broker.publish, {}.get)
