"""Staff sees whose a wearable is, admits a patient and hands it over; the gateway is told to begin anew."""

import time

import pytest
from playwright.sync_api import Page, expect
from ward import SECOND_NS, Scene, Ward, served

from vitalwire_cloud.metadata.register import open_register
from vitalwire_cloud.orders import open_orders


@pytest.fixture
def bedside(tmp_path):
    ward = Ward(tmp_path)
    ward.patients, ward.orders = open_register(tmp_path), open_orders(tmp_path)
    bed = ward.bed("chest-1", "gw-a")
    bed.second(time.time_ns() - SECOND_NS)
    with served(ward) as server:
        yield Scene(ward, server, None)
    ward.patients.close()
    ward.orders.close()
    ward.close()


def test_a_wearable_is_handed_to_a_new_patient_and_taken_back(bedside, page: Page) -> None:
    page.goto(f"{bedside.server.url}#/device/chest-1")
    wearer = page.get_by_role("region", name="Wearer", exact=True)
    expect(wearer.get_by_role("status")).to_contain_text("Assigned to nobody")
    wearer.get_by_label("Your name or initials").fill("RN Ada")
    wearer.get_by_label("Whose it is from now on").select_option("new")
    wearer.get_by_role("button", name="Hand over").click()
    expect(wearer.get_by_role("status")).to_contain_text("Patient p-")
    (patient,) = bedside.ward.patients.patients()
    expect(wearer.get_by_role("status")).to_contain_text(patient.patient)
    (order,) = bedside.ward.orders.orders(pending=True)
    assert order.device == "chest-1"
    wearer.get_by_label("Whose it is from now on").select_option("")
    wearer.get_by_role("button", name="Hand over").click()
    expect(wearer.get_by_role("status")).to_contain_text("Assigned to nobody")
    assert [change.author for change in bedside.ward.patients.changes()] == ["RN Ada"] * 3
