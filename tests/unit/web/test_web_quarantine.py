"""What was set aside, over the API: seen, tried again once, thrown away; not from another page."""

import base64
import time

from litestar.testing import TestClient
from ward import Ward

from vitalwire_cloud.store.interface import Quarantined, SeriesKey
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import VitalsMessage, VitalValue, encode_data


def test_a_running_service_tries_again_what_it_set_aside(client: TestClient, ward: Ward) -> None:
    now_ns = time.time_ns()
    vitals = VitalsMessage(
        session="s-late", seq=0, flags=0, time_ns=now_ns, values=(VitalValue(int(Code.HEART_RATE), 61.0, 0),)
    )
    place = SeriesKey("gw-a", "chest-1", "vitals", "s-late")
    topic, payload = "v1/ward-3/gw-a/chest-1/vitals", encode_data(vitals)
    aside = [
        Quarantined(topic, payload, "a fault", now_ns, place, 0),
        Quarantined(topic, b"nonsense", "broken", now_ns),
    ]
    ward.store.write([], aside)
    told = client.get("/api/v1/quarantine?limit=2").json()
    broken, late = told["messages"]
    assert (told["kept"], late["topic"], late["reason"]) == (2, topic, "a fault")
    assert base64.b64decode(late["payload"]) == payload
    where = f"/api/v1/quarantine/{late['number']}/replay"
    assert client.post(where, headers={"origin": "https://elsewhere.example"}).status_code == 403
    assert client.post(where).json()["what"] == "stored"
    again = client.post(where)
    assert (again.status_code, again.json()["type"]) == (404, "urn:vitalwire:problem:unknown-message")
    assert [p.value for p in ward.store.vitals("chest-1", now_ns, now_ns + 1)] == [61.0]
    refused = client.post(f"/api/v1/quarantine/{broken['number']}/replay").json()
    assert refused["what"] == "refused"
    assert refused["reason"]
    assert client.post(f"/api/v1/quarantine/{broken['number']}/discard").status_code == 200
    left = client.get("/api/v1/quarantine").json()
    assert (left["kept"], left["replayed"], left["discarded"], left["dropped"]) == (0, 1, 1, 0)
