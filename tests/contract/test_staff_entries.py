"""What staff say in the databases: older ones are brought up to it, the last word counts, on SQLite and PostgreSQL."""

import gzip
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from vitalwire_cloud.metadata import steps, tables
from vitalwire_cloud.metadata.entries import EntryError, expiry_ns
from vitalwire_cloud.metadata.migrations import migrate, versions
from vitalwire_cloud.metadata.register import PatientRegister, RegisterError
from vitalwire_cloud.orders import OrderBook
from vitalwire_edge.wire.messages import Entered, StaffState

GOLDEN = Path(__file__).parent / "formats" / "golden"
HOUR = 3_600_000_000_000
T0 = 1_790_000_000_000_000_000
PLACE = ("ward-3", "gw-1", "w-1")


@pytest.fixture
def book(url):
    with closing(OrderBook(url)) as found:
        yield found


def columns(engine):
    """What the database has: (table, column, may be null)."""
    look = sa.inspect(engine)
    return {
        (table, column["name"], column["nullable"])
        for table in look.get_table_names()
        for column in look.get_columns(table)
        if table != "schema_version"
    }


def wearer(register, device="w-1"):
    patient = register.admit(author="Dr. A", now_ns=T0).patient
    register.assign(device, patient, start_ns=T0, author="Dr. A", now_ns=T0)
    return patient


def say(register, device="w-1", *, at_ns=T0 + HOUR, hours=12, by="N. B", **said):
    expires_ns = expiry_ns(at_ns, hours)
    words = {what: None if value == "withdraw" else value for what, value in said.items()}
    return register.say(device, words, author=by, entered_ns=at_ns, expires_ns=expires_ns, now_ns=T0 + HOUR)


def test_a_register_of_the_first_version_keeps_its_patients_and_takes_entries(tmp_path):
    path = tmp_path / "patients.sqlite"
    path.write_bytes(gzip.decompress((GOLDEN / "patients-1.sqlite.gz").read_bytes()))
    url = f"sqlite:///{path}"
    engine = sa.create_engine(url)
    assert versions(engine) == {"patients": 1}
    with closing(PatientRegister(url)) as register:
        assert versions(engine) == {"patients": 2}
        paced = {each.patient: (each.paced, each.discharged_ns) for each in register.patients()}
        assert paced == {"p-aaaaaaaa": ("yes", T0 + 3 * HOUR), "p-bbbbbbbb": ("unknown", None)}
        assert [change.action for change in register.changes()] == [
            *("admit", "admit", "assign", "standby", "assign", "discharge")
        ]
        expires_ns = T0 + 15 * HOUR
        found = register.say(
            "w-1",
            {"oxygen": "yes"},
            author="N. B",
            entered_ns=T0 + 3 * HOUR,
            expires_ns=expires_ns,
            now_ns=T0 + 4 * HOUR,
        )
    entered = Entered(value=True, entered_ns=T0 + 3 * HOUR, expires_ns=expires_ns)
    assert (found.patient, found.state()) == ("p-bbbbbbbb", StaffState(oxygen=entered))
    engine.dispose()


def test_orders_of_the_first_version_stay_and_words_come_beside_them(tmp_path):
    path = tmp_path / "orders.sqlite"
    path.write_bytes(gzip.decompress((GOLDEN / "orders-1.sqlite.gz").read_bytes()))
    with closing(OrderBook(f"sqlite:///{path}")) as book:
        assert [(order.device, order.number, order.done_ns) for order in book.orders()] == [
            ("w-1", T0, T0 + 5),
            ("w-2", T0 + 7, None),
        ]
        assert book.words() == []


@pytest.mark.parametrize("family", [steps.PATIENTS, steps.ORDERS], ids=lambda family: family.name)
def test_the_first_step_makes_what_the_first_version_had_whatever_came_later(url, family, tmp_path):
    path = tmp_path / "old.sqlite"
    path.write_bytes(gzip.decompress((GOLDEN / f"{family.name}-1.sqlite.gz").read_bytes()))
    old, engine = sa.create_engine(f"sqlite:///{path}"), sa.create_engine(url)
    with engine.begin() as db:
        family.steps[0](db)
    assert columns(engine) == columns(old)
    # Brought up, both are what the program works with now.
    migrate(old, family)
    migrate(engine, family)
    assert columns(engine) == columns(old)
    if family is steps.PATIENTS:
        now = {tables.PATIENT, tables.ASSIGNMENT, tables.CHANGE, tables.STAFF_ENTRY}
        assert columns(engine) == {(t.name, c.name, bool(c.nullable)) for t in now for c in t.columns}
    old.dispose()
    engine.dispose()


