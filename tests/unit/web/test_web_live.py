"""What the live WebSocket promises: the wall in one frame, history first, and a slow page that harms nobody."""

import json
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from litestar.testing import TestClient
from ward import FS_HZ, SCALE_UV, SECOND_NS, Ward, served
from websockets.sync.client import ClientConnection, connect

from vitalwire_cloud.live import QUEUE_EVENTS, LinkEvent, WaveEvent
from vitalwire_cloud.web.live_socket import WINDOW_FRAMES
from vitalwire_cloud.web.packing import pack_waves, segments_as_waves
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import Flag

LEAD = int(Code.ECG_II)
MESSAGE = struct.Struct("<BBHIq")
BLOCK = struct.Struct("<HHIqdfI")


def unpack(data: bytes) -> tuple[int, int, list[tuple[int, WaveEvent]]]:
    """Frame number, server clock and blocks of a binary message."""
    version, kind, count, frame, now_ns = MESSAGE.unpack_from(data)
    assert (version, kind) == (1, 1)
    at = MESSAGE.size
    blocks = []
    for _ in range(count):
        index, flags, code, start_ns, rate_hz, scale, samples = BLOCK.unpack_from(data, at)
        at += BLOCK.size
        values = np.frombuffer(data, "<i2", samples, at)
        at += 2 * samples
        blocks.append((index, WaveEvent("", code, start_ns, rate_hz, scale, values, flags)))
    assert at == len(data)
    return frame, now_ns, blocks


def wave(start_ns: int, device: str = "chest-1", count: int = 250) -> WaveEvent:
    return WaveEvent(device, LEAD, start_ns, 250.0, SCALE_UV, np.arange(count, dtype=np.int16), 0)


def texts(socket: Any, wanted: Callable[[dict[str, Any]], bool], most: int = 60) -> dict[str, Any]:
    """First text message that is `wanted`, confirming binary ones on the way."""
    for _ in range(most):
        event = socket.receive()
        if event.get("bytes") is not None:
            socket.send_text(str(unpack(event["bytes"])[0]))
            continue
        for message in json.loads(event["text"]):
            if wanted(message):
                return message
    pytest.fail("the message did not come")


def test_a_binary_message_is_these_bytes() -> None:
    block = WaveEvent("chest-1", 131330, 0x0102030405060708, 250.0, 2.5, np.array([1, -2], np.int16), 4)
    assert pack_waves(9, 7, [(3, block)]).hex() == (
        "01010100090000000700000000000000"
        "030004000201020008070605040302010000000000406f400000204002000000"
        "0100feff"
    )


def test_stored_samples_survive_packing_and_are_history(ward: Ward) -> None:
    end_ns = ward.start_ns + 10 * SECOND_NS
    segments = ward.store.strip("chest-1", LEAD, ward.start_ns, end_ns)
    for scale in (SCALE_UV, None):
        waves = segments_as_waves("chest-1", LEAD, scale, segments)
        assert [w.start_ns for w in waves] == [s.start_ns for s in segments]
        assert all(w.flags & Flag.HISTORY for w in waves)
        for packed, segment in zip(waves, segments, strict=True):
            np.testing.assert_allclose(packed.samples * packed.scale, segment.samples, atol=0.05)


def test_a_page_first_hears_what_is_there_then_its_history(client: TestClient, ward: Ward) -> None:
    alarm = ward.alarm("chest-1", "asystole", "high", "Asystole")
    with client.websocket_connect("/live") as socket:
        (hello,) = json.loads(socket.receive_text())
        assert hello["type"] == "hello"
        assert (hello["site"], hello["version"]) == ("ward-3", "0.1.0")
        assert abs(hello["now_ns"] - time.time_ns()) < 5 * SECOND_NS
        assert [device["device"] for device in hello["devices"]] == ["chest-1", "chest-2"]
        assert [open_alarm["alarm_id"] for open_alarm in hello["alarms"]] == [alarm.alarm_id]
        for index, device in enumerate(["chest-1", "chest-2"]):
            _, _, blocks = unpack(socket.receive_bytes())
            stored = ward.store.strip(device, LEAD, ward.start_ns, ward.start_ns + 10 * SECOND_NS)
            assert [number for number, _ in blocks] == [index] * len(stored)
            for (_, block), segment in zip(blocks, stored, strict=True):
                assert (block.start_ns, block.rate_hz) == (segment.start_ns, FS_HZ)
                np.testing.assert_array_equal(
                    block.samples.astype(np.float32) * np.float32(block.scale), segment.samples
                )


def test_the_whole_wall_travels_in_one_message(client: TestClient, ward: Ward) -> None:
    with client.websocket_connect("/live") as socket:
        socket.receive_text()
        for _ in range(2):
            socket.receive_bytes()
        start_ns = ward.start_ns + 10 * SECOND_NS
        ward.hub.publish([wave(start_ns), wave(start_ns, "chest-2"), wave(start_ns + SECOND_NS)])
        while (event := socket.receive()).get("bytes") is None:
            pass
        frame, _, blocks = unpack(event["bytes"])
        assert frame == 3
        assert [(index, block.start_ns) for index, block in blocks] == [
            (0, start_ns),
            (1, start_ns),
            (0, start_ns + SECOND_NS),
        ]


