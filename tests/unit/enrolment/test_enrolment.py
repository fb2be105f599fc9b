"""An invitation makes one machine one gateway, once; nothing else does."""

import datetime as dt
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vitalwire_cloud.enrolment.authority import Authority
from vitalwire_cloud.ingest.keys import KeyRing
from vitalwire_edge.config import EdgeConfig, check, read_key
from vitalwire_edge.enrolment.formats import (
    Answer,
    AnswerBody,
    EnrolmentError,
    Invitation,
    Request,
    RequestBody,
    content_of,
    name_in,
    prove_key,
    prove_token,
    read_file,
    sign_answer,
)
from vitalwire_edge.enrolment.identity import Identity, Installed
from vitalwire_edge.enrolment.sealing import open_sealed, seal_for
from vitalwire_edge.process.config import load

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
BROKER = ("broker.example", 8883)


@dataclass
class Site:
    authority: Authority
    folder: Path
    keys: Path

    def invite(self, gateway: str = "gw-a", site: str = "ward", **more) -> Invitation:
        return self.authority.invite(site, gateway, broker=BROKER, now=NOW, hours=72, **more)

    def enrolled(self, gateway: str = "gw-a", **more) -> tuple[Identity, Installed]:
        identity = Identity(self.folder / gateway)
        request = identity.enroll(self.invite(gateway, **more), now=NOW, replace="replace" in more)
        return identity, identity.install(self.authority.accept(request, now=NOW).answer, now=NOW)

    def revoked(self) -> set[int]:
        listed = x509.load_pem_x509_crl(self.authority.revocations.read_bytes())
        assert listed.is_signature_valid(self.authority.certificate.public_key())
        return {entry.serial_number for entry in listed}

    def states(self, now=NOW) -> dict[str, str]:
        return {member.name: member.state for member in self.authority.members(now=now)}


@pytest.fixture
def site(tmp_path) -> Site:
    keys = tmp_path / "keys"
    return Site(Authority.create(tmp_path / "authority", keys, now=NOW), tmp_path, keys)


def changed(request: Request, **fields) -> Request:
    """Somebody else's hand in the body, the proof as it was."""
    body = msgspec.structs.replace(request.parsed(), **fields)
    return msgspec.structs.replace(request, body=msgspec.json.encode(body).decode())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_from_invitation_to_a_gateway_with_a_key_that_the_cloud_has_too(site):
    identity, installed = site.enrolled()
    assert name_in(installed.certificate) == "ward/gw-a"
    assert installed.rekeyed
    assert KeyRing(site.keys).get("gw-a") == read_key(identity.message_key)
    assert site.states() == {"ward/gw-a": "enrolled"}
    config = site.folder / "edge.toml"
    config.write_text(identity.settings())
    loaded = load(EdgeConfig, path=config, env_prefix="X", flags={}, environ={})
    check(loaded)
    assert (loaded.site, loaded.gateway, loaded.mqtt.host) == ("ward", "gw-a", "broker.example")
    assert loaded.mqtt.tls.enabled
    assert loaded.mqtt.tls.cert_file == str(identity.client)


def test_what_is_secret_only_its_owner_reads_and_never_travels(site):
    invitation = site.invite()
    identity = Identity(site.folder / "gw-a")
    request = identity.enroll(invitation, now=NOW, replace=False)
    pending = json.loads((site.folder / "gw-a/pending.json").read_text())
    assert mode(site.folder / "gw-a/pending.json") == 0o600
    answer = site.authority.accept(request, now=NOW).answer
    identity.install(answer, now=NOW)
    secrets = [
        invitation.token,
        pending["sealing_key"],
        pending["private_key"].splitlines()[1],
        identity.message_key.read_text().strip(),
    ]
    travels = (content_of(request) + content_of(answer)).decode()
    assert not [secret for secret in secrets if secret in travels]
    private = (identity.client, identity.message_key, site.keys / "gw-a.key")
    authority = (site.folder / "authority/ca.key", site.folder / "authority/ledger.json")
    assert {mode(path) for path in (*private, *authority)} == {0o600}
    assert not (site.folder / "gw-a/pending.json").exists()


