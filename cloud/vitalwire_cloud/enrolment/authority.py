"""A private authority in a folder: invites gateways, accepts their requests, revokes them.

The ledger says who may be a gateway. What follows from it (list of the revoked, keys in the cloud's folder) is written
again by the same command, so a command that was cut short is simply given again.
"""

import datetime as dt
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from vitalwire_cloud.enrolment import certificates
from vitalwire_cloud.enrolment import ledger as book
from vitalwire_cloud.enrolment.judging import asked_for, check_unique, invited_by, renewable
from vitalwire_cloud.enrolment.ledger import Invited, Issued, Ledger
from vitalwire_cloud.ingest.keys import KEY_BYTES, REVOKED
from vitalwire_edge.enrolment.formats import (
    TOKEN_BYTES,
    Answer,
    AnswerBody,
    EnrolmentError,
    Invitation,
    Request,
    common_name,
    content_of,
    read_certificate,
    read_file,
    sign_answer,
)
from vitalwire_edge.enrolment.sealing import seal_for
from vitalwire_edge.inference.keys import KeyFileError, write_secret
from vitalwire_edge.process.durable import make_private, write_durably

GATEWAY_DAYS: Final = 90
AUTHORITY_DAYS: Final = 3650

_NS: Final = 10**9


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway: `expires` (ISO 8601) and `days_left` of its certificate, or of its invitation."""

    name: str
    state: Literal["invited", "enrolled", "expired", "revoked"]
    expires: str
    days_left: float
    serial: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request was accepted; `superseded` when older certificates of the name are revoked because of it."""

    name: str
    answer: Answer
    certificate: x509.Certificate
    superseded: bool


