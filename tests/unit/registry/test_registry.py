"""Publishing, rolling out and going back: versions only grow, and only what may be offered is offered."""

import msgspec
import pytest
import tiny_model as tiny
from model_gateway import HOST, NOW_NS, Workshop

from vitalwire_cloud.registry import publishing
from vitalwire_cloud.registry.config import RolloutConfig
from vitalwire_cloud.registry.gate import Check, Decision
from vitalwire_cloud.registry.ledger import RegistryError, Reported, open_ledger
from vitalwire_cloud.registry.rollout import (
    choose_first,
    next_stage,
    progress,
    stranded,
    wants,
)
from vitalwire_edge.inference.artifact import Host, open_artifact
from vitalwire_edge.wire.models import ModelReport

PASSED = Decision((Check("all", passed=True, text="good"),))
FAILED = Decision((Check("not worse", passed=False, text="lower bound -0.1"),))
A, B, C = ("ward", "gw-a"), ("ward", "gw-b"), ("ward", "gw-c")


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def ledger(tmp_path):
    ledger = open_ledger(tmp_path)
    yield ledger
    ledger.close()


def candidate(b: float = 2.0, **more) -> publishing.Candidate:
    specification = publishing.Specification(name="beat", hardware=tiny.NEEDS)
    return publishing.Candidate(specification=specification, parts=tiny.parts(2.0, b, **more))


def publish(ledger, workshop, **more):
    return publishing.publish(
        ledger, candidate(**more), PASSED, workshop.signer, now_ns=NOW_NS, load=tiny.load
    )


def report(model, state="running", reason=None, *, running=None, **more) -> ModelReport:
    fields = {
        "at_ns": 1,
        "state": state,
        "name": model.name,
        "version": model.version,
        "manifest_sha256": model.manifest_sha256,
        "sha256": model.sha256,
        "running_version": (running or model).version,
        "running_sha256": (running or model).manifest_sha256,
        "reason": reason,
    }
    return ModelReport(**(fields | more))


def made(*said: tuple) -> object:
    """Progress after reports of (gateway, report) in order."""
    return progress(
        Reported(site=key[0], gateway=key[1], received_ns=at, report=each)
        for at, (key, each) in enumerate(said)
    )


def test_what_passed_is_signed_and_gateways_open_it(ledger, workshop):
    shipped = publishing.register(ledger, workshop.make(1), workshop.root.trust, now_ns=NOW_NS, stage="idle")
    model = publish(ledger, workshop)
    assert (model.version, model.stage, model.manifest.parent_hash) == (2, "first", shipped.manifest_sha256)
    artifact = open_artifact(
        ledger.data(model), workshop.root.trust, now_ns=NOW_NS, host=HOST, running_version=1
    )
    assert artifact.manifest_sha256 == model.manifest_sha256
    assert ledger.target() == model
    assert ledger.model(2) == model


def test_what_did_not_pass_is_not_signed_and_says_why(ledger, workshop):
    with pytest.raises(publishing.NotSignedError, match=r"not worse: lower bound -0\.1"):
        publishing.publish(ledger, candidate(), FAILED, workshop.signer, now_ns=NOW_NS)
    with pytest.raises(publishing.NotSignedError, match="not evaluated"):
        publishing.publish(ledger, candidate(), Decision(()), workshop.signer, now_ns=NOW_NS)
    assert ledger.models() == []
    assert not list(ledger.folder.iterdir())


def test_what_fails_its_own_self_test_is_not_signed(ledger, workshop):
    with pytest.raises(RegistryError, match="self_test_off"):
        publish(ledger, workshop, off=0.5)
    assert ledger.models() == []


def test_a_signing_key_that_ended_signs_nothing(ledger, workshop):
    late = workshop.root.delegate(now_ns=0, expires_ns=NOW_NS)
    with pytest.raises(RegistryError, match=r"ended at .*keys delegate"):
        publishing.publish(ledger, candidate(), PASSED, late, now_ns=NOW_NS)