def test_an_authority_is_never_replaced(site):
    before = (site.folder / "authority/ca.key").read_bytes()
    with pytest.raises(EnrolmentError, match="is not replaced"):
        Authority.create(site.folder / "authority", site.keys, now=NOW)
    assert (site.folder / "authority/ca.key").read_bytes() == before


def test_the_same_request_again_gets_the_same_answer_and_another_none(site):
    invitation = site.invite()
    first = Identity(site.folder / "one").enroll(invitation, now=NOW, replace=False)
    assert Identity(site.folder / "one").enroll(invitation, now=NOW, replace=False) == first
    answer = site.authority.accept(first, now=NOW).answer
    assert site.authority.accept(first, now=NOW + 30 * DAY).answer == answer
    thief = Identity(site.folder / "two").enroll(invitation, now=NOW, replace=False)
    with pytest.raises(EnrolmentError, match="has been used by another request"):
        site.authority.accept(thief, now=NOW)
    site.authority.revoke("ward", "gw-a", now=NOW)
    with pytest.raises(EnrolmentError, match="is revoked"):
        site.authority.accept(first, now=NOW)


def test_an_invitation_ends(site):
    invitation = site.invite()
    later = NOW + 4 * DAY
    with pytest.raises(EnrolmentError, match="expired"):
        Identity(site.folder / "g").enroll(invitation, now=later, replace=False)
    # A gateway without a clock cannot tell; the authority can.
    request = Identity(site.folder / "g").enroll(invitation, now=None, replace=False)
    with pytest.raises(EnrolmentError, match="expired"):
        site.authority.accept(request, now=later)
    assert site.states(later) == {}


def test_a_later_invitation_ends_the_earlier_one(site):
    old = site.invite()
    site.invite()
    request = Identity(site.folder / "g").enroll(old, now=NOW, replace=False)
    with pytest.raises(EnrolmentError, match="not known here"):
        site.authority.accept(request, now=NOW)


@pytest.mark.parametrize(
    "fields",
    [{"gateway": "gw-b"}, {"site": "other"}, {"sealing_key": "5a" * 32}],
)
def test_a_changed_request_is_refused(site, fields):
    request = Identity(site.folder / "g").enroll(site.invite(), now=NOW, replace=False)
    with pytest.raises(EnrolmentError, match=r"signing request is for|does not prove"):
        site.authority.accept(changed(request, **fields), now=NOW)
    assert not site.keys.exists()


def test_a_wrong_token_and_a_wrong_name_are_refused(site):
    invitation = site.invite()
    wrong = msgspec.structs.replace(invitation, token="00" * 32)
    request = Identity(site.folder / "g").enroll(wrong, now=NOW, replace=False)
    with pytest.raises(EnrolmentError, match="does not prove the invitation's token"):
        site.authority.accept(request, now=NOW)
    renamed = msgspec.structs.replace(invitation, gateway="gw-b")
    request = Identity(site.folder / "h").enroll(renamed, now=NOW, replace=False)
    with pytest.raises(EnrolmentError, match=r"is for ward/gw-a, and the request for ward/gw-b"):
        site.authority.accept(request, now=NOW)


def test_an_answer_is_the_authoritys_for_this_gateway_to_this_request(site, tmp_path):
    stranger = Authority.create(tmp_path / "stranger", tmp_path / "k", now=NOW)
    identity = Identity(site.folder / "g")
    request = identity.enroll(site.invite(), now=NOW, replace=False)
    good = site.authority.accept(request, now=NOW).answer
    body = good.parsed()

    def signed(authority: Authority, **fields) -> Answer:
        return sign_answer(authority._key(), msgspec.structs.replace(body, **fields))

    other = Identity(site.folder / "h")
    theirs = site.authority.accept(other.enroll(site.invite("gw-b"), now=NOW, replace=False), now=NOW).answer
    mine_not = seal_for("11" * 32, bytes(32), "ward/gw-a")
    for answer, why in (
        (signed(stranger), "not signed by the authority"),
        (
            msgspec.structs.replace(good, body=good.body.replace("gw-a", "gw-c")),
            "not signed by the authority",
        ),
        (msgspec.structs.replace(good, signature="zz"), "not signed by the authority"),
        (theirs, "the answer is for ward/gw-b"),
        (signed(site.authority, request="0" * 64), "to another request"),
        (signed(site.authority, certificate=theirs.parsed().certificate), "not for the key and name"),
        (signed(site.authority, message_key=mine_not), "sealed for another gateway"),
        (signed(site.authority, message_key=None), "holds no message key"),
    ):
        with pytest.raises(EnrolmentError, match=why):
            identity.install(answer, now=NOW)
        assert not identity.enrolled
    identity.install(good, now=NOW)
    with pytest.raises(EnrolmentError, match="waits for no answer"):
        identity.install(good, now=NOW)


