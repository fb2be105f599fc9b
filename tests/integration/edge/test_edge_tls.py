"""TLS with client certificates and passwords against mosquitto: the right ones get in, the wrong ones are told why."""

import datetime as dt
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateway_parts import GATEWAY, SITE, CloudDouble, answers, free_port, wait_for
from test_edge_link import Gateway, wave

from vitalwire_cloud.enrolment.authority import Authority
from vitalwire_edge.clock.gateway_clock import Stamp
from vitalwire_edge.config import MqttConfig, TlsConfig
from vitalwire_edge.enrolment.identity import Identity
from vitalwire_edge.enrolment.watch import CertificateWatch
from vitalwire_edge.link.connection import Connection, ConnectionFailedError


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def certificate(folder, name, *, ca=None, subject=None):
    """Key and certificate `name`, signed by `ca` or by itself."""
    key, cert, request = (folder / f"{name}.{ending}" for ending in ("key", "crt", "csr"))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    if ca is None:
        openssl(
            "req",
            "-x509",
            *curve,
            "-keyout",
            str(key),
            "-out",
            str(cert),
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
        )
        return cert, key
    openssl("req", *curve, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={subject or name}")
    names = folder / f"{name}.ext"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    signer, signer_key = ca
    openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(signer), "-CAkey", str(signer_key)),
        *("-CAcreateserial", "-out", str(cert), "-days", "2", "-extfile", str(names)),
    )
    return cert, key


@pytest.fixture
def secured(tmp_path):
    """A mosquitto that wants a client certificate of its CA and a password; yields (port, folder)."""
    ca = certificate(tmp_path, "ca")
    server = certificate(tmp_path, "server", ca=ca)
    certificate(tmp_path, "client", ca=ca, subject=GATEWAY)
    certificate(tmp_path, "stranger")
    passwords = tmp_path / "passwords"
    passwords.write_text(f"{GATEWAY}:secret\n")
    passwords.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
    port = free_port()
    (tmp_path / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nuser root\nallow_anonymous false\npassword_file {passwords}\n"
        f"cafile {ca[0]}\ncertfile {server[0]}\nkeyfile {server[1]}\nrequire_certificate true\n"
    )
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    process = subprocess.Popen([program, "-c", str(tmp_path / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port), what="mosquitto")
        yield port, tmp_path
    finally:
        process.terminate()
        process.wait(5)


@dataclass
class Enrolled:
    """A gateway that enrolled with an authority, whose clock may be wrong."""

    authority: Authority
    identity: Identity

    def renew(self, *, days: int) -> None:
        answer = self.authority.accept(self.identity.renew(), now=now(), days=days).answer
        self.identity.install(answer, now=now())

    @property
    def tls(self) -> TlsConfig:
        files = str(self.identity.authority), str(self.identity.client)
        return TlsConfig(enabled=True, ca_file=files[0], cert_file=files[1])


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@contextmanager
def two_listeners(folder: Path, *, made: dt.datetime) -> Iterator[tuple[Enrolled, int, int]]:
    """An authority of the time `made`, a gateway of it, and a mosquitto with a port in TLS and one for the cloud."""
    authority = Authority.create(folder / "authority", folder / "keys", now=made)
    authority.service("broker", ["127.0.0.1"], folder, now=made, days=3650)
    invitation = authority.invite(SITE, GATEWAY, broker=("127.0.0.1", 1), now=made, hours=1)
    identity = Identity(folder / "identity")
    request = identity.enroll(invitation, now=None, replace=False)
    identity.install(authority.accept(request, now=made, days=825).answer, now=None)
    secure, plain = free_port(), free_port()
    (folder / "mosquitto.conf").write_text(
        f"user root\nper_listener_settings true\nlistener {plain} 127.0.0.1\nallow_anonymous true\n"
        f"listener {secure} 127.0.0.1\nallow_anonymous false\nuse_identity_as_username true\n"
        f"require_certificate true\ncafile {identity.authority}\ncrlfile {authority.revocations}\n"
        f"certfile {folder}/broker.crt\nkeyfile {folder}/broker.key\n"
    )
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(secure) and answers(plain), what="mosquitto")
        yield Enrolled(authority, identity), secure, plain
    finally:
        process.terminate()
        process.wait(5)


