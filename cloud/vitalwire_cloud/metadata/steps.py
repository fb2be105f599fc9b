"""The steps of the patients' and the orders' tables as they were released: what stands here never changes.

Each makes its tables from definitions of its own, so that a column that comes later reaches a database by a step of its
own and never by the first one.
"""

from typing import Final

import sqlalchemy as sa

from vitalwire_cloud.metadata.migrations import Family, made

_NUMBER: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _patients_first() -> sa.MetaData:
    tables = sa.MetaData()
    sa.Table(
        "patient",
        tables,
        sa.Column("patient", sa.String(32), primary_key=True),
        sa.Column("paced", sa.String(8), nullable=False),
        sa.Column("admitted_ns", sa.BigInteger, nullable=False),
        sa.Column("discharged_ns", sa.BigInteger),
    )
    sa.Table(
        "assignment",
        tables,
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("device", sa.String(32), nullable=False, index=True),
        sa.Column("patient", sa.String(32), sa.ForeignKey("patient.patient"), nullable=False, index=True),
        sa.Column("start_ns", sa.BigInteger, nullable=False),
        sa.Column("end_ns", sa.BigInteger),
        sa.CheckConstraint("end_ns IS NULL OR end_ns > start_ns"),
    )
    sa.Table(
        "patient_change",
        tables,
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("patient", sa.String(32), nullable=False),
        sa.Column("device", sa.String(32)),
    )
    return tables


def _patients_second() -> sa.MetaData:
    """What staff say of patients, over the first tables, which are there."""
    tables = _patients_first()
    sa.Table(
        "staff_entry",
        tables,
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("patient", sa.String(32), sa.ForeignKey("patient.patient"), nullable=False, index=True),
        sa.Column("device", sa.String(32), nullable=False),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("value", sa.String(16)),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("entered_ns", sa.BigInteger, nullable=False),
        sa.Column("expires_ns", sa.BigInteger, nullable=False),
        sa.Column("recorded_ns", sa.BigInteger, nullable=False),
    )
    return tables


def _orders_first() -> sa.MetaData:
    tables = sa.MetaData()
    sa.Table(
        "new_patient",
        tables,
        sa.Column("site", sa.String(32), primary_key=True),
        sa.Column("gateway", sa.String(32), primary_key=True),
        sa.Column("device", sa.String(32), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("done_ns", sa.BigInteger),
    )
    return tables


def _orders_second() -> sa.MetaData:
    """What gateways are to know of what staff said."""
    tables = sa.MetaData()
    sa.Table(
        "staff_word",
        tables,
        sa.Column("site", sa.String(32), primary_key=True),
        sa.Column("gateway", sa.String(32), primary_key=True),
        sa.Column("device", sa.String(32), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("said", sa.Text, nullable=False),
        sa.Column("done_ns", sa.BigInteger),
    )
    return tables


PATIENTS: Final = Family("patients", (made(_patients_first()), made(_patients_second())))
ORDERS: Final = Family("orders", (made(_orders_first()), made(_orders_second())))
