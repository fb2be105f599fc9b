"""`vitalwire model` as an operator uses it."""

import json
import stat
from pathlib import Path

import msgspec
import pytest
import tiny_model as tiny
from test_gate import evaluation, evidence
from typer.testing import CliRunner

from vitalwire_cloud.registry import publishing
from vitalwire_cloud.registry.commands import app
from vitalwire_edge.inference.artifact import CARD, sha256

pytestmark = pytest.mark.usefixtures("keys")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def call(*arguments: str, code: int = 0):
        result = runner.invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result.output

    return call


@pytest.fixture
def keys(run):
    run("keys", "init", "offline")
    run("keys", "delegate", "--root", "offline/root.key", "--out", "signing.key", "--days", "30")


def leave_candidate(tmp_path, **changed) -> None:
    specification = publishing.Specification(name="beat", hardware=tiny.NEEDS)
    candidate = publishing.Candidate(specification=specification, parts=tiny.parts())
    publishing.write_candidate(tmp_path / "candidate", candidate)
    (tmp_path / "candidate" / "evidence.json").write_bytes(msgspec.json.encode(evidence(**changed)))


def test_keys_are_private_and_not_replaced(run, tmp_path):
    for name in ("offline/root.key", "signing.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert "exists and is not replaced" in run("keys", "init", "offline", code=1)
    assert "private" not in (tmp_path / "offline/trust.json").read_text()


def test_publish_list_show_and_roll_back(run, tmp_path):
    leave_candidate(tmp_path)
    publish = ("publish", "candidate", "--key", "signing.key", "--data-dir", "data")
    assert "beat 1" in run(*publish)
    assert "passed not worse" in run(*publish)
    listed = json.loads(run("list", "--data-dir", "data", "--json"))
    assert [(each["version"], each["stage"]) for each in listed] == [(2, "first"), (1, "replaced")]
    assert "passed quantised" in run("show", "2", "--data-dir", "data")
    back = ("rollback", "1", "--key", "signing.key", "--data-dir", "data", "--why", "alerts")
    assert "beat 3" in run(*back)
    listed = run("list", "--data-dir", "data")
    assert listed.splitlines()[0].startswith("beat 3")
    assert "again: all" in listed
    shown = json.loads(run("show", "3", "--data-dir", "data", "--json"))
    assert (
        shown["manifest"]["names_model"]
        == json.loads(run("show", "1", "--data-dir", "data", "--json"))["manifest_sha256"]
    )


def test_the_page_that_a_card_links_to_is_kept_with_the_model(run, tmp_path):
    leave_candidate(tmp_path)
    page = b"<!doctype html><title>how it was judged</title>"
    link = publishing.CardReport(file=publishing.REPORT, sha256=sha256(page))
    (tmp_path / "candidate" / CARD).write_bytes(msgspec.json.encode({"model": "tiny", "report": link}))
    publish = ("publish", "candidate", "--key", "signing.key", "--data-dir", "data")
    assert "report.html: No such file" in run(*publish, code=1)
    (tmp_path / "candidate" / "report.html").write_bytes(page + b" or another")
    assert "is not the report that the card names" in run(*publish, code=1)
    (tmp_path / "candidate" / "report.html").write_bytes(page)
    run(*publish)
    kept = json.loads(run("show", "1", "--data-dir", "data", "--json"))["report"]
    assert Path(kept).read_bytes() == page
    assert f"how it was judged: {kept}" in run("show", "1", "--data-dir", "data")


def test_a_candidate_that_does_not_pass_is_not_signed(run, tmp_path):
    leave_candidate(tmp_path, candidate_float=evaluation("float", auc=0.96))
    output = run("publish", "candidate", "--key", "signing.key", "--data-dir", "data", code=1)
    assert "FAILED quantised" in output
    assert "not signed: quantised" in output
    assert run("list", "--data-dir", "data") == ""


def test_the_gates_answer_is_said_as_json_whatever_it_is(run, tmp_path):
    publish = ("publish", "candidate", "--key", "signing.key", "--data-dir", "data", "--json")

    def said(code: int = 0):
        return json.loads(run(*publish, code=code).splitlines()[0])

    leave_candidate(tmp_path)
    first, second = said(), said()
    assert (first["published"], first["version"], first["parent_hash"]) == (True, 1, None)
    assert (second["version"], second["parent_hash"]) == (2, first["manifest_sha256"])
    assert all(check["passed"] for check in second["gate"]["checks"])
    leave_candidate(tmp_path, candidate_float=evaluation("float", auc=0.96))
    refused = said(code=1)
    assert (refused["published"], refused["version"]) == (False, None)
    assert [check["name"] for check in refused["gate"]["checks"] if not check["passed"]] == ["quantised"]
    assert refused["why"].startswith("not signed: quantised")
    (tmp_path / "candidate" / "evidence.json").unlink()
    assert "run `vitalwire evaluate candidate` first" in said(code=1)["why"]


def test_what_its_own_self_test_does_not_bear_out_is_not_signed(run, tmp_path):
    leave_candidate(tmp_path)
    (tmp_path / "candidate" / "selftest.npz").write_bytes(tiny.parts(off=1.0)["selftest.npz"])
    output = run("publish", "candidate", "--key", "signing.key", "--data-dir", "data", code=1)
    assert "self_test_off: an output is off by" in output
    assert run("list", "--data-dir", "data") == ""


def test_a_signed_file_is_put_on_offer(run, tmp_path):
    leave_candidate(tmp_path)
    run("publish", "candidate", "--key", "signing.key", "--data-dir", "there")
    signed = ("publish", "there/models/beat-1.vwm", "--signed", "--trust", "offline/trust.json")
    assert "beat 1" in run(*signed, "--data-dir", "here")


def test_wrong_use_and_missing_files_are_named(run, tmp_path):
    assert "give --key" in run("publish", "candidate", "--data-dir", "data", code=2)
    assert "candidate.json" in run("publish", "none", "--key", "signing.key", "--data-dir", "data", code=1)
    assert "no model of version 9" in run("show", "9", "--data-dir", "data", code=1)
    leave_candidate(tmp_path)
    assert "is not a signing key" in run(
        "publish", "candidate", "--key", "offline/root.key", "--data-dir", "data", code=1
    )
