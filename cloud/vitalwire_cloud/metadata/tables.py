"""The register's tables as the program uses them now; `steps` leads a database here."""

from typing import Final

import sqlalchemy as sa

_tables: Final = sa.MetaData()
_NUMBER: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")

PATIENT: Final = sa.Table(
    "patient",
    _tables,
    sa.Column("patient", sa.String(32), primary_key=True),
    sa.Column("paced", sa.String(8), nullable=False),
    sa.Column("admitted_ns", sa.BigInteger, nullable=False),
    sa.Column("discharged_ns", sa.BigInteger),
)
ASSIGNMENT: Final = sa.Table(
    "assignment",
    _tables,
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("device", sa.String(32), nullable=False),
    sa.Column("patient", sa.String(32), nullable=False),
    sa.Column("start_ns", sa.BigInteger, nullable=False),
    sa.Column("end_ns", sa.BigInteger),
)
CHANGE: Final = sa.Table(
    "patient_change",
    _tables,
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("author", sa.String(64), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("patient", sa.String(32), nullable=False),
    sa.Column("device", sa.String(32)),
)
STAFF_ENTRY: Final = sa.Table(
    "staff_entry",
    _tables,
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("patient", sa.String(32), nullable=False),
    sa.Column("device", sa.String(32), nullable=False),
    sa.Column("what", sa.String(16), nullable=False),
    sa.Column("value", sa.String(16)),
    sa.Column("author", sa.String(64), nullable=False),
    sa.Column("entered_ns", sa.BigInteger, nullable=False),
    sa.Column("expires_ns", sa.BigInteger, nullable=False),
    sa.Column("recorded_ns", sa.BigInteger, nullable=False),
)