def test_dates_are_judged_by_a_clock_that_is_right_or_not_at_all(site):
    identity = Identity(site.folder / "g")
    answer = site.authority.accept(identity.enroll(site.invite(), now=None, replace=False), now=NOW).answer
    with pytest.raises(EnrolmentError, match="set the clock"):
        identity.install(answer, now=dt.datetime(1970, 1, 2, tzinfo=dt.UTC))
    assert identity.install(answer, now=None).certificate.not_valid_after_utc == NOW + 90 * DAY


def test_renewal_needs_the_key_at_work_and_keeps_the_message_key(site):
    identity, first = site.enrolled()
    message_key, pair = identity.message_key.read_bytes(), identity.client.read_bytes()
    request = identity.renew()
    assert identity.renew() == request
    assert identity.client.read_bytes() == pair
    later = NOW + 80 * DAY
    forged = msgspec.structs.replace(
        request, proof=prove_key(ec.generate_private_key(ec.SECP256R1()), request.body)
    )
    with pytest.raises(EnrolmentError, match="not of the holder"):
        site.authority.accept(forged, now=later)
    answer = site.authority.accept(request, now=later)
    renewed = identity.install(answer.answer, now=later)
    assert not renewed.rekeyed
    assert not answer.superseded
    assert identity.message_key.read_bytes() == message_key
    assert renewed.certificate.not_valid_after_utc == later + 90 * DAY
    assert renewed.certificate.public_key() != first.certificate.public_key()
    assert site.revoked() == set()
    assert KeyRing(site.keys).get("gw-a") == read_key(identity.message_key)
    assert site.authority.accept(request, now=later).answer == answer.answer


def test_a_gateway_cannot_renew_as_another_nor_after_its_end(site):
    identity, _ = site.enrolled()
    site.enrolled("gw-b")
    request = identity.renew()
    key = load_pem_private_key(identity.client.read_bytes(), None)

    def asked_as(identity: Identity, **fields) -> Request:
        body = msgspec.json.encode(msgspec.structs.replace(identity.renew().parsed(), **fields)).decode()
        return Request(body=body, proof=prove_key(key, body))

    # Everything of gw-b but the proof, which gw-a can only make with its own key and certificate.
    other = Identity(site.folder / "gw-b")
    own = request.parsed().certificate
    with pytest.raises(EnrolmentError, match=r"is ward/gw-a's, and the request ward/gw-b's"):
        site.authority.accept(asked_as(other, certificate=own), now=NOW)
    with pytest.raises(EnrolmentError, match="not of the holder of ward/gw-b's key"):
        site.authority.accept(asked_as(other), now=NOW)
    with pytest.raises(EnrolmentError, match="has ended"):
        site.authority.accept(request, now=NOW + 91 * DAY)
    assert site.states(NOW + 91 * DAY) == {"ward/gw-a": "expired", "ward/gw-b": "expired"}


def test_a_certificate_of_another_authority_renews_nothing(site, tmp_path):
    stranger = Authority.create(tmp_path / "stranger", tmp_path / "k", now=NOW)
    site.enrolled()
    identity = Identity(tmp_path / "theirs")
    invitation = stranger.invite("ward", "gw-a", broker=BROKER, now=NOW, hours=1)
    identity.install(
        stranger.accept(identity.enroll(invitation, now=NOW, replace=False), now=NOW).answer, now=NOW
    )
    with pytest.raises(EnrolmentError, match="not of this authority"):
        site.authority.accept(identity.renew(), now=NOW)


