"""`vitalwire authority` and `vitalwire gateway` as people use them: files, exit codes, nothing secret shown."""

import datetime as dt
import json
import re

import pytest
from typer.testing import CliRunner

from vitalwire_cloud.enrolment.authority import Authority
from vitalwire_cloud.enrolment.commands import app as authority_app
from vitalwire_edge import checks
from vitalwire_edge.enrolment import commands
from vitalwire_edge.enrolment.commands import app as gateway_app
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.process.findings import Subject


class Desk:
    """Both ends of a stick with files on it."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.shown = ""

    def authority(self, *words: str, code: int = 0) -> str:
        keys = ["--keys-dir", "keys"] if words[0] in {"accept", "revoke"} else []
        where = [] if words[0] == "init" else ["--authority", "authority"]
        return self._run(authority_app, [*words, *where, *keys], code)

    def gateway(self, *words: str, code: int = 0) -> str:
        return self._run(gateway_app, [*words, "--folder", "identity"], code)

    def _run(self, app, words: list[str], code: int) -> str:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == code, result.output
        self.shown += result.output
        return result.output


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    made = Desk(tmp_path)
    made.authority("init", "authority")
    return made


INVITE = ("invite", "ward/gw-a", "--broker", "broker.example:8883", "--out", "invitation.json")


def test_from_the_first_invitation_to_the_last_revocation(desk):
    invited = desk.authority(*INVITE)
    assert json.loads(desk.authority("list", "--json"))[0]["state"] == "invited"
    fingerprint = re.search(r"gateway: ([0-9a-f ]+)\n", invited)[1]
    desk.gateway("enroll", "invitation.json", "--out", "request.json", "--fingerprint", fingerprint)
    assert "valid to" in desk.authority("accept", "request.json", "--out", "answer.json")
    assert "edge.toml" in desk.gateway("install", "answer.json", "--write-config", "edge.toml")
    assert 'gateway = "gw-a"' in (desk.folder / "edge.toml").read_text()
    shown = json.loads(desk.gateway("show", "--json"))
    assert (shown["site"], shown["gateway"], shown["broker"]) == ("ward", "gw-a", "broker.example:8883")
    assert 89 < shown["days_left"] <= 90
    desk.gateway("renew", "--out", "renewal.json")
    desk.authority("accept", "renewal.json", "--out", "renewed.json", "--days", "30")
    assert "by itself" in desk.gateway("install", "renewed.json")
    assert json.loads(desk.gateway("show", "--json"))["days_left"] <= 30
    assert "enrolled" in desk.authority("list")
    revoked = desk.authority("revoke", "ward/gw-a")
    assert "systemctl reload mosquitto (SIGHUP)" in revoked
    assert "authority/crl.pem" in revoked
    assert desk.authority("list") == "ward/gw-a: revoked\n"
    secrets = [
        json.loads((desk.folder / "invitation.json").read_text())["token"],
        (desk.folder / "identity/message.key").read_text().strip(),
    ]
    assert not [secret for secret in secrets if secret in desk.shown]


def test_an_answer_prints_what_to_set(desk):
    desk.authority(*INVITE)
    desk.gateway("enroll", "invitation.json", "--out", "request.json")
    desk.authority("accept", "request.json", "--out", "answer.json")
    printed = desk.gateway("install", "answer.json")
    assert "[mqtt.tls]\nenabled = true\n" in printed
    assert f'key_file = "{desk.folder}/identity/message.key"' in printed


def test_what_is_wrong_ends_with_one_and_says_why(desk):
    desk.authority(*INVITE)
    for said, words in (
        ("is not replaced", (desk.authority, "init", "authority")),
        ("invitation.json exists", (desk.authority, *INVITE)),
        ("not the one you gave", (desk.gateway, "enroll", "invitation.json", "--fingerprint", "00 11")),
        ("is not the request", (desk.authority, "accept", "invitation.json", "--out", "x")),
        ("No such file", (desk.authority, "accept", "nothing.json", "--out", "x")),
        ("is not the answer", (desk.gateway, "install", "invitation.json")),
        ("ward/nobody is not known", (desk.authority, "revoke", "ward/nobody")),
        ("enrol this gateway first", (desk.gateway, "show")),
        ("enrol this gateway first", (desk.gateway, "renew")),
        ("needs its host names", (desk.authority, "certificate", "broker", "--out", "certs")),
    ):
        run, *arguments = words
        assert said in run(*arguments, code=1)
    for words in (
        ("invite", "gw-a", *INVITE[2:]),
        ("invite", "ward/gw-a", "--broker", "somewhere", "--out", "y"),
    ):
        result = CliRunner().invoke(authority_app, [*words, "--authority", "authority"])
        assert isinstance(result.exception, ConfigError)


def test_certificates_of_broker_and_cloud_come_once(desk):
    desk.authority(
        "certificate", "broker", "--host", "broker.example", "--host", "10.0.0.7", "--out", "certs"
    )
    desk.authority("certificate", "cloud", "--out", "certs")
    assert sorted(path.name for path in (desk.folder / "certs").iterdir()) == [
        "broker.crt", "broker.key", "cloud.crt", "cloud.key",
    ]  # fmt: skip
    assert "is not replaced" in desk.authority("certificate", "cloud", "--out", "certs", code=1)


def test_the_doctor_counts_the_days_of_a_certificate(desk, monkeypatch):
    def judged(days: int, *, synchronised: bool = True) -> tuple[str, str]:
        monkeypatch.setattr(checks, "kernel_synchronised", lambda: synchronised)
        made = dt.datetime.now(dt.UTC) - dt.timedelta(days=100)
        folder = desk.folder / f"{days}{synchronised}"
        Authority(desk.folder / "authority", desk.folder).service(
            "cloud", [], folder, now=made, days=100 + days
        )
        (finding,) = checks.tls(Subject(tls_certificate=folder / "cloud.crt"))
        return finding.verdict, f"{finding.detail} {finding.fix}"

    assert judged(60)[0] == "ok"
    assert judged(7) == (
        "warning",
        f"{desk.folder}/7True/cloud.crt is valid for 6 days renew it: vitalwire gateway renew",
    )
    verdict, said = judged(-3)
    assert (verdict, "expired 3 days ago" in said) == ("problem", True)
    verdict, said = judged(-3, synchronised=False)
    assert (verdict, "not synchronised" in said) == ("warning", True)


def test_the_doctor_finds_the_certificate_in_the_gateways_configuration(desk):
    desk.authority(*INVITE)
    desk.gateway("enroll", "invitation.json", "--out", "request.json")
    desk.authority("accept", "request.json", "--out", "answer.json")
    desk.gateway("install", "answer.json", "--write-config", "edge.toml")
    found = [finding.detail for finding in checks.tls(Subject(edge_config=desk.folder / "edge.toml"))]
    assert any("identity/client.pem is valid for 89 days" in detail for detail in found)
    assert any("identity/ca.crt is valid for" in detail for detail in found)


def test_a_clock_that_is_wrong_refuses_nothing(desk, monkeypatch):
    desk.authority(*INVITE, "--hours", "0.01")
    monkeypatch.setattr(commands, "kernel_synchronised", lambda: False)
    assert commands._now() is None
    monkeypatch.setattr(commands, "kernel_synchronised", lambda: True)
    assert commands._now() is not None
