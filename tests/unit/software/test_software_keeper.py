"""A release is taken or refused with its reason, and a power cut at any write leaves something that starts."""

import os
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from release_wheel import NOW_NS, Publisher, offer_of, program, wheel

from vitalwire_edge.clock.gateway_clock import Stamp
from vitalwire_edge.inference.refusal import ArtifactRefusedError, Refusal
from vitalwire_edge.ota.config import OtaConfig
from vitalwire_edge.software import launcher, slots
from vitalwire_edge.software.keeper import SoftwareKeeper
from vitalwire_edge.software.release import pack_release
from vitalwire_edge.software.wheel import check_environment, read_wheel

GOOD = program("print('release')")


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


class Gateway:
    """What a process of the gateway would be, started by the launcher's choice; `boot` is a new one."""

    def __init__(self, folder: Path, publisher: Publisher) -> None:
        self.folder = folder / "software"
        self.publisher = publisher
        self.problem: str | None = "there is no link to the broker"
        self.restarts = 0
        self.unfit: str | None = None
        self.confirm_s = 600.0
        self.synchronised = True
        self.boot()

    def boot(self) -> str | None:
        self.slot = launcher.choose(self.folder)
        self.keeper = SoftwareKeeper(
            OtaConfig(folder=str(self.folder)),
            trust=self.publisher.root.trust,
            slot=self.slot,
            now=lambda: Stamp(0, NOW_NS, self.synchronised),
            ready=lambda: None,
            healthy=lambda: self.problem,
            restart=self._restart,
            confirm_s=self.confirm_s,
            check=lambda wheel: check_environment(wheel, running_requires=()),
            prove=self._prove,
        )
        self.keeper.start()
        return self.slot

    def _prove(self, _place: Path) -> None:
        if self.unfit is not None:
            raise ArtifactRefusedError(Refusal.CRASHED, self.unfit)

    def _restart(self) -> None:
        self.restarts += 1

    def install(self, data: bytes):
        offer = offer_of(data, self.publisher.root.trust)
        return self.keeper.answer(offer) or self.keeper.install(data, offer)

    def update(self, version: int, software: str = "0.2.0") -> None:
        """Take a release, restart into it, confirm it."""
        data = self.publisher.release(program("", software=software), version)
        assert self.install(data).state == "candidate"
        slot = self.boot()
        assert self.keeper.on_probation
        self.problem = None
        (report,) = self.keeper.watch()
        assert (report.state, report.running_version) == ("running", version)
        assert slots.read_boot(self.folder).confirmed == slot
        self.problem = "there is no link to the broker"


@pytest.fixture
def gateway(tmp_path, publisher, monkeypatch):
    # The kernel's alarm clock is proved on real processes; here it would ring in the test.
    monkeypatch.setattr("signal.alarm", lambda _seconds: 0)
    return Gateway(tmp_path, publisher)


def test_a_release_is_confirmed_when_data_leaves_again_and_the_slots_take_turns(gateway):
    assert gateway.slot is None
    gateway.update(1)
    assert gateway.boot() == "a"
    assert not gateway.keeper.on_probation
    gateway.update(2)
    assert gateway.boot() == "b"
    gateway.update(3)
    assert gateway.boot() == "a"
    assert slots.read_boot(gateway.folder) == slots.Boot(confirmed="a", previous="b")
    report = gateway.keeper.report()
    assert (report.state, report.version, report.detail) == ("running", 3, "vitalwire 0.2.0")


def test_a_release_that_never_confirms_itself_is_started_twice_and_then_left(gateway, publisher):
    gateway.update(1)
    bad = publisher.release(program("", software="0.3.0"), 2)
    gateway.boot()
    gateway.install(bad)
    assert [gateway.boot(), gateway.boot(), gateway.boot(), gateway.boot()] == ["b", "b", "a", "a"]
    (refusal,) = gateway.keeper.refusals()
    assert (refusal.state, refusal.version, refusal.reason) == ("refused", 2, "crashed")
    assert "started 2 times" in refusal.detail
    assert refusal.running_version == 1
    assert gateway.install(bad).state == "refused"
    assert gateway.boot() == "a"


