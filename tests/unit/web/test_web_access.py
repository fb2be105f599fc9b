"""Who gets an answer: own origin, own host name or a token; and what every answer carries."""

import base64
from collections.abc import Iterator

import pytest
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient
from ward import Ward

from vitalwire_cloud.web import UnsafeBindError, require_token

TOKEN = "correct-horse-battery"
PROTECTED = ["/api/v1/devices", "/api/v1/alarms", "/api/v1/service", "/metrics"]
OPEN = ["/", "/static/js/main.js", "/healthz", "/readyz"]


@pytest.fixture
def guarded(ward: Ward) -> Iterator[TestClient]:
    with TestClient(ward.app(TOKEN), base_url="http://ward.example") as client:
        yield client


def bearer_protocol(token: str) -> str:
    return "vitalwire.bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


@pytest.mark.parametrize("path", PROTECTED)
def test_without_the_token_there_is_no_data(guarded: TestClient, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong-token-of-some-length"}, {"Authorization": TOKEN}):
        refused = guarded.get(path, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert TOKEN not in refused.text
    assert guarded.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("path", OPEN)
def test_page_and_probes_need_no_token(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_the_live_socket_takes_the_token_as_a_subprotocol(guarded: TestClient) -> None:
    with guarded.websocket_connect("/live", subprotocols=["vitalwire.v1", bearer_protocol(TOKEN)]) as socket:
        assert '"type":"hello"' in socket.receive_text()
    for protocols in (["vitalwire.v1"], ["vitalwire.v1", bearer_protocol("x" * 20)], ["vitalwire.bearer.%"]):
        with (
            pytest.raises(WebSocketDisconnect),
            guarded.websocket_connect("/live", subprotocols=protocols) as socket,
        ):
            socket.receive_text()


@pytest.mark.parametrize("host", ["ward.example", "127.0.0.1.evil.example", "10.0.0.7"])
def test_without_a_token_only_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    refused = client.get("/api/v1/devices", headers={"host": host})
    assert refused.status_code == 421
    assert refused.json()["type"] == "urn:vitalwire:problem:foreign-host"


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:80", "[::1]:8080"])
def test_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/api/v1/devices", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9999", "null"])
def test_a_page_of_another_origin_changes_and_hears_nothing(
    client: TestClient, ward: Ward, origin: str
) -> None:
    alarm = ward.alarm("chest-1", "asystole", "high", "Asystole")
    refused = client.post(
        f"/api/v1/alarms/{alarm.alarm_id}/acknowledge", json={"by": "eve"}, headers={"Origin": origin}
    )
    assert refused.status_code == 403
    assert refused.json()["type"] == "urn:vitalwire:problem:foreign-origin"
    assert ward.desk.get(alarm.alarm_id) == alarm
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/live", headers={"Origin": origin}) as socket,
    ):
        socket.receive_text()


def test_our_own_page_may_acknowledge_and_listen(client: TestClient, ward: Ward) -> None:
    alarm = ward.alarm("chest-1", "asystole", "high", "Asystole")
    own = {"Origin": "http://127.0.0.1"}
    path = f"/api/v1/alarms/{alarm.alarm_id}/acknowledge"
    assert client.post(path, json={"by": "ann"}, headers=own).status_code == 200
    with client.websocket_connect("/live", headers=own) as socket:
        assert '"type":"hello"' in socket.receive_text()


@pytest.mark.parametrize("path", ["/", "/static/js/main.js", "/api/v1/devices", "/nope", "/schema"])
def test_every_answer_carries_the_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] in {"no-store", "no-cache"}


def test_the_page_has_no_inline_code_and_asks_nobody_else(client: TestClient) -> None:
    page = client.get("/").text
    assert "style=" not in page
    assert " on" + "click" not in page
    assert "//" not in page.replace("<!doctype", "")
    assert page.count("<script") == page.count('<script type="module" src="/static/')


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "ward.example"])
def test_another_address_than_loopback_needs_a_token(host: str) -> None:
    with pytest.raises(UnsafeBindError, match="token"):
        require_token(host, None)
    require_token(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_none(host: str) -> None:
    require_token(host, None)


def test_a_short_token_is_refused() -> None:
    with pytest.raises(UnsafeBindError, match="at least 16"):
        require_token("0.0.0.0", "hunter2")
