"""A model alert: its beat over the expected one, what drove it, what staff says of it; scores beside the ECG."""

import json
import time
import urllib.request

import numpy as np
from playwright.sync_api import Page, expect
from ward import MODEL, SECOND_NS, Scene

from vitalwire_edge.wire.messages import BeatEvidence

PIXELS = """(colours) => {
  const canvas = document.getElementById('evidence-beat');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const near = (i, wanted) => wanted.every((value, k) => Math.abs(data[i + k] - value) < 25);
  return colours.map((wanted) => {
    let found = 0;
    for (let i = 0; i < data.length; i += 4) if (near(i, wanted)) found += 1;
    return found;
  });
}"""
SEEN, EXPECTED = (61, 242, 139), (255, 179, 71)


def ectopic(r_ns: int) -> BeatEvidence:
    """A wide early beat over a narrow one that was expected."""
    ms = (np.arange(200) - 75) * 4.0
    wide = 1400 * np.exp(-0.5 * (ms / 38) ** 2) - 420 * np.exp(-0.5 * ((ms - 190) / 60) ** 2)
    narrow = (
        980 * np.exp(-0.5 * (ms / 13) ** 2)
        + 110 * np.exp(-0.5 * ((ms + 160) / 24) ** 2)
        + 240 * np.exp(-0.5 * ((ms - 250) / 48) ** 2)
    )
    return BeatEvidence(
        r_ns=r_ns,
        rate_hz=250,
        r_index=75,
        observed_uv=tuple(int(v) for v in np.rint(wide)),
        expected_uv=tuple(int(v) for v in np.rint(narrow)),
        score=9.4,
        threshold=4.2,
        shape=8.1,
        timing=3.2,
        amplitude=2.4,
        model=MODEL,
        version=3,
    )


def test_a_model_alert_shows_its_beat_over_the_expected_one_and_is_confirmed(
    page: Page, scene: Scene
) -> None:
    now_ns = time.time_ns()
    alarm = scene.ward.alarm(
        "chest-2", "beat_anomaly", "low", "Unusual beat: its shape differs from this patient's own",
        at_ns=now_ns, value=9.4, limit=4.2, evidence=ectopic(now_ns - SECOND_NS),
    )  # fmt: skip
    page.goto(scene.server.url)
    entry = page.locator(f"#alarm-list .alarm[data-id='{alarm.alarm_id}']")
    expect(entry).to_have_attribute("data-level", "low")
    entry.get_by_role("button", name="Show beat").focus()
    page.keyboard.press("Enter")
    dialog = page.locator("#evidence")
    expect(dialog).to_be_visible()
    expect(dialog.locator("#evidence-beat")).to_have_attribute("data-drawn", "200 seen, 200 expected")
    assert min(page.evaluate(PIXELS, [SEEN, EXPECTED])) > 100
    expect(dialog.locator(".part[data-drove=true]")).to_contain_text("Shape")
    expect(dialog).to_contain_text("model version 3")

    dialog.get_by_label("Your name or initials").fill("")
    dialog.get_by_role("button", name="Confirm").click()
    expect(dialog.locator("#evidence-error")).to_have_text("Say who you are.")
    dialog.get_by_label("Your name or initials").fill("dr. who")
    dialog.get_by_role("button", name="Confirm").click()
    expect(dialog.locator("#evidence-said")).to_contain_text("Confirmed by dr. who")
    dialog.get_by_role("button", name="Reject").click()
    expect(dialog.locator("#evidence-said")).to_contain_text("Rejected by dr. who")
    dialog.get_by_role("button", name="Close").click()
    expect(entry).to_contain_text("Rejected by dr. who")

    with urllib.request.urlopen(f"{scene.server.url}/api/v1/labels") as answer:
        labels = [label for label in json.load(answer) if label["alarm_id"] == alarm.alarm_id]
    assert [(label["verdict"], label["by"], label["device"]) for label in labels] == [
        ("rejected", "dr. who", "chest-2")
    ]
    assert len(labels[0]["evidence"]["expected_uv"]) == 200
    assert [step.event for step in scene.ward.desk.history(alarm.alarm_id)][-2:] == ["labelled", "labelled"]


def test_scores_stand_beside_the_ecg_and_abstentions_are_no_scores(page: Page, scene: Scene) -> None:
    bed = scene.ward.beds["chest-3"]
    bed.scores(*([0.4, 1.2, 0.1, None] * 20))
    page.goto(f"{scene.server.url}/#/device/chest-3")
    canvas = page.locator("#detail canvas.scores")
    expect(canvas).to_have_attribute("data-shown", "60")
    expect(page.locator("#detail .scored")).to_have_text(
        "model version 3: 0 of 60 beats over the threshold of 4.0, 20 not scored"
    )
    bed.scores(7.5, at_ns=time.time_ns() + SECOND_NS // 4)
    expect(page.locator("#detail .scored")).to_contain_text("1 of 61 beats over")