def test_a_release_that_gets_no_link_gives_up_by_itself_and_says_what_was_missing(gateway, publisher):
    gateway.confirm_s = 1e-9
    gateway.install(publisher.release(GOOD, 1))
    assert gateway.boot() == "a"
    assert gateway.keeper.watch() == ()
    gateway.keeper.watch()
    assert gateway.restarts == 1
    assert gateway.boot() is None
    (refusal,) = gateway.keeper.refusals()
    assert "there is no link to the broker after" in refusal.detail


def test_what_is_unpacked_is_never_the_slot_that_runs_and_on_probation_nothing_is_taken(gateway, publisher):
    gateway.update(1)
    gateway.boot()
    data = publisher.release(program("", software="0.3.0"), 2)
    assert [gateway.install(data).state for _ in range(2)] == ["candidate", "candidate"]
    again = gateway.install(publisher.release(program("", software="0.4.0"), 3))
    assert (again.state, again.reason) == ("refused", "no_room")
    assert slots.release_in(gateway.folder, "a").version == 1
    assert gateway.boot() == "b"
    assert gateway.install(publisher.release(program("", software="0.4.0"), 3)).reason == "no_room"


def test_what_fails_beside_the_running_software_is_never_started(gateway, publisher):
    gateway.unfit = "it ended with 1 beside the running software: ImportError"
    bad = publisher.release(GOOD, 1)
    report = gateway.install(bad)
    assert (report.state, report.reason) == ("refused", "crashed")
    assert gateway.boot() is None
    assert gateway.install(bad).reason == "crashed"
    gateway.unfit = None
    gateway.update(2)


@pytest.mark.parametrize(
    ("make", "reason", "text"),
    [
        (lambda p: p.release(GOOD, 5)[:-100], "truncated", "end record"),
        (lambda _p: Publisher().release(GOOD, 5), "unknown_key", "not pinned"),
        (lambda p: one_byte_wrong(p.release(GOOD, 5)), "hash_mismatch", "software.whl"),
        (lambda p: p.release(GOOD, 5, arch=("z80",)), "wrong_hardware", "z80"),
        (
            lambda p: p.release(program("", requires=("left-pad>=2", "msgspec>=99; extra == 'edge'")), 5),
            "unsatisfied",
            "needs left-pad>=2 (here: none), msgspec>=99 (here: ",
        ),
        (lambda p: p.release(program("", python=">=4"), 5), "unsatisfied", "needs Python >=4"),
        (lambda p: p.release(GOOD, 1), "older_version", "after 1"),
    ],
)
def test_what_is_refused_says_why_and_changes_nothing(gateway, publisher, make, reason, text):
    gateway.update(1)
    gateway.boot()
    before = slots.read_boot(gateway.folder)
    data = make(publisher)
    claimed = offer_of(publisher.release(GOOD, 5), publisher.root.trust)
    with suppress(ArtifactRefusedError):
        claimed = offer_of(data, publisher.root.trust)
    report = gateway.keeper.install(data, claimed)
    assert (report.state, report.reason) == ("refused", reason)
    assert text in report.detail
    assert slots.read_boot(gateway.folder) == before
    assert gateway.boot() == "a"


def one_byte_wrong(data: bytes) -> bytes:
    at = data.index(b"vitalwire_edge/__init__.py") + 50
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_key_for_models_signs_no_release_and_the_other_way_round(publisher):
    models = publisher.key("models")
    with pytest.raises(ArtifactRefusedError, match="may sign models"):
        pack_release(GOOD, models, version=1, created_ns=NOW_NS)
    with pytest.raises(ArtifactRefusedError, match="may sign software, not models"):
        publisher.root.trust.verify(publisher.signer.sign(b"manifest"), b"manifest", None)
    with pytest.raises(ArtifactRefusedError, match="may sign models, not software"):
        publisher.root.trust.verify(models.sign(b"manifest"), b"manifest", None, "software")


def test_a_delegation_ends_only_by_a_clock_that_is_right(gateway, publisher):
    ended = publisher.root.delegate(now_ns=1, expires_ns=NOW_NS - 1, purpose="software")
    data = pack_release(GOOD, ended, version=1, created_ns=NOW_NS)
    assert gateway.install(data).reason == "expired"
    gateway.synchronised = False
    assert gateway.install(data).state == "candidate"