def test_versions_only_grow_also_after_what_gateways_run(ledger, workshop):
    assert publish(ledger, workshop).version == 1
    assert publish(ledger, workshop).version == 2
    foreign = report(ledger.model(2), running=msgspec.structs.replace(ledger.model(2), version=40))
    ledger.record(*A, foreign, NOW_NS)
    assert publish(ledger, workshop).version == 41
    with pytest.raises(RegistryError, match="version 3 after 41"):
        publishing.register(ledger, workshop.make(3), workshop.root.trust, now_ns=NOW_NS, stage="first")
    assert [model.stage for model in ledger.models()] == ["first", "replaced", "replaced"]


def test_a_signed_file_is_taken_in_once_and_only_from_a_trusted_key(ledger, workshop):
    data = workshop.make(5)
    model = publishing.register(ledger, data, workshop.root.trust, now_ns=NOW_NS, stage="first")
    assert publishing.register(ledger, data, workshop.root.trust, now_ns=NOW_NS, stage="idle") == model
    with pytest.raises(RegistryError, match="unknown_key"):
        publishing.register(ledger, Workshop().make(6), workshop.root.trust, now_ns=NOW_NS, stage="first")
    with pytest.raises(RegistryError, match="truncated"):
        publishing.register(ledger, data[:-1], workshop.root.trust, now_ns=NOW_NS, stage="first")


def test_a_rollback_is_a_higher_manifest_that_names_the_older_model(ledger, workshop):
    one = publish(ledger, workshop, b=1.0)
    two = publish(ledger, workshop, b=2.0)
    back = publishing.rollback(ledger, 1, workshop.signer, now_ns=NOW_NS, why="worse")
    assert (back.version, back.stage, back.why) == (3, "all", "worse")
    assert back.manifest.names_model == one.manifest_sha256
    assert back.manifest.parent_hash == two.manifest_sha256
    assert ledger.model(2).stage == "halted"
    old, new = (
        open_artifact(ledger.data(model), workshop.root.trust, now_ns=None, host=HOST)
        for model in (one, back)
    )
    assert dict(new.parts) == dict(old.parts)
    with pytest.raises(RegistryError, match="is the newest"):
        publishing.rollback(ledger, 3, workshop.signer, now_ns=NOW_NS, why="")
    with pytest.raises(RegistryError, match="no model of version 9"):
        publishing.rollback(ledger, 9, workshop.signer, now_ns=NOW_NS, why="")
    again = publishing.rollback(ledger, 1, workshop.signer, now_ns=NOW_NS, why="still")
    assert again.manifest.names_model == one.manifest_sha256


def test_a_file_that_was_changed_on_disk_is_not_served(ledger, workshop):
    model = publish(ledger, workshop)
    path = ledger.folder / model.file_name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(RegistryError, match="not what was published"):
        ledger.data(model)
    path.unlink()
    with pytest.raises(RegistryError, match="No such file"):
        ledger.data(model)


def test_a_candidate_folder_comes_back(tmp_path):
    publishing.write_candidate(tmp_path / "c", candidate())
    assert publishing.read_candidate(tmp_path / "c") == candidate()
    (tmp_path / "c" / "selftest.npz").unlink()
    with pytest.raises(RegistryError, match=r"selftest\.npz: No such file"):
        publishing.read_candidate(tmp_path / "c")


def test_reports_are_kept_once_and_the_gateway_is_known(ledger, workshop):
    model = publish(ledger, workshop)
    assert ledger.record(*A, report(model, "candidate"), 1)
    assert not ledger.record(*A, report(model, "candidate"), 2)
    assert ledger.record(*A, report(model), 3)
    assert [(each.report.state, each.received_ns) for each in ledger.reports(model.sha256)] == [
        ("candidate", 2),
        ("running", 3),
    ]
    (gateway,) = ledger.gateways()
    assert (gateway.key, gateway.running_version) == (A, 1)


