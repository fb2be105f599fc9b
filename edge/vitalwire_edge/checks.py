"""What the gateway's part of `vitalwire doctor` looks at: clock, disk, broker and TLS."""

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import paho.mqtt.client as mqtt
from cryptography.x509 import load_pem_x509_certificates
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from vitalwire_edge.clock.gateway_clock import kernel_synchronised
from vitalwire_edge.config import EdgeConfig
from vitalwire_edge.inference import selftest, shipped
from vitalwire_edge.inference.artifact import open_artifact
from vitalwire_edge.inference.refusal import ArtifactRefusedError
from vitalwire_edge.inference.runtime import ModelFileError, RuntimeMissingError, load
from vitalwire_edge.ota.state import OtaState
from vitalwire_edge.process import config as layers
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.findings import Finding, Subject, Verdict

_EARLIEST: Final = datetime(2024, 1, 1, tzinfo=UTC)
_LOW_DISK_BYTES: Final = 512 * 1024**2
_ANSWER_S: Final = 5.0
_EXPIRY_WARNING: Final = timedelta(days=30)


def clock(_: Subject) -> Iterator[Finding]:
    """Is the wall clock plausible and synchronised?"""
    now = datetime.now(UTC)
    if now < _EARLIEST:
        yield Finding(
            "clock", "problem", f"the clock says {now:%Y-%m-%d}", "set it, or let a time service set it"
        )
    elif kernel_synchronised():
        yield Finding("clock", "ok", f"synchronised, {now:%Y-%m-%d %H:%M:%S} UTC")
    else:
        yield Finding(
            "clock",
            "warning",
            f"{now:%Y-%m-%d %H:%M:%S} UTC, but the kernel says it is not synchronised",
            "run a time service (chrony, systemd-timesyncd), or set clock.trust_system = true where the host "
            "keeps time for this machine",
        )


def disk(subject: Subject) -> Iterator[Finding]:
    """Is there room and a right to write where data goes?"""
    for path in {p for p in (subject.spool, subject.data_dir) if p is not None} or {Path.cwd()}:
        folder = next(p for p in (path.absolute(), *path.absolute().parents) if p.is_dir())
        free = shutil.disk_usage(folder).free
        verdict: Verdict = "ok" if free > _LOW_DISK_BYTES else "problem"
        yield Finding(
            "disk", verdict, f"{free / 1e9:.1f} GB free in {folder}", None if verdict == "ok" else "make room"
        )


def broker(subject: Subject) -> Iterator[Finding]:
    """Does the broker accept an MQTT 5 connection?"""
    if subject.broker is None:
        yield Finding("broker", "ok", "not looked at: name one with --broker host:port")
        return
    host, port = subject.broker
    answer: list[ReasonCode] = []
    answered = threading.Event()

    def on_connect(
        _client: mqtt.Client, _data: object, _flags: object, code: ReasonCode, _properties: Properties | None
    ) -> None:
        answer.append(code)
        answered.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect = on_connect
    try:
        if subject.tls_ca is not None:
            client.tls_set(ca_certs=str(subject.tls_ca), certfile=_shown(subject.tls_certificate))
        client.connect(host, port)
    except OSError as error:
        yield Finding(
            "broker",
            "problem",
            f"{host}:{port}: {error}",
            "start it (vitalwire broker run) or mend the address",
        )
        return
    client.loop_start()
    in_time = answered.wait(_ANSWER_S)
    client.disconnect()
    client.loop_stop()
    if not in_time:
        yield Finding(
            "broker",
            "problem",
            f"{host}:{port} took the connection but did not answer MQTT 5",
            "is it a broker?",
        )
    elif answer[0].is_failure:
        yield Finding(
            "broker", "problem", f"{host}:{port} refused: {answer[0]}", "check user and certificate"
        )
    else:
        yield Finding("broker", "ok", f"{host}:{port} speaks MQTT 5")


