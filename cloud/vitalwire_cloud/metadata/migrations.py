"""How an SQL database of the service gets from the version it has to the one that this program wants.

Each family of tables (alarm desk, model registry, orders, ledger, patients) has numbered steps. A database remembers
how many were taken; the others are taken in one transaction that several starting processes take in turn. The first
step makes the tables where they are not there yet, so a database from before there were steps is adopted as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

_metadata: Final = sa.MetaData()
_VERSION: Final = sa.Table(
    "schema_version",
    _metadata,
    sa.Column("family", sa.String(32), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
_LOCK: Final = 0x7669_7461
"""Of PostgreSQL's advisory locks: whoever migrates holds it until the transaction ends."""

Step = Callable[[sa.Connection], None]


class NewerSchemaError(Exception):
    """A database was made by a newer vitalwire; nothing in it was changed."""


@dataclass(frozen=True, slots=True)
class Family:
    """Tables that belong together, and the steps that lead to them: the n-th leads to version n."""

    name: str
    steps: tuple[Step, ...]


def made(tables: sa.MetaData) -> Step:
    """The step that makes tables where they are not there yet."""

    def step(connection: sa.Connection) -> None:
        tables.create_all(connection)

    return step


def migrate(engine: sa.Engine, family: Family) -> int:
    """Take the steps that are missing; returns how many those were.

    Raises `NewerSchemaError`, `sqlalchemy.exc.SQLAlchemyError`; then nothing was changed.
    """
    try:
        return _migrated(engine, family)
    except (NewerSchemaError, SQLAlchemyError):
        engine.dispose()
        raise


def _migrated(engine: sa.Engine, family: Family) -> int:
    with engine.connect() as connection, connection.begin():
        _alone(connection)
        _metadata.create_all(connection)
        ours = _VERSION.c.family == family.name
        known = connection.scalar(sa.select(_VERSION.c.version).where(ours))
        wanted = len(family.steps)
        if known is not None and known > wanted:
            raise NewerSchemaError(
                f"{engine.url.render_as_string(hide_password=True)} holds version {known} of the {family.name} tables, "
                f"this vitalwire knows {wanted}: install the newer vitalwire again; nothing was changed"
            )
        for step in family.steps[known or 0 :]:
            step(connection)
        if known is None:
            connection.execute(sa.insert(_VERSION).values(family=family.name, version=wanted))
        elif known < wanted:
            connection.execute(sa.update(_VERSION).where(ours).values(version=wanted))
    return wanted - (known or 0)


def versions(engine: sa.Engine) -> dict[str, int]:
    """Version by family in a database; empty where no step was ever taken."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(_VERSION.name):
            return {}
        return {row.family: row.version for row in connection.execute(sa.select(_VERSION))}


def _alone(connection: sa.Connection) -> None:
    """Nobody else migrates, or writes, until this transaction ends."""
    if connection.dialect.name == "sqlite":
        raw = connection.connection.dbapi_connection
        if raw is not None and not raw.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
