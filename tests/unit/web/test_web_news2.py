"""The score that gateways tell: newest per wearable, aged by the right clock, over the API and the live WebSocket."""

import json
import time

import msgspec
import pytest
from litestar.testing import TestClient
from test_web_live import texts
from ward import SECOND_NS, SITE, Ward

from vitalwire_cloud.ingest.decoding import read
from vitalwire_cloud.ingest.notices import link_events
from vitalwire_cloud.ingest.tap import LinksOnly
from vitalwire_cloud.live import LinkEvent, News2Event
from vitalwire_cloud.web.links import NEWS2_CURRENT_NS, NEWS2_KEPT_NS, LinkBoard
from vitalwire_edge.wire.messages import (
    ClockState,
    DeviceDeath,
    DeviceStatus,
    GatewayStatus,
    News2Status,
    TooOld,
    encode_json,
)

NOW = 1_790_000_000 * SECOND_NS
SCORE = News2Status(
    at_ns=NOW,
    total=4,
    band="low_medium",
    points={"respiration": 0, "spo2": 1, "systolic": 0, "pulse": 3, "consciousness": 0, "temperature": 0},
    missing=("oxygen",),
    too_old=(TooOld(what="oxygen", entered_ns=NOW - 13 * 3600 * SECOND_NS),),
)


def events(score, *, sent_ns=NOW, synchronised=True, connected=True, now_ns=NOW):
    """What the pages hear of a status with `score`."""
    device = DeviceStatus(
        device="chest-1",
        connected=connected,
        battery_percent=80,
        quality=None,
        last_frame_age_s=0.1,
        frames=1,
        dropped={},
        news2=score,
    )
    clock = ClockState(boot="b", synchronised=synchronised, offset_ns=0)
    status = GatewayStatus(
        session="s",
        at_ns=sent_ns,
        clock=clock,
        spool_rows=0,
        spool_bytes=0,
        unconfirmed=0,
        counters={},
        devices=(device,),
    )
    notice = read(f"v1/{SITE}/gw-a/status", encode_json(status), received_ns=NOW, max_future_ns=SECOND_NS)
    return [event for event in link_events(notice, now_ns) if isinstance(event, News2Event)]


def test_a_status_tells_a_score_that_there_is_none_or_nothing():
    assert events(SCORE) == [News2Event("gw-a", "chest-1", SCORE, NOW)]
    assert events(None) == [News2Event("gw-a", "chest-1", None, NOW)]
    assert events(SCORE, connected=False) == [News2Event("gw-a", "chest-1", None, NOW)]
    assert events(msgspec.UNSET) == []


@pytest.mark.parametrize(
    ("off_s", "synchronised", "late_s", "age_s"),
    [
        (0, True, 0, 40),
        (0, True, 25, 65),
        (-1e9, False, 0, 40),
        (3600, False, 0, 40),
        (3600, True, 0, 40),
    ],
)
def test_the_age_of_a_score_is_never_made_less_by_a_wrong_clock(off_s, synchronised, late_s, age_s):
    computed = NOW + round(off_s * 1e9)
    score = msgspec.structs.replace(SCORE, at_ns=computed)
    (event,) = events(
        score,
        sent_ns=computed + 40 * SECOND_NS,
        synchronised=synchronised,
        now_ns=NOW + (40 + late_s) * SECOND_NS,
    )
    assert NOW + (40 + late_s) * SECOND_NS - event.at_ns == age_s * SECOND_NS


def test_a_death_of_the_wearable_ends_its_score():
    death = DeviceDeath(session="s", at_ns=NOW, reason="silent")
    topic = f"v1/{SITE}/gw-a/chest-1/death"
    notice = read(topic, encode_json(death), received_ns=NOW, max_future_ns=SECOND_NS)
    assert News2Event("gw-a", "chest-1", None, NOW) in link_events(notice, NOW)


