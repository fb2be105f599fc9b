"""Staff sees whose a wearable is, admits a patient and hands it over; the gateway is told to begin anew."""

from playwright.sync_api import Page, expect


def test_a_wearable_is_handed_to_a_new_patient_and_taken_back(one_bed, page: Page) -> None:
    page.goto(f"{one_bed.server.url}#/device/chest-1")
    wearer = page.get_by_role("region", name="Wearer", exact=True)
    expect(wearer.get_by_role("status")).to_contain_text("Assigned to nobody")
    wearer.get_by_label("Your name or initials").fill("RN Ada")
    wearer.get_by_label("Whose it is from now on").select_option("new")
    wearer.get_by_role("button", name="Hand over").click()
    expect(wearer.get_by_role("status")).to_contain_text("Patient p-")
    (patient,) = one_bed.ward.patients.patients()
    expect(wearer.get_by_role("status")).to_contain_text(patient.patient)
    (order,) = one_bed.ward.orders.orders(pending=True)
    assert order.device == "chest-1"
    wearer.get_by_label("Whose it is from now on").select_option("")
    wearer.get_by_role("button", name="Hand over").click()
    expect(wearer.get_by_role("status")).to_contain_text("Assigned to nobody")
    assert [change.author for change in one_bed.ward.patients.changes()] == ["RN Ada"] * 3