class Authority:
    """The authority in `folder`; the cloud's keys of the gateways are in `keys_dir`.

    Every method raises `EnrolmentError`, and takes UTC now from whoever calls.
    """

    def __init__(self, folder: Path, keys_dir: Path) -> None:
        self._folder = folder
        self._keys_dir = keys_dir
        self.certificate = read_certificate(_text(folder / "ca.crt"), f"{folder / 'ca.crt'}")

    @classmethod
    def create(
        cls, folder: Path, keys_dir: Path, *, now: dt.datetime, days: int = AUTHORITY_DAYS
    ) -> "Authority":
        """A new authority in `folder`, which must not hold one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = f"vitalwire authority {secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_secret(folder / "ca.key", _private(key))
            certificate = certificates.authority(name, key, now=now, days=days)
            write_durably(folder / "ca.crt", certificate.public_bytes(Encoding.PEM))
            book.create(folder)
        except KeyFileError as error:
            raise EnrolmentError(
                f"{error}; an authority is never replaced: its gateways would be lost"
            ) from error
        except OSError as error:
            raise EnrolmentError(f"authority {folder} cannot be written: {error.strerror}") from error
        made = cls(folder, keys_dir)
        made.publish(now=now)
        return made

    @property
    def folder(self) -> Path:
        """Where the authority is."""
        return self._folder

    @property
    def revocations(self) -> Path:
        """The list of the revoked, for the broker."""
        return self._folder / "crl.pem"

    def service(
        self,
        name: Literal["broker", "cloud"],
        hosts: Sequence[str],
        out: Path,
        *,
        now: dt.datetime,
        days: int,
    ) -> tuple[Path, Path]:
        """Certificate and key of the broker (for `hosts`) or of the cloud in `out`; returns where they are."""
        if (name == "broker") != bool(hosts):
            raise EnrolmentError("a broker's certificate needs its host names (--host), the cloud's has none")
        if (out / f"{name}.key").exists():
            raise EnrolmentError(f"{out / f'{name}.key'} exists and is not replaced: choose another --out")
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = certificates.SERVER if name == "broker" else certificates.CLIENT
        with book.changed(self._folder) as ledger:
            certificate = self._issue(
                ledger, name, key.public_key(), purpose, now=now, days=days, hosts=hosts
            )
            try:
                make_private(out)
                write_durably(out / f"{name}.key", _private(key), secret=True)
                write_durably(out / f"{name}.crt", certificate.public_bytes(Encoding.PEM))
            except OSError as error:
                raise EnrolmentError(f"{out} cannot be written: {error.strerror}") from error
        return out / f"{name}.crt", out / f"{name}.key"

    def invite(
        self,
        site: str,
        gateway: str,
        *,
        broker: tuple[str, int],
        now: dt.datetime,
        hours: float,
        models_trust: str | None = None,
        replace: bool = False,
    ) -> Invitation:
        """An invitation for `site`/`gateway`, good once and for `hours`; an earlier one of it is no longer good."""
        name, now_ns = common_name(site, gateway), _ns(now)
        with book.changed(self._folder) as ledger:
            check_unique(ledger, name, now_ns)
            if ledger.gateways.get(name) == "enrolled" and not replace:
                raise EnrolmentError(
                    f"{name} is enrolled: renew its certificate on the gateway, or give --replace if it lost its "
                    "keys (its certificates are revoked as soon as the new request is accepted)"
                )
            ledger.tidy(now_ns)
            open_ones = [n for n, i in ledger.invitations.items() if i.name == name and i.used_by is None]
            for number in open_ones:
                del ledger.invitations[number]
            invitation = Invitation(
                number=secrets.token_hex(8),
                site=site,
                gateway=gateway,
                token=secrets.token_hex(TOKEN_BYTES),
                expires_ns=now_ns + round(hours * 3600 * _NS),
                broker_host=broker[0],
                broker_port=broker[1],
                authority=self.certificate.public_bytes(Encoding.PEM).decode(),
                models_trust=models_trust,
            )
            ledger.invitations[invitation.number] = Invited(
                name=name, token=invitation.token, expires_ns=invitation.expires_ns
            )
        return invitation

    def accept(self, request: Request, *, now: dt.datetime, days: int = GATEWAY_DAYS) -> Accepted:
        """Answer an enrolment or a renewal. The same request again gets the same answer, so a copy lost is no harm."""
        accepted = self._accept(request, now, days)
        if accepted.superseded:
            self.publish(now=now)
        return accepted

    def _accept(self, request: Request, now: dt.datetime, days: int) -> Accepted:
        body = request.parsed()
        name = common_name(body.site, body.gateway)
        public = asked_for(body, name)
        with book.changed(self._folder) as ledger:
            kept = self._folder / "answers" / f"{request.digest}.json"
            if (body.invitation is None) == (body.certificate is None):
                raise EnrolmentError("the request names neither an invitation nor a certificate: ask again")
            if body.invitation is not None:
                invited = invited_by(ledger, body.invitation, name, request)
                if invited.used_by is None:
                    if _ns(now) >= invited.expires_ns:
                        raise EnrolmentError(f"the invitation of {name} has expired: invite it again")
                elif invited.used_by != request.digest:
                    raise EnrolmentError(
                        f"the invitation of {name} has been used by another request. If that was not this gateway, "
                        f"somebody else is {name} now: revoke it, and invite it again"
                    )
                else:
                    return self._again(ledger, kept, name)
                check_unique(ledger, name, _ns(now))
            else:
                renewable(ledger, body, name, request, _ns(now), self.certificate)
                if kept.exists():
                    return self._again(ledger, kept, name)
            if body.invitation is not None:
                ledger.end(name, "superseded", _ns(now))
            certificate = self._issue(ledger, name, public, certificates.CLIENT, now=now, days=days)
            key = None if body.invitation is None else secrets.token_bytes(KEY_BYTES)
            answer = sign_answer(
                self._key(),
                AnswerBody(
                    site=body.site,
                    gateway=body.gateway,
                    request=request.digest,
                    certificate=certificate.public_bytes(Encoding.PEM).decode(),
                    message_key=None if key is None else seal_for(body.sealing_key, key, name),
                ),
            )
            self._keep(kept, answer)
            if body.invitation is not None:
                assert key is not None
                self._give_key(body.gateway, key)
                ledger.gateways[name] = "enrolled"
                ledger.invitations[body.invitation].used_by = request.digest
            return Accepted(name, answer, certificate, ledger.superseded(name))

    def revoke(self, site: str, gateway: str, *, now: dt.datetime) -> None:
        """End everything of `site`/`gateway`: invitations, certificates, and its key in the cloud."""
        name = common_name(site, gateway)
        with book.changed(self._folder) as ledger:
            open_ones = [n for n, i in ledger.invitations.items() if i.name == name and i.used_by is None]
            if name not in ledger.gateways and not open_ones:
                raise EnrolmentError(f"{name} is not known: `vitalwire authority list` shows who is")
            for number in open_ones:
                del ledger.invitations[number]
            if name in ledger.gateways:
                ledger.end(name, "revoked", _ns(now))
                ledger.gateways[name] = "revoked"
        if name in ledger.gateways:
            self._take_key(gateway)
            self.publish(now=now)

    def publish(self, *, now: dt.datetime) -> None:
        """Write the list of the revoked. Those whose certificates have ended are left out: they have ended."""
        with book.changed(self._folder) as ledger:
            ledger.revocations += 1
            listed = [
                (int(c.serial, 16), _utc(c.revoked_ns))
                for c in ledger.certificates
                if c.revoked_ns is not None and c.expires_ns > _ns(now)
            ]
            content = certificates.revocations(
                listed, ledger.revocations, by=self.certificate, key=self._key(), now=now
            )
            try:
                write_durably(self.revocations, content.public_bytes(Encoding.PEM))
            except OSError as error:
                raise EnrolmentError(f"{self.revocations} cannot be written: {error.strerror}") from error

    def members(self, *, now: dt.datetime) -> list[Member]:
        """Every gateway that is or was one, and those invited."""
        ledger, found = book.read(self._folder), []
        for name, state in sorted(ledger.gateways.items()):
            current = ledger.current(name)
            assert current is not None
            ended = state == "enrolled" and current.expires_ns <= _ns(now)
            found.append(
                _member(name, "expired" if ended else state, current.expires_ns, now, current.serial)
            )
        found += [
            _member(i.name, "invited", i.expires_ns, now, None)
            for i in ledger.invitations.values()
            if i.used_by is None and i.expires_ns > _ns(now)
        ]
        return found

    def _issue(
        self,
        ledger: Ledger,
        name: str,
        public: ec.EllipticCurvePublicKey,
        purpose: x509.ObjectIdentifier,
        *,
        now: dt.datetime,
        days: int,
        hosts: Sequence[str] = (),
    ) -> x509.Certificate:
        if now >= self.certificate.not_valid_after_utc:
            raise EnrolmentError(
                f"the authority in {self._folder} has expired: make a new one, enrol all again"
            )
        try:
            made = certificates.issued(
                name, public, purpose, by=self.certificate, key=self._key(), now=now, days=days, hosts=hosts
            )
        except ValueError as error:
            raise EnrolmentError(f"no certificate can be made for {name}: {error}") from error
        expires_ns = _ns(made.not_valid_after_utc)
        ledger.certificates.append(
            Issued(name=name, serial=f"{made.serial_number:x}", issued_ns=_ns(now), expires_ns=expires_ns)
        )
        return made

    def _again(self, ledger: Ledger, kept: Path, name: str) -> Accepted:
        answer = read_file(kept, Answer, "answer")
        certificate = read_certificate(answer.parsed().certificate, str(kept))
        serial = f"{certificate.serial_number:x}"
        if any(c.serial == serial and c.revoked_ns is not None for c in ledger.certificates):
            raise EnrolmentError(f"what {name} was given for this request is revoked: invite it again")
        return Accepted(name, answer, certificate, ledger.superseded(name))

    def _keep(self, path: Path, answer: Answer) -> None:
        try:
            path.parent.mkdir(exist_ok=True, mode=0o700)
            write_durably(path, content_of(answer))
        except OSError as error:
            raise EnrolmentError(f"{path} cannot be written: {error.strerror}") from error

    def _give_key(self, gateway: str, key: bytes) -> None:
        try:
            make_private(self._keys_dir)
            write_durably(self._keys_dir / f"{gateway}.key", key.hex().encode() + b"\n", secret=True)
            (self._keys_dir / REVOKED / gateway).unlink(missing_ok=True)
        except OSError as error:
            raise EnrolmentError(
                f"keys folder {self._keys_dir} cannot be written: {error.strerror}"
            ) from error

    def _take_key(self, gateway: str) -> None:
        """First the mark, then the key: without the mark the cloud would store what it cannot confirm."""
        try:
            make_private(self._keys_dir)
            make_private(self._keys_dir / REVOKED)
            write_durably(self._keys_dir / REVOKED / gateway, b"", secret=True)
            (self._keys_dir / f"{gateway}.key").unlink(missing_ok=True)
        except OSError as error:
            raise EnrolmentError(
                f"keys folder {self._keys_dir} cannot be written ({error.strerror}): the cloud goes on taking "
                f"messages of {gateway} until this command is given again"
            ) from error

    def _key(self) -> ec.EllipticCurvePrivateKey:
        path = self._folder / "ca.key"
        try:
            key = load_pem_private_key(_text(path).encode(), None)
        except (ValueError, TypeError):
            raise EnrolmentError(f"{path} is damaged: restore it from a backup") from None
        if (
            not isinstance(key, ec.EllipticCurvePrivateKey)
            or key.public_key() != self.certificate.public_key()
        ):
            raise EnrolmentError(
                f"{path} is not the key of {self._folder / 'ca.crt'}: restore both from a backup"
            )
        return key


def _member(
    name: str,
    state: Literal["invited", "enrolled", "expired", "revoked"],
    expires_ns: int,
    now: dt.datetime,
    serial: str | None,
) -> Member:
    expires = _utc(expires_ns)
    left = round((expires - now).total_seconds() / 86_400, 1)
    return Member(name=name, state=state, expires=expires.isoformat(), days_left=left, serial=serial)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise EnrolmentError(
            f"{path}: {error.strerror}; name the authority with --authority, or make one with "
            "`vitalwire authority init`"
        ) from error
    except UnicodeDecodeError as error:
        raise EnrolmentError(f"{path} is damaged: restore it from a backup") from error


def _ns(at: dt.datetime) -> int:
    return round(at.timestamp()) * _NS


def _utc(at_ns: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_ns / _NS, dt.UTC)
