"""Invitation, request, answer: the files that make a machine a gateway. Versioned JSON, unknown fields refused.

Whoever carries them learns and changes nothing that matters but the invitation's token, which is for one gateway, one
use and a short time. A request proves the token without holding it (or, for a renewal, the key of the certificate at
work); an answer is signed by the authority whose certificate came with the invitation, and names the request.
"""

import hashlib
import hmac
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vitalwire_edge.wire.topics import TopicError, identifier

MAX_FILE_BYTES: Final = 64 * 1024
TOKEN_BYTES: Final = 32
MAX_NAME: Final = 64
"""RFC 5280, appendix A.1: ub-common-name."""

_REQUESTS: Final = b"vitalwire enrolment request 1\0"
_ANSWERS: Final = b"vitalwire enrolment answer 1\0"

_T = TypeVar("_T", bound="_File")


class EnrolmentError(Exception):
    """Something of an enrolment cannot be used; the message names it and the fix, and holds no secret."""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1] = 1


class Invitation(_File, frozen=True, kw_only=True, tag_field="file", tag="vitalwire invitation"):
    """For one gateway, once, until `expires_ns`. `token` is hexadecimal and secret.

    `authority` is the certificate (PEM) that signs answers and the broker's certificate; `models_trust` the content of
    the trust file for models, if there is one.
    """

    number: str
    site: str
    gateway: str
    token: str
    expires_ns: int
    broker_host: str
    broker_port: int
    authority: str
    models_trust: str | None = None


class RequestBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a gateway asks for. `signing_request` is PKCS #10 as PEM; `sealing_key` an X25519 public key.

    `invitation` is the number of one, or `certificate` (PEM) is the one to be renewed.
    """

    site: str
    gateway: str
    signing_request: str
    sealing_key: str
    invitation: str | None = None
    certificate: str | None = None


class Request(_File, frozen=True, kw_only=True, tag_field="file", tag="vitalwire enrolment request"):
    """`body` is the exact text of a `RequestBody`, `proof` (hexadecimal) that it is the invited gateway's."""

    body: str
    proof: str

    @property
    def digest(self) -> str:
        """Names the request in its answer."""
        return hashlib.sha256(self.body.encode()).hexdigest()

    def parsed(self) -> RequestBody:
        """The body. Raises `EnrolmentError`."""
        return _parsed(self.body, RequestBody, "request")


class Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something for one reader only: the sender's X25519 key and the box, in hexadecimal."""

    sender: str
    box: str


class AnswerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the authority gives: a certificate (PEM), and with an enrolment the gateway's message key."""

    site: str
    gateway: str
    request: str
    certificate: str
    message_key: Sealed | None = None


class Answer(_File, frozen=True, kw_only=True, tag_field="file", tag="vitalwire enrolment answer"):
    """`body` is the exact text of an `AnswerBody`, `signature` (hexadecimal) the authority's."""

    body: str
    signature: str

    def parsed(self) -> AnswerBody:
        """The body. Raises `EnrolmentError`."""
        return _parsed(self.body, AnswerBody, "answer")


def read_file(path: Path, kind: type[_T], what: str) -> _T:
    """The `what` in the file at `path`. Raises `EnrolmentError`; its message quotes nothing of the content."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise EnrolmentError(f"{what} {path}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise EnrolmentError(f"{what} {path} has more than {MAX_FILE_BYTES} bytes: it is another file")
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # The parser's message may quote a secret.
        raise EnrolmentError(
            f"{what} {path} is not the {what} of this version of vitalwire, or not all of it: copy it again"
        ) from None


def content_of(file: _File) -> bytes:
    """What stands in the file."""
    return msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"


def common_name(site: str, gateway: str) -> str:
    """The name in a gateway's certificate, which is its own part of every topic. Raises `EnrolmentError`."""
    try:
        name = f"{identifier(site, 'site')}/{identifier(gateway, 'gateway')}"
    except TopicError as error:
        raise EnrolmentError(str(error)) from error
    if len(name) > MAX_NAME:
        raise EnrolmentError(
            f"{name!r} has {len(name)} characters and a certificate's name at most {MAX_NAME}"
        )
    return name


def name_in(certificate: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """The common name in `certificate`, empty where there is none or more than one."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else ""


def fingerprint(certificate: x509.Certificate) -> str:
    """What people compare: SHA-256 of `certificate`, in groups of four."""
    digits = certificate.fingerprint(hashes.SHA256()).hex()
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def read_certificate(text: str, what: str) -> x509.Certificate:
    """The certificate in PEM `text`. Raises `EnrolmentError`."""
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
        # These are parsed only when they are asked for.
        for part in (certificate.subject, certificate.issuer, certificate.public_key()):
            assert part is not None
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise EnrolmentError(f"{what} is not a certificate in PEM") from error
    return certificate


def prove_token(token: str, body: str) -> str:
    """Proof that whoever wrote `body` holds `token`."""
    return hmac.new(_token(token), _REQUESTS + body.encode(), hashlib.sha256).hexdigest()


def token_proven(token: str, request: Request) -> bool:
    """Whether `request` was written, as it is, by a holder of `token`."""
    return hmac.compare_digest(prove_token(token, request.body).encode(), request.proof.encode())


def prove_key(key: ec.EllipticCurvePrivateKey, body: str) -> str:
    """Proof that whoever wrote `body` holds the key of the certificate to be renewed."""
    return key.sign(_REQUESTS + body.encode(), ec.ECDSA(hashes.SHA256())).hex()


def key_proven(certificate: x509.Certificate, request: Request) -> bool:
    """Whether `request` was written, as it is, by the holder of `certificate`."""
    return _signed(certificate, _REQUESTS, request.body, request.proof)


def sign_answer(key: ec.EllipticCurvePrivateKey, body: AnswerBody) -> Answer:
    """The answer with the authority's signature."""
    text = msgspec.json.encode(body).decode()
    return Answer(body=text, signature=key.sign(_ANSWERS + text.encode(), ec.ECDSA(hashes.SHA256())).hex())


def answer_signed(authority: x509.Certificate, answer: Answer) -> bool:
    """Whether `answer` is, as it is, the authority's."""
    return _signed(authority, _ANSWERS, answer.body, answer.signature)


def _signed(certificate: x509.Certificate, purpose: bytes, text: str, signature: str) -> bool:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(bytes.fromhex(signature), purpose + text.encode(), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _token(text: str) -> bytes:
    try:
        token = bytes.fromhex(text)
    except ValueError:
        token = b""
    if len(token) != TOKEN_BYTES:
        raise EnrolmentError("the invitation's token is damaged: copy the invitation again")
    return token


_B = TypeVar("_B")


def _parsed(text: str, kind: type[_B], what: str) -> _B:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, RecursionError):
        raise EnrolmentError(f"the {what}'s body is not one of this version of vitalwire") from None
