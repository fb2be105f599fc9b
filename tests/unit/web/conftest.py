"""A ward with two beds and a minute of data, and a client that asks it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient
from ward import SECOND_NS, Ward


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path / "store")
    start_ns = (time.time_ns() // SECOND_NS - 12) * SECOND_NS
    for device, gateway in (("chest-1", "gw-a"), ("chest-2", "gw-b")):
        bed = ward.bed(device, gateway)
        for second in range(10):
            if device == "chest-1" and second in {4, 5}:
                bed.skip(1)
            else:
                bed.second(start_ns + second * SECOND_NS)
    ward.start_ns = start_ns
    yield ward
    ward.close()


@pytest.fixture
def client(ward: Ward) -> Iterator[TestClient]:
    with TestClient(ward.app(), base_url="http://127.0.0.1") as client:
        yield client
