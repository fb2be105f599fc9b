"""The gateway's NEWS2 on the page: what the API says, nothing where it is missing, and never an old one as today's."""

import time

import msgspec
import pytest
from playwright.sync_api import Page, expect
from ward import SECOND_NS, Scene, Ward, served

from vitalwire_cloud.live import LinkEvent, News2Event
from vitalwire_cloud.metadata.register import open_register
from vitalwire_cloud.orders import open_orders
from vitalwire_edge.wire.messages import News2Status, TooOld

HOUR_NS = 3600 * SECOND_NS
WALL = {"width": 1920, "height": 1080}
PHONE = {"width": 360, "height": 780}
WELL = {"respiration": 0, "spo2": 1, "systolic": 0, "pulse": 2, "temperature": 0}


def score(missing=(), too_old=(), **points) -> News2Status:
    known = WELL | points
    total = sum(known.values())
    band = "high" if total >= 7 else "medium" if total >= 5 else "incomplete" if missing else "low"
    return News2Status(
        at_ns=1, total=total, band=band, points=known, missing=missing, too_old=too_old, scale=2
    )


@pytest.fixture
def scene(tmp_path):
    ward = Ward(tmp_path)
    ward.patients, ward.orders = open_register(tmp_path), open_orders(tmp_path)
    for device in ("chest-1", "chest-2"):
        ward.bed(device, "gw-a").second(time.time_ns() - SECOND_NS)
    now_ns = time.time_ns()
    patient = ward.patients.admit(author="Dr. A", now_ns=now_ns).patient
    ward.patients.assign("chest-1", patient, start_ns=now_ns, author="Dr. A", now_ns=now_ns)
    with served(ward) as server:
        yield Scene(ward, server, None)
    ward.patients.close()
    ward.orders.close()
    ward.close()


def tell(scene: Scene, said: News2Status | None, *, age_s: float = 0, gateway: str = "gw-a") -> None:
    at_ns = time.time_ns() - round(age_s * SECOND_NS)
    scene.ward.hub.publish([News2Event(gateway, "chest-1", said, at_ns)])


def api(page: Page, scene: Scene) -> dict:
    return page.request.get(f"{scene.server.url}/api/v1/devices").json()[0]["news2"]


def test_the_panel_shows_what_the_api_says_and_the_wall_its_total(scene, page: Page) -> None:
    page.goto(f"{scene.server.url}#/device/chest-1")
    panel = page.get_by_role("region", name="NEWS2", exact=True)
    expect(panel).to_contain_text("No current score")
    expect(panel).to_contain_text("The gateway tells none.")
    tell(scene, score(oxygen=2, consciousness=0))
    expect(panel.locator(".news2-total")).to_have_text("NEWS2 5")
    expect(panel.locator(".news2-band")).to_have_text("medium: urgent response")
    found = api(page, scene)
    assert found["text"] == panel.locator(".news2-total").text_content()
    shown = dict(
        zip(panel.locator("dt").all_text_contents(), panel.locator("dd").all_text_contents(), strict=True)
    )
    assert list(shown.values()) == [str(found["points"][name]) for name in (
        "respiration", "spo2", "oxygen", "systolic", "pulse", "consciousness", "temperature")]  # fmt: skip
    assert (shown["Pulse"], shown["Air or oxygen"]) == ("2", "2")
    expect(panel).to_contain_text("scale 2, computed")

    # Of what is missing nothing is invented, and what staff said too long ago is named with its age.
    old = (TooOld(what="oxygen", entered_ns=time.time_ns() - 13 * HOUR_NS),)
    tell(scene, score(missing=("oxygen", "consciousness"), too_old=old))
    expect(panel.locator(".news2-total")).to_have_text("NEWS2 incomplete, at least 3")
    expect(panel.locator(".news2-band")).to_have_text("no band: what is missing may raise it")
    expect(panel.locator(".news2-old")).to_have_text("too old: oxygen, entered 13 h ago")
    assert panel.locator('[data-points="missing"] dd').all_text_contents() == ["not known", "not known"]
    tell(scene, score(missing=("consciousness",), oxygen=2))
    expect(panel.locator(".news2-band")).to_have_text("at least medium: urgent response")

    page.get_by_role("button", name="All patients").click()
    tile = page.locator(".tile[data-device=chest-1]")
    expect(tile.locator(".news2-figure")).to_have_text("NEWS2 \u22655 incomplete, medium")
    expect(page.locator(".tile[data-device=chest-2] .news2-figure")).to_have_count(0)
    # A gateway that the wearable left has nothing to say.
    tell(scene, None, gateway="gw-b")
    tell(scene, score(oxygen=2, consciousness=3))
    expect(tile.locator(".news2-figure")).to_have_text("NEWS2 8 high")


def test_an_old_score_is_no_current_one_and_who_is_away_has_none(scene, page: Page) -> None:
    scene.ward.hub.publish([LinkEvent("gw-a", "chest-1", "online", time.time_ns())])
    page.goto(scene.server.url)
    figure = page.locator(".tile[data-device=chest-1] .news2-figure")
    expect(page.locator(".tile")).to_have_count(2)
    full = score(oxygen=0, consciousness=0)
    tell(scene, full, age_s=57)
    expect(figure).to_have_text("NEWS2 3 low")
    expect(figure).to_have_text("NEWS2 stale 60 s")
    page.goto(f"{scene.server.url}#/device/chest-1")
    panel = page.get_by_role("region", name="NEWS2", exact=True)
    expect(panel.locator(".news2-total")).to_have_text("No current score")
    expect(panel.locator(".news2-when")).to_contain_text("Last known: NEWS2 3, computed")
    expect(panel.locator("dt")).to_have_count(0)
    tell(scene, full)
    expect(panel.locator(".news2-total")).to_have_text("NEWS2 3")
    # What a gateway that is out of reach said last is no score of now.
    scene.ward.hub.publish([LinkEvent("gw-a", None, "offline", time.time_ns())])
    expect(panel).to_have_attribute("data-state", "stale")
    scene.ward.hub.publish([LinkEvent("gw-a", None, "online", time.time_ns())])
    expect(panel).to_have_attribute("data-state", "current")
    scene.ward.hub.publish([LinkEvent("gw-a", "chest-1", "offline", time.time_ns())])
    expect(panel.locator(".news2-when")).to_have_text("The wearable is away.")
    tell(scene, msgspec.structs.replace(full), age_s=16 * 60)
    scene.ward.hub.publish([LinkEvent("gw-a", "chest-1", "online", time.time_ns())])
    expect(panel.locator(".news2-when")).to_have_text("The gateway tells none.")


def test_the_score_stays_within_the_tile_and_the_page_on_a_phone_too(scene, page: Page) -> None:
    page.goto(scene.server.url)
    figure = page.locator(".tile[data-device=chest-1] .news2-figure")
    expect(page.locator(".tile")).to_have_count(2)
    tell(scene, score(missing=("oxygen",), consciousness=3))
    for size in (WALL, PHONE):
        page.set_viewport_size(size)
        expect(figure).to_have_text("NEWS2 \u22656 incomplete, medium")
        inner, outer = figure.bounding_box(), page.locator(".tile[data-device=chest-1]").bounding_box()
        assert outer["x"] <= inner["x"] < inner["x"] + inner["width"] <= outer["x"] + outer["width"]
        assert inner["y"] + inner["height"] <= outer["y"] + outer["height"]
    page.goto(f"{scene.server.url}#/device/chest-1")
    panel = page.get_by_role("region", name="NEWS2", exact=True)
    expect(panel.locator("dd")).to_have_count(7)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
