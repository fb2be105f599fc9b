"""Bluetooth wearables stay connected one by one, and nothing one of them does reaches another."""

import time
from contextlib import contextmanager

import ble_captures as captures
import pytest
from fake_radio import Peripheral, World, short
from structlog.testing import capture_logs

from vitalwire_edge.sources.ble import polar
from vitalwire_edge.sources.ble.source import BleSource
from vitalwire_edge.sources.config import BleConfig, BlePeripheral
from vitalwire_edge.sources.inbox import Arrived, Closed, Inbox, Opened
from vitalwire_edge.wire.codes import Code, ValueStatus
from vitalwire_edge.wire.frames import Goodbye, Hello, Status, Vitals, Wave

HR, LOCATION, BATTERY = short(0x2A37), short(0x2A38), short(0x2A19)
TEMPERATURE, PRESSURE, DATE_TIME = short(0x2A1C), short(0x2A35), short(0x2A08)
STRAP, WRIST, CUFF, STRANGER = (f"AA:BB:CC:DD:EE:0{n}" for n in range(1, 5))


def strap(address=STRAP):
    return Peripheral(
        address,
        {
            short(0x180D): {HR: b"", LOCATION: b"\x01"},
            short(0x180F): {BATTERY: b"\x55"},
            polar.SERVICE: {polar.CONTROL: b"\x0f\x05", polar.DATA: b""},
        },
        answers={captures.POLAR_START: captures.POLAR_STARTED},
    )


def wrist(address=WRIST):
    return Peripheral(address, {short(0x180D): {HR: b"", LOCATION: b"\x02"}})


def cuff(clock=b""):
    characteristics = {PRESSURE: b""} | ({DATE_TIME: clock} if clock else {})
    return Peripheral(CUFF, {short(0x1810): characteristics})


class Gathered:
    """What a source put, sorted by channel."""

    def __init__(self, inbox):
        self.inbox = inbox
        self.opened = []
        self.closed = []
        self.frames = []

    def until(self, condition, what, timeout_s=5.0):
        end = time.monotonic() + timeout_s
        while True:
            for event in self.inbox.take(0.01):
                match event:
                    case Opened():
                        self.opened.append(event.channel)
                    case Closed():
                        self.closed.append((event.channel, event.reason))
                    case Arrived():
                        self.frames += [(event.channel, frame) for frame in event.data]
            if condition(self):
                return
            assert time.monotonic() < end, f"{what} did not happen: {self.frames} {self.closed}"

    def said(self, kind):
        return [frame.payload for _, frame in self.frames if isinstance(frame.payload, kind)]

    def numbers(self):
        return {r.code: (r.value, r.status) for vitals in self.said(Vitals) for r in vitals.readings}


@contextmanager
def source(world, *devices, **settings):
    listed = tuple(BlePeripheral(address=address, device=name) for address, name in devices)
    fast = {"scan_s": 0.3, "pause_s": 0.02, "retry_first_s": 0.02, "retry_max_s": 0.1} | settings
    inbox = Inbox()
    running = BleSource(BleConfig(enabled=True, devices=listed, **fast), inbox, radio=world.radio())
    running.start()
    try:
        yield running, Gathered(inbox)
    finally:
        running.stop()
        assert not running._thread.is_alive()


def test_a_strap_becomes_a_wearable():
    device = strap()
    with source(World(device), (STRAP.lower(), "chest-1")) as (running, got):
        got.until(lambda g: device.subscribed(polar.DATA) and g.said(Status), "streaming")
        assert device.written == [(polar.CONTROL, captures.POLAR_START)]
        device.notify(HR, captures.POLAR_H7)
        for data in captures.POLAR_ECG:
            device.notify(polar.DATA, data)
        got.until(lambda g: len(g.said(Wave)) == 2, "ECG")
        hello = got.said(Hello)[0]
        assert (hello.device, hello.channels[0].code, hello.channels[0].rate_mhz) == (
            "chest-1",
            Code.ECG_UNSPECIFIED,
            130_000,
        )
        assert got.numbers() == {Code.HEART_RATE: (60.0, ValueStatus.OK)}
        assert got.said(Status) == [Status(0x55, -61, 0)]
        first, second = got.said(Wave)
        assert (first.first_sample, second.first_sample) == (0, 73)
        assert first.samples[17] == 0x08B9
        assert not first.lead_off
        assert [frame.sequence for _, frame in got.frames] == list(range(len(got.frames)))
        assert running.problem() is None
        assert running.state().connected == 1
    got.until(lambda g: g.closed, "the end")
    assert got.closed[0][1] == "gateway stopping"
    assert device.client is None


