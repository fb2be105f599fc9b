"""A ward that is fed in real time, and a real browser that watches it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from ward import SECOND_NS, Feed, Scene, Ward, served

from vitalwire_cloud.metadata.register import open_register
from vitalwire_cloud.orders import open_orders
from vitalwire_sim.physiology.patient import Patient

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WALL = {"width": 1920, "height": 1080}
OUTAGE = ("Failed to load resource", "WebSocket connection to")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    ward = Ward(tmp_path_factory.mktemp("ward"))
    beds = [
        ward.bed(f"chest-{number}", f"gw-{'ab'[number % 2]}", Patient(hr_bpm=60 + 8 * number))
        for number in range(1, 5)
    ]
    feed = Feed(beds, past_s=15)
    with served(ward) as server, feed:
        yield Scene(ward, server, feed)
    ward.close()


@pytest.fixture
def one_bed(tmp_path: Path) -> Iterator[Scene]:
    """A wearable that sent a second, of a service that keeps who wears it and what its gateway is told."""
    ward = Ward(tmp_path)
    ward.patients, ward.orders = open_register(tmp_path), open_orders(tmp_path)
    ward.bed("chest-1", "gw-a").second(time.time_ns() - SECOND_NS)
    with served(ward) as server:
        yield Scene(ward, server, None)
    ward.patients.close()
    ward.orders.close()
    ward.close()


class Watched:
    """Collects what the page complains about."""

    def __init__(self, page: Page, allowed: tuple[str, ...] = ()) -> None:
        self.errors: list[str] = []
        self._allowed = allowed
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(self._allowed or ("\0",)):
            self.errors.append(message.text)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page at the size of a wall screen that must not complain."""
    page = chromium.new_page(viewport=WALL)
    watched = Watched(page)
    yield page
    page.close()
    assert watched.errors == []


@pytest.fixture
def page_in_trouble(chromium: Browser) -> Iterator[Page]:
    """A page that may complain about the network, and about nothing else."""
    page = chromium.new_page(viewport=WALL)
    watched = Watched(page, OUTAGE)
    yield page
    page.close()
    assert watched.errors == []