def test_revoked_means_certificates_key_and_renewal_and_an_invitation_brings_it_back(site):
    identity, installed = site.enrolled()
    site.enrolled("gw-b")
    waiting = identity.renew()
    assert site.revoked() == set()
    site.authority.revoke("ward", "gw-a", now=NOW)
    assert site.revoked() == {installed.certificate.serial_number}
    ring = KeyRing(site.keys)
    assert ring.get("gw-a") is None
    assert ring.revoked("gw-a")
    assert not ring.revoked("gw-b")
    assert site.states() == {"ward/gw-a": "revoked", "ward/gw-b": "enrolled"}
    with pytest.raises(EnrolmentError, match="is revoked"):
        site.authority.accept(waiting, now=NOW)
    site.authority.revoke("ward", "gw-a", now=NOW)
    with pytest.raises(EnrolmentError, match="ward/nobody is not known"):
        site.authority.revoke("ward", "nobody", now=NOW)
    identity, again = site.enrolled(replace=True)
    assert again.rekeyed
    assert not KeyRing(site.keys).revoked("gw-a")
    assert site.states()["ward/gw-a"] == "enrolled"
    assert again.certificate.serial_number not in site.revoked()


def test_an_invitation_can_be_withdrawn(site):
    request = Identity(site.folder / "g").enroll(site.invite(), now=NOW, replace=False)
    site.authority.revoke("ward", "gw-a", now=NOW)
    with pytest.raises(EnrolmentError, match="withdrawn"):
        site.authority.accept(request, now=NOW)


def test_a_gateway_that_lost_its_keys_enrols_again_and_the_old_ones_are_revoked(site):
    _, lost = site.enrolled()
    with pytest.raises(EnrolmentError, match="is enrolled"):
        site.invite()
    old_key = (site.keys / "gw-a.key").read_text()
    invitation = site.invite(replace=True)
    assert site.revoked() == set()
    identity = Identity(site.folder / "new disk")
    accepted = site.authority.accept(identity.enroll(invitation, now=NOW, replace=False), now=NOW)
    assert accepted.superseded
    assert site.revoked() == {lost.certificate.serial_number}
    assert (site.keys / "gw-a.key").read_text() != old_key


def test_names_are_unique_over_all_sites_and_fit_a_certificate(site):
    site.enrolled()
    with pytest.raises(EnrolmentError, match="unique over all sites"):
        site.invite("gw-a", "other")
    with pytest.raises(EnrolmentError, match="at most 64"):
        site.invite("g" * 32, "s" * 32)
    with pytest.raises(EnrolmentError, match="site '#'"):
        site.invite("gw-c", "#")


def test_a_folder_keeps_the_identity_it_has(site):
    identity, _ = site.enrolled()
    invitation = site.invite("gw-b")
    with pytest.raises(EnrolmentError, match="holds the identity of ward/gw-a"):
        identity.enroll(invitation, now=NOW, replace=False)
    identity.renew()
    with pytest.raises(EnrolmentError, match="waits for the answer to another request"):
        identity.enroll(invitation, now=NOW, replace=False)
    with pytest.raises(EnrolmentError, match="enrol this gateway first"):
        Identity(site.folder / "empty").renew()


@pytest.mark.parametrize(
    ("kind", "what"), [(Invitation, "invitation"), (Request, "request"), (Answer, "answer")]
)
def test_a_file_that_is_not_whole_or_not_ours_is_named_and_not_quoted(site, kind, what):
    invitation = site.invite()
    request = Identity(site.folder / "g").enroll(invitation, now=NOW, replace=False)
    answer = site.authority.accept(request, now=NOW).answer
    files = {"invitation": invitation, "request": request, "answer": answer}
    content = content_of(files[what])
    path = site.folder / "file.json"
    path.write_bytes(content)
    assert read_file(path, kind, what) == files[what]
    tree = json.loads(content)
    others = [content_of(each) for name, each in files.items() if name != what]
    damaged = [content[:cut] for cut in range(0, len(content) - 2, 97)]
    wrong = [json.dumps(tree | change).encode() for change in ({"format": 2}, {"more": 1}, {"file": "x"})]
    for text in (*damaged, *wrong, *others, b"\xff", b"x" * 70_000):
        path.write_bytes(text)
        with pytest.raises(EnrolmentError, match=what) as refused:
            read_file(path, kind, what)
        assert invitation.token not in str(refused.value)
    with pytest.raises(EnrolmentError, match="No such file"):
        read_file(site.folder / "nowhere", kind, what)


