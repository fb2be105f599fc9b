"""Offers become requests, chunks become a model, and whatever is lost on the way is asked for again."""

import threading
import time

import pytest
from model_gateway import Gateway, Workshop, blind_offer, chunk

from vitalwire_edge.ota import updater as updater_module
from vitalwire_edge.ota.updater import Updater
from vitalwire_edge.wire.models import (
    CHUNK_BYTES,
    ModelChunk,
    ModelReport,
    ModelRequest,
    decode_from_gateway,
    encode_model,
)


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture(scope="module")
def large(workshop) -> bytes:
    return workshop.make(2, ballast=1_000_000)


class Line:
    """Both ends of the link: what the gateway says arrives here, what it is told goes in."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.said: list[ModelRequest | ModelReport] = []
        self._news = threading.Event()
        self.updater = Updater(gateway.settings, gateway.keeper, wake=self._news.set)
        self.updater.start()

    def tell(self, *messages) -> None:
        for message in messages:
            self.updater.receive(encode_model(message))

    def hear(self, kind: type, seconds: float = 10.0):
        """The next thing said of `kind`."""
        until = time.monotonic() + seconds
        while True:
            for index, message in enumerate(self.said):
                if isinstance(message, kind):
                    del self.said[: index + 1]
                    return message
            assert time.monotonic() < until, f"no {kind.__name__} was said"
            self._news.wait(0.05)
            self._news.clear()
            self.said += [decode_from_gateway(payload) for payload in self.updater.take()]

    def serve(self, data: bytes) -> ModelReport:
        """Answer requests until a report comes."""
        while True:
            message = self.hear(ModelRequest | ModelReport)
            if isinstance(message, ModelReport):
                return message
            self.tell(*(chunk(data, index) for index in message.chunks))

    def end(self) -> None:
        self.updater.stop()
        assert not self.updater.alive()


@pytest.fixture
def gateway(tmp_path, workshop) -> Gateway:
    config = {"retry_first_s": 0.1, "retry_max_s": 0.5}
    return Gateway(tmp_path, workshop, shipped=(workshop.make(1),), config=config)


@pytest.fixture
def line(gateway):
    line = Line(gateway)
    yield line
    line.end()


def test_an_offer_is_fetched_window_by_window_and_installed(line, workshop, large):
    line.tell(workshop.offer(large))
    request = line.hear(ModelRequest)
    assert request.chunks == (0, 1, 2, 3, 4, 5, 6, 7)
    line.tell(*(chunk(large, index) for index in request.chunks))
    assert line.hear(ModelRequest).chunks == (8, 9, 10, 11, 12, 13, 14, 15)
    line.tell(*(chunk(large, index) for index in range(16)))
    report = line.serve(large)
    assert (report.state, report.version) == ("candidate", 2)
    assert line.gateway.beats(3) == {2}
    assert not list((line.gateway.folder / "incoming").iterdir())


def test_on_connecting_it_says_what_is_at_work_and_what_was_refused(line, workshop):
    line.updater.connected()
    assert line.hear(ModelReport).version == 1
    line.tell(workshop.offer(bad := workshop.make(2, off=1.0)))
    assert line.serve(bad).reason == "self_test_off"
    line.updater.connected()
    assert (line.hear(ModelReport).state, line.hear(ModelReport).state) == ("refused", "running")


def test_lost_chunks_are_asked_for_again(line, workshop, large):
    line.tell(workshop.offer(large))
    asked = line.hear(ModelRequest).chunks
    line.tell(*(chunk(large, index) for index in asked[2:]))
    again = line.hear(ModelRequest).chunks
    assert again[:2] == (0, 1)
    assert line.updater.counters["model_requests_repeated"] >= 1
    line.tell(*(chunk(large, index) for index in again))
    assert line.serve(large).state == "candidate"


def test_a_restart_goes_on_where_the_download_stopped(line, workshop, large):
    line.tell(workshop.offer(large))
    asked = line.hear(ModelRequest).chunks
    line.tell(*(chunk(large, index) for index in asked))
    assert line.hear(ModelRequest).chunks[0] == 8
    line.end()
    line.gateway.restart()
    again = Line(line.gateway)
    assert again.hear(ModelRequest).chunks[0] == 8, "it asks by itself, without a new offer"
    again.tell(*(chunk(large, index) for index in range(8, 16)))
    assert again.serve(large).state == "candidate"
    again.end()


def test_repeated_and_older_offers_change_nothing(line, workshop, large):
    line.tell(workshop.offer(large))
    line.hear(ModelRequest)
    line.tell(workshop.offer(large), workshop.offer(workshop.make(1)))
    line.tell(chunk(large, 0))
    assert 0 not in line.hear(ModelRequest).chunks


def test_a_higher_offer_replaces_a_download(line, workshop, large):
    line.tell(workshop.offer(large))
    line.hear(ModelRequest)
    newer = workshop.make(3)
    line.tell(workshop.offer(newer))
    assert line.serve(newer).version == 3


def test_the_model_at_work_and_an_older_one_are_not_fetched(line, workshop):
    shipped = line.gateway.shipped[0]
    line.tell(workshop.offer(shipped))
    assert line.hear(ModelReport).state == "running"
    line.tell(workshop.offer(workshop.make(1, a=4.0)))
    assert line.hear(ModelReport).reason == "older_version"


def test_an_offer_beyond_the_limit_is_refused_before_anything_is_fetched(gateway, workshop, large):
    gateway.config["max_bytes"] = 100_000
    gateway.restart()
    line = Line(gateway)
    line.tell(workshop.offer(large))
    assert line.hear(ModelReport).reason == "too_large"
    assert not (gateway.folder / "incoming").exists()
    line.end()


def test_a_full_disk_is_said_before_anything_is_fetched(gateway, workshop, large, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1_000_000}))
    line = Line(gateway)
    line.tell(workshop.offer(large))
    assert line.hear(ModelReport).reason == "no_room"
    line.end()


def test_chunks_that_do_not_make_the_offered_file_are_fetched_again_then_refused(line, workshop, large):
    line.tell(workshop.offer(large))
    wrong = bytes(CHUNK_BYTES)
    asked: list[int] = []
    while True:
        message = line.hear(ModelRequest | ModelReport)
        if isinstance(message, ModelReport):
            break
        asked += message.chunks
        for index in message.chunks:
            data = chunk(large, index).data
            line.tell(ModelChunk(message.sha256, index, wrong[: len(data)]))
    assert message.reason == "hash_mismatch"
    assert "3 times" in message.detail
    assert asked.count(0) == 3
    assert line.gateway.beats(1) == {1}


def test_noise_costs_nothing_but_a_count(line, workshop):
    line.updater.receive(b"\xc1 no message")
    line.tell(ModelChunk("a" * 64, 0, b"x"))
    line.tell(workshop.offer(good := workshop.make(2)))
    assert line.serve(good).state == "candidate"
    assert line.updater.counters["model_messages_rejected"] == 1
    assert line.updater.counters["model_chunks_unwanted"] == 1


def test_a_flood_is_dropped_and_counted_not_kept(gateway):
    updater = Updater(gateway.settings, gateway.keeper)
    for _ in range(1000):
        updater.receive(b"x")
    assert updater.counters["model_messages_dropped"] == 1000 - 64


def test_a_file_that_cannot_be_opened_is_refused_over_the_line(line):
    junk = b"PK\x03\x04" + bytes(5000)
    line.tell(blind_offer(junk))
    assert line.serve(junk).reason == "truncated"


def test_probation_ends_by_itself(line, workshop):
    line.tell(workshop.offer(good := workshop.make(2)))
    assert line.serve(good).state == "candidate"
    line.gateway.beats(50)
    assert line.hear(ModelReport).state == "running"


def test_what_was_said_while_the_cloud_was_away_is_said_again_ever_less_often(line, monkeypatch):
    monkeypatch.setattr(updater_module, "_REPEAT_FIRST_S", 0.3)
    line.updater.connected()
    said = [time.monotonic()]
    for _ in range(4):
        report = line.hear(ModelReport)
        assert (report.state, report.version) == ("running", 1)
        said.append(time.monotonic())
    # At once, then 0.3, 0.6 and 1.2 s later.
    assert said[4] - said[3] > said[3] - said[2] > 0.2
