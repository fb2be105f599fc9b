"""Databases of both kinds that the register and the books are kept in."""

from contextlib import closing

import pytest
from postgres import Postgres

from vitalwire_cloud.metadata.register import PatientRegister


@pytest.fixture(scope="module")
def postgresql():
    """A server of this module's own."""
    found = Postgres()
    yield found
    found.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'one.sqlite'}"
        return
    with request.getfixturevalue("postgresql").database() as found:
        yield found


@pytest.fixture
def register(url):
    """An empty register of patients."""
    with closing(PatientRegister(url)) as found:
        yield found
