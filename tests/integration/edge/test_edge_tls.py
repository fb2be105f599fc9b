"""TLS with client certificates and passwords against mosquitto: the right ones get in, the wrong ones are told why."""

import shutil
import subprocess
from pathlib import Path

import pytest
from gateway_parts import GATEWAY, answers, free_port, wait_for
from test_edge_link import Gateway

from vitalwire_edge.config import TlsConfig


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
