"""Releases from the command line: only a wheel of ours under a key for software, and numbers only grow."""

import json

import pytest
from release_wheel import NOW_NS, Publisher, program, wheel
from typer.testing import CliRunner

from vitalwire_cloud.registry.commands import app as model_app
from vitalwire_cloud.registry.ledger import RegistryError
from vitalwire_cloud.registry.release_commands import app
from vitalwire_cloud.registry.releases import open_releases, publish_release
from vitalwire_edge.inference.keys import Signer, Trust
from vitalwire_edge.software.release import open_release


@pytest.fixture
def keys(tmp_path):
    """A root and the keys it delegated, made by the commands that an operator uses."""
    run(model_app, "keys", "init", str(tmp_path / "offline"))
    for purpose in ("software", "models"):
        root, out = tmp_path / "offline" / "root.key", tmp_path / f"{purpose}.key"
        run(model_app, "keys", "delegate", "--root", str(root), "--out", str(out), "--purpose", purpose)
    return tmp_path


def run(command, *words: str):
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_wheel_is_published_listed_shown_and_halted(keys):
    path = keys / "vitalwire-0.2.0-py3-none-any.whl"
    path.write_bytes(program("", software="0.2.0"))
    data = ["--data-dir", str(keys / "data")]
    key = ["--key", str(keys / "software.key")]
    said = run(app, "publish", str(path), *key, *data, "--to", "ward/gw-a")
    assert "release 1 (vitalwire 0.2.0)" in said
    run(app, "publish", str(path), *key, *data)
    newest, first = json.loads(run(app, "list", *data, "--json"))
    assert (newest["version"], newest["stage"]) == (2, "first")
    assert (first["version"], first["stage"]) == (1, "replaced")
    assert "runs on 0 of 0 gateways" in run(app, "list", *data)
    assert "confirmed by 0" in run(app, "show", "2", *data)
    run(app, "halt", "2", *data, "--why", "too slow")
    ledger = open_releases(keys / "data")
    release = ledger.model(2)
    assert (release.stage, release.why) == ("halted", "too slow")
    assert ledger.model(1).first == (("ward", "gw-a"),)
    trust_file = keys / "offline" / "trust.json"
    ledger.close()
    opened = open_release(ledger.data(release), Trust.read(trust_file), now_ns=None)
    assert opened.wheel.software == "0.2.0"
    assert opened.manifest_sha256 == release.manifest_sha256


def test_what_is_no_release_is_not_published(keys):
    ledger = open_releases(keys / "data")
    models, software = Signer.read(keys / "models.key"), Signer.read(keys / "software.key")
    with pytest.raises(RegistryError, match="may sign models"):
        publish_release(ledger, program(""), models, now_ns=NOW_NS)
    with pytest.raises(RegistryError, match="not published"):
        publish_release(ledger, wheel({"a.py": b""}, name="other"), software, now_ns=NOW_NS)
    ended = Publisher().root.delegate(now_ns=0, expires_ns=NOW_NS, purpose="software")
    with pytest.raises(RegistryError, match="ended at"):
        publish_release(ledger, program(""), ended, now_ns=NOW_NS)
    assert ledger.models() == []
    ledger.close()
    wrong = CliRunner().invoke(
        app, ["publish", "x.whl", "--key", "k", "--data-dir", str(keys), "--to", "gw-a"]
    )
    assert wrong.exit_code == 2