@pytest.mark.parametrize(
    "data",
    [
        wheel({"../evil.py": b""}),
        wheel({"/evil.py": b""}),
        wheel({"vitalwire-0.2.0.data/scripts/evil": b""}),
        wheel({"a.py": b""}, spoil="a.py"),
        wheel({"a.py": b""}, name="other"),
        wheel({"a.so": b""}, tag="cp311-cp311-linux_x86_64"),
        b"PK\x05\x06",
    ],
)
def test_a_wheel_that_could_do_harm_is_no_release(data):
    with pytest.raises(ArtifactRefusedError):
        read_wheel(data)


def test_what_the_running_software_lives_without_is_no_reason():
    needs = read_wheel(program("", requires=("left-pad", "msgspec")))
    check_environment(needs, running_requires=("left-pad",))
    with pytest.raises(ArtifactRefusedError, match="left-pad"):
        check_environment(needs, running_requires=("msgspec",))


class PowerCutError(BaseException):
    """The lights went out."""


def _cut_at(monkeypatch, write: int) -> None:
    """Raise at the `write`-th of all calls that change the disk, before it happens or, of a flush, after."""
    left = iter(range(write))

    def wrap(target, name):
        real = getattr(target, name)

        def call(*arguments, **more):
            if next(left, None) is None:
                raise PowerCutError
            return real(*arguments, **more)

        monkeypatch.setattr(target, name, call)

    for target, name in ((os, "fsync"), (os, "rename"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")):
        wrap(target, name)
    wrap(os, "rmdir")


@pytest.mark.parametrize("running", [0, 1])
def test_a_power_cut_at_any_write_of_an_update_leaves_a_slot_that_starts(
    tmp_path, publisher, monkeypatch, running
):
    monkeypatch.setattr("signal.alarm", lambda _seconds: 0)
    data = publisher.release(program("", software="0.9.0"), 9)
    cuts = 0
    outcomes = set()
    for write in range(1000):
        gateway = Gateway(tmp_path / str(write), publisher)
        for version in range(1, running + 1):
            gateway.update(version)
            gateway.boot()
        before = gateway.slot
        with monkeypatch.context() as patched:
            _cut_at(patched, write)
            try:
                gateway.install(data)
                gateway.boot()
                gateway.problem = None
                gateway.keeper.watch()
                done = True
            except PowerCutError:
                done = False
                cuts += 1
        slot = gateway.boot()
        outcomes.add(slot)
        assert slot == before or slots.release_in(gateway.folder, slot).version == 9
        if running:
            assert slot is not None
        if slot == before:
            # The release can be taken again, from wherever the first attempt stopped.
            gateway.problem = None
            report = gateway.install(data)
            assert report.state == "candidate"
            slot = gateway.boot()
        if gateway.keeper.on_probation:
            gateway.problem = None
            gateway.keeper.watch()
        assert slots.read_boot(gateway.folder).confirmed == slot
        assert slots.release_in(gateway.folder, slot).version == 9
        if done:
            break
    assert cuts > 15
    assert len(outcomes) == 2, "some cuts came before the release was there, some after"


def test_a_damaged_record_or_slot_falls_to_what_is_whole(gateway):
    gateway.update(1)
    gateway.boot()
    gateway.update(2)
    assert gateway.boot() == "b"
    (gateway.folder / "b" / "vitalwire_edge" / "__main__.py").write_bytes(b"\0\0")
    assert gateway.boot() == "a"
    (gateway.folder / "a" / slots.MARKER).write_bytes(b"{")
    assert gateway.boot() is None
    (gateway.folder / slots.BOOT).write_bytes(b"\0" * 40)
    assert gateway.boot() is None
    assert (gateway.folder / "boot.damaged").exists()


def test_a_folder_that_cannot_be_written_starts_no_candidate(gateway, publisher, monkeypatch):
    gateway.update(1)
    gateway.boot()
    gateway.install(publisher.release(program("", software="0.3.0"), 2))

    def full(*_arguments) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(slots, "write_durably", full)
        assert launcher.choose(gateway.folder) == "a"
    assert launcher.choose(gateway.folder) == "b"


def test_a_download_goes_on_in_the_new_process(gateway, publisher):
    offer = offer_of(publisher.release(GOOD, 4), publisher.root.trust)
    gateway.keeper.remember_offer(offer)
    gateway.boot()
    assert gateway.keeper.state.offer == offer
    gateway.keeper.remember_offer(msgspec.structs.replace(offer, version=1))
    gateway.update(4)
    gateway.boot()
    assert gateway.keeper.state.offer is None
