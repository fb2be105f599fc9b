"""What the API promises: typed answers out of the store, limits, problems that name the thing and the fix."""

import time

import numpy as np
import pytest
from litestar.testing import TestClient
from ward import FS_HZ, SECOND_NS, Ward

from vitalwire_cloud.live import LinkEvent
from vitalwire_cloud.store.interface import StoreUnavailableError
from vitalwire_edge.wire.codes import Code

LEAD = int(Code.ECG_II)


def ask_range(client: TestClient, path: str, start_ns: int, end_ns: int, **more: object):
    return client.get(path, params={"start_ns": start_ns, "end_ns": end_ns, **more})


def test_devices_come_with_their_channels_and_newest_numbers(client: TestClient, ward: Ward) -> None:
    first, second = client.get("/api/v1/devices").json()
    assert (first["device"], first["gateway"], first["site"]) == ("chest-1", "gw-a", "ward-3")
    assert second["device"] == "chest-2"
    wave = first["channels"][0]
    assert (wave["code"], wave["unit"], wave["rate_hz"]) == (LEAD, "uV", FS_HZ)
    numbers = {vital["name"]: vital for vital in first["vitals"]}
    stored = {point.code: point for point in ward.store.latest_vitals("chest-1")}
    assert numbers["HR"]["value"] == stored[Code.HEART_RATE].value
    assert numbers["SpO2"]["unit"] == "%"
    assert numbers["Temp"]["time_ns"] == ward.start_ns + 10 * SECOND_NS


def test_a_link_that_was_announced_is_told(client: TestClient, ward: Ward) -> None:
    assert client.get("/api/v1/devices").json()[0]["link"] is None
    ward.hub.publish([LinkEvent("gw-a", "chest-1", "online", 5, battery_percent=80)])
    ward.hub.publish([LinkEvent("gw-a", "chest-1", "offline", 9)])
    deadline = time.monotonic() + 5
    while (link := client.get("/api/v1/devices").json()[0]["link"]) is None or link["at_ns"] != 9:
        assert time.monotonic() < deadline
    assert link["state"] == "offline"
    assert link["battery_percent"] == 80


def test_a_strip_is_what_the_store_holds_cut_at_gaps(client: TestClient, ward: Ward) -> None:
    end_ns = ward.start_ns + 10 * SECOND_NS
    answer = ask_range(client, "/api/v1/devices/chest-1/strip", ward.start_ns, end_ns, code=LEAD).json()
    stored = ward.store.strip("chest-1", LEAD, ward.start_ns, end_ns)
    assert [segment["start_ns"] for segment in answer["segments"]] == [s.start_ns for s in stored]
    assert len(stored) == 2
    for told, segment in zip(answer["segments"], stored, strict=True):
        np.testing.assert_array_equal(np.asarray(told["samples"], dtype=np.float32), segment.samples)
    assert answer["unit"] == "uV"
    assert len(answer["segments"][0]["samples"]) == 4 * FS_HZ


def test_vitals_beats_and_rollups_come_from_the_store(client: TestClient, ward: Ward) -> None:
    end_ns = ward.start_ns + 11 * SECOND_NS
    vitals = ask_range(client, "/api/v1/devices/chest-2/vitals", ward.start_ns, end_ns).json()
    assert [(v["time_ns"], v["code"], v["value"]) for v in vitals] == [
        (p.time_ns, p.code, p.value) for p in ward.store.vitals("chest-2", ward.start_ns, end_ns)
    ]
    beats = ask_range(client, "/api/v1/devices/chest-2/beats", ward.start_ns, end_ns).json()
    assert len(beats) > 5
    assert [b["r_ns"] for b in beats] == [b.r_ns for b in ward.store.beats("chest-2", ward.start_ns, end_ns)]
    hour_ns = 3600 * SECOND_NS
    rollups = ask_range(
        client, "/api/v1/devices/chest-2/rollups", ward.start_ns - hour_ns, end_ns + hour_ns
    ).json()
    stored = ward.store.rollups("chest-2", ward.start_ns - hour_ns, end_ns + hour_ns)
    assert [(r["minute_ns"], r["code"], r["count"], r["mean"]) for r in rollups] == [
        (r.minute_ns, r.code, r.count, r.mean) for r in stored
    ]
    assert stored


