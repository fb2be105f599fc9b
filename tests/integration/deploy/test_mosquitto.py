"""The shipped mosquitto configuration keeps strangers out and gateways apart."""

import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

SHIPPED = Path(__file__).parents[3] / "deploy" / "mosquitto"


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("certs")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = (folder / "ca.crt", folder / "ca.key")
    openssl(
        "req", "-x509", *curve, "-days", "2", "-subj", "/CN=test authority",
        "-keyout", str(authority[1]), "-out", str(authority[0]),
    )  # fmt: skip
    for name in ("broker", "cloud", "gw-a", "gw-b"):
        openssl(
            "req", *curve, "-subj", f"/CN={name}",
            "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.csr"),
        )  # fmt: skip
        extension = folder / f"{name}.ext"
        extension.write_text("subjectAltName=IP:127.0.0.1\n")
        openssl(
            "x509", "-req", "-in", str(folder / f"{name}.csr"), "-days", "2",
            "-CA", str(authority[0]), "-CAkey", str(authority[1]), "-CAcreateserial",
            "-extfile", str(extension), "-out", str(folder / f"{name}.crt"),
        )  # fmt: skip
    for path in folder.iterdir():
        path.chmod(0o644)
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def broker_port(certificates, tmp_path_factory):
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert program, "mosquitto is not installed: run scripts/servers.sh"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("mosquitto")
    acl = folder / "acl"
    shutil.copy(SHIPPED / "acl", acl)
    text = (SHIPPED / "mosquitto.conf").read_text()
    text = text.replace("listener 8883", f"listener {port} 127.0.0.1")
    text = text.replace("/etc/mosquitto/certs", str(certificates)).replace("/etc/mosquitto/acl", str(acl))
    (folder / "mosquitto.conf").write_text(text + "user root\n")
    process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline
                threading.Event().wait(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()


class Peer:
    """A connected client that keeps what it hears."""

    def __init__(self, port: int, certificates: Path, name: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.codes: list[str] = []
        self.news = threading.Condition()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.tls_set(
            ca_certs=str(certificates / "ca.crt"),
            certfile=str(certificates / f"{name}.crt"),
            keyfile=str(certificates / f"{name}.key"),
        )
        self.client.on_message = lambda _c, _u, m: self._tell(self.heard, (m.topic, m.payload))
        self.client.on_publish = lambda _c, _u, _m, code, _p: self._tell(self.codes, code.getName())
        self.client.on_subscribe = lambda _c, _u, _m, codes, _p: self._tell(self.codes, codes[0].getName())
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _tell(self, to: list, what: object) -> None:
        with self.news:
            to.append(what)
            self.news.notify_all()

    def answer(self) -> str:
        with self.news:
            assert self.news.wait_for(lambda: self.codes, 5), "the broker did not answer"
            return self.codes.pop(0)

    def publish(self, topic: str, payload: bytes = b"x") -> str:
        self.client.publish(topic, payload, qos=1)
        return self.answer()

    def subscribe(self, topic: str) -> str:
        self.client.subscribe(topic, qos=1)
        return self.answer()

    def hears(self, topic: str) -> bool:
        with self.news:
            return self.news.wait_for(lambda: any(t == topic for t, _ in self.heard), 2)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def peers(broker_port, certificates):
    made = {name: Peer(broker_port, certificates, name) for name in ("cloud", "gw-a", "gw-b")}
    yield made
    for peer in made.values():
        peer.close()


def test_a_gateway_speaks_under_its_own_name_only(peers):
    cloud, gateway = peers["cloud"], peers["gw-a"]
    assert cloud.subscribe("$share/ingest/v1/+/+/+/ecg") == "Granted QoS 1"
    assert "authorized" not in gateway.publish("v1/ward/gw-a/chest-1/ecg")
    assert cloud.hears("v1/ward/gw-a/chest-1/ecg")
    assert gateway.publish("v1/ward/gw-b/chest-1/ecg") == "Not authorized"
    assert not cloud.hears("v1/ward/gw-b/chest-1/ecg")


def test_a_gateway_hears_its_own_commands_only(peers):
    cloud, gateway, other = peers["cloud"], peers["gw-a"], peers["gw-b"]
    assert gateway.subscribe("v1/ward/gw-a/committed") == "Granted QoS 1"
    # mosquitto grants a subscription and filters what is delivered, so hearing is what counts.
    for topic in ("v1/ward/gw-a/committed", "v1/#"):
        other.subscribe(topic)
    assert "authorized" not in cloud.publish("v1/ward/gw-a/committed")
    assert gateway.hears("v1/ward/gw-a/committed")
    assert not other.hears("v1/ward/gw-a/committed")
    assert other.publish("v1/ward/gw-a/cmd") == "Not authorized"
    assert other.publish("v1/ward/gw-b/cmd") == "Not authorized"
    assert "authorized" not in other.publish("v1/ward/gw-b/status")


def test_models_go_to_one_gateway_and_reports_come_from_it(peers):
    cloud, gateway, other = peers["cloud"], peers["gw-a"], peers["gw-b"]
    assert gateway.subscribe("v1/ward/gw-a/model") == "Granted QoS 1"
    other.subscribe("v1/ward/gw-a/model")
    cloud.subscribe("v1/ward/+/model-state")
    assert "authorized" not in cloud.publish("v1/ward/gw-a/model")
    assert gateway.hears("v1/ward/gw-a/model")
    assert not other.hears("v1/ward/gw-a/model")
    assert "authorized" not in gateway.publish("v1/ward/gw-a/model-state")
    assert cloud.hears("v1/ward/gw-a/model-state")
    for topic in ("v1/ward/gw-a/model", "v1/ward/gw-b/model", "v1/ward/gw-b/model-state"):
        assert gateway.publish(topic) == "Not authorized"


def test_a_stranger_without_a_certificate_is_refused(broker_port, certificates):
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set(ca_certs=str(certificates / "ca.crt"))
    connected, ended = threading.Event(), threading.Event()
    client.on_connect = lambda _c, _u, _f, code, _p: code.is_failure or connected.set()
    client.on_disconnect = lambda *_: ended.set()
    try:
        client.connect("127.0.0.1", broker_port)
    except OSError:
        return
    client.loop_start()
    assert ended.wait(5)
    client.loop_stop()
    assert not connected.is_set()
