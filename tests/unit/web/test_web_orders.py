"""Releases and orders over HTTP: what gateways run, and having one forget the patient of a wearable."""

import pytest
from litestar.testing import TestClient
from release_wheel import NOW_NS, Publisher, program
from test_web_models import About

from vitalwire_cloud.orders import open_orders
from vitalwire_cloud.registry.releases import open_releases, publish_release
from vitalwire_cloud.web import create_app
from vitalwire_edge.wire.models import ModelReport

ORDER = "/api/v1/sites/ward-3/gateways/gw-a/devices/{}/new-patient"


@pytest.fixture
def service(ward, tmp_path):
    orders, releases = open_orders(tmp_path), open_releases(tmp_path)
    app = create_app(
        store=ward.store, desk=ward.desk, hub=ward.hub, info=About(), releases=releases, orders=orders
    )
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client, orders, releases
    orders.close()
    releases.close()


def test_a_new_patient_is_an_order_until_the_gateway_did_it(service) -> None:
    client, orders, _ = service
    assert client.get("/api/v1/orders").json() == []
    answer = client.post(ORDER.format("chest-1"))
    assert answer.status_code == 202
    order = answer.json()
    assert client.get("/api/v1/orders").json() == [order]
    assert orders.done("ward-3", "gw-a", "chest-1", order["number"], now_ns=NOW_NS)
    assert client.get("/api/v1/orders").json() == [order | {"done_ns": NOW_NS}]
    wrong = client.post(ORDER.format("Chest_1"))
    assert wrong.status_code == 400
    assert "Chest_1" in wrong.json()["detail"]


def test_a_foreign_page_orders_nothing(service) -> None:
    client, orders, _ = service
    answer = client.post(ORDER.format("chest-1"), headers={"origin": "https://elsewhere.example"})
    assert answer.status_code == 403
    assert orders.orders() == []


def test_releases_say_who_runs_them_and_what_became_of_them(service) -> None:
    client, _, ledger = service
    release = publish_release(ledger, program(""), Publisher().signer, now_ns=NOW_NS)
    report = ModelReport(
        7,
        "refused",
        release.name,
        1,
        release.manifest_sha256,
        release.sha256,
        0,
        "",
        "unsatisfied",
        "needs x",
    )
    ledger.record("ward-3", "gw-a", report, NOW_NS)
    told = client.get("/api/v1/releases").json()
    assert [(each["version"], each["stage"]) for each in told["models"]] == [(1, "first")]
    (gateway,) = told["gateways"]
    assert (gateway["gateway"], gateway["version"], gateway["state"], gateway["detail"]) == (
        "gw-a",
        0,
        "refused",
        "needs x",
    )
