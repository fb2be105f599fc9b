"""Staff enters what it sees at the bedside; the page shows it, who said it, and whether the gateway knows."""

import time

from playwright.sync_api import Page, expect
from ward import SITE, Ward


def delivered(ward: Ward) -> None:
    """What the service and the gateway do between them."""
    place = (SITE, "gw-a", "chest-1")
    ward.orders.bring_up({place: ward.patients.bedsides()[0]}, now_ns=time.time_ns())
    for word in ward.orders.words():
        ward.orders.done(*place, word.number, now_ns=time.time_ns(), kind="staff")


def test_what_is_seen_at_the_bedside_is_entered_and_shown(one_bed, page: Page) -> None:
    now_ns = time.time_ns()
    patient = one_bed.ward.patients.admit(author="Dr. A", now_ns=now_ns).patient
    one_bed.ward.patients.assign("chest-1", patient, start_ns=now_ns, author="Dr. A", now_ns=now_ns)
    page.goto(f"{one_bed.server.url}#/device/chest-1")
    bedside = page.get_by_role("region", name="At the bedside", exact=True)
    expect(bedside.get_by_role("status")).to_contain_text("Nothing for NEWS2")
    bedside.get_by_label("Your name or initials").fill("RN Ada")
    bedside.get_by_role("button", name="Enter").click()
    expect(bedside.get_by_role("status")).to_contain_text("choose what you see")
    bedside.get_by_label("Consciousness").select_option("voice")
    bedside.get_by_label("Oxygen").select_option("yes")
    bedside.get_by_label("Pacemaker").select_option("no")
    bedside.get_by_role("button", name="Enter").click()
    expect(bedside.get_by_role("status")).to_contain_text("being told")
    expect(bedside.get_by_role("listitem").first).to_contain_text("Consciousness: responds to voice")
    expect(bedside.get_by_role("listitem").first).to_contain_text("by RN Ada, until")
    expect(bedside.get_by_role("listitem").last).to_have_text("no pacemaker")
    (found,) = one_bed.ward.patients.bedsides()
    assert (found.paced, [each.value for each in found.entries]) == ("no", ["voice", "yes"])
    delivered(one_bed.ward)
    expect(bedside.get_by_role("status")).to_contain_text("counts this in NEWS2")
    bedside.get_by_label("Oxygen").select_option("withdraw")
    bedside.get_by_role("button", name="Enter").click()
    expect(bedside.get_by_role("listitem")).to_have_count(2)
