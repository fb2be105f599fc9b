"""Who wears which device, and when: patients as pseudonyms, and the intervals in which a device was theirs.

Data stay with the device that sent them; whose they are is looked up here, so that a wrong assignment can be put right
afterwards. An interval begins with its first nanosecond and ends before its last; those of one device never overlap.
Every change is kept with its author.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from vitalwire_cloud.metadata.entries import Bedside, EntryError, StaffEntry, What, checked
from vitalwire_cloud.metadata.migrations import NewerSchemaError, migrate
from vitalwire_cloud.metadata.steps import PATIENTS
from vitalwire_cloud.metadata.tables import ASSIGNMENT, CHANGE, PATIENT, STAFF_ENTRY
from vitalwire_edge.wire.messages import Paced
from vitalwire_edge.wire.topics import TopicError, identifier

_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_MAX_AUTHOR: Final = 64


class RegisterError(Exception):
    """It cannot be done; the message names what is in the way and the fix."""


class Patient(msgspec.Struct, frozen=True, kw_only=True):
    """A pseudonym. `paced`: whether the patient has a pacemaker."""

    patient: str
    paced: Paced
    admitted_ns: int
    discharged_ns: int | None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A device was a patient's from `start_ns` until before `end_ns`; None: it is still."""

    device: str
    patient: str
    start_ns: int
    end_ns: int | None

    def meets(self, start_ns: int, end_ns: int | None) -> bool:
        """Whether both have a moment in common."""
        return (self.end_ns is None or start_ns < self.end_ns) and (end_ns is None or end_ns > self.start_ns)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what, and when."""

    at_ns: int
    author: str
    action: str
    patient: str
    device: str | None


class PatientRegister:
    """Patients and assignments behind an SQLAlchemy URL of SQLite or PostgreSQL. Raises `RegisterError`."""

    def __init__(self, url: str) -> None:
        lite = sa.make_url(url).get_backend_name() == "sqlite"
        try:
            self._engine = sa.create_engine(url, connect_args={"timeout": 5.0} if lite else {})
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            raise RegisterError(f"patients.url cannot be used: {error}") from error
        if lite:
            sa.event.listen(self._engine, "connect", _durable)
        with self._translated():
            migrate(self._engine, PATIENTS)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def admit(self, *, author: str, now_ns: int, paced: Paced = "unknown") -> Patient:
        """A new patient, with a pseudonym that says nothing."""
        with self._changing() as db:
            name = "p-" + "".join(secrets.choice(_LETTERS) for _ in range(8))
            patient = Patient(patient=name, paced=paced, admitted_ns=now_ns, discharged_ns=None)
            db.execute(sa.insert(PATIENT).values(msgspec.to_builtins(patient)))
            _noted(db, now_ns, author, "admit", name)
        return patient

    def assign(
        self,
        device: str,
        patient: str,
        *,
        start_ns: int,
        author: str,
        now_ns: int,
        end_ns: int | None = None,
    ) -> None:
        """From `start_ns` on, which may lie in the past, `device` is the patient's; or was until `end_ns`."""
        with self._changing() as db:
            self._take(db, device, patient, start_ns, now_ns, end_ns)
            _noted(db, now_ns, author, "assign", patient, device)

    def transfer(self, device: str, patient: str, *, at_ns: int, author: str, now_ns: int) -> None:
        """What `device` was ends at `at_ns`, and it is this patient's from then on."""
        with self._changing() as db:
            before = self._release(db, device, at_ns)
            self._take(db, device, patient, at_ns, now_ns)
            _noted(db, now_ns, author, "standby", before, device)
            _noted(db, now_ns, author, "assign", patient, device)

    def standby(self, device: str, *, at_ns: int, author: str, now_ns: int) -> str:
        """From `at_ns` on `device` is nobody's; whose it was is returned."""
        with self._changing() as db:
            patient = self._release(db, device, at_ns)
            _noted(db, now_ns, author, "standby", patient, device)
        return patient

    def discharge(self, patient: str, *, at_ns: int, author: str, now_ns: int) -> list[str]:
        """The patient leaves: devices that were theirs are nobody's from `at_ns` on, and are returned."""
        with self._changing() as db:
            found = self._known(db, patient)
            if found.discharged_ns is not None:
                raise RegisterError(f"{patient} was discharged before")
            devices = [
                each.device for each in self._read(db, ASSIGNMENT.c.patient == patient) if each.end_ns is None
            ]
            for device in devices:
                self._release(db, device, at_ns)
            db.execute(sa.update(PATIENT).where(PATIENT.c.patient == patient).values(discharged_ns=at_ns))
            _noted(db, now_ns, author, "discharge", patient)
        return devices

    def set_paced(self, patient: str, paced: Paced, *, author: str, now_ns: int) -> None:
        """Whether the patient has a pacemaker; from now on gateways go by that."""
        with self._changing() as db:
            self._known(db, patient)
            db.execute(sa.update(PATIENT).where(PATIENT.c.patient == patient).values(paced=paced))
            _noted(db, now_ns, author, f"paced {paced}", patient)

    def say(
        self,
        device: str,
        said: Mapping[What, str | None],
        *,
        author: str,
        entered_ns: int,
        expires_ns: int,
        now_ns: int,
    ) -> Bedside:
        """Keep what `author` saw of the wearer of `device` at `entered_ns`; None withdraws what was said before."""
        with self._changing() as db:
            try:
                checked(said, entered_ns=entered_ns, expires_ns=expires_ns, now_ns=now_ns)
            except EntryError as error:
                raise RegisterError(str(error)) from error
            worn = next(iter(self._read(db, _worn(device))), None)
            if worn is None:
                raise RegisterError(
                    f"{device} is nobody's: assign it first, then say what you see of its wearer"
                )
            if entered_ns < worn.start_ns:
                raise RegisterError(
                    f"{device} is {worn.patient}'s from {worn.start_ns} ns: nothing before counts"
                )
            for last in self._bedsides(db, _worn(device))[0].entries:
                if last.what in said and entered_ns < last.entered_ns:
                    raise RegisterError(
                        f"{last.what} was seen later than that, by {last.author} at {last.entered_ns} ns: "
                        "say what is so now, or withdraw that"
                    )
            for what, value in said.items():
                entry = StaffEntry(
                    patient=worn.patient,
                    device=device,
                    what=what,
                    value=value,
                    author=author,
                    entered_ns=entered_ns,
                    expires_ns=expires_ns,
                    recorded_ns=now_ns,
                )
                db.execute(sa.insert(STAFF_ENTRY).values(msgspec.to_builtins(entry)))
            _noted(db, now_ns, author, "observe", worn.patient, device)
            return self._bedsides(db, _worn(device))[0]

    def bedsides(self, device: str | None = None) -> list[Bedside]:
        """What is known of whoever wears a device now, for one device or all."""
        with self._looking() as db:
            return self._bedsides(db, _worn(device))

    def entries(self, device: str, start_ns: int, end_ns: int) -> list[StaffEntry]:
        """What was seen of whoever wore `device` in [start_ns, end_ns), in the order in which it was said."""
        with self._looking() as db:
            return self._entries(db, _seen(device, start_ns, end_ns))

    def erase_entries(self, device: str, start_ns: int, end_ns: int) -> int:
        """Delete what `entries` tells; returns how many. That something was said, and is withdrawn, stays."""
        said = sa.and_(_seen(device, start_ns, end_ns), STAFF_ENTRY.c.value.is_not(None))
        with self._changing() as db:
            return db.execute(sa.update(STAFF_ENTRY).where(said).values(value=None)).rowcount

    def patient_of(self, device: str, at_ns: int) -> str | None:
        """Whose `device` was at a moment; None: nobody's."""
        with self._looking() as db:
            for each in self._read(db, ASSIGNMENT.c.device == device):
                if each.meets(at_ns, at_ns + 1):
                    return each.patient
        return None

    def patients(self) -> list[Patient]:
        """Everybody, the last admitted first."""
        with self._looking() as db:
            rows = db.execute(sa.select(PATIENT).order_by(PATIENT.c.admitted_ns.desc(), PATIENT.c.patient))
            return [Patient(**row._mapping) for row in rows]  # noqa: SLF001 - its public name

    def assignments(self, *, patient: str | None = None, device: str | None = None) -> list[Assignment]:
        """Intervals of a patient, of a device, or all, in order of time."""
        which: sa.ColumnElement[bool] = sa.true()
        if patient is not None:
            which = sa.and_(which, ASSIGNMENT.c.patient == patient)
        if device is not None:
            which = sa.and_(which, ASSIGNMENT.c.device == device)
        with self._looking() as db:
            if patient is not None:
                self._known(db, patient)
            return self._read(db, which)

    def changes(self) -> list[Change]:
        """Every change, in order."""
        columns = [column for column in CHANGE.c if column.name != "number"]
        with self._looking() as db:
            rows = db.execute(sa.select(*columns).order_by(CHANGE.c.number))
            return [Change(**row._mapping) for row in rows]  # noqa: SLF001 - its public name

    def _take(
        self,
        db: sa.Connection,
        device: str,
        patient: str,
        start_ns: int,
        now_ns: int,
        end_ns: int | None = None,
    ) -> None:
        try:
            identifier(device, "device")
        except TopicError as error:
            raise RegisterError(str(error)) from error
        left_ns = self._known(db, patient).discharged_ns
        if left_ns is not None and (end_ns is None or end_ns > left_ns):
            raise RegisterError(f"{patient} was discharged: admit the patient again")
        if end_ns is not None and not start_ns < end_ns <= now_ns:
            raise RegisterError("an interval that is over begins before it ends, and ended in the past")
        if start_ns > now_ns:
            raise RegisterError(f"{device} cannot be {patient}'s from a moment that has not come yet")
        for each in self._read(db, ASSIGNMENT.c.device == device):
            if each.meets(start_ns, end_ns):
                fix = "transfer it" if each.end_ns is None else f"begin at {each.end_ns} ns or later"
                raise RegisterError(f"{device} is {each.patient}'s from {each.start_ns} ns: {fix}")
        db.execute(
            sa.insert(ASSIGNMENT).values(device=device, patient=patient, start_ns=start_ns, end_ns=end_ns)
        )

    def _release(self, db: sa.Connection, device: str, at_ns: int) -> str:
        mine = sa.and_(ASSIGNMENT.c.device == device, ASSIGNMENT.c.end_ns.is_(None))
        held = next(iter(self._read(db, mine)), None)
        if held is None:
            raise RegisterError(f"{device} is nobody's: `vitalwire patient list` shows who wears what")
        if at_ns <= held.start_ns:
            raise RegisterError(f"{device} is {held.patient}'s from {held.start_ns} ns: it cannot end before")
        db.execute(sa.update(ASSIGNMENT).where(mine).values(end_ns=at_ns))
        return held.patient

    def _bedsides(self, db: sa.Connection, which: sa.ColumnElement[bool]) -> list[Bedside]:
        worn = sa.select(ASSIGNMENT.c.device, PATIENT.c.patient, PATIENT.c.paced)
        worn = worn.join(PATIENT, PATIENT.c.patient == ASSIGNMENT.c.patient).where(which)
        wearers = sa.select(ASSIGNMENT.c.patient).where(which)
        last = sa.select(sa.func.max(STAFF_ENTRY.c.number)).where(STAFF_ENTRY.c.patient.in_(wearers))
        last = last.group_by(STAFF_ENTRY.c.patient, STAFF_ENTRY.c.what)
        entries = self._entries(db, sa.and_(STAFF_ENTRY.c.number.in_(last), STAFF_ENTRY.c.value.is_not(None)))
        return [
            Bedside(
                device=row.device,
                patient=row.patient,
                paced=row.paced,
                entries=tuple(each for each in entries if each.patient == row.patient),
            )
            for row in db.execute(worn.order_by(ASSIGNMENT.c.device))
        ]

    def _entries(self, db: sa.Connection, which: sa.ColumnElement[bool]) -> list[StaffEntry]:
        columns = [column for column in STAFF_ENTRY.c if column.name != "number"]
        rows = db.execute(sa.select(*columns).where(which).order_by(STAFF_ENTRY.c.number))
        return [StaffEntry(**row._mapping) for row in rows]  # noqa: SLF001 - its public name

    def _known(self, db: sa.Connection, patient: str) -> Patient:
        row = db.execute(sa.select(PATIENT).where(PATIENT.c.patient == patient)).first()
        if row is None:
            raise RegisterError(f"no patient {patient}: `vitalwire patient list` shows them")
        return Patient(**row._mapping)  # noqa: SLF001 - its public name

    def _read(self, db: sa.Connection, which: sa.ColumnElement[bool]) -> list[Assignment]:
        columns = [column for column in ASSIGNMENT.c if column.name != "number"]
        rows = db.execute(sa.select(*columns).where(which).order_by(ASSIGNMENT.c.start_ns))
        return [Assignment(**row._mapping) for row in rows]  # noqa: SLF001 - its public name

    @contextmanager
    def _changing(self) -> Iterator[sa.Connection]:
        """One change at a time, so that what was checked still holds when it is written."""
        with self._translated(), self._engine.begin() as db:
            if db.dialect.name == "sqlite":
                db.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                db.execute(sa.text("LOCK TABLE assignment IN SHARE ROW EXCLUSIVE MODE"))
            yield db

    @contextmanager
    def _looking(self) -> Iterator[sa.Connection]:
        with self._translated(), self._engine.connect() as db:
            yield db

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except NewerSchemaError as error:
            raise RegisterError(str(error)) from error
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise RegisterError(f"patients {self._engine.url!r}: {reason}") from error


