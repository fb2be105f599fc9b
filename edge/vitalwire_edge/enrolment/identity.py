"""Who a gateway is, in a folder: keys made here, the certificate and what came with it.

`client.pem` holds certificate and key together and is replaced as a whole, so that a certificate never stands beside
another one's key. What is asked for waits in `pending.json` until the answer is there; a power cut at any moment leaves
either the old identity or the new one, and a step that may be taken again.
"""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from vitalwire_edge.enrolment.formats import (
    MAX_FILE_BYTES,
    Answer,
    AnswerBody,
    EnrolmentError,
    Invitation,
    Request,
    RequestBody,
    answer_signed,
    common_name,
    name_in,
    prove_key,
    prove_token,
    read_certificate,
)
from vitalwire_edge.enrolment.sealing import open_sealed
from vitalwire_edge.process.durable import make_private, sync_folder, write_durably

KEY_BYTES: Final = 32

_T = TypeVar("_T")


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`identity.json`: the names and the broker. Nothing secret."""

    format: Literal[1] = 1
    site: str
    gateway: str
    broker_host: str
    broker_port: int


@dataclass(frozen=True, slots=True)
class Installed:
    """A certificate was put to work; `rekeyed` when the message key is a new one too, which needs a restart."""

    certificate: x509.Certificate
    rekeyed: bool


class _Pending(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asked for and not answered: the private keys, and what was known when asking."""

    format: Literal[1] = 1
    facts: Facts
    authority: str
    models_trust: str | None
    private_key: str
    sealing_key: str
    request: Request


