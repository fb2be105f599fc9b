"""What staff said on the gateway: kept over a restart, bound to the wearer, and part of NEWS2 while it is fresh."""

import dataclasses

import pytest
from test_edge_scoring import Bed as ScoredBed
from test_edge_scoring import Model
from test_edge_wearable import START, Bed

from vitalwire_edge.alarms import AlarmConfig
from vitalwire_edge.alarms.config import News2Config
from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.wearable.alarms import DeviceAlarms
from vitalwire_edge.wearable.orders import Orders
from vitalwire_edge.wearable.patient import Baselines
from vitalwire_edge.wearable.staff import StaffBook
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import Command, Entered, StaffState, VitalValue

NS = 1_000_000_000
HOUR = 3600 * NS
OFFSET = 1_790_000_000 * NS
DEVICE = "chest-1"


def seen(value, at_ns=OFFSET + START, hours=12):
    return Entered(value=value, entered_ns=at_ns, expires_ns=at_ns + hours * HOUR)


WORSE = StaffState(consciousness=seen("voice"), oxygen=seen(True))


class Gateway:
    """Orders on a folder; `heard` are the wearables that were told to look."""

    def __init__(self, folder):
        self.heard = []
        self.book = StaffBook(folder)
        self.orders = Orders(
            folder,
            Baselines(folder),
            clock=GatewayClock(trust_system=True),
            renew=lambda _device, forget: forget(),
            staff=self.book,
            spoke=self.heard.append,
        )

    def say(self, order, staff=None, *, command="staff", device=DEVICE):
        """How many confirmations follow."""
        self.orders.obey(
            Command(command=command, at_ns=1, expires_ns=2, device=device, order=order, staff=staff)
        )
        return len(self.orders.take())


def test_what_staff_said_outlives_a_restart_and_is_confirmed_again(tmp_path):
    first = Gateway(tmp_path)
    assert first.say(5, WORSE) == 1
    again = Gateway(tmp_path)
    assert again.book.said(DEVICE) == WORSE
    assert again.say(5, StaffState()) == 1
    assert again.say(4, StaffState()) == 1
    assert (again.book.said(DEVICE), again.heard) == (WORSE, [])
    assert again.say(6, StaffState(paced="yes")) == 1
    assert (again.book.said(DEVICE), again.heard) == (StaffState(paced="yes"), [DEVICE])
    assert again.book.said("chest-2") == StaffState()


def test_the_next_patient_has_nothing_of_what_was_said_of_the_one_before(tmp_path):
    gateway = Gateway(tmp_path)
    gateway.say(5, WORSE)
    gateway.say(6, command="new_patient")
    # Late on its way: it was said of the patient before.
    assert gateway.say(5, WORSE) == 1
    assert Gateway(tmp_path).book.said(DEVICE) == StaffState()
    # The other way round: said of the new one, heard before the order that brings him.
    gateway.say(9, WORSE)
    gateway.say(8, command="new_patient")
    assert Gateway(tmp_path).book.said(DEVICE) == WORSE


