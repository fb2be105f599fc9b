"""The right model is at work after every update, refusal, restart and return."""

import msgspec
import pytest
import tiny_model as tiny
from model_gateway import HOST, NOW_NS, QUICK, Gateway, Workshop, blind_offer

from vitalwire_edge.inference import container
from vitalwire_edge.inference.artifact import Host, pack
from vitalwire_edge.inference.refusal import Refusal

DAY_NS = 86_400 * 10**9


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def gateway(tmp_path, workshop) -> Gateway:
    return Gateway(tmp_path, workshop, shipped=(workshop.make(1),))


def test_the_shipped_model_is_at_work_and_confirmed(gateway):
    report = gateway.keeper.report()
    assert (report.state, report.version, report.running_version) == ("running", 1, 1)
    assert report.p99_us > 0
    assert gateway.beats(3) == {1}


def test_without_any_model_beats_are_missed_and_nothing_else(tmp_path, workshop):
    gateway = Gateway(tmp_path, workshop)
    assert gateway.keeper.report() is None
    assert gateway.beats(2) == {None}
    assert gateway.install(workshop.make(1)).state == "candidate"
    assert gateway.beats(2) == {1}


def test_an_update_goes_on_probation_then_is_confirmed_and_survives_restarts(gateway, workshop):
    gateway.beats(100)
    report = gateway.install(workshop.make(2))
    assert (report.state, report.version, report.running_version) == ("candidate", 2, 2)
    assert report.swapped_at_ns == NOW_NS
    assert report.beats_missed_in_swap == 0
    assert gateway.keeper.state.before.beats == 100
    assert gateway.keeper.watch() == ()
    assert gateway.restart().state == "candidate"
    assert gateway.beats(QUICK.beats) == {2}
    (report,) = gateway.keeper.watch()
    assert (report.state, report.version, report.beats_missed_in_swap) == ("running", 2, 0)
    assert gateway.restart().state == "running"
    assert gateway.beats(2) == {2}
    assert gateway.keeper.state.previous.version == 1


def replaced(workshop: Workshop, **parts: bytes) -> bytes:
    """Version 2 with parts changed after it was signed."""
    whole = container.read(workshop.make(2))
    names = {name.replace(".", "_"): name for name in whole}
    return container.write(whole | {names[key]: value for key, value in parts.items()})


def reworded(workshop: Workshop) -> bytes:
    manifest = container.read(workshop.make(2))["manifest.json"]
    return replaced(workshop, manifest_json=manifest.replace(b'"created_ns":1', b'"created_ns":2'))


def needing(workshop: Workshop, **needs) -> bytes:
    return workshop.make(2, hardware=msgspec.structs.replace(tiny.NEEDS, **needs))


def signed_late(workshop: Workshop) -> bytes:
    signer = workshop.root.delegate(now_ns=0, expires_ns=NOW_NS - 1)
    return pack(tiny.parts(), tiny.manifest(2), signer)


