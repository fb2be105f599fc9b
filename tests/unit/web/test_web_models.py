"""Scores, labels and models over the API, and what an older desk's alarms become."""

import time

import msgspec
import pytest
import tiny_model as tiny
from litestar.testing import TestClient
from ward import MODEL, SECOND_NS, About, Ward

from vitalwire_cloud.alerts.machine import Record
from vitalwire_cloud.registry import publishing
from vitalwire_cloud.registry.ledger import open_ledger
from vitalwire_cloud.web import create_app
from vitalwire_edge.inference.artifact import pack
from vitalwire_edge.inference.keys import Root
from vitalwire_edge.wire.messages import BeatEvidence
from vitalwire_edge.wire.models import ModelReport

SHA = "0f" * 32


def evidence(r_ns: int) -> BeatEvidence:
    return BeatEvidence(
        r_ns=r_ns, rate_hz=250, r_index=1, observed_uv=(0, 900, 0), expected_uv=(0, 700, 0), score=9.0,
        threshold=4.0, shape=3.0, timing=1.0, amplitude=2.0, model=MODEL, version=2,
    )  # fmt: skip


def test_scores_come_from_the_store_with_their_model(client: TestClient, ward: Ward) -> None:
    now_ns = time.time_ns()
    ward.beds["chest-1"].scores(1.5, None, 6.0, at_ns=now_ns)
    path = "/api/v1/devices/chest-1/scores"
    told = client.get(path, params={"start_ns": now_ns - 5 * SECOND_NS, "end_ns": now_ns + 1}).json()
    assert [score["score"] for score in told] == [1.5, None, 6.0]
    assert {score["version"] for score in told} == {3}
    assert told[1]["shape"] is None
    refused = client.get(path, params={"start_ns": 0, "end_ns": 3 * 3600 * SECOND_NS})
    assert refused.status_code == 400
    assert "at most 7200 s" in refused.json()["detail"]


def test_only_model_alerts_are_labelled_and_the_last_word_counts(client: TestClient, ward: Ward) -> None:
    now_ns = time.time_ns()
    alert = ward.alarm("chest-1", "beat_anomaly", "low", "Unusual beat", evidence=evidence(now_ns))
    rule = ward.alarm("chest-1", "tachycardia", "medium", "Heart rate 150")
    refused = client.post(f"/api/v1/alarms/{rule.alarm_id}/label", json={"verdict": "confirmed", "by": "kim"})
    assert refused.status_code == 409
    assert "only alerts of the beat model" in refused.json()["fix"]
    unknown = client.post("/api/v1/alarms/none/label", json={"verdict": "confirmed", "by": "kim"})
    assert unknown.status_code == 404
    wrong = client.post(f"/api/v1/alarms/{alert.alarm_id}/label", json={"verdict": "perhaps", "by": "kim"})
    assert wrong.status_code == 400
    for verdict in ("confirmed", "rejected"):
        said = client.post(f"/api/v1/alarms/{alert.alarm_id}/label", json={"verdict": verdict, "by": "kim"})
        assert said.json()["label"]["verdict"] == verdict
    (label,) = client.get("/api/v1/labels").json()
    assert (label["alarm_id"], label["verdict"], label["by"]) == (alert.alarm_id, "rejected", "kim")
    assert label["evidence"]["observed_uv"] == [0, 900, 0]
    ended = ward.end(alert)
    assert ended.label is not None
    assert ended.evidence == alert.evidence


def test_models_and_who_runs_them(ward: Ward, tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    root = Root.new()
    data = pack(tiny.parts(), tiny.manifest(), root.delegate(now_ns=1, expires_ns=None))
    publishing.register(ledger, data, root.trust, now_ns=5, stage="idle", why="shipped")
    for state, reason in (("running", None), ("refused", "hash_mismatch")):
        report = ModelReport(7, state, "beat", 9, SHA, SHA, 1, SHA, reason, f"{state} it is")
        ledger.record("ward-3", "gw-a", report, 10 if reason is None else 20)
    app = create_app(store=ward.store, desk=ward.desk, hub=ward.hub, info=About(), models=ledger, token=None)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        told = client.get("/api/v1/models").json()
    assert [(m["version"], m["stage"], m["why"]) for m in told["models"]] == [(1, "idle", "shipped")]
    assert told["gateways"] == [
        {
            "gateway": "gw-a",
            "version": 1,
            "reported_ns": 20,
            "about": 9,
            "state": "refused",
            "detail": "refused it is",
        }
    ]
    ledger.close()


def test_an_alarm_of_before_evidence_and_labels_is_read(ward: Ward) -> None:
    alarm = ward.alarm("chest-1", "asystole", "high", "Asystole")
    with ward.desk._ledger.transaction() as connection:
        record = ward.desk._ledger.get(connection, alarm.alarm_id)
    tree = msgspec.msgpack.decode(msgspec.msgpack.encode(record))
    del tree["alarm"]["evidence"], tree["alarm"]["label"]
    old = msgspec.msgpack.decode(msgspec.msgpack.encode(tree), type=Record)
    assert (old.alarm.evidence, old.alarm.label) == (None, None)
    with pytest.raises(ValueError, match="raised by a rule"):
        ward.desk.label(alarm.alarm_id, verdict="confirmed", by="kim")
