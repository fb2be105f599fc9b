"""Patients over the API: admitted as pseudonyms, wearables handed over, and gateways that begin anew."""

import pytest
from litestar.testing import TestClient

from vitalwire_cloud.metadata.register import open_register
from vitalwire_cloud.orders import open_orders

API = "/api/v1"


@pytest.fixture
def service(ward, tmp_path):
    ward.patients, ward.orders = open_register(tmp_path), open_orders(tmp_path)
    with TestClient(ward.app(), base_url="http://127.0.0.1") as client:
        yield client
    ward.patients.close()
    ward.orders.close()


def admit(client):
    answer = client.post(f"{API}/patients", json={"by": "Dr. A"})
    assert answer.status_code == 201
    return answer.json()["patient"]


def hand(client, device, patient=None):
    return client.post(f"{API}/devices/{device}/wearer", json={"by": " N. B ", "patient": patient})


def test_a_wearable_is_handed_over_and_its_gateway_begins_anew(service, ward):
    one, two = admit(service), admit(service)
    for patient in (one, one, two, None):
        assert hand(service, "chest-1", patient).status_code == 200
    told = service.get(f"{API}/patients").json()
    assert {each["patient"] for each in told["patients"]} == {one, two}
    worn = [(each["patient"], each["end_ns"] is None) for each in told["assignments"]]
    assert worn == [(one, False), (two, False)]
    (order,) = ward.orders.orders(pending=True)
    assert (order.gateway, order.device) == ("gw-a", "chest-1")
    assert [change.author for change in ward.patients.changes()][2:] == ["N. B"] * 4


def test_who_leaves_wears_nothing(service, ward):
    one = admit(service)
    hand(service, "chest-1", one)
    ward.patients.assign("chest-0", one, start_ns=1, author="Dr. A", now_ns=2)
    hand(service, "chest-2", one)
    answer = service.post(f"{API}/patients/{one}/discharge", json={"by": "Dr. A"})
    assert answer.status_code == 200
    assert all(each["end_ns"] is not None for each in answer.json()["assignments"])
    assert {order.device for order in ward.orders.orders(pending=True)} == {"chest-1", "chest-2"}


def test_what_cannot_be_says_why_and_a_foreign_page_does_nothing(service, ward):
    assert hand(service, "chest-9").status_code == 404
    refused = hand(service, "chest-1", "p-nobody")
    assert refused.status_code == 409
    assert "no patient p-nobody" in refused.json()["detail"]
    assert hand(service, "chest-1").status_code == 409
    elsewhere = {"origin": "https://elsewhere.example"}
    assert service.post(f"{API}/patients", json={"by": "x"}, headers=elsewhere).status_code == 403
    assert service.post(f"{API}/patients", json={"by": ""}).status_code == 400
    assert ward.patients.patients() == []


def test_a_service_without_a_register_says_so(ward):
    with TestClient(ward.app(), base_url="http://127.0.0.1") as client:
        assert client.get(f"{API}/patients").json() == {"patients": [], "assignments": []}
        assert client.post(f"{API}/patients", json={"by": "x"}).status_code == 404
