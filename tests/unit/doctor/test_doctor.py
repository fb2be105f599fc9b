"""The doctor names what is wrong with this machine and what to do about it."""

import json
import socket
import subprocess
import sys
import threading

import msgspec
import pytest

from vitalwire_edge import checks
from vitalwire_edge.ota.state import ModelRef, OtaState
from vitalwire_edge.process.findings import Subject

REF = ModelRef(name="beat", version=7, manifest_sha256="a" * 64, sha256="b" * 64)
DOCTOR = (sys.executable, "-m", "vitalwire_edge", "doctor")


def doctor(*arguments: str) -> tuple[int, dict[str, dict[str, str]], str]:
    done = subprocess.run([*DOCTOR, "--json", *arguments], capture_output=True, text=True, check=False)
    found = {f["check"]: f for f in json.loads(done.stdout)} if done.stdout else {}
    return done.returncode, found, done.stderr


def test_a_machine_with_nothing_named_is_fit():
    code, found, _ = doctor()
    assert code == 0
    assert set(found) == {"broker", "clock", "disk", "model", "sources", "store", "tls"}
    assert found["disk"]["verdict"] == "ok"


def test_nobody_at_the_address():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code, found, _ = doctor("--broker", f"127.0.0.1:{port}")
    assert code == 1
    assert str(port) in found["broker"]["detail"]
    assert "vitalwire broker run" in found["broker"]["fix"]


def test_somebody_at_the_address_who_is_no_broker():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        held = []
        threading.Thread(target=lambda: held.append(mute.accept()), daemon=True).start()
        code, found, _ = doctor("--broker", f"127.0.0.1:{mute.getsockname()[1]}")
        for peer, _ in held:
            peer.close()
    assert code == 1
    assert "did not answer MQTT 5" in found["broker"]["detail"]


@pytest.mark.parametrize(
    ("arguments", "check", "named"),
    [
        (("--data-dir", "/nowhere"), "store", "no store in /nowhere"),
        (("--tls-ca", "/nowhere/ca.pem"), "tls", "/nowhere/ca.pem is not a certificate"),
        (("--broker", "127.0.0.1:1", "--tls-ca", __file__), "tls", "is not a certificate"),
    ],
)
def test_what_is_named_and_wrong_is_a_problem(arguments, check, named):
    code, found, _ = doctor(*arguments)
    assert code == 1
    assert found[check]["verdict"] == "problem"
    assert named in found[check]["detail"]


def test_a_malformed_address_is_wrong_use():
    code, _, error = doctor("--broker", "somewhere")
    assert code == 2
    assert "host:port" in error


@pytest.mark.parametrize(
    ("state", "verdict", "named"),
    [
        (None, "ok", "no gateway has kept models"),
        (OtaState(), "problem", "no model is confirmed"),
        (OtaState(confirmed=REF), "ok", "version 7 is at work, confirmed"),
        (OtaState(confirmed=REF, candidate=REF), "ok", "version 7 is at work on probation"),
    ],
)
def test_which_model_a_gateway_scores_with(tmp_path, state, verdict, named):
    if state is not None:
        folder = tmp_path / "spool.sqlite.models"
        folder.mkdir()
        (folder / "state.json").write_bytes(msgspec.json.encode(state))
    *shipped, kept = checks.model(Subject(spool=tmp_path / "spool.sqlite"))
    assert shipped
    assert all("opens and runs" in finding.detail for finding in shipped)
    assert kept.verdict == verdict
    assert named in kept.detail


def test_a_model_state_that_cannot_be_read_is_a_problem(tmp_path):
    folder = tmp_path / "spool.sqlite.models"
    folder.mkdir()
    (folder / "state.json").write_bytes(b"{")
    *_, kept = checks.model(Subject(spool=tmp_path / "spool.sqlite"))
    assert kept.verdict == "problem"
    assert "state.json" in kept.detail
