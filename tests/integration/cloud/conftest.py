"""Brokers, services and gateways that are ended whatever happens."""

from collections.abc import Callable, Iterator

import pytest
from cloud_parts import BrokerProcess, CloudProcess
from raw_gateway import RawGateway


@pytest.fixture(params=["embedded", "mosquitto"])
def broker(request, tmp_path) -> Iterator[BrokerProcess]:
    process = BrokerProcess(request.param, tmp_path)
    yield process
    process.close()


@pytest.fixture
def embedded_broker(tmp_path) -> Iterator[BrokerProcess]:
    process = BrokerProcess("embedded", tmp_path)
    yield process
    process.close()


@pytest.fixture
def clouds(tmp_path) -> Iterator[Callable[..., CloudProcess]]:
    """Makes services; whatever still runs at the end is ended."""
    made: list[CloudProcess] = []

    def make(broker: BrokerProcess, *settings: str, folder: str = "cloud") -> CloudProcess:
        cloud = CloudProcess(broker, tmp_path / folder, *settings)
        made.append(cloud)
        return cloud

    yield make
    for cloud in made:
        if hasattr(cloud, "process") and cloud.process.poll() is None:
            cloud.kill()


@pytest.fixture
def gateways() -> Iterator[Callable[..., RawGateway]]:
    """Makes raw gateways and closes them."""
    made: list[RawGateway] = []

    def make(*args, **kwargs) -> RawGateway:
        gateway = RawGateway(*args, **kwargs)
        made.append(gateway)
        return gateway

    yield make
    for gateway in made:
        gateway.close()