# The rollout.

ONE = RolloutConfig(first=1)


def test_first_gateways_are_chosen_by_name_and_stay_chosen(ledger, workshop):
    model = publish(ledger, workshop)
    assert choose_first(model, [], made(), ONE) == ()
    assert choose_first(model, [C, A, B], made(), ONE) == (A,)
    chosen = msgspec.structs.replace(model, first=(B,))
    assert choose_first(chosen, [A, B], made(), ONE) == (B,)
    named = RolloutConfig(first_names=("ward/gw-c", "ward/gw-b"))
    assert choose_first(model, [A], made(), named) == (C, B)
    full = made((B, report(model, "refused", "no_room")))
    assert choose_first(chosen, [A, B], full, ONE) == (A,)


def test_all_follow_when_every_first_gateway_confirmed(ledger, workshop):
    model = msgspec.structs.replace(publish(ledger, workshop), first=(A, B))
    assert next_stage(model, made((A, report(model))), ONE) is None
    assert next_stage(model, made((A, report(model)), (B, report(model, "candidate"))), ONE) is None
    assert next_stage(model, made((A, report(model)), (B, report(model))), ONE)[0] == "all"
    assert next_stage(msgspec.structs.replace(model, first=()), made(), ONE) is None


@pytest.mark.parametrize("reason", ["worse", "self_test_off", "too_slow", "wrong_signature", "crashed"])
def test_one_refusal_by_a_first_gateway_stops_it(ledger, workshop, reason):
    model = msgspec.structs.replace(publish(ledger, workshop), first=(A,))
    stage, why = next_stage(model, made((A, report(model, "refused", reason))), ONE)
    assert stage == "halted"
    assert f"ward/gw-a: {reason}" in why


def test_with_all_one_refusal_is_borne_and_more_stop_it(ledger, workshop):
    model = msgspec.structs.replace(publish(ledger, workshop), stage="all")
    bad = report(model, "refused", "worse")
    assert next_stage(model, made((A, report(model)), (B, bad)), ONE) is None
    assert next_stage(model, made((A, bad), (B, bad), (C, report(model))), ONE)[0] == "halted"
    fleet = [(("ward", f"gw-{number}"), report(model)) for number in range(100)]
    assert next_stage(model, made(*fleet, (A, bad), (B, bad), (C, bad)), ONE) is None
    own = report(model, "refused", "wrong_hardware")
    assert next_stage(model, made((A, own), (B, own), (C, own)), ONE) is None


def test_a_model_is_offered_to_those_who_want_it(ledger, workshop):
    model = msgspec.structs.replace(publish(ledger, workshop), first=(A,))
    everybody = msgspec.structs.replace(model, stage="all")
    assert wants(model, A, made())
    assert not wants(model, B, made())
    assert wants(everybody, B, made())
    for state in ("candidate", "running"):
        assert not wants(everybody, B, made((B, report(model, state))))
    assert not wants(everybody, B, made((B, report(model, "refused", "worse"))))
    assert wants(everybody, B, made((B, report(model, "refused", "no_room"))))
    assert not wants(msgspec.structs.replace(model, stage="halted"), A, made())


def test_who_is_left_on_a_stopped_model(ledger, workshop):
    model = publish(ledger, workshop)
    ledger.record(*A, report(model), 1)
    assert stranded(model, ledger.gateways()) == ()
    assert stranded(msgspec.structs.replace(model, stage="halted"), ledger.gateways()) == (A,)


def test_registered_artifacts_are_opened_as_their_own_hardware_would(ledger, workshop):
    arm = msgspec.structs.replace(tiny.NEEDS, arch=("aarch64",))
    model = publishing.register(
        ledger, workshop.make(1, hardware=arm), workshop.root.trust, now_ns=NOW_NS, stage="first"
    )
    assert Host.here().arch == "aarch64" or model.manifest.hardware.arch == ("aarch64",)