def test_a_word_that_cannot_be_kept_is_not_confirmed_and_one_to_forget_counts_no_more(tmp_path, monkeypatch):
    gateway = Gateway(tmp_path)
    gateway.say(5, WORSE)

    def full(_path, _content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vitalwire_edge.wearable.staff.write_durably", full)
    assert gateway.say(6, StaffState()) == 0
    assert gateway.book.said(DEVICE) == WORSE
    assert gateway.say(7, command="new_patient") == 0
    assert gateway.book.said(DEVICE) == StaffState()
    monkeypatch.undo()
    assert gateway.say(7, command="new_patient") == 1
    assert Gateway(tmp_path).book.said(DEVICE) == StaffState()


@pytest.mark.parametrize(
    "content", [b"{", b'{"format":9,"devices":{}}', b'{"devices":{"a":{"order":1}}}', b"\xff"]
)
def test_a_file_that_is_not_ours_is_nobodys_word(tmp_path, content):
    (tmp_path / "staff.json").write_bytes(content)
    gateway = Gateway(tmp_path)
    assert gateway.book.said(DEVICE) == StaffState()
    assert gateway.say(5, WORSE) == 1


def test_an_order_without_words_or_with_a_strange_name_is_refused(tmp_path):
    gateway = Gateway(tmp_path)
    assert gateway.say(5) == 0
    assert gateway.say(5, WORSE, device="../etc") == 0
    assert gateway.say(0, WORSE) == 0
    assert gateway.orders.counters["orders_refused"] == 3


def numbers(**named):
    codes = {"spo2": Code.SPO2, "respiration": Code.RESPIRATION_RATE, "systolic": Code.SYSTOLIC}
    codes |= {"pulse": Code.HEART_RATE, "temperature": Code.TEMPERATURE}
    return [VitalValue(int(codes[name]), value) for name, value in named.items()]


WELL = numbers(spo2=97.0, respiration=16.0, systolic=120.0, pulse=70.0, temperature=36.8)


class Bedside:
    """The alarm rules of a wearable whose patient is well by the numbers."""

    def __init__(self):
        self.mono_ns, self.offset_ns = START, OFFSET
        self.changes = []
        clock = GatewayClock(
            trust_system=True, read_offset=lambda: self.offset_ns, read_mono=lambda: self.mono_ns
        )
        self.clock = clock
        config = AlarmConfig(news2=News2Config(min_data_s=5, rise_s=2, fall_s=2))
        self.alarms = DeviceAlarms(DEVICE, config, "unknown", clock, self.changes.append)

    def wait(self, seconds):
        for _ in range(seconds):
            self.mono_ns += NS
            self.alarms.vitals(self.mono_ns, WELL)
            self.alarms.clock(self.mono_ns)
        return self.alarms.news2


def test_an_entry_changes_the_score_and_counts_until_it_expires():
    bed = Bedside()
    assert bed.wait(10).text == "NEWS2 incomplete, at least 0"
    bed.alarms.told(StaffState(consciousness=seen("alert"), oxygen=seen(False)), "no")
    assert bed.wait(4).text == "NEWS2 0"
    now = bed.mono_ns + OFFSET
    bed.alarms.told(StaffState(consciousness=seen("voice", now), oxygen=seen(True, now)), "no")
    assert bed.wait(10).text == "NEWS2 5"
    (raised,) = [change for change in bed.changes if change.kind == "news2"]
    assert (raised.priority, raised.text) == ("medium", "NEWS2 5: urgent response")
    assert raised.notes == ("oxygen 2 points", "consciousness 3 points")
    bed.mono_ns += 12 * HOUR
    score = bed.wait(10)
    assert (score.text, score.too_old) == ("NEWS2 incomplete, at least 0", ("consciousness", "oxygen"))
    # Nobody has said that it is better: the alarm stands.
    assert [change.phase for change in bed.changes if change.kind == "news2"] == ["raised"]


def test_an_alarm_says_which_entry_is_too_old():
    bed = Bedside()
    now = bed.mono_ns + OFFSET
    old = seen(False, now - 13 * HOUR)
    bed.alarms.told(StaffState(consciousness=seen("confusion", now), oxygen=old, spo2_scale=old), "no")
    bed.wait(10)
    assert bed.changes[-1].text == "NEWS2 incomplete, at least 3: one parameter scores 3: urgent ward review"
    notes = ("unknown: oxygen", "said too long ago: oxygen, SpO2 scale")
    assert bed.changes[-1].notes == ("consciousness 3 points", *notes)


def test_the_time_of_an_entry_follows_a_step_of_the_gateways_clock():
    bed = Bedside()
    bed.offset_ns = OFFSET + 30 * 24 * HOUR
    bed.clock.poll()
    bed.alarms.told(StaffState(oxygen=seen(True, bed.mono_ns + bed.offset_ns)), "unknown")
    assert "oxygen" not in bed.wait(10).missing
    bed.offset_ns -= 24 * HOUR
    bed.clock.poll()
    # As far as this clock knows it was said tomorrow.
    assert "oxygen" in bed.wait(4).missing


def spoken(bed, **said):
    """Have staff say something to a wearable."""
    told = StaffState(**said)
    bed.wearable._around = dataclasses.replace(bed.wearable._around, said=lambda _device: told)
    bed.wearable.staff_spoke()


def test_the_registers_pacemaker_flag_wins_over_the_configuration(tmp_path):
    model = Model()
    bed = ScoredBed(tmp_path, model=model, not_paced=(DEVICE,))
    bed.run(30)
    assert bed.wearable.lifecycle.paced == "no"
    assert model.samples
    spoken(bed, paced="yes")
    assert bed.wearable.lifecycle.paced == "yes"
    scored, told = len(model.samples), len(bed.marks())
    bed.run(20)
    assert len(model.samples) == scored
    assert len(bed.marks()) > told
    assert all(mark.score is None for mark in bed.marks()[told + 2 :])
    spoken(bed, paced="unknown")
    assert bed.wearable.lifecycle.paced == "no"
    bed.run(20)
    assert len(model.samples) > scored


def test_trends_begin_and_end_with_what_is_known_of_a_pacemaker():
    bed = Bed(paced=(DEVICE,))
    bed.hello()
    bed.seconds(20)
    assert "trend_minutes" not in bed.wearable.counts()
    spoken(bed, paced="no")
    bed.seconds(125)
    counts = bed.wearable.counts()
    assert counts["trend_minutes"] >= 1
    assert "trend_failures" not in counts
    spoken(bed, paced="yes")
    assert "trend_minutes" not in bed.wearable.counts()


def test_the_next_patients_birth_says_what_is_known_of_that_one():
    bed = Bed()
    bed.hello()
    bed.seconds(2)
    spoken(bed, paced="yes")
    bed.wearable._around = dataclasses.replace(bed.wearable._around, said=lambda _device: StaffState())
    bed.wearable.new_patient(lambda: None)
    assert bed.wearable.lifecycle.paced == "unknown"