class Identity:
    """The identity in `folder`. Every method raises `EnrolmentError`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def client(self) -> Path:
        """Certificate and private key."""
        return self._folder / "client.pem"

    @property
    def authority(self) -> Path:
        """Certificate that signs the broker's."""
        return self._folder / "ca.crt"

    @property
    def message_key(self) -> Path:
        """The gateway's key for sealed messages."""
        return self._folder / "message.key"

    @property
    def models_trust(self) -> Path:
        """Trust file for models, where the invitation had one."""
        return self._folder / "models-trust.json"

    @property
    def enrolled(self) -> bool:
        """Whether there is a certificate."""
        return self.client.exists()

    def facts(self) -> Facts:
        """Names and broker."""
        return self._read("identity.json", Facts, "enrol this gateway first")

    def certificate(self) -> x509.Certificate:
        """The certificate at work."""
        return _client(self.client)[0]

    def enroll(self, invitation: Invitation, *, now: dt.datetime | None, replace: bool) -> Request:
        """Make keys and ask for a certificate; `now` is None where the clock is not to be trusted.

        Asking again with the same invitation gives the same request: its keys are here.
        """
        name = common_name(invitation.site, invitation.gateway)
        facts = Facts(
            site=invitation.site,
            gateway=invitation.gateway,
            broker_host=invitation.broker_host,
            broker_port=invitation.broker_port,
        )
        if now is not None and now.timestamp() * 1e9 >= invitation.expires_ns:
            raise EnrolmentError(f"the invitation of {name} has expired: ask for a new one")
        read_certificate(invitation.authority, "the authority in the invitation")
        waiting = self._waiting()
        if waiting is not None:
            if waiting.request.parsed().invitation == invitation.number:
                return waiting.request
            if not replace:
                raise EnrolmentError(
                    f"{self._folder} waits for the answer to another request: install that answer, or give up "
                    "on it with --replace"
                )
        if self.enrolled and not replace:
            raise EnrolmentError(
                f"{self._folder} holds the identity of {name_in(self.certificate())} already: renew it, choose "
                "another --folder, or give it up with --replace"
            )
        return self._ask(facts, invitation.authority, invitation.models_trust, invitation=invitation)

    def renew(self) -> Request:
        """Make a new key and ask for a new certificate; the one at work stays at work.

        Asking again before the answer came gives the same request.
        """
        certificate, key = _client(self.client)
        waiting = self._waiting()
        if waiting is not None:
            if waiting.request.parsed().certificate is None:
                raise EnrolmentError(f"{self._folder} waits for the answer to an enrolment: install that")
            return waiting.request
        return self._ask(self.facts(), self._text(self.authority), None, renews=(certificate, key))

    def install(self, answer: Answer, *, now: dt.datetime | None) -> Installed:
        """Check `answer` and put what it gives to work; `now` is None where the clock is not to be trusted."""
        waiting = self._waiting()
        if waiting is None:
            raise EnrolmentError(
                f"{self._folder} waits for no answer: enroll or renew first, on this gateway"
            )
        key = load_pem_private_key(waiting.private_key.encode(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        body, certificate = _checked(answer, waiting, key, now)
        message_key: bytes | None = None
        if body.message_key is not None:
            reader = X25519PrivateKey.from_private_bytes(bytes.fromhex(waiting.sealing_key))
            message_key = open_sealed(reader, body.message_key, name_in(certificate))
            if len(message_key) != KEY_BYTES:
                raise EnrolmentError(
                    f"the answer's message key has {len(message_key)} bytes, not {KEY_BYTES}"
                )
        elif waiting.request.parsed().certificate is None:
            raise EnrolmentError("the answer holds no message key: have the request accepted again")
        with self._writing():
            if message_key is not None:
                write_durably(self.message_key, message_key.hex().encode() + b"\n", secret=True)
            if waiting.models_trust is not None:
                write_durably(self.models_trust, waiting.models_trust.encode())
            write_durably(self.authority, waiting.authority.encode())
            write_durably(self._folder / "identity.json", _indented(waiting.facts))
            pair = certificate.public_bytes(Encoding.PEM) + waiting.private_key.encode()
            write_durably(self.client, pair, secret=True)
            # Last: until here the step may be taken again.
            (self._folder / "pending.json").unlink()
            sync_folder(self._folder)
        return Installed(certificate, rekeyed=message_key is not None)

    def settings(self) -> str:
        """What the gateway's configuration has to say, as TOML."""
        facts, folder = self.facts(), self._folder.absolute()
        models = f"\n[models]\ntrust_files = [{_quoted(str(folder / self.models_trust.name))}]\n"
        return (
            f"site = {_quoted(facts.site)}\n"
            f"gateway = {_quoted(facts.gateway)}\n"
            f"key_file = {_quoted(str(folder / self.message_key.name))}\n"
            "\n[mqtt]\n"
            f"host = {_quoted(facts.broker_host)}\n"
            f"port = {facts.broker_port}\n"
            "\n[mqtt.tls]\n"
            "enabled = true\n"
            f"ca_file = {_quoted(str(folder / self.authority.name))}\n"
            f"cert_file = {_quoted(str(folder / self.client.name))}\n"
        ) + (models if self.models_trust.exists() else "")

    def _ask(
        self,
        facts: Facts,
        authority: str,
        models_trust: str | None,
        *,
        invitation: Invitation | None = None,
        renews: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
    ) -> Request:
        key, sealing = ec.generate_private_key(ec.SECP256R1()), X25519PrivateKey.generate()
        name = common_name(facts.site, facts.gateway)
        asked = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .sign(key, hashes.SHA256())
        )
        body = msgspec.json.encode(
            RequestBody(
                site=facts.site,
                gateway=facts.gateway,
                signing_request=asked.public_bytes(Encoding.PEM).decode(),
                sealing_key=sealing.public_key().public_bytes_raw().hex(),
                invitation=None if invitation is None else invitation.number,
                certificate=None if renews is None else renews[0].public_bytes(Encoding.PEM).decode(),
            )
        ).decode()
        if invitation is not None:
            proof = prove_token(invitation.token, body)
        else:
            assert renews is not None
            proof = prove_key(renews[1], body)
        request = Request(body=body, proof=proof)
        pending = _Pending(
            facts=facts,
            authority=authority,
            models_trust=models_trust,
            private_key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            sealing_key=sealing.private_bytes_raw().hex(),
            request=request,
        )
        with self._writing():
            write_durably(self._folder / "pending.json", _indented(pending), secret=True)
        return request

    def _waiting(self) -> _Pending | None:
        if not (self._folder / "pending.json").exists():
            return None
        return self._read("pending.json", _Pending, "ask again with --replace")

    def _read(self, name: str, kind: type[_T], fix: str) -> _T:
        path = self._folder / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except OSError as error:
            raise EnrolmentError(f"{path}: {error.strerror}; {fix}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise EnrolmentError(f"{path} is damaged or of another version: {fix}") from None

    def _text(self, path: Path) -> str:
        try:
            return path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise EnrolmentError(f"{path} cannot be read ({error}): enrol this gateway again") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            make_private(self._folder)
            yield
        except OSError as error:
            raise EnrolmentError(f"{self._folder} cannot be written: {error.strerror}") from error


def _checked(
    answer: Answer, waiting: _Pending, key: ec.EllipticCurvePrivateKey, now: dt.datetime | None
) -> tuple[AnswerBody, x509.Certificate]:
    """Body and certificate of an answer that is the authority's, to this request, for this key."""
    authority = read_certificate(waiting.authority, "the authority of the invitation")
    if not answer_signed(authority, answer):
        raise EnrolmentError(
            "the answer is not signed by the authority of the invitation: it was changed on its way, or comes from "
            "another authority; copy it again"
        )
    body = answer.parsed()
    name = common_name(waiting.facts.site, waiting.facts.gateway)
    if (body.site, body.gateway) != (waiting.facts.site, waiting.facts.gateway):
        raise EnrolmentError(f"the answer is for {body.site}/{body.gateway}, and this gateway is {name}")
    if body.request != waiting.request.digest:
        raise EnrolmentError(
            f"the answer is to another request of {name}: bring the answer to the latest one"
        )
    certificate = read_certificate(body.certificate, "the answer's certificate")
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise EnrolmentError("the answer's certificate is not the authority's") from error
    if certificate.public_key() != key.public_key() or name_in(certificate) != name:
        raise EnrolmentError(f"the answer's certificate is not for the key and name of {name}")
    if now is not None and not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise EnrolmentError(
            f"the answer's certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, and this clock says {now:%Y-%m-%d %H:%M}: "
            "set the clock, or ask again"
        )
    return body, certificate


def _client(path: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        content = path.read_bytes()[:MAX_FILE_BYTES]
        certificate, key = x509.load_pem_x509_certificate(content), load_pem_private_key(content, None)
    except OSError as error:
        raise EnrolmentError(f"{path}: {error.strerror}; enrol this gateway first") from error
    except (ValueError, TypeError):
        raise EnrolmentError(f"{path} does not hold a certificate and its key: enrol again") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise EnrolmentError(f"{path}: the key is not the certificate's: enrol again")
    return certificate, key


def _indented(what: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(what), indent=1) + b"\n"


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are all among TOML's."""
    return msgspec.json.encode(text).decode()