def test_a_lost_connection_comes_back_with_a_gap_and_the_same_counters():
    device = strap()
    with source(World(device), (STRAP, "chest-1")) as (running, got):
        got.until(lambda _: device.subscribed(polar.DATA), "streaming")
        device.notify(polar.DATA, captures.POLAR_ECG[0])
        got.until(lambda g: g.said(Wave), "ECG")
        device.vanish()
        got.until(lambda g: g.closed and device.subscribed(polar.DATA), "coming back")
        time.sleep(0.6)
        device.notify(polar.DATA, captures.POLAR_ECG[1])
        got.until(lambda g: len(g.said(Wave)) == 2, "more ECG")
    assert got.closed[0][1] == "closed by the wearable"
    assert len({id(channel) for channel in got.opened}) == 2
    assert len({hello.boot for hello in got.said(Hello)}) == 1
    second = got.said(Wave)[1]
    assert 73 <= second.first_sample < 73 + 5 * 130
    assert running.counters["connects"] == 2


def test_a_lost_notification_is_a_gap_of_its_size_and_one_that_came_twice_is_none():
    device = strap()
    one, two = captures.POLAR_ECG
    ahead = int.from_bytes(two[1:9], "little") - int.from_bytes(one[1:9], "little")
    later = (int.from_bytes(two[1:9], "little") + ahead).to_bytes(8, "little")
    with source(World(device), (STRAP, "chest-1")) as (_, got):
        got.until(lambda _: device.subscribed(polar.DATA), "streaming")
        for data in (one, one, one[:1] + later + one[9:]):
            device.notify(polar.DATA, data)
        got.until(lambda g: len(g.said(Wave)) == 2, "ECG")
    assert [wave.first_sample for wave in got.said(Wave)] == [0, 146]


def test_without_skin_contact_the_ecg_is_lead_off():
    device = strap()
    with source(World(device), (STRAP, "chest-1")) as (_, got):
        got.until(lambda _: device.subscribed(polar.DATA), "streaming")
        device.notify(HR, bytes([0x04, 0]))
        device.notify(polar.DATA, captures.POLAR_ECG[0])
        got.until(lambda g: g.said(Wave), "ECG")
    assert got.said(Wave)[0].lead_off
    assert got.numbers()[Code.HEART_RATE][1] is ValueStatus.SENSOR_OFF


def test_one_that_sends_garbage_and_one_that_refuses_harm_no_other():
    good, bad = wrist(), strap()
    good.refuses = 2
    with (
        capture_logs() as logs,
        source(World(good, bad), (WRIST, "wrist-1"), (STRAP, "chest-1")) as (running, got),
    ):
        got.until(lambda _: good.subscribed(HR) and bad.subscribed(polar.DATA), "both")
        for data in (b"", b"\x10", b"\x1f\x00", b"\x00" * 12, b"\xff" * 300):
            bad.notify(polar.DATA, data)
            bad.notify(HR, data)
        good.notify(HR, captures.UNBRANDED_STRAP)
        got.until(lambda g: Code.PULSE_RATE in g.numbers(), "the good one")
        assert got.numbers()[Code.PULSE_RATE] == (52.0, ValueStatus.OK)
        bad.notify(HR, captures.POLAR_H7)
        got.until(lambda g: g.numbers().get(Code.HEART_RATE) == (60.0, ValueStatus.OK), "the bad one too")
        assert running.counters["garbage"] >= 5
        assert running.counters["connect_failures"] == 2
        assert not got.closed
    told = str(logs)
    assert "ble_connection_failed" in told
    for address in (WRIST, STRAP):
        for spelt in (address, address.lower(), address.replace(":", "_")):
            assert spelt not in told


