"""What staff sees and does: numbers with age, alarms and who took them, a lost connection, small and large screens."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from ward import SECOND_NS, Scene, Ward, served

from vitalwire_cloud.live import QUEUE_EVENTS, LinkEvent, VitalsEvent, WaveEvent
from vitalwire_cloud.store.interface import VitalPoint
from vitalwire_edge.wire.codes import Code

LEAD = int(Code.ECG_II)
PHONE = {"width": 360, "height": 780}
TOKEN = "correct-horse-battery"


HIDDEN_NUMBERS = """() => [...document.querySelectorAll('.tile')].flatMap((tile) => {
  const box = tile.getBoundingClientRect();
  return [...tile.querySelectorAll('.number-value, .number-age')].filter((node) => {
    const { left, right, top, bottom } = node.getBoundingClientRect();
    return right === left || left < box.left || right > box.right + 1 || top < box.top || bottom > box.bottom + 1;
  }).map((node) => `${tile.dataset.device} ${node.parentElement.className} ${node.textContent}`);
})"""


def open_wall(page: Page, scene: Scene) -> None:
    page.goto(scene.server.url)
    expect(page.locator(".tile")).to_have_count(4)
    page.wait_for_function("() => window.vitalwire.connected")


def number(page: Page, device: str, key: str):
    return page.locator(f".tile[data-device={device}] .number[data-key={key}]")


def take(page: Page, by: str) -> None:
    """Fill the dialog that asks who acknowledges."""
    dialog = page.locator("#acknowledge")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Your name or initials").fill(by)
    dialog.get_by_label("You take it for").select_option("300")
    dialog.get_by_role("button", name="Acknowledge").click()
    expect(dialog).to_be_hidden()


def clear(page: Page, scene: Scene) -> None:
    """End and acknowledge everything, so that the next test starts from no open alarm."""
    for alarm in scene.ward.desk.list():
        if alarm.cleared_ns is None:
            scene.ward.end(alarm)
        scene.ward.desk.acknowledge(alarm.alarm_id, by="test", for_s=60)
    expect(page.locator("#banner")).to_have_attribute("data-level", "none")


def test_numbers_are_the_newest_of_the_store(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    box = number(page, "chest-2", "spo2")
    expect(box).to_have_attribute("data-state", "fresh")
    expect(box.locator(".number-unit")).to_have_text("%")
    expect(box.locator(".number-age")).to_have_text(re.compile(r"^\d+ s$"))
    newest = {point.code: point.value for point in scene.ward.store.latest_vitals("chest-2")}
    assert newest[Code.SPO2] is not None
    assert abs(int(box.locator(".number-value").inner_text()) - newest[Code.SPO2]) <= 1
    expect(number(page, "chest-2", "bp").locator(".number-value")).to_have_text(re.compile(r"^\d+/\d+$"))
    expect(number(page, "chest-2", "temp").locator(".number-value")).to_have_text(re.compile(r"^\d\d\.\d$"))


def test_a_sensor_that_is_off_shows_no_zero_and_old_numbers_turn_grey(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    scene.feed.paused.add("chest-1")
    try:
        page.wait_for_timeout(1500)
        scene.ward.beds["chest-1"].numbers(time.time_ns(), SPO2=None)
        box = number(page, "chest-1", "spo2")
        expect(box.locator(".number-value")).to_have_text("--")
        expect(box.locator(".number-age")).to_have_text(re.compile("^sensor off"))
        expect(number(page, "chest-1", "hr")).to_have_attribute("data-state", "stale", timeout=15_000)
        expect(page.locator("[data-device=chest-1] .strip-state")).to_have_text("No data")
    finally:
        scene.feed.paused.discard("chest-1")
    expect(number(page, "chest-1", "hr")).to_have_attribute("data-state", "fresh", timeout=15_000)


def test_an_alarm_appears_at_once_and_its_acknowledgement_survives_a_reload(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    clear(page, scene)
    began_s = time.monotonic()
    alarm = scene.ward.alarm(
        "chest-2",
        "ventricular_tachycardia",
        "high",
        "At least 12 wide beats at 171/min",
        value=171.0,
        limit=120.0,
    )
    banner = page.locator("#banner")
    expect(banner).to_have_attribute("data-level", "high")
    assert time.monotonic() - began_s < 3
    expect(banner).to_contain_text("!!! Ventricular tachycardia")
    tile = page.locator(".tile[data-device=chest-2]")
    expect(tile).to_have_attribute("data-level", "high")
    expect(tile.locator(".tile-message")).to_contain_text("!!! Ventricular tachycardia")
    expect(number(page, "chest-2", "hr")).to_have_attribute("data-level", "high")
    expect(page.locator("#announce-high")).to_contain_text("high priority alarm: Ventricular tachycardia")
    assert page.title().startswith("(1!!!)")

    card = page.locator(f'.alarm[data-id="{alarm.alarm_id}"]')
    expect(card.locator(".alarm-said")).to_have_text("At least 12 wide beats at 171/min")
    card.locator(".take").click()
    take(page, "Nurse Okafor")
    for _ in range(2):
        card = page.locator(f'.alarm[data-id="{alarm.alarm_id}"]')
        expect(card).to_have_attribute("data-state", "acknowledged")
        expect(card.locator(".alarm-state")).to_contain_text("Nurse Okafor until")
        expect(tile).to_have_attribute("data-level", "taken")
        expect(banner).to_have_attribute("data-level", "taken")
        page.reload()
    kept = scene.ward.desk.get(alarm.alarm_id)
    assert kept is not None
    assert (kept.state, kept.acknowledged_by) == ("acknowledged", "Nurse Okafor")
    assert kept.acknowledged_ns is not None
    assert kept.acknowledged_until_ns == kept.acknowledged_ns + 300 * SECOND_NS
    clear(page, scene)


def test_alarms_stand_in_the_order_of_their_urgency(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    clear(page, scene)
    ward = scene.ward
    ward.alarm("chest-3", "lead_off", "low", "Lead off", category="technical")
    ward.alarm("chest-1", "bradycardia", "medium", "Bradycardia")
    ward.end(ward.alarm("chest-4", "asystole", "high", "Asystole"))
    expect(page.locator("#alarm-list .alarm")).to_have_count(3)
    cards = page.locator("#alarm-list .alarm")
    assert [cards.nth(i).get_attribute("data-kind") for i in range(3)] == [
        "asystole",
        "bradycardia",
        "lead_off",
    ]
    expect(cards.nth(0)).to_have_attribute("data-state", "latched")
    expect(cards.nth(0).locator(".alarm-state")).to_contain_text("latched")
    expect(page.locator(".alarm-group h3")).to_have_text(["Physiological", "Technical"])
    expect(page.locator("#banner")).to_contain_text("latched")
    signs = page.locator(".alarm-sign").all_inner_texts()
    assert signs == ["!!!", "!!", "!"], "colour never stands alone"
    flashing = page.locator("#banner").evaluate("node => getComputedStyle(node).animationDuration")
    assert flashing == "0.5s"  # 2 Hz; the standard asks for 1.4 to 2.8 Hz
    page.emulate_media(reduced_motion="reduce")
    still = page.locator("#banner").evaluate("node => getComputedStyle(node).animationName")
    assert still == "none"
    expect(page.locator("#banner")).to_have_css("background-color", "rgb(229, 20, 43)")
    clear(page, scene)


def test_a_lost_connection_is_told_and_mended(page_in_trouble: Page, tmp_path: Path) -> None:
    page = page_in_trouble
    ward = Ward(tmp_path)
    bed = ward.bed()
    start_ns = (time.time_ns() // SECOND_NS - 8) * SECOND_NS
    for second in range(8):
        bed.second(start_ns + second * SECOND_NS)
    with served(ward) as server:
        page.goto(server.url)
        expect(page.locator("#connection")).to_have_text("Live")
        expect(page.locator("#offline")).to_be_hidden()
        server.stop()
        expect(page.locator("#offline")).to_be_visible(timeout=8000)
        expect(page.locator("#offline")).to_contain_text(
            re.compile(r"No connection .* what you see is \d+ s old")
        )
        expect(page.locator("body")).to_have_class(re.compile("down"))
        expect(page.locator("#connection")).to_have_text("No connection")
        dimmed = page.locator(".trace").first.evaluate("node => Number(getComputedStyle(node).opacity)")
        assert dimmed < 0.5
        ward.alarm("chest-1", "asystole", "high", "Asystole")
        server.start()
        expect(page.locator("#connection")).to_have_text("Live", timeout=15_000)
        expect(page.locator("#offline")).to_be_hidden()
        expect(page.locator("#banner")).to_contain_text("Asystole")
    ward.close()


def test_links_batteries_and_gateways_are_shown(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    bed = scene.ward.beds["chest-3"]
    bed.link("offline", battery=12, quality=0.4)
    facts = page.locator(".tile[data-device=chest-3] .tile-facts")
    expect(facts).to_contain_text("offline")
    expect(facts).to_contain_text("12%")
    expect(facts.locator(".quality")).to_have_attribute("title", "Signal quality 40 %")
    scene.ward.hub.publish([LinkEvent("gw-b", None, "offline", time.time_ns(), backlog_rows=900)])
    expect(page.locator(".gateway")).to_contain_text("gw-b offline · backlog 900")
    page.reload()
    expect(page.locator(".tile[data-device=chest-3] .tile-facts")).to_contain_text("gateway offline")
    expect(page.locator(".tile[data-device=chest-2] .tile-facts")).not_to_contain_text("offline")
    bed.link("online")
    scene.ward.hub.publish([LinkEvent("gw-b", None, "online", time.time_ns(), backlog_rows=0)])
    expect(page.locator(".tile[data-device=chest-3] .tile-facts")).to_contain_text("online")


def test_a_device_that_is_born_gets_a_tile(page: Page, tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    with served(ward) as server:
        page.goto(server.url)
        expect(page.locator(".wall-none")).to_have_text("No wearable has announced itself yet.")
        bed = ward.bed("chest-9")
        bed.second(time.time_ns() - SECOND_NS)
        expect(page.locator(".tile[data-device=chest-9]")).to_be_visible()
        page.wait_for_function("() => window.vitalwire.drawn('chest-9', 131330).length > 0")
        page.goto("about:blank")
    ward.close()


@pytest.mark.parametrize(
    "size", [PHONE, {"width": 768, "height": 1024}, {"width": 1366, "height": 768}, None]
)
def test_nothing_is_wider_than_the_screen(
    page: Page, scene: Scene, tmp_path: Path, size: dict[str, int] | None
) -> None:
    if size is not None:
        page.set_viewport_size(size)
    open_wall(page, scene)
    scene.ward.alarm(
        "chest-1", "ventricular_fibrillation", "high", "Ventricular fibrillation (no pulse signal)"
    )
    expect(page.locator("#banner")).to_have_attribute("data-level", "high")
    wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0
    lost = """() => [...document.querySelectorAll('.tile, .number, .tool, .banner, .strip')]
        .filter((node) => node.offsetParent && node.getBoundingClientRect().right > innerWidth + 1).length"""
    assert page.evaluate(lost) == 0
    assert page.evaluate(HIDDEN_NUMBERS) == []
    page.screenshot(path=tmp_path / "wall.png")
    page.locator("#settings-open").click()
    assert page.evaluate(wide) == 0
    page.keyboard.press("Escape")
    page.locator(".tile-name").first.click()
    expect(page.locator("#detail")).to_be_visible()
    assert page.evaluate(wide) == 0
    page.screenshot(path=tmp_path / "detail.png")
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    clear(page, scene)


def test_the_whole_wall_fits_a_wall_screen(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    boxes = [page.locator(".tile").nth(i).bounding_box() for i in range(4)]
    assert all(box is not None and box["y"] + box["height"] <= 1080 for box in boxes)


@pytest.mark.parametrize("beds", [1, 6, 16])
def test_no_number_is_cut_off_however_many_patients_there_are(page: Page, tmp_path: Path, beds: int) -> None:
    ward = Ward(tmp_path)
    start_ns = (time.time_ns() // SECOND_NS - 2) * SECOND_NS
    for bed in range(beds):
        ward.bed(f"chest-{bed}").second(start_ns)
    with served(ward) as server:
        page.goto(server.url)
        expect(page.locator(".tile")).to_have_count(beds)
        expect(page.locator(".tile .number[data-state=fresh]").first).to_be_visible()
        for size in ({"width": 1920, "height": 1080}, {"width": 1366, "height": 768}, PHONE):
            page.set_viewport_size(size)
            assert page.evaluate(HIDDEN_NUMBERS) == [], size
        page.goto("about:blank")  # before its server goes
    ward.close()


def test_everything_can_be_done_from_the_keyboard(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    clear(page, scene)
    scene.ward.alarm("chest-4", "spo2_low", "medium", "SpO2 low", value=86.0, limit=90.0)
    button = page.locator("#banner .take")
    expect(button).to_be_visible()
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#acknowledge-by")).to_be_focused()
    page.keyboard.type("kb")
    page.keyboard.press("Enter")
    expect(page.locator("#banner")).to_have_attribute("data-level", "taken")
    page.locator(".tile-name", has_text="chest-4").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_be_visible()
    expect(page.locator("#detail .onset .strip-name")).to_contain_text("strip at onset", timeout=15_000)
    page.keyboard.press("Escape")
    expect(page.locator("#wall")).to_be_visible()
    clear(page, scene)


def test_data_from_the_future_is_told_and_not_shown(page: Page, scene: Scene) -> None:
    """A gateway with a wrong clock must not freeze a number as the newest, nor push the trace away."""
    open_wall(page, scene)
    bed = scene.ward.beds["chest-1"]
    expect(number(page, "chest-1", "temp").locator(".number-value")).to_have_text(re.compile(r"^3\d\.\d$"))
    ahead_ns = time.time_ns() + 9000 * SECOND_NS
    scene.ward.hub.publish(
        [
            VitalsEvent("chest-1", (VitalPoint(ahead_ns, Code.TEMPERATURE, 44.4, 0),)),
            WaveEvent("chest-1", int(bed.lead), ahead_ns, 250.0, 2.5, np.zeros(250, np.int16), 0),
        ]
    )
    facts = page.locator(".tile[data-device=chest-1] .tile-facts")
    expect(facts).to_contain_text("clock 2 h ahead")
    page.wait_for_timeout(2500)
    expect(number(page, "chest-1", "temp").locator(".number-value")).to_have_text(re.compile(r"^3\d\.\d$"))
    runs = page.evaluate("() => window.vitalwire.drawn('chest-1', 131330, 2000)")
    assert sum(len(run["samples"]) for run in runs) > 250


def test_sound_is_off_until_somebody_turns_it_on(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    sound = page.locator("#sound")
    expect(sound).to_have_text("Sound off")
    assert page.evaluate("() => window.vitalwire.sounding") is False
    sound.click()
    expect(sound).to_have_text("Sound on")
    expect(sound).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("() => window.vitalwire.sounding") is True
    sound.click()
    expect(sound).to_have_text("Sound off")


def test_the_paper_can_be_changed_and_stays_so(page: Page, scene: Scene) -> None:
    open_wall(page, scene)
    page.locator("#settings-open").click()
    page.locator("#set-speed").select_option("50")
    page.locator("#set-gain").select_option("5")
    page.locator("#settings .primary").click()
    expect(page.locator(".strip-cal").first).to_have_text("50 mm/s  5 mm/mV")
    page.reload()
    expect(page.locator(".strip-cal").first).to_have_text("50 mm/s  5 mm/mV")


def test_a_page_that_reads_too_slowly_is_told_what_it_missed(page: Page, tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    ward.bed()
    page.add_init_script(
        """const send = WebSocket.prototype.send;
        window.held = [];
        WebSocket.prototype.send = function (data) {
          if (window.holding) window.held.push(() => send.call(this, data));
          else send.call(this, data);
        };"""
    )
    with served(ward) as server:
        page.goto(server.url)
        expect(page.locator(".tile")).to_have_count(1)
        page.evaluate("() => { window.holding = true; }")
        event = WaveEvent("chest-1", LEAD, 0, 250.0, 1.0, ward.beds["chest-1"].read(), 0)
        for _ in range(30):
            ward.hub.publish([event] * (QUEUE_EVENTS // 8))
            page.wait_for_timeout(100)
        page.evaluate("() => { window.holding = false; window.held.forEach((confirm) => confirm()); }")
        expect(page.locator("#lost")).to_contain_text(re.compile(r"\d+ live updates were left out"))
        page.goto("about:blank")
    ward.close()


def test_a_token_is_asked_for_and_kept_for_the_tab(page_in_trouble: Page, scene: Scene) -> None:
    page = page_in_trouble
    with served(scene.ward, TOKEN) as server:
        page.goto(server.url)
        dialog = page.locator("#token")
        expect(dialog).to_be_visible()
        page.locator("#token-value").fill("wrong-token-wrong-token")
        page.keyboard.press("Enter")
        expect(page.locator("#token-error")).to_contain_text("wrong bearer token")
        page.locator("#token-value").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator(".tile")).to_have_count(4)
        page.reload()
        expect(page.locator(".tile")).to_have_count(4)
        expect(dialog).to_be_hidden()


def test_the_description_is_a_plain_page(page: Page, scene: Scene) -> None:
    page.goto(f"{scene.server.url}/schema")
    expect(page.locator("h1")).to_contain_text("vitalwire")
    expect(page.locator("h3", has_text="/api/v1/devices/{device}/strip")).to_be_visible()
