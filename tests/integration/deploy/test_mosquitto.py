"""The shipped mosquitto configuration keeps strangers out and gateways apart."""

import datetime as dt
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from vitalwire_cloud.enrolment.authority import Authority
from vitalwire_edge import checks
from vitalwire_edge.enrolment.identity import Identity
from vitalwire_edge.process.findings import Subject
from vitalwire_edge.wire.topics import STREAMS, GatewayVerb

TO_GATEWAY = ("cmd", "committed", "model", "software")
SHIPPED = Path(__file__).parents[3] / "deploy" / "mosquitto"


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class Site:
    """An authority, a broker's certificate, and three gateways, all made by the commands' own code."""

    folder: Path
    authority: Authority

    def enrol(self, name: str) -> None:
        site, _, gateway = name.partition("/")
        invitation = self.authority.invite(site, gateway, broker=("127.0.0.1", 8883), now=now(), hours=1)
        identity = Identity(self.folder / name)
        request = identity.enroll(invitation, now=now(), replace=False)
        identity.install(self.authority.accept(request, now=now()).answer, now=now())

    def publish_revocations(self) -> None:
        shutil.copy(self.authority.revocations, self.folder / "broker" / "crl.pem")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    authority = Authority.create(folder / "authority", folder / "keys", now=now())
    authority.service("broker", ["127.0.0.1"], folder / "broker", now=now(), days=2)
    authority.service("cloud", [], folder / "cloud", now=now(), days=2)
    shutil.copy(folder / "authority" / "ca.crt", folder / "broker" / "ca.crt")
    made = Site(folder, authority)
    made.publish_revocations()
    for name in ("ward/gw-a", "ward/gw-b", "ward/gw-c"):
        made.enrol(name)
    return made


def shown(site: Site, name: str) -> ssl.SSLContext:
    """TLS as the gateway or the cloud called `name`."""
    context = ssl.create_default_context(cafile=site.folder / "broker" / "ca.crt")
    if name == "cloud":
        context.load_cert_chain(site.folder / "cloud/cloud.crt", site.folder / "cloud/cloud.key")
    else:
        context.load_cert_chain(site.folder / name / "client.pem")
    return context


@pytest.fixture(scope="module")
def broker(site, tmp_path_factory):
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
    text = text.replace("/etc/mosquitto/certs", str(site.folder / "broker")).replace(
        "/etc/mosquitto/acl", str(acl)
    )
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
        yield process, port
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()


@pytest.fixture(scope="module")
def broker_port(broker):
    return broker[1]


class Peer:
    """A connected client that keeps what it hears."""

    def __init__(self, port: int, site: Site, name: str, username: str | None = None) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.codes: list[str] = []
        self.news = threading.Condition()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.ended = threading.Event()
        self.client.tls_set_context(shown(site, name))
        self.client.on_disconnect = lambda *_: self.ended.set()
        if username is not None:
            self.client.username_pw_set(username, "x")
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
def peers(broker_port, site):
    names = {"cloud": "cloud", "gw-a": "ward/gw-a", "gw-b": "ward/gw-b"}
    made = {short: Peer(broker_port, site, name) for short, name in names.items()}
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


def test_everything_that_a_gateway_says_and_hears_is_let_through_and_nothing_under_another_site(peers):
    cloud, gateway = peers["cloud"], peers["gw-a"]
    said = [verb for verb in get_args(GatewayVerb) if verb not in TO_GATEWAY]
    for topic in (
        *(f"v1/ward/gw-a/{verb}" for verb in said),
        *(f"v1/ward/gw-a/chest-1/{verb}" for verb in ("birth", "death", *STREAMS)),
    ):
        assert "authorized" not in gateway.publish(topic), topic
    for verb in TO_GATEWAY:
        assert gateway.subscribe(f"v1/ward/gw-a/{verb}") == "Granted QoS 1"
        assert "authorized" not in cloud.publish(f"v1/ward/gw-a/{verb}")
        assert gateway.hears(f"v1/ward/gw-a/{verb}")
        assert gateway.publish(f"v1/ward/gw-a/{verb}") == "Not authorized"
    for topic in (
        "v1/other/gw-a/birth",
        "v1/other/gw-a/chest-1/ecg",
        "v1/ward/gw-b/software-state",
        "v2/x",
        "$SYS/x",
    ):
        assert gateway.publish(topic) == "Not authorized", topic