def test_where_a_tap_shows_the_data_scores_pass_with_the_links(ward: Ward):
    passed = []
    ward.hub.publish = passed.extend
    told = [LinkEvent("gw-a", "chest-1", "online", 5), *events(SCORE)]
    LinksOnly(ward.hub).publish(told)
    assert passed == told


def test_the_board_keeps_the_newest_of_each_wearable_and_not_for_ever():
    board = LinkBoard()
    board.note_news2(News2Event("gw-a", "chest-1", SCORE, NOW))
    assert board.news2("chest-1", NOW + NEWS2_KEPT_NS).score == SCORE
    assert board.news2("chest-1", NOW + NEWS2_KEPT_NS + 1) is None
    assert board.news2("chest-2", NOW) is None
    # It moved to another gateway; the one before goes on saying that it has none.
    board.note_news2(News2Event("gw-b", "chest-1", SCORE, NOW + 9))
    board.note_news2(News2Event("gw-a", "chest-1", None, NOW + 10))
    assert board.news2("chest-1", NOW + 10).gateway == "gw-b"
    board.note_news2(News2Event("gw-b", "chest-1", None, NOW + 11))
    assert board.news2("chest-1", NOW + 11) is None
    for number in range(5000):
        board.note_news2(News2Event("gw-b", f"chest-{number}", SCORE, NOW))
    assert board.news2("chest-0", NOW) is None
    assert len(board._scores) == 4096


def asked(client: TestClient, wanted):
    """The score of chest-1 once it is as `wanted`."""
    deadline = time.monotonic() + 5
    while not wanted(found := client.get("/api/v1/devices").json()[0]["news2"]):
        assert time.monotonic() < deadline
    return found


def test_the_api_tells_the_score_and_when_it_is_no_more_than_the_last_one_known(
    client: TestClient, ward: Ward
):
    assert client.get("/api/v1/devices").json()[0]["news2"] is None
    now_ns = time.time_ns()
    ward.hub.publish([News2Event("gw-a", "chest-1", SCORE, now_ns)])
    found = asked(client, lambda news2: news2 is not None)
    assert (found["text"], found["band"]) == ("NEWS2 incomplete, at least 4", "low_medium")
    assert (found["points"], found["missing"], found["scale"]) == (SCORE.points, ["oxygen"], 1)
    assert found["too_old"] == [{"what": "oxygen", "entered_ns": NOW - 13 * 3600 * SECOND_NS}]
    assert (found["at_ns"], found["stale_ns"] - now_ns) == (now_ns, NEWS2_CURRENT_NS)
    ward.hub.publish([News2Event("gw-a", "chest-1", SCORE, now_ns - NEWS2_KEPT_NS)])
    asked(client, lambda news2: news2 is None)
    news2 = client.get("/schema/openapi.json").json()["components"]["schemas"]["News2View"]["properties"]
    assert {"total", "band", "points", "missing", "too_old", "scale", "stale_ns"} <= news2.keys()


def test_pages_hear_of_a_score_at_once_and_with_the_first_message(client: TestClient, ward: Ward):
    now_ns = time.time_ns()
    complete = msgspec.structs.replace(SCORE, missing=(), too_old=(), points=SCORE.points | {"oxygen": 0})
    with client.websocket_connect("/live") as socket:
        assert json.loads(socket.receive_text())[0]["devices"][0]["news2"] is None
        ward.hub.publish([News2Event("gw-a", "chest-1", complete, now_ns)])
        told = texts(socket, lambda message: message["type"] == "news2")
        assert (told["gateway"], told["device"], told["news2"]["text"]) == ("gw-a", "chest-1", "NEWS2 4")
    with client.websocket_connect("/live") as socket:
        assert json.loads(socket.receive_text())[0]["devices"][0]["news2"] == told["news2"]
        ward.hub.publish([News2Event("gw-a", "chest-1", None, now_ns)])
        assert texts(socket, lambda message: message["type"] == "news2")["news2"] is None
