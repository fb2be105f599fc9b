"""Databases grow by steps, and who wears what: the same on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from vitalwire_cloud.alerts import ledger as desk
from vitalwire_cloud.alerts.ledger import AlarmLedger
from vitalwire_cloud.metadata.migrations import Family, NewerSchemaError, migrate, versions
from vitalwire_cloud.metadata.register import Assignment, PatientRegister, RegisterError
from vitalwire_cloud.metadata.steps import ORDERS, PATIENTS
from vitalwire_cloud.registry.ledger import FAMILY as REGISTRY
from vitalwire_cloud.store.influx.ledger import FAMILY as LEDGER
from vitalwire_cloud.store.influx.ledger import Ledger
from vitalwire_cloud.store.interface import StoreError

HOUR = 3_600_000_000_000
NOW = 1_790_000_000_000_000_000


def admitted(register, **more):
    return register.admit(author="Dr. A", now_ns=NOW, **more).patient


def assign(register, device, patient, start_ns=NOW):
    register.assign(device, patient, start_ns=start_ns, author="Dr. A", now_ns=NOW + 10 * HOUR)


@pytest.mark.parametrize(
    "family", [desk.FAMILY, REGISTRY, ORDERS, LEDGER, PATIENTS], ids=lambda family: family.name
)
def test_a_database_from_before_there_were_steps_is_adopted_with_what_is_in_it(url, family):
    engine = sa.create_engine(url)
    with engine.begin() as db:
        family.steps[0](db)
    before = sa.inspect(engine).get_table_names()
    assert versions(engine) == {}
    assert migrate(engine, family) == len(family.steps)
    assert migrate(engine, family) == 0
    assert versions(engine) == {family.name: len(family.steps)}
    assert set(sa.inspect(engine).get_table_names()) >= {*before, "schema_version"}
    engine.dispose()


def test_rows_that_were_there_stay_and_a_later_step_changes_them(url):
    engine = sa.create_engine(url)
    migrate(engine, desk.FAMILY)
    with engine.begin() as db:
        db.execute(sa.text("INSERT INTO progress (store, position) VALUES ('s', 41)"))

    def later(db):
        db.execute(sa.text("ALTER TABLE progress ADD COLUMN told BIGINT"))
        db.execute(sa.text("UPDATE progress SET told = position + 1"))

    grown = Family("desk", (*desk.FAMILY.steps, later))
    assert migrate(engine, grown) == 1
    with engine.connect() as db:
        assert db.execute(sa.text("SELECT store, position, told FROM progress")).all() == [("s", 41, 42)]
    engine.dispose()


def test_a_step_that_fails_leaves_nothing(url):
    engine = sa.create_engine(url)

    def broken(db):
        db.execute(sa.text("CREATE TABLE half (x BIGINT)"))
        db.execute(sa.text("INSERT INTO nowhere VALUES (1)"))

    with pytest.raises(sa.exc.SQLAlchemyError):
        migrate(engine, Family("half", (broken,)))
    assert "half" not in sa.inspect(engine).get_table_names()
    assert versions(engine) == {}
    engine.dispose()


def test_several_that_start_at_once_take_each_step_once(url):
    taken = []

    def counted(db):
        db.execute(sa.text("CREATE TABLE once (x BIGINT)"))
        taken.append(1)

    def start(_number):
        engine = sa.create_engine(url)
        try:
            return migrate(engine, Family("once", (counted,)))
        finally:
            engine.dispose()

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(start, range(6))) == [0, 0, 0, 0, 0, 1]
    assert len(taken) == 1


def test_a_newer_database_is_refused_and_left_as_it_is(url):
    engine = sa.create_engine(url)
    migrate(engine, Family("desk", (*desk.FAMILY.steps, lambda _db: None)))
    migrate(engine, Family("ledger", (*LEDGER.steps, lambda _db: None)))
    with pytest.raises(NewerSchemaError, match="install the newer vitalwire"):
        migrate(engine, desk.FAMILY)
    assert versions(engine) == {"desk": 2, "ledger": 2}
    engine.dispose()
    with pytest.raises(StoreError, match="newer vitalwire"):
        AlarmLedger(url)
    with pytest.raises(StoreError, match="newer vitalwire"):
        Ledger(url)


def test_a_device_is_a_patients_for_an_interval(register):
    one, two = admitted(register), admitted(register, paced="yes")
    assert register.patient_of("chest-1", NOW) is None
    assign(register, "chest-1", one)
    register.transfer("chest-1", two, at_ns=NOW + HOUR, author="N. B", now_ns=NOW + HOUR)
    at = {k: register.patient_of("chest-1", NOW + k * HOUR // 2) for k in (-1, 0, 1, 2, 3)}
    assert at == {-1: None, 0: one, 1: one, 2: two, 3: two}
    assert register.assignments(patient=one) == [
        Assignment(device="chest-1", patient=one, start_ns=NOW, end_ns=NOW + HOUR)
    ]
    assert register.discharge(two, at_ns=NOW + 2 * HOUR, author="Dr. A", now_ns=NOW + 2 * HOUR) == ["chest-1"]
    assert register.patient_of("chest-1", NOW + 3 * HOUR) is None
    paced = {each.patient: (each.paced, each.discharged_ns) for each in register.patients()}
    assert paced == {one: ("unknown", None), two: ("yes", NOW + 2 * HOUR)}
    changes = [(each.author, each.action, each.patient) for each in register.changes()]
    assert changes[2:] == [
        ("Dr. A", "assign", one),
        ("N. B", "standby", one),
        ("N. B", "assign", two),
        ("Dr. A", "discharge", two),
    ]


def test_intervals_of_one_device_never_overlap(register):
    one, two = admitted(register), admitted(register)
    assign(register, "chest-1", one)
    with pytest.raises(RegisterError, match="transfer it"):
        assign(register, "chest-1", two, NOW + HOUR)
    register.standby("chest-1", at_ns=NOW + 2 * HOUR, author="Dr. A", now_ns=NOW + 2 * HOUR)
    with pytest.raises(RegisterError, match="or later"):
        assign(register, "chest-1", two, NOW + HOUR)
    assign(register, "chest-1", two, NOW + 2 * HOUR)
    # What nobody had for an hour can be put right afterwards, and no more than that.
    register.standby("chest-1", at_ns=NOW + 3 * HOUR, author="Dr. A", now_ns=NOW + 3 * HOUR)
    assign(register, "chest-1", two, NOW + 4 * HOUR)
    gap = {"start_ns": NOW + 3 * HOUR, "author": "Dr. A", "now_ns": NOW + 10 * HOUR}
    with pytest.raises(RegisterError, match="transfer it"):
        register.assign("chest-1", one, end_ns=NOW + 5 * HOUR, **gap)
    with pytest.raises(RegisterError, match="before it ends"):
        register.assign("chest-1", one, end_ns=NOW + 2 * HOUR, **gap)
    register.assign("chest-1", one, end_ns=NOW + 4 * HOUR, **gap)
    assert register.patient_of("chest-1", NOW + 3 * HOUR) == one
    # A patient may wear several.
    assign(register, "wrist-1", two)
    assert {each.device for each in register.assignments(patient=two)} == {"chest-1", "wrist-1"}


def test_of_many_that_assign_at_once_one_gets_the_device(url):
    with_all = PatientRegister(url)
    patients = [admitted(with_all) for _ in range(6)]

    def take(patient):
        register = PatientRegister(url)
        try:
            assign(register, "chest-1", patient)
        except RegisterError as error:
            return str(error)
        finally:
            register.close()
        return ""

    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(take, patients))
    assert said.count("") == 1
    assert len(with_all.assignments(device="chest-1")) == 1
    with_all.close()


def test_what_cannot_be_is_refused_with_the_fix_and_changes_nothing(register):
    one = admitted(register)
    assign(register, "chest-1", one)
    before = register.assignments(), register.changes()
    who = {"author": "Dr. A", "now_ns": NOW + HOUR}
    for attempt, said in (
        (lambda: register.assign("chest-2", "p-nobody", start_ns=NOW, **who), "no patient p-nobody"),
        (lambda: register.assign("Mrs Smith", one, start_ns=NOW, **who), "device"),
        (lambda: register.assign("chest-2", one, start_ns=NOW + 9 * HOUR, **who), "not come yet"),
        (lambda: register.standby("chest-2", at_ns=NOW, **who), "nobody's"),
        (lambda: register.standby("chest-1", at_ns=NOW, **who), "cannot end before"),
        (lambda: register.assign("chest-2", one, start_ns=NOW, author="", now_ns=NOW + HOUR), "author"),
        (lambda: register.discharge("p-nobody", at_ns=NOW, **who), "no patient"),
        (lambda: register.transfer("chest-1", "p-nobody", at_ns=NOW + HOUR, **who), "no patient"),
    ):
        with pytest.raises(RegisterError, match=said):
            attempt()
    assert (register.assignments(), register.changes()) == before