def refused(port: int, context: ssl.SSLContext, username: str | None = None) -> bool:
    """Whether a client with `context` is kept out before it is let in by MQTT."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set_context(context)
    if username is not None:
        client.username_pw_set(username, "x")
    connected, ended = threading.Event(), threading.Event()
    client.on_connect = lambda _c, _u, _f, code, _p: code.is_failure or connected.set()
    client.on_disconnect = lambda *_: ended.set()
    try:
        client.connect("127.0.0.1", port)
    except OSError:
        return True
    client.loop_start()
    assert ended.wait(5) or connected.is_set()
    client.disconnect()
    client.loop_stop()
    return not connected.is_set()


def test_the_doctor_shows_the_broker_the_gateways_certificate(broker_port, site):
    named = {"broker": ("127.0.0.1", broker_port), "tls_ca": site.folder / "broker" / "ca.crt"}
    (found,) = checks.broker(Subject(**named, tls_certificate=site.folder / "ward/gw-a/client.pem"))
    assert (found.verdict, "speaks MQTT 5" in found.detail) == ("ok", True)
    (found,) = checks.broker(Subject(**named))
    assert found.verdict == "problem"


def test_a_stranger_without_a_certificate_is_refused(broker_port, site):
    context = ssl.create_default_context(cafile=site.folder / "broker" / "ca.crt")
    assert refused(broker_port, context)
    assert refused(broker_port, context, username="cloud")


def test_another_authoritys_certificate_of_the_same_name_is_refused(broker_port, site, tmp_path):
    stranger = Site(tmp_path, Authority.create(tmp_path / "authority", tmp_path / "keys", now=now()))
    stranger.enrol("ward/gw-a")
    context = ssl.create_default_context(cafile=site.folder / "broker" / "ca.crt")
    context.load_cert_chain(tmp_path / "ward/gw-a/client.pem")
    assert refused(broker_port, context)


def test_a_certificate_decides_the_name_whatever_username_is_said(broker_port, site, peers):
    cloud = peers["cloud"]
    cloud.subscribe("v1/#")
    gateway = Peer(broker_port, site, "ward/gw-c", username="cloud")
    try:
        assert gateway.publish("v1/ward/gw-a/cmd") == "Not authorized"
        assert "authorized" not in gateway.publish("v1/ward/gw-c/birth")
        assert cloud.hears("v1/ward/gw-c/birth")
    finally:
        gateway.close()


def test_a_gateways_certificate_makes_no_broker(site):
    """A gateway that could pass for the broker would hear what the others say."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(site.folder / "ward/gw-b/client.pem")
    client = shown(site, "ward/gw-a")
    client.check_hostname = False
    ours, theirs, to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    caller, answerer = client.wrap_bio(to_us, ours), server.wrap_bio(to_them, theirs, server_side=True)
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):  # noqa: PT012 - a handshake has turns
        for _ in range(4):
            for side in (caller, answerer):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
                to_them.write(ours.read())
                to_us.write(theirs.read())


def test_a_revoked_gateway_is_kept_out_after_a_reload_while_its_session_lasts_until_it_ends(
    broker, site, peers
):
    """What mosquitto 2.0 does, and why the cloud drops what a revoked gateway still says."""
    process, port = broker
    gateway, other = Peer(port, site, "ward/gw-c"), peers["gw-b"]
    try:
        site.authority.revoke("ward", "gw-c", now=now())
        site.publish_revocations()
        process.send_signal(signal.SIGHUP)
        context = shown(site, "ward/gw-c")
        deadline = time.monotonic() + 10
        while not refused(port, context):
            assert time.monotonic() < deadline, "still let in"
        assert "authorized" not in gateway.publish("v1/ward/gw-c/birth")
        gateway.client.loop_stop()
        gateway.client.socket().close()
        assert refused(port, context)
        assert "authorized" not in other.publish("v1/ward/gw-b/birth")
        assert not refused(port, shown(site, "ward/gw-a"))
    finally:
        gateway.client.loop_stop()
