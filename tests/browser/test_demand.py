"""A wearable whose gateway keeps its waveform back: staff asks for it, sees it come, and sees that it ended."""

import threading
import time

import pytest
from playwright.sync_api import Page, expect
from ward import SECOND_NS, Scene, Ward, served

from vitalwire_cloud.waveform import DemandDesk
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import Command, decode_json, unseal

KEY = b"k" * 32
LEAD = int(Code.ECG_II)


class Gateway:
    """Sends numbers each second, and waveform only until what was asked for is over."""

    def __init__(self, ward: Ward) -> None:
        self.bed = ward.bed("chest-1", "gw-a")
        self.until_ns = 0
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def obey(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> bool:
        assert expiry_s is not None
        command = decode_json(unseal(KEY, topic, payload), Command)
        self.until_ns = command.at_ns + round((command.seconds or 0) * SECOND_NS)
        return True

    def _run(self) -> None:
        while not self.ending.wait(1.0):
            now_ns = time.time_ns()
            if now_ns < self.until_ns:
                self.bed.second(now_ns - SECOND_NS)
            else:
                self.bed.skip(1)
                self.bed.numbers(now_ns)


@pytest.fixture
def quiet(tmp_path):
    """A scene with one such wearable."""
    ward = Ward(tmp_path)
    gateway = Gateway(ward)
    ward.demands = DemandDesk(tmp_path, gateway.obey, {"gw-a": KEY}.get)
    gateway.bed.numbers(time.time_ns())
    with served(ward) as server:
        gateway.thread.start()
        yield Scene(ward, server, None), gateway
        gateway.ending.set()
        gateway.thread.join()
    ward.demands.close()
    ward.close()


def test_a_waveform_is_shown_on_demand_for_as_long_as_was_asked(quiet, page: Page) -> None:
    scene, gateway = quiet
    page.goto(f"{scene.server.url}#/device/chest-1")
    demand = page.locator(".demand")
    button = demand.get_by_role("button", name="Show live waveform")
    expect(button).to_be_visible(timeout=15_000)
    expect(demand).to_contain_text("sends features only")
    button.click()
    assert gateway.until_ns == 0, "nobody asks without a name"
    demand.get_by_label("Your name or initials").fill("RN Ada")
    button.click()
    expect(demand).to_have_attribute("data-state", "asked")
    expect(demand).to_have_attribute("data-state", "streaming", timeout=10_000)
    expect(demand).to_contain_text("asked by RN Ada")
    expect(button).to_be_hidden()
    page.wait_for_function(f"() => window.vitalwire.drawn('chest-1', {LEAD}, 2000).length > 0")
    (asked,) = scene.ward.demands.demands(now_ns=time.time_ns())
    assert (asked.asked_by, asked.until_ns - asked.at_ns) == ("RN Ada", 60 * SECOND_NS)
