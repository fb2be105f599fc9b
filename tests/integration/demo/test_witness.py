"""The demo's witness hears gateways and offers one a file of its own, which it refuses for what it is."""

import secrets

import pytest
from gateway_parts import wait_for
from model_gateway import Workshop
from model_ward import SITE, LiveGateway

from vitalwire_cloud.broker import EmbeddedBroker
from vitalwire_sim.demo.witness import Witness, tampered


@pytest.fixture
def port() -> int:
    return EmbeddedBroker("127.0.0.1", 0).port


def test_one_changed_bit_is_refused_and_the_model_at_work_goes_on(tmp_path, port):
    workshop = Workshop()
    keys = {"gw-a": secrets.token_bytes(32)}
    heard = []
    witness = Witness(port, SITE, keys, lambda gateway, report: heard.append((gateway, report)))
    gateway = LiveGateway(tmp_path, port, "gw-a", keys["gw-a"], workshop.root.trust, workshop.make(1))
    try:
        wait_for(lambda: heard, 10)
        assert [(name, each.state, each.version) for name, each in heard] == [("gw-a", "running", 1)]
        signed = workshop.make(2, ballast=200_000)
        changed = tampered(signed)
        assert sum((a ^ b).bit_count() for a, b in zip(signed, changed, strict=True)) == 1
        witness.offer("gw-a", changed, version=3, identity="0" * 64)
        wait_for(lambda: heard[-1][1].state == "refused", 10)
        refused = heard[-1][1]
        assert (refused.reason, refused.version, refused.running_version) == ("wrong_signature", 3, 1)
        before = gateway.versions[1]
        wait_for(lambda: gateway.versions[1] > before + 50, 10)
        # The file as it was signed is still welcome.
        witness.offer("gw-a", signed, version=2, identity=workshop.manifest_hash(signed))
        wait_for(lambda: heard[-1][1].state == "running" and heard[-1][1].version == 2, 10)
        assert set(gateway.versions) == {1, 2}
        assert heard[-1][1].beats_missed_in_swap == 0
    finally:
        gateway.close()
        witness.close()