def test_a_renewed_certificate_is_taken_while_data_flows_and_nothing_is_lost(tmp_path):
    with two_listeners(tmp_path, made=now()) as (enrolled, secure, plain):
        cloud = CloudDouble(plain)
        gateway = Gateway(tmp_path, secure, tls=enrolled.tls)
        wait_for(lambda: gateway.link.up, what="getting in")
        old = gateway.link.certificate.expires
        for number in range(60):
            gateway.spool.put(wave())
            if number == 20:
                enrolled.renew(days=90)
            threading.Event().wait(0.05)
        wait_for(lambda: gateway.link.counters["certificates_changed"] == 1, what="the change")
        wait_for(lambda: gateway.spool.idle, what="everything being confirmed")
        assert gateway.link.certificate.expires != old
        assert gateway.link.counters["connects"] == 2
        assert gateway.link.counters["connect_failures"] == 0
        assert sorted(cloud.messages["d1", "ecg"]) == list(range(60))
        assert not cloud.deaths
        # A file that is no certificate changes nothing.
        enrolled.identity.client.write_text("half a certi")
        assert not gateway.link.certificate.replaced()
        assert gateway.link.up
        gateway.close()
        cloud.close()


# paho leaves a socket whose handshake failed to the garbage collector, which closes it with this warning.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_a_gateway_without_a_clock_is_let_in_and_one_with_a_clock_judges_dates(tmp_path):
    """To a machine that thinks it is 1970 every certificate is of the future; here the certificates are instead."""
    with two_listeners(tmp_path, made=now() + dt.timedelta(days=30)) as (enrolled, secure, _):
        config = MqttConfig(port=secure, tls=enrolled.tls)
        said = {"will_topic": "v1/ward/gw1/death", "will": b"x"}
        with pytest.raises(ConnectionFailedError, match="not yet valid"):
            Connection(config, "one", **said)
        Connection(config, "two", **said, dates=False).abandon()
        watch = CertificateWatch(enrolled.identity.client)
        long_ago, beyond = Stamp(0, 0, synchronised=False), int(4e18)
        assert watch.problem(long_ago) is None
        assert set(watch.gauges(long_ago)) == {"certificate_expires_seconds"}
        assert "ended" in str(watch.problem(Stamp(0, beyond, synchronised=True)))
        assert watch.problem(Stamp(0, beyond, synchronised=False)) is None


def connect(folder: Path, port, *, ca="ca", client="client", word="secret"):
    (folder / "password").write_text(word + "\n")
    tls = TlsConfig(
        enabled=True,
        ca_file=str(folder / f"{ca}.crt"),
        cert_file=str(folder / f"{client}.crt"),
        key_file=str(folder / f"{client}.key"),
    )
    return Gateway(folder, port, username=GATEWAY, password_file=str(folder / "password"), tls=tls)


def test_the_right_certificate_and_password(secured):
    port, folder = secured
    gateway = connect(folder, port)
    wait_for(lambda: gateway.link.up, what="getting in")
    assert gateway.link.counters["connect_failures"] == 0
    gateway.close()


# paho leaves a socket whose handshake failed to the garbage collector, which closes it with this warning.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.parametrize("wrong", [{"ca": "stranger"}, {"client": "stranger"}, {"word": "guess"}])
def test_anything_wrong_keeps_out_and_keeps_trying(secured, wrong):
    port, folder = secured
    gateway = connect(folder, port, **wrong)
    wait_for(lambda: gateway.link.counters["connect_failures"] + gateway.link.counters["disconnects"] >= 2)
    assert not gateway.link.up
    assert gateway.link.alive()
    gateway.close()


def test_a_missing_certificate_file_costs_the_connection_not_the_link(secured):
    port, folder = secured
    gateway = connect(folder, port, client="nobody")
    wait_for(lambda: gateway.link.counters["connect_failures"] >= 2)
    assert gateway.link.alive()
    gateway.close()