def test_numbers_beats_alarms_and_links_come_as_text(client: TestClient, ward: Ward) -> None:
    bed = ward.beds["chest-2"]
    with client.websocket_connect("/live") as socket:
        socket.receive_text()
        bed.second(ward.start_ns + 10 * SECOND_NS)
        vitals = texts(socket, lambda message: message["type"] == "vitals")
        assert {vital["name"] for vital in vitals["vitals"]} >= {"HR", "SpO2", "Resp", "Temp"}
        alarm = ward.alarm("chest-2", "spo2_low", "medium", "SpO2 low", value=87.0, limit=90.0)
        told = texts(socket, lambda message: message["type"] == "alarm")["alarm"]
        assert (told["alarm_id"], told["state"], told["limit"]) == (alarm.alarm_id, "active", 90.0)
        ward.hub.publish([LinkEvent("gw-b", None, "offline", 5, backlog_rows=7)])
        link = texts(socket, lambda message: message["type"] == "link")["link"]
        assert (link["gateway"], link["device"], link["state"], link["backlog_rows"]) == (
            "gw-b",
            None,
            "offline",
            7,
        )
        assert texts(socket, lambda message: message["type"] == "clock")["now_ns"] > ward.start_ns


def test_a_device_that_is_born_later_is_introduced_before_its_samples(client: TestClient, ward: Ward) -> None:
    with client.websocket_connect("/live") as socket:
        socket.receive_text()
        bed = ward.bed("chest-9", "gw-b")
        bed.second(ward.start_ns + 10 * SECOND_NS)
        told = texts(socket, lambda message: message["type"] == "device")
        assert (told["index"], told["device"]["device"]) == (2, "chest-9")
        while (event := socket.receive()).get("bytes") is None:
            pass
        assert [index for index, _ in unpack(event["bytes"])[2]] == [2]


def test_samples_of_a_device_that_nobody_knows_are_left_out(client: TestClient, ward: Ward) -> None:
    with client.websocket_connect("/live") as socket:
        socket.receive_text()
        for _ in range(2):
            socket.receive_bytes()
        ward.hub.publish([wave(ward.start_ns, "stranger"), wave(ward.start_ns + 10 * SECOND_NS)])
        while (event := socket.receive()).get("bytes") is None:
            assert "stranger" not in event["text"]
        assert [index for index, _ in unpack(event["bytes"])[2]] == [0]


class Reader(threading.Thread):
    """A page that keeps up: confirms every frame and notes when each block came."""

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__(daemon=True)
        self.socket = socket
        self.blocks: list[int] = []
        self.lost = 0
        self.greeted = threading.Event()

    def run(self) -> None:
        for message in self.socket:
            self.greeted.set()
            if isinstance(message, bytes):
                frame, _, blocks = unpack(message)
                self.blocks += [block.start_ns for _, block in blocks]
                self.socket.send(str(frame))
            else:
                self.lost += sum(m["events"] for m in json.loads(message) if m["type"] == "lost")


def test_a_page_that_does_not_confirm_costs_a_bounded_queue_and_nobody_else_anything(ward: Ward) -> None:
    """Three times what a queue holds is published: the slow page loses the oldest, is told, and the other sees all."""
    with served(ward) as server:
        address = server.url.replace("http", "ws") + "/live"
        with connect(address, compression=None) as slow, connect(address, compression=None) as good:
            reader = Reader(good)
            reader.start()
            # What is published before a page is greeted may be published before it is heard.
            slow.recv(timeout=10)
            assert reader.greeted.wait(10)
            total = 3 * QUEUE_EVENTS
            began_s = time.monotonic()
            pause = threading.Event()
            for number in range(total):
                ward.hub.publish([wave(number, count=50)])
                if number % 100 == 0:
                    pause.wait(0.1)  # a frame's time: the page that keeps up is never behind by a queue
                while number - len(reader.blocks) > QUEUE_EVENTS // 2:
                    assert time.monotonic() - began_s < 30, "the page that keeps up was held up"
                    pause.wait(0.05)  # on a busy machine it, too, needs longer
            assert time.monotonic() - began_s < 60
            deadline = time.monotonic() + 10
            while not reader.blocks or reader.blocks[-1] != total - 1:
                assert time.monotonic() < deadline, "the page that keeps up was held up"
                pause.wait(0.05)
            live = [start_ns for start_ns in reader.blocks if start_ns < total]
            assert live == list(range(total))
            assert reader.lost == 0

            frames, newest, lost = [], -1, 0
            while newest != total - 1 or not lost:
                message = slow.recv(timeout=10)
                if isinstance(message, bytes):
                    frame, _, blocks = unpack(message)
                    frames.append(frame)
                    newest = blocks[-1][1].start_ns
                    if frame == WINDOW_FRAMES:
                        waiting = len(frames)
                    if frame >= WINDOW_FRAMES:
                        slow.send(str(frame))
                else:
                    lost = max([lost, *(m["events"] for m in json.loads(message) if m["type"] == "lost")])
            assert waiting == WINDOW_FRAMES
            assert lost >= total - QUEUE_EVENTS - 100 * (WINDOW_FRAMES + 2)


def test_a_confirmation_of_what_was_never_sent_opens_no_window(ward: Ward) -> None:
    with (
        served(ward) as server,
        connect(server.url.replace("http", "ws") + "/live", compression=None) as page,
    ):
        history = len(ward.beds)  # what was sent before the page spoke counts as confirmed
        page.send("4000000000")
        page.send("not a number")
        page.send("1" * 200)
        frames = 0
        stop = threading.Event()

        def feed() -> None:
            number = 0
            while not stop.wait(0.02):
                ward.hub.publish([wave(number)])
                number += 1

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        try:
            while True:
                message = page.recv(timeout=1.5)
                frames += isinstance(message, bytes)
                assert frames <= WINDOW_FRAMES + history
        except TimeoutError:
            assert frames >= WINDOW_FRAMES
        finally:
            stop.set()
            feeder.join()