def test_the_last_word_counts_until_it_is_withdrawn(register):
    patient = wearer(register)
    say(register, consciousness="alert", oxygen="yes", spo2_scale="2")
    found = say(register, consciousness="voice", by="Dr. A", hours=2)
    seen = {"entered_ns": T0 + HOUR, "expires_ns": T0 + 13 * HOUR}
    assert found.state() == StaffState(
        consciousness=Entered(value="voice", entered_ns=T0 + HOUR, expires_ns=T0 + 3 * HOUR),
        oxygen=Entered(value=True, **seen),
        spo2_scale=Entered(value=2, **seen),
    )
    assert [(each.what, each.author) for each in found.entries] == [
        ("oxygen", "N. B"),
        ("spo2_scale", "N. B"),
        ("consciousness", "Dr. A"),
    ]
    found = say(register, consciousness="withdraw", spo2_scale="withdraw")
    assert found.state() == StaffState(oxygen=Entered(value=True, **seen))
    assert len(register.entries("w-1", T0, T0 + 2 * HOUR)) == 6
    # Nothing of who said it, or of whom, leaves for the gateway.
    assert not any(name in msgspec.json.encode(found.state()).decode() for name in ("N. B", patient, "w-1"))


def test_a_pacemaker_is_said_of_the_patient(register):
    patient = wearer(register)
    register.assign("wrist-1", patient, start_ns=T0, author="Dr. A", now_ns=T0)
    register.set_paced(patient, "yes", author="Dr. A", now_ns=T0 + HOUR)
    assert [(each.device, each.state().paced) for each in register.bedsides()] == [
        ("w-1", "yes"),
        ("wrist-1", "yes"),
    ]
    assert register.changes()[-1].action == "paced yes"


def test_what_cannot_be_said_is_refused_with_the_fix_and_changes_nothing(register):
    wearer(register)
    say(register, oxygen="yes")
    before = register.entries("w-1", T0, T0 + 2 * HOUR), register.changes()
    for attempt, said in (
        (
            lambda: say(register, consciousness="sleepy"),
            "'sleepy': give alert, confusion, voice, pain, unresponsive",
        ),
        (lambda: say(register, oxygen="2 l"), "give yes, no"),
        (lambda: say(register), "nothing was said"),
        (lambda: say(register, "w-9", oxygen="no"), "w-9 is nobody's: assign it first"),
        (lambda: say(register, oxygen="no", at_ns=T0 + 2 * HOUR), "in the future"),
        (lambda: say(register, oxygen="no", at_ns=T0 - HOUR), "nothing before counts"),
        (lambda: say(register, oxygen="no", at_ns=T0 + HOUR // 2), "was seen later than that, by N. B"),
        (lambda: say(register, consciousness="alert", at_ns=T0, hours=0.5), "1.0 hours ago counts no more"),
        (lambda: say(register, oxygen="no", by=""), "author"),
        (lambda: register.set_paced("p-nobody", "yes", author="Dr. A", now_ns=T0), "no patient p-nobody"),
    ):
        with pytest.raises(RegisterError, match=said):
            attempt()
    for hours in (0, 169):
        with pytest.raises(EntryError, match=f"{hours} hours"):
            say(register, oxygen="no", hours=hours)
    assert (register.entries("w-1", T0, T0 + 2 * HOUR), register.changes()) == before


def test_a_gateway_is_told_once_of_every_change_and_unlearns_with_the_wearer(register, book):
    wearer(register)
    say(register, oxygen="yes")

    def bring(*, worn=True):
        found = {PLACE: register.bedsides()[0]} if worn else {}
        return book.bring_up(found, now_ns=T0 + 2 * HOUR)

    assert [bring(), bring()] == [1, 0]
    (word,) = book.words()
    assert (word.staff, word.done_ns) == (register.bedsides()[0].state(), None)
    assert book.delivered(PLACE, register.bedsides()[0]) == (0, False)
    assert book.done(*PLACE, word.number, now_ns=T0, kind="staff")
    assert not book.done(*PLACE, word.number, now_ns=T0, kind="staff")
    assert book.delivered(PLACE, register.bedsides()[0]) == (0, True)
    say(register, oxygen="no")
    assert bring() == 1
    assert book.words()[0].number > word.number
    # Somebody else wears it, though the register was not told: what was said of the one before is told no more.
    number = book.new_patient(*PLACE, now_ns=T0 + HOUR)
    assert number > word.number
    assert book.words() == []
    assert bring() == 0
    assert book.delivered(PLACE, register.bedsides()[0])[0] == number
    book.done(*PLACE, number, now_ns=T0 + 3 * HOUR)
    register.set_paced(register.bedsides()[0].patient, "no", author="Dr. A", now_ns=T0)
    assert bring() == 1
    assert (book.words()[0].staff, book.words()[0].number > number) == (StaffState(paced="no"), True)
    assert bring(worn=False) == 1
    assert book.words()[0].staff == StaffState()
    assert bring(worn=False) == 0


def test_what_is_erased_counts_no_more_and_what_was_before_it_does_not_come_back(register):
    wearer(register)
    say(register, consciousness="voice", at_ns=T0)
    say(register, consciousness="alert", oxygen="yes", at_ns=T0 + HOUR)
    assert register.erase_entries("w-1", T0 + HOUR, T0 + 2 * HOUR) == 2
    assert register.erase_entries("w-1", T0 + HOUR, T0 + 2 * HOUR) == 0
    assert register.bedsides()[0].entries == ()
    assert [each.value for each in register.entries("w-1", T0, T0 + 2 * HOUR)] == ["voice", None, None]