def test_nothing_unlisted_is_ever_connected():
    world = World(wrist(), strap(STRANGER), cuff())
    with source(world, (WRIST, "wrist-1")) as (_, got):
        got.until(lambda _: world.peripherals[WRIST].subscribed(HR), "the listed one")
    assert set(world.asked) == {WRIST}


def test_scanning_and_connecting_take_turns():
    world = World(wrist(), strap(), cuff())
    with source(world, (WRIST, "a"), (STRAP, "b"), (CUFF, "c")) as (running, got):
        got.until(lambda _: running.connected == 3, "all")
        before = world.scanned
        time.sleep(0.2)
        assert world.scanned <= before + 1
    assert world.connecting_while_scanning == 0


def test_a_missing_adapter_is_a_problem_that_goes_away():
    world = World(wrist())
    world.present = False
    with source(world, (WRIST, "wrist-1")) as (running, got):
        got.until(lambda _: running.problem() is not None, "the problem")
        assert "bluetoothctl power on" in running.problem()
        world.present = True
        got.until(lambda _: world.peripherals[WRIST].subscribed(HR), "the device")
        assert running.problem() is None


def test_a_cuff_says_goodbye_and_its_old_measurements_are_left_out():
    # Its clock stands at the minute of the capture: one measurement is of now, the other of the day before.
    device = cuff(clock=captures.CUFF[7:14])
    with source(World(device), (CUFF, "cuff-1")) as (running, got):
        got.until(lambda _: device.subscribed(PRESSURE), "subscribed")
        device.notify(PRESSURE, captures.CUFF_IRREGULAR)
        device.notify(PRESSURE, captures.CUFF)
        got.until(lambda g: Code.SYSTOLIC in g.numbers(), "a measurement")
        device.vanish()
        got.until(lambda g: g.closed, "its leave")
    assert got.numbers()[Code.SYSTOLIC] == (127.0, ValueStatus.OK)
    assert running.counters["old_measurements"] == 1
    assert len(got.said(Goodbye)) >= 1


def test_a_cuff_whose_clock_nobody_knows_is_questionable_and_one_of_many_users_is_filtered():
    device = cuff()
    world = World(device)
    inbox = Inbox()
    listed = (BlePeripheral(address=CUFF, device="cuff-1", user=1),)
    running = BleSource(BleConfig(enabled=True, devices=listed), inbox, radio=world.radio())
    running.start()
    got = Gathered(inbox)
    got.until(lambda _: device.subscribed(PRESSURE), "subscribed")
    device.notify(PRESSURE, captures.CUFF[:16] + b"\x02" + captures.CUFF[17:])
    device.notify(PRESSURE, captures.CUFF)
    got.until(lambda g: Code.SYSTOLIC in g.numbers(), "a measurement")
    running.stop()
    assert got.numbers()[Code.SYSTOLIC] == (127.0, ValueStatus.QUESTIONABLE)
    assert running.counters["other_user"] == 1


@pytest.mark.parametrize("answer", [captures.POLAR_REFUSED, b"\x00"])
def test_an_ecg_that_is_refused_is_tried_again(answer):
    device = strap()
    device.answers = {captures.POLAR_START: answer}
    with source(World(device), (STRAP, "chest-1")) as (running, got):
        got.until(lambda _: running.counters["ecg_refused"] >= 2, "two tries")


def test_a_full_inbox_costs_notifications_and_is_counted():
    device = wrist()
    listed = (BlePeripheral(address=WRIST, device="wrist-1"),)
    inbox = Inbox(capacity=2)
    running = BleSource(BleConfig(enabled=True, devices=listed), inbox, radio=World(device).radio())
    running.start()
    end = time.monotonic() + 5
    while not device.subscribed(HR) and time.monotonic() < end:
        time.sleep(0.01)
    for _ in range(20):
        device.notify(HR, captures.POLAR_H7)
    while running.counters["inbox_full"] < 19 and time.monotonic() < end:
        time.sleep(0.01)
    running.stop()
    assert running.counters["inbox_full"] == 20
