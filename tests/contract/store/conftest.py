"""Every backend, empty, for the one suite that they all pass."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import influx
import pytest
from postgres import Postgres
from stored import wave

from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.influx.store import InfluxStore
from vitalwire_cloud.store.interface import Store

BACKENDS = ["embedded", "influxdb"]
LEDGERS = [*BACKENDS, "influxdb+postgresql"]


@pytest.fixture(scope="session")
def influx_site(tmp_path_factory) -> Iterator[influx.Site]:
    """One InfluxDB for all tests of this process."""
    with influx.site(tmp_path_factory.mktemp("influxd")) as found:
        yield found


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One PostgreSQL for all tests of this process."""
    server = Postgres()
    yield server
    server.close()


@contextlib.contextmanager
def opener(backend: str, folder: Path, request) -> Iterator[Callable[..., Store]]:
    """Opens the same store again and again."""
    if backend == "embedded":
        yield lambda **options: EmbeddedStore(folder, **options)
        return
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(request.getfixturevalue("influx_site").bucket())
        url = f"sqlite:///{folder / 'ledger.sqlite'}"
        if backend == "influxdb+postgresql":
            url = stack.enter_context(request.getfixturevalue("postgres_server").database())
        yield lambda **options: InfluxStore(address, url, **options)


@pytest.fixture(params=LEDGERS)
def open_store(request, tmp_path) -> Iterator[Callable[..., Store]]:
    """Opens a store that is empty at first."""
    with opener(request.param, tmp_path, request) as opened:
        yield opened


@pytest.fixture
def store(open_store) -> Iterator[Store]:
    """An empty store."""
    opened = open_store()
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=BACKENDS)
def shared_store(request, tmp_path_factory) -> Iterator[Store]:
    """A store with ten seconds in it that a whole file reads."""
    with opener(request.param, tmp_path_factory.mktemp("shared"), request) as opened:
        store = opened()
        store.write([wave(n) for n in range(10)], [])
        yield store
        store.close()


@pytest.fixture(params=BACKENDS)
def new_store(request, tmp_path_factory) -> Iterator[Callable[[], contextlib.AbstractContextManager[Store]]]:
    """Makes empty stores, one after the other."""

    @contextlib.contextmanager
    def make() -> Iterator[Store]:
        with opener(request.param, tmp_path_factory.mktemp("new"), request) as opened:
            store = opened()
            yield store
            store.close()

    return make
