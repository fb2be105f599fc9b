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
        assert client.get(f"{API}/devices/chest-1/bedside").json()["patient"] is None
        assert client.post(f"{API}/devices/chest-1/bedside", json={"by": "x"}).status_code == 404


def bedside(client, device="chest-1", **said):
    return client.post(f"{API}/devices/{device}/bedside", json={"by": " N. B ", **said})


def test_what_is_seen_at_the_bedside_is_kept_and_told_until_the_gateway_knows(service, ward):
    one = admit(service)
    hand(service, "chest-1", one)
    (order,) = ward.orders.orders()
    ward.orders.done("ward-3", "gw-a", "chest-1", order.number, now_ns=order.number + 1)
    nothing = {"device": "chest-1", "patient": one, "paced": "unknown", "entries": [], "delivered": True}
    assert service.get(f"{API}/devices/chest-1/bedside").json() == nothing
    told = bedside(service, consciousness="voice", oxygen="yes", hours=4)
    assert told.status_code == 200
    assert not told.json()["delivered"]
    entries = {each["what"]: each for each in told.json()["entries"]}
    assert {what: each["value"] for what, each in entries.items()} == {
        "consciousness": "voice",
        "oxygen": "yes",
    }
    assert {(each["author"], each["state"]) for each in entries.values()} == {("N. B", "counts")}
    assert entries["oxygen"]["expires_ns"] - entries["oxygen"]["entered_ns"] == 4 * 3_600_000_000_000
    place = ("ward-3", "gw-a", "chest-1")
    ward.orders.bring_up({place: ward.patients.bedsides()[0]}, now_ns=order.number + 2)
    (word,) = ward.orders.words()
    ward.orders.done(*place, word.number, now_ns=word.number + 1, kind="staff")
    assert service.get(f"{API}/devices/chest-1/bedside").json()["delivered"]
    assert [each["what"] for each in bedside(service, oxygen="withdraw").json()["entries"]] == [
        "consciousness"
    ]
    # Somebody else wears it, though the register was not told.
    service.post(f"{API}/sites/ward-3/gateways/gw-a/devices/chest-1/new-patient")
    told = service.get(f"{API}/devices/chest-1/bedside").json()
    assert ([each["state"] for each in told["entries"]], told["delivered"]) == (["other_wearer"], False)


def test_a_pacemaker_is_said_of_the_patient(service, ward):
    one = admit(service)
    hand(service, "chest-1", one)
    answer = service.post(f"{API}/patients/{one}/paced", json={"by": "Dr. A", "paced": "yes"})
    assert answer.status_code == 200
    assert service.get(f"{API}/devices/chest-1/bedside").json()["paced"] == "yes"
    assert ward.patients.patients()[0].paced == "yes"
    assert service.post(f"{API}/patients/p-x/paced", json={"by": "A", "paced": "no"}).status_code == 409
    assert service.post(f"{API}/patients/{one}/paced", json={"by": "A", "paced": "2"}).status_code == 400


@pytest.mark.parametrize(
    ("said", "status", "why"),
    [
        ({"consciousness": "sleepy"}, 400, "Invalid enum value 'sleepy'"),
        ({"oxygen": "yes", "seen_at": "2026-11-22T08:00:00"}, 400, "timezone"),
        ({"oxygen": "yes", "seen_at": "2125-11-22T08:00:00Z"}, 409, "in the future"),
        ({"oxygen": "yes", "hours": 200}, 400, "<= 168"),
        ({}, 409, "nothing was said"),
        ({"consciousness": "alert", "name": "Mrs Smith"}, 400, "name"),
    ],
)
def test_what_cannot_be_seen_at_the_bedside_says_why(service, ward, said, status, why):
    hand(service, "chest-1", admit(service))
    answer = bedside(service, **said)
    assert (answer.status_code, why in answer.json()["detail"]) == (status, True), answer.json()
    assert ward.patients.bedsides()[0].entries == ()


def test_nothing_is_said_of_nobody_by_a_foreign_page_or_without_the_token(service, ward):
    assert bedside(service, "chest-9", oxygen="no").status_code == 404
    refused = bedside(service, oxygen="no")
    assert (refused.status_code, "assign it first" in refused.json()["detail"]) == (409, True)
    elsewhere = {"origin": "https://elsewhere.example"}
    path, body = f"{API}/devices/chest-1/bedside", {"by": "x", "oxygen": "no"}
    assert service.post(path, json=body, headers=elsewhere).status_code == 403
    assert service.get(path).json()["patient"] is None
    with TestClient(ward.app("a-token-of-16-chars"), base_url="http://127.0.0.1") as client:
        assert client.post(path, json=body).status_code == 401
        assert client.get(path).status_code == 401