BAD = {
    "truncated": (lambda w: w.make(2)[:-100], Refusal.TRUNCATED),
    "damaged": (lambda w: b"x" + w.make(2), Refusal.MALFORMED),
    "wrong signature": (reworded, Refusal.WRONG_SIGNATURE),
    "unknown key": (lambda _: Workshop().make(2), Refusal.UNKNOWN_KEY),
    "tampered": (lambda w: replaced(w, beat_int8_tflite=tiny.tflite(9, 9)), Refusal.HASH_MISMATCH),
    "wrong hardware": (lambda w: needing(w, arch=("riscv64",)), Refusal.WRONG_HARDWARE),
    "wrong runtime": (
        lambda w: needing(w, variants={"tflite-runtime": "beat.int8.tflite"}),
        Refusal.WRONG_HARDWARE,
    ),
    "expired": (lambda w: w.make(2, expires_ns=NOW_NS), Refusal.EXPIRED),
    "expired key": (signed_late, Refusal.EXPIRED),
    "self-test off": (lambda w: w.make(2, off=0.01), Refusal.SELF_TEST_OFF),
    "not a model": (
        lambda w: pack(tiny.parts() | {"beat.int8.tflite": b"TFL3"}, tiny.manifest(2), w.signer),
        Refusal.SELF_TEST_OFF,
    ),
    "older": (lambda w: w.make(1, a=2.5), Refusal.OLDER_VERSION),
    "too slow": (lambda w: needing(w, max_p99_us=1), Refusal.TOO_SLOW),
    "too large": (lambda w: w.make(2, ballast=300_000), Refusal.TOO_LARGE),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_artifact_is_refused_with_its_reason_and_the_running_model_goes_on(tmp_path, workshop, kind):
    def slow_load(model: bytes, runtime: str):
        run = tiny.load(model, runtime)
        return lambda inputs: [run(inputs) for _ in range(20)][-1]

    gateway = Gateway(tmp_path, workshop, shipped=(workshop.make(1),), config={"max_bytes": 200_000})
    if kind == "too slow":
        gateway.keeper._load = slow_load
    make, reason = BAD[kind]
    data = make(workshop)
    report = gateway.keeper.install(data, workshop.claim(data))
    assert (report.state, report.reason) == ("refused", reason.value)
    assert (report.running_version, report.running_sha256) == (1, gateway.slot.loaded.manifest_sha256)
    assert report.detail
    assert gateway.beats(5) == {1}
    assert gateway.keeper.report().state == "running"
    assert gateway.restart().version == 1
    assert gateway.slot.conduct.missed == 0
    again = gateway.install(workshop.make(3))
    assert (again.state, again.version) == ("candidate", 3)


def test_what_was_refused_for_itself_is_not_fetched_again_even_after_a_restart(gateway, workshop):
    bad = workshop.make(2, off=1.0)
    offer = workshop.offer(bad)
    assert gateway.keeper.answer(offer) is None
    gateway.keeper.install(bad, offer)
    gateway.restart()
    answer = gateway.keeper.answer(offer)
    assert (answer.state, answer.reason) == ("refused", "self_test_off")
    assert answer.worst_error > 1
    assert gateway.keeper.refusals() == (answer,)


def test_a_lie_about_a_good_artifact_does_not_shut_it_out(gateway, workshop):
    good = workshop.make(2)
    tampered = BAD["tampered"][0](workshop)
    claim = workshop.offer(good, sha256=blind_offer(tampered).sha256)
    assert gateway.keeper.install(tampered, claim).reason == "hash_mismatch"
    assert gateway.keeper.answer(workshop.offer(good)) is None
    assert gateway.install(good).state == "candidate"


def test_an_artifact_other_than_offered_is_refused(gateway, workshop):
    report = gateway.install(workshop.make(2), version=5)
    assert report.reason == "hash_mismatch"
    assert report.detail.startswith("it is beat 2 (")


def test_expiry_waits_for_a_clock(gateway, workshop):
    gateway.synchronised = False
    assert gateway.install(workshop.make(2, expires_ns=NOW_NS - DAY_NS)).state == "candidate"
    gateway.synchronised = True
    gateway.confirm()
    assert gateway.restart().version == 2, "a model at work does not stop by expiring"


def test_what_expired_by_a_wrong_clock_may_be_offered_again(gateway, workshop):
    data = workshop.make(2, expires_ns=NOW_NS + DAY_NS)
    gateway.now_ns = NOW_NS + 2 * DAY_NS
    assert gateway.install(data).reason == "expired"
    gateway.now_ns = NOW_NS
    assert gateway.keeper.answer(workshop.offer(data)) is None
    assert gateway.install(data).state == "candidate"


def test_a_worse_model_gives_way_to_the_last_confirmed_one_by_itself(gateway, workshop):
    gateway.beats(100)
    gateway.install(workshop.make(2))
    gateway.confirm()
    gateway.install(workshop.make(3))
    for _ in range(QUICK.early_beats):
        with pytest.raises(ZeroDivisionError), gateway.slot.lease():
            raise ZeroDivisionError
    went, now = gateway.keeper.watch()
    assert (went.state, went.version, went.reason) == ("refused", 3, "worse")
    assert "failed: 20 of 20 beats" in went.detail
    assert went.swapped_at_ns == NOW_NS
    assert (now.state, now.version, went.running_version) == ("running", 2, 2)
    assert gateway.beats(3) == {2}
    assert gateway.restart().version == 2
    assert gateway.keeper.answer(workshop.offer(workshop.make(3))).reason == "worse"


def test_versions_only_grow_and_a_rollback_is_a_higher_one_that_names_the_older(gateway, workshop):
    first = workshop.make(1)
    gateway.install(workshop.make(2))
    gateway.confirm()
    assert gateway.keeper.answer(workshop.offer(first)).reason == "older_version"
    assert gateway.install(first).reason == "older_version"
    named = gateway.workshop.manifest_hash(first)
    back = pack(tiny.parts(2.0, 1.0), tiny.manifest(3, names_model=named), workshop.signer)
    assert gateway.install(back).state == "candidate"
    assert gateway.beats(3) == {1}
    gateway.confirm()
    assert gateway.keeper.state.highest_version == 3


def test_a_version_that_was_on_probation_is_never_taken_again(gateway, workshop):
    gateway.install(workshop.make(5))
    for _ in range(QUICK.early_beats):
        with pytest.raises(ZeroDivisionError), gateway.slot.lease():
            raise ZeroDivisionError
    gateway.keeper.watch()
    assert gateway.install(workshop.make(5, a=3.0)).reason == "older_version"
    assert gateway.install(workshop.make(6)).state == "candidate"


def test_a_higher_model_may_replace_one_on_probation_and_the_confirmed_one_stays_the_fallback(
    gateway, workshop
):
    gateway.beats(50)
    gateway.install(workshop.make(2))
    gateway.beats(10)
    assert gateway.install(workshop.make(3)).version == 3
    assert gateway.keeper.state.before.beats == 50
    assert gateway.keeper.state.confirmed.version == 1
    assert len(list((gateway.folder / "kept").iterdir())) == 2


def test_a_candidate_that_keeps_ending_the_process_is_dropped(gateway, workshop):
    gateway.install(workshop.make(2))
    assert [gateway.restart().version for _ in range(QUICK.starts)] == [2, 2, 1]
    assert gateway.keeper.refusals()[-1].reason == "crashed"
    assert gateway.beats(2) == {1}


def test_a_model_whose_test_ends_the_process_is_dropped_after_two_tries(gateway, workshop):
    class ProcessEndError(BaseException):
        pass

    def crash(_model: bytes, _runtime: str):
        raise ProcessEndError

    bad = workshop.make(2)
    for _ in range(2):
        gateway.keeper._load = crash
        with pytest.raises(ProcessEndError):
            gateway.install(bad)
        assert gateway.restart().version == 1
    assert gateway.install(bad).reason == "crashed"
    assert gateway.beats(1) == {1}


def test_a_kept_file_that_was_damaged_gives_way_to_the_one_before_then_to_the_shipped(gateway, workshop):
    gateway.install(workshop.make(2))
    gateway.confirm()
    gateway.install(workshop.make(3))
    gateway.confirm()
    kept = gateway.folder / "kept"
    (kept / f"{gateway.keeper.state.confirmed.sha256}.vwm").write_bytes(b"rot")
    assert gateway.restart().version == 2
    for path in kept.iterdir():
        path.write_bytes(b"rot")
    assert gateway.restart().version == 1
    assert gateway.keeper.state.highest_version == 3, "what is older stays refused"


@pytest.mark.parametrize("left", [b"{", b'{"format":"\xff\xfe"}', b'{"x":' + b"[" * 5000, bytes(512)])
def test_a_damaged_state_file_is_set_aside_and_the_shipped_model_runs(gateway, workshop, left):
    gateway.install(workshop.make(2))
    (gateway.folder / "state.json").write_bytes(left)
    assert gateway.restart().version == 1
    assert (gateway.folder / "state.damaged").exists()


def test_newer_software_brings_its_newer_model(gateway, workshop):
    gateway.install(workshop.make(2))
    gateway.confirm()
    gateway.shipped = (workshop.make(3),)
    assert (gateway.restart().state, gateway.restart().version) == ("running", 3)
    gateway.shipped = (workshop.make(2),)
    assert gateway.restart().version == 3


def test_a_shipped_model_for_another_machine_is_no_model(tmp_path, workshop):
    gateway = Gateway(tmp_path, workshop, shipped=(workshop.make(1),), host=Host("riscv64", HOST.runtimes))
    assert gateway.keeper.report() is None


def test_a_scorer_that_does_not_take_the_model_refuses_it(gateway, workshop):
    def picky(_artifact):
        raise KeyError("thresholds")

    gateway.keeper._build = picky
    report = gateway.install(workshop.make(2))
    assert report.reason == "self_test_off"
    assert "thresholds" in report.detail
    assert gateway.beats(2) == {1}


def test_a_full_disk_refuses_for_the_moment(gateway, workshop, monkeypatch):
    def full(_data: bytes) -> None:
        raise OSError(28, "No space left on device")

    data = workshop.make(2)
    with monkeypatch.context() as patched:
        patched.setattr(gateway.keeper._shelf, "put", full)
        assert gateway.install(data).reason == "no_room"
    assert gateway.beats(1) == {1}
    assert gateway.install(data).state == "candidate"
