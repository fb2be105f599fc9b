"""The service against the mosquitto configuration that is shipped: TLS, certificates, access rules."""

import datetime as dt
import shutil
import subprocess
from pathlib import Path

import pytest
from cloud_parts import BrokerProcess, answers, wait_for
from raw_gateway import SAMPLES, SITE, ecg

from vitalwire_cloud.enrolment.authority import Authority
from vitalwire_edge.enrolment.identity import Identity

SHIPPED = Path(__file__).parents[3] / "deploy" / "mosquitto"


class ShippedBroker(BrokerProcess):
    """mosquitto as in `deploy/mosquitto`, with certificates of its own."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.certificates = enrolled(folder)
        super().__init__("mosquitto", folder)

    def start(self) -> None:
        config = Path(self._command[-1])
        acl = config.parent / "acl"
        shutil.copy(SHIPPED / "acl", acl)
        text = (SHIPPED / "mosquitto.conf").read_text()
        text = text.replace("listener 8883", f"listener {self.port} 127.0.0.1")
        text = text.replace("/etc/mosquitto/certs", str(self.certificates)).replace(
            "/etc/mosquitto/acl", str(acl)
        )
        config.write_text(f"{text}\nuser root\n")
        self.process = subprocess.Popen(self._command, stderr=self._log, stdout=self._log)
        wait_for(lambda: answers(self.port), "the broker's answer")


def enrolled(folder: Path) -> tuple[Authority, Path]:
    """An authority, and a folder with certificates of broker and cloud and of two gateways that enrolled with it."""
    now, certs = dt.datetime.now(dt.UTC), folder / "certs"
    authority = Authority.create(folder / "authority", folder / "keys", now=now)
    authority.service("broker", ["127.0.0.1"], certs, now=now, days=2)
    authority.service("cloud", [], certs, now=now, days=2)
    for file in ("ca.crt", "crl.pem"):
        shutil.copy(folder / "authority" / file, certs)
    for name in ("gw-1", "gw-2"):
        invitation = authority.invite(SITE, name, broker=("127.0.0.1", 8883), now=now, hours=1)
        identity = Identity(folder / name)
        request = identity.enroll(invitation, now=now, replace=False)
        identity.install(authority.accept(request, now=now).answer, now=now)
        for part in ("crt", "key"):
            shutil.copy(identity.client, certs / f"{name}.{part}")
    return authority, certs


@pytest.fixture
def shipped_broker(tmp_path):
    process = ShippedBroker(tmp_path)
    yield process
    process.close()


def test_data_flows_over_tls_under_the_shipped_access_rules(shipped_broker, clouds, gateways):
    folder = shipped_broker.certificates
    cloud = clouds(
        shipped_broker,
        f"mqtt.ca_file={folder}/ca.crt",
        f"mqtt.cert_file={folder}/cloud.crt",
        f"mqtt.key_file={folder}/cloud.key",
    )
    gateway = gateways(shipped_broker.port, cloud.new_key(), certificates=folder)
    cloud.start()
    gateway.birth()
    gateway.send_blocks(ecg(20))
    gateway.send_alarm("a-1", "raised")
    assert gateway.all_confirmed(20)
    assert cloud.stream("ecg")["samples"] == 20 * SAMPLES
    # Revoked: its session at the broker lasts, and the cloud takes nothing more of it.
    authority = Authority(shipped_broker.authority.folder, cloud.keys)
    authority.revoke(SITE, "gw-1", now=dt.datetime.now(dt.UTC))
    assert not (cloud.keys / "gw-1.key").exists()

    def dropped() -> bool:
        gateway.birth()
        return 'vitalwire_ingest_dropped_total{reason="revoked gateway"}' in cloud.get("/metrics")[1]

    wait_for(dropped, "a message of the revoked gateway being dropped")
    gateway.send_blocks(ecg(30)[20:])
    assert cloud.stop() == 0
    assert cloud.stream("ecg")["samples"] == 20 * SAMPLES


def test_access_rules_that_silence_the_cloud_are_told_not_hidden(shipped_broker, clouds, gateways):
    """mosquitto grants forbidden subscriptions and acknowledges forbidden messages; only a reason code tells."""
    folder = shipped_broker.certificates

    def settings(name: str) -> list[str]:
        files = {"ca_file": "ca.crt", "cert_file": f"{name}.crt", "key_file": f"{name}.key"}
        return [f"mqtt.{key}={folder}/{file}" for key, file in files.items()]

    cloud = clouds(shipped_broker)
    gateway = gateways(shipped_broker.port, cloud.new_key(), certificates=folder)
    cloud.start(*settings("cloud"))
    gateway.birth()
    wait_for(lambda: "w-1" in cloud.get("/api/v1/devices")[1], "the device in the list")
    assert cloud.stop() == 0
    cloud.start(*settings("gw-2"), ready=False)
    wait_for(lambda: "publishing refused" in cloud.get("/readyz")[1], "the broker's refusal in the probe")
    assert cloud.get("/readyz")[0] == 503
    assert cloud.stop() == 0


def test_a_missing_certificate_file_is_wrong_configuration(shipped_broker, clouds):
    cloud = clouds(shipped_broker, "mqtt.ca_file=/does/not/exist.crt")
    cloud.start(ready=False)
    assert cloud.process.wait(20) == 2
    assert "mqtt.ca_file" in cloud.log.read_text()