def open_register(data_dir: Path, url: str | None = None) -> PatientRegister:
    """The register at `url`, by default a file in the service's data folder. Raises `RegisterError`."""
    if url is None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegisterError(f"data folder {data_dir}: {error.strerror}") from error
        url = f"sqlite:///{(data_dir / 'patients.sqlite').absolute()}"
    return PatientRegister(url)


def _worn(device: str | None) -> sa.ColumnElement[bool]:
    """Assignments that go on: of a device, or of all."""
    now = ASSIGNMENT.c.end_ns.is_(None)
    return now if device is None else sa.and_(ASSIGNMENT.c.device == device, now)


def _seen(device: str, start_ns: int, end_ns: int) -> sa.ColumnElement[bool]:
    at = STAFF_ENTRY.c.entered_ns
    return sa.and_(STAFF_ENTRY.c.device == device, at >= start_ns, at < end_ns)


def _noted(
    db: sa.Connection, at_ns: int, author: str, action: str, patient: str, device: str | None = None
) -> None:
    if not 0 < len(author) <= _MAX_AUTHOR:
        raise RegisterError(f"an author of {len(author)} characters: give 1 to {_MAX_AUTHOR}")
    db.execute(
        sa.insert(CHANGE).values(at_ns=at_ns, author=author, action=action, patient=patient, device=device)
    )


def _durable(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