@pytest.mark.parametrize("text", ["null", "{}", '{"site":"ward"}', "[" * 2000])
def test_a_body_that_is_none_is_refused(site, text):
    with pytest.raises(EnrolmentError, match="request's body"):
        site.authority.accept(Request(body=text, proof=prove_token("00" * 32, text)), now=NOW)
    with pytest.raises(EnrolmentError, match="answer's body"):
        Answer(body=text, signature="").parsed()


def test_formats_are_written_down():
    assert RequestBody.__struct_fields__ == (
        "site", "gateway", "signing_request", "sealing_key", "invitation", "certificate",
    )  # fmt: skip
    assert AnswerBody.__struct_fields__ == ("site", "gateway", "request", "certificate", "message_key")


def test_a_box_opens_for_its_reader_and_its_name_only():
    reader = X25519PrivateKey.generate()
    box = seal_for(reader.public_key().public_bytes_raw().hex(), b"secret", "ward/gw-a")
    assert open_sealed(reader, box, "ward/gw-a") == b"secret"
    damaged = msgspec.structs.replace(box, box=f"{int(box.box[:2], 16) ^ 1:02x}{box.box[2:]}")
    for who, what, name in (
        (X25519PrivateKey.generate(), box, "ward/gw-a"),
        (reader, box, "ward/gw-b"),
        (reader, damaged, "ward/gw-a"),
        (reader, msgspec.structs.replace(box, sender="00" * 32), "ward/gw-a"),
    ):
        with pytest.raises(EnrolmentError, match="sealed for another"):
            open_sealed(who, what, name)


def test_a_crash_between_the_steps_leaves_a_step_to_take_again(site, monkeypatch):
    request = Identity(site.folder / "g").enroll(site.invite(), now=NOW, replace=False)
    whole = Authority._give_key

    def dies(self, gateway, key):
        whole(self, gateway, key)
        raise KeyboardInterrupt

    monkeypatch.setattr(Authority, "_give_key", dies)
    with pytest.raises(KeyboardInterrupt):
        site.authority.accept(request, now=NOW)
    monkeypatch.setattr(Authority, "_give_key", whole)
    identity = Identity(site.folder / "g")
    identity.install(site.authority.accept(request, now=NOW).answer, now=NOW)
    assert KeyRing(site.keys).get("gw-a") == read_key(identity.message_key)


def test_a_damaged_authority_says_what_to_restore(site):
    (site.folder / "authority/ledger.json").write_text("{")
    with pytest.raises(EnrolmentError, match=r"ledger.json is damaged .* restore"):
        site.invite()
    with pytest.raises(EnrolmentError, match="vitalwire authority init"):
        Authority(site.folder / "nowhere", site.keys)


def test_what_root_writes_belongs_to_the_service_whose_folder_it_is(site):
    """`vitalwire gateway install` runs as root, and the gateway does not."""
    folders = [site.folder / "state", site.folder / "cloud"]
    for folder in folders:
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, 4321, 4322)
    edge, cloud = folders
    authority = Authority(site.authority.folder, cloud / "keys")
    identity = Identity(edge / "identity")
    request = identity.enroll(site.invite(), now=NOW, replace=False)
    identity.install(authority.accept(request, now=NOW).answer, now=NOW)
    secret = [
        edge / "identity",
        identity.client,
        identity.message_key,
        cloud / "keys",
        cloud / "keys/gw-a.key",
    ]
    authority.revoke("ward", "gw-a", now=NOW)
    secret[4] = cloud / "keys/revoked/gw-a"
    assert {(p.stat().st_uid, p.stat().st_gid) for p in secret} == {
        (folder.stat().st_uid, folder.stat().st_gid) for folder in folders
    }
    assert mode(cloud / "keys") == 0o700
