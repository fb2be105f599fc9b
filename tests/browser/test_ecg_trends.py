"""The minute's intervals, variability and ectopy on the page of one patient; no number where none was measured."""

import time

from playwright.sync_api import Page, expect
from ward import Scene

from vitalwire_cloud.live import VitalsEvent
from vitalwire_cloud.store.interface import VitalPoint
from vitalwire_edge.wire.codes import Code, ValueStatus


def test_a_patient_shows_the_newest_minute_of_the_ecg(page: Page, scene: Scene) -> None:
    page.goto(scene.server.url)
    page.locator(".tile-name", has_text="chest-3").click()
    trends = page.locator(".ecg-trends")
    expect(trends.locator(".ecg-trend[data-state=none]").first).to_contain_text("--")
    now_ns = time.time_ns()
    points = (
        VitalPoint(now_ns, int(Code.QTC_INTERVAL), 421.6, ValueStatus.OK),
        VitalPoint(now_ns, int(Code.VENTRICULAR_BURDEN), 2.54, ValueStatus.OK),
        VitalPoint(now_ns, int(Code.DAY_PARTS), 230.0, ValueStatus.OK),
        VitalPoint(now_ns, int(Code.PR_INTERVAL), None, ValueStatus.INVALID),
    )
    scene.ward.hub.publish([VitalsEvent("chest-3", points)])
    qtc = trends.locator(f"[data-code='{int(Code.QTC_INTERVAL)}']")
    expect(qtc).to_contain_text("422 ms")
    expect(qtc).to_have_attribute("data-state", "fresh")
    expect(trends.locator(f"[data-code='{int(Code.VENTRICULAR_BURDEN)}']")).to_contain_text("2.5 %")
    expect(trends.locator(f"[data-code='{int(Code.DAY_PARTS)}']")).to_contain_text("230 of 288")
    pr = trends.locator(f"[data-code='{int(Code.PR_INTERVAL)}']")
    expect(pr).to_contain_text("not measurable")
    expect(pr).to_contain_text("--")