def tls(subject: Subject) -> Iterator[Finding]:
    """Does data leave the host unencrypted, and when do the certificates expire?"""
    if subject.broker is not None and subject.tls_ca is None and not _is_loopback(subject.broker[0]):
        yield Finding(
            "tls", "problem", f"no TLS towards {subject.broker[0]}", "name the authority: --tls-ca ca.pem"
        )
    named = {
        subject.tls_ca: "renew it: vitalwire authority",
        subject.tls_certificate: "renew it: vitalwire gateway renew",
    }
    if subject.edge_config is not None:
        # A configuration that cannot be read is what the check of the sources says.
        with suppress(ConfigError):
            own = layers.load(
                EdgeConfig, path=subject.edge_config, env_prefix="VITALWIRE_EDGE", flags={}
            ).mqtt.tls
            if own.enabled and own.ca_file is not None:
                named.setdefault(Path(own.ca_file), "renew it: vitalwire authority")
            if own.enabled and own.cert_file is not None:
                named.setdefault(Path(own.cert_file), "renew it: vitalwire gateway renew")
    files = {path: fix for path, fix in named.items() if path is not None}
    for path, fix in files.items():
        yield _expiry(path, fix)
    if not files:
        yield Finding("tls", "ok", "no certificates named; without TLS only this machine may be spoken to")


def model(subject: Subject) -> Iterator[Finding]:
    """Does the model that comes along open, and does it run here as it ran where it was made?"""
    for path in sorted(shipped.folder().glob("*.vwm")):
        try:
            artifact = open_artifact(path.read_bytes(), shipped.trust(), now_ns=None)
            tested = selftest.run(artifact, load)
        except (ArtifactRefusedError, RuntimeMissingError, ModelFileError) as error:
            yield Finding("model", "problem", f"{path.name}: {error}", "install vitalwire[edge] again")
        else:
            yield Finding(
                "model", "ok", f"{path.name} opens and runs, {tested.p99_us:.0f} us at the 99th percentile"
            )
    if subject.spool is not None:
        yield _kept(Path(f"{subject.spool}.models"))


def _kept(folder: Path) -> Finding:
    """What a gateway with this folder scores with."""
    try:
        state = msgspec.json.decode((folder / "state.json").read_bytes(), type=OtaState)
    except FileNotFoundError:
        return Finding("model", "ok", f"no gateway has kept models in {folder} yet")
    except (OSError, msgspec.MsgspecError) as error:
        return Finding(
            "model",
            "problem",
            f"{folder / 'state.json'}: {error}",
            "restart the gateway: it goes back to the shipped",
        )
    refused = f", {len(state.refused)} refused" if state.refused else ""
    if state.candidate is not None:
        return Finding("model", "ok", f"version {state.candidate.version} is at work on probation{refused}")
    if state.confirmed is None:
        return Finding(
            "model",
            "problem",
            f"no model is confirmed in {folder}{refused}",
            "see the gateway's log: model_refused",
        )
    return Finding("model", "ok", f"version {state.confirmed.version} is at work, confirmed{refused}")


def _expiry(path: Path, fix: str) -> Finding:
    try:
        found = load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        return Finding("tls", "problem", f"{path} is not a certificate: {error}", "name a PEM file")
    left = min(certificate.not_valid_after_utc for certificate in found) - datetime.now(UTC)
    if left > _EXPIRY_WARNING:
        return Finding("tls", "ok", f"{path} is valid for {left.days} days")
    if not kernel_synchronised():
        # It may be the clock that is wrong.
        said = f"{path}: {left.days} days left by a clock that is not synchronised"
        return Finding("tls", "warning", said, "set the clock and look again")
    if left < timedelta(0):
        return Finding("tls", "problem", f"{path} expired {(-left).days} days ago", fix)
    return Finding("tls", "warning", f"{path} is valid for {left.days} days", fix)


def _shown(certificate: Path | None) -> str | None:
    """The file to show the broker: one that holds the key too, as `vitalwire gateway install` makes it."""
    if certificate is None or b"PRIVATE KEY" not in certificate.read_bytes():
        return None
    return str(certificate)


def _is_loopback(host: str) -> bool:
    try:
        return all(
            str(info[4][0]).startswith("127.") or info[4][0] == "::1"
            for info in socket.getaddrinfo(host, None)
        )
    except OSError:
        return False
