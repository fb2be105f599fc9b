"""The desk that tells gateways: in the order in which things happened, whatever is away."""

import threading
from contextlib import closing, contextmanager

import pytest

from vitalwire_cloud.metadata.entries import Bedside, StaffEntry
from vitalwire_cloud.order_desk import OrderDesk
from vitalwire_cloud.orders import OrderError, open_orders
from vitalwire_edge.wire.messages import Command, Obeyed, decode_json, encode_json, seal, unseal

KEY = bytes(range(32))
PLACE = ("ward", "gw-1", "w-1")
HEAD = "v1/ward/gw-1"
HOUR = 3_600_000_000_000


def bedside(recorded_ns, value="voice"):
    entry = StaffEntry(
        patient="p-1",
        device="w-1",
        what="consciousness",
        value=value,
        author="N. B",
        entered_ns=recorded_ns,
        expires_ns=recorded_ns + HOUR,
        recorded_ns=recorded_ns,
    )
    return Bedside(device="w-1", patient="p-1", paced="no", entries=(entry,))


class Gateway:
    """Hears what is published and confirms it while `willing`."""

    def __init__(self, book, bedsides):
        self.heard = []
        self.willing = True
        self.came = threading.Event()
        self.desk = OrderDesk(book, self.hear, {"gw-1": KEY}.get, again_s=0.05, bedsides=bedsides)

    def hear(self, topic, payload, *, expiry_s):  # noqa: ARG002 - as the link is called
        command = decode_json(unseal(KEY, topic, payload), Command)
        self.heard.append(command)
        self.came.set()
        if self.willing:
            done = Obeyed(command=command.command, order=command.order, device=command.device, at_ns=1)
            back = f"{HEAD}/cmd-done"
            self.desk.heard(back, seal(KEY, back, encode_json(done)))
        return True

    def wait(self, count):
        for _ in range(100):
            if len(self.heard) >= count:
                return self.heard
            self.came.wait(0.1)
            self.came.clear()
        raise AssertionError(f"{count} commands did not come: {self.heard}")


@pytest.fixture
def book(tmp_path):
    with closing(open_orders(tmp_path)) as found:
        yield found


@contextmanager
def running(book, bedsides):
    gateway = Gateway(book, bedsides)
    gateway.desk.gateway_seen("ward", "gw-1")
    gateway.desk.start()
    try:
        yield gateway
    finally:
        gateway.desk.stop()


def test_what_staff_say_waits_for_the_order_before_it(book):
    number = book.new_patient(*PLACE, now_ns=5 * HOUR)
    with running(book, lambda: {PLACE: bedside(6 * HOUR)}) as gateway:
        gateway.willing = False
        assert {each.command for each in gateway.wait(2)} == {"new_patient"}
        gateway.willing = True
        heard = gateway.wait(len(gateway.heard) + 2)
        told = next(each for each in heard if each.command == "staff")
        assert heard[-1] == told
        assert told.order > number
        assert (told.staff.consciousness.value, told.staff.paced) == ("voice", "no")
    assert book.orders(pending=True) == []


def test_a_register_that_is_away_holds_up_no_other_order_and_unsays_nothing(book):
    book.bring_up({PLACE: bedside(6 * HOUR)}, now_ns=6 * HOUR)
    book.new_patient("ward", "gw-1", "w-2", now_ns=5 * HOUR)

    def away():
        raise OrderError("the register is away")

    with running(book, away) as gateway:
        assert {each.command for each in gateway.wait(2)} == {"new_patient", "staff"}
    (word,) = book.words()
    assert word.staff == bedside(6 * HOUR).state()