@pytest.mark.parametrize(
    ("path", "most_s"),
    [
        (f"strip?code={LEAD}&", 600),
        ("vitals?", 7200),
        ("beats?", 7200),
        ("rollups?", 604800),
    ],
)
def test_no_range_is_unbounded(client: TestClient, path: str, most_s: int) -> None:
    base = f"/api/v1/devices/chest-1/{path}start_ns=0&end_ns="
    assert client.get(f"{base}{most_s * SECOND_NS}").status_code == 200
    refused = client.get(f"{base}{most_s * SECOND_NS + SECOND_NS}")
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["type"] == "urn:vitalwire:problem:range-too-long"
    assert str(most_s) in problem["detail"]
    assert str(most_s) in problem["fix"]
    empty = client.get(f"/api/v1/devices/chest-1/{path}start_ns=9&end_ns=9")
    assert (empty.status_code, empty.json()["type"]) == (400, "urn:vitalwire:problem:empty-range")


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/v1/devices/nobody/vitals?start_ns=1&end_ns=2", 404, "nobody"),
        ("/api/v1/devices/chest-1/strip?code=7&start_ns=1&end_ns=2", 404, f"{LEAD} (II)"),
        (f"/api/v1/devices/chest-1/strip?code={LEAD}&start_ns=-1&end_ns=2", 400, "start_ns"),
        (f"/api/v1/devices/chest-1/strip?code={LEAD}&start_ns=1", 400, "end_ns"),
        (f"/api/v1/devices/chest-1/strip?code={LEAD}&start_ns=x&end_ns=2", 400, "start_ns"),
        (f"/api/v1/devices/chest-1/strip?code={LEAD}&start_ns=1&end_ns={2**70}", 400, "end_ns"),
        ("/api/v1/audit", 404, "/api/v1/audit"),
        ("/api/v1/alarms?limit=100000", 400, "limit"),
    ],
)
def test_a_problem_names_the_thing_and_the_fix(client: TestClient, path: str, status: int, said: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert said in problem["detail"] + problem["fix"]
    assert problem["fix"]


def test_alarms_open_and_all_newest_first(client: TestClient, ward: Ward) -> None:
    ward.alarm("chest-1", "bradycardia", "medium", "Bradycardia", at_ns=10**18)
    ward.alarm("chest-1", "asystole", "high", "Asystole", at_ns=10**18 + 3 * SECOND_NS)
    ward.end(ward.alarm("chest-2", "lead_off", "low", "Lead off", at_ns=10**18 + 2 * SECOND_NS))
    assert [alarm["kind"] for alarm in client.get("/api/v1/alarms").json()] == ["asystole", "bradycardia"]
    everything = client.get("/api/v1/alarms", params={"open": "false"}).json()
    assert [alarm["kind"] for alarm in everything] == ["asystole", "lead_off", "bradycardia"]
    assert len(client.get("/api/v1/alarms", params={"open": "false", "limit": 1}).json()) == 1


def test_acknowledge_says_who_and_until_when(client: TestClient, ward: Ward) -> None:
    alarm = ward.alarm("chest-1", "asystole", "high", "Asystole")
    before_ns = time.time_ns()
    answer = client.post(
        f"/api/v1/alarms/{alarm.alarm_id}/acknowledge", json={"by": "  Dr Ansah ", "for_s": 120}
    )
    assert answer.status_code == 200
    taken = answer.json()
    assert (taken["state"], taken["acknowledged_by"]) == ("acknowledged", "Dr Ansah")
    assert taken["acknowledged_until_ns"] - before_ns == pytest.approx(120 * SECOND_NS, abs=5 * SECOND_NS)
    stored = ward.desk.get(alarm.alarm_id)
    assert stored is not None
    assert stored.acknowledged_by == "Dr Ansah"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"by": ""},
        {"by": "   "},
        {"by": "a\nb"},
        {"by": "x" * 65},
        {"by": "ann", "for_s": 0},
        {"by": "ann", "for_s": 1e9},
        {"by": "ann", "for_s": "long"},
        {"by": "ann", "why": "because"},
    ],
)
def test_acknowledge_refuses_what_it_does_not_understand(
    client: TestClient, ward: Ward, body: dict[str, object]
) -> None:
    alarm = ward.alarm("chest-1", "asystole", "high", "Asystole")
    answer = client.post(f"/api/v1/alarms/{alarm.alarm_id}/acknowledge", json=body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    stored = ward.desk.get(alarm.alarm_id)
    assert stored is not None
    assert stored.state == "active"


def test_acknowledge_of_an_unknown_alarm_is_refused(client: TestClient) -> None:
    unknown = client.post("/api/v1/alarms/nope/acknowledge", json={"by": "ann"})
    assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:vitalwire:problem:unknown-alarm")


def test_acknowledge_of_an_alarm_that_is_over_is_refused(client: TestClient, ward: Ward) -> None:
    alarm = ward.end(ward.alarm("chest-1", "bradycardia", "medium", "Bradycardia"))
    over = client.post(f"/api/v1/alarms/{alarm.alarm_id}/acknowledge", json={"by": "ann"})
    assert (over.status_code, over.json()["type"]) == (409, "urn:vitalwire:problem:alarm-cleared")


def test_a_body_that_is_too_large_is_refused(client: TestClient) -> None:
    answer = client.post("/api/v1/alarms/x/acknowledge", json={"by": "x" * 40_000})
    assert answer.status_code == 413


def test_a_store_that_is_away_is_told_as_such(
    client: TestClient, ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise StoreUnavailableError("store /data: disk full")

    monkeypatch.setattr(ward.store, "devices", away)
    answer = client.get("/api/v1/devices")
    assert answer.status_code == 503
    assert "disk full" in answer.json()["detail"]


def test_a_defect_is_told_without_internals(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("secret path /srv/x")

    monkeypatch.setattr(ward.store, "devices", broken)
    with TestClient(ward.app(), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        answer = client.get("/api/v1/devices")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_probes_say_why(client: TestClient, ward: Ward) -> None:
    assert (client.get("/healthz").status_code, client.get("/readyz").text) == (200, "ok\n")
    ward.about.not_ready = "no broker at 127.0.0.1:1883"
    answer = client.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "no broker at 127.0.0.1:1883\n")
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "vitalwire_web_live_readers" in metrics.text


def test_the_description_needs_no_network(client: TestClient) -> None:
    page = client.get("/schema").text
    assert "/api/v1/devices/{device}/strip" in page
    assert "http" not in page.replace('href="/', "").replace("http-equiv", "")
    assert "<script" not in page
    schema = client.get("/schema/openapi.json").json()
    assert {"StripView", "Acknowledgement", "DeviceView"} <= schema["components"]["schemas"].keys()
    strip = schema["paths"]["/api/v1/devices/{device}/strip"]["get"]
    assert {parameter["name"] for parameter in strip["parameters"]} == {
        "device",
        "code",
        "start_ns",
        "end_ns",
    }
