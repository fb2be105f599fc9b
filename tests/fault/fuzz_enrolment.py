"""The files of an enrolment, damaged on their way: whoever reads them says so, and no changed one is believed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.x509.oid import NameOID
from damage import Tally, damaged

from vitalwire_cloud.enrolment.judging import asked_for
from vitalwire_edge.enrolment.formats import (
    Answer,
    AnswerBody,
    EnrolmentError,
    Invitation,
    Request,
    RequestBody,
    answer_signed,
    content_of,
    name_in,
    prove_token,
    read_certificate,
    read_file,
    sign_answer,
    token_proven,
)
from vitalwire_edge.enrolment.sealing import open_sealed, seal_for

_TOKEN: Final = "5a" * 32
_SECRET: Final = bytes(range(32))
_NAME: Final = "ward/gw1"
_SUBJECT: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])


def fuzz_enrolments(rng: np.random.Generator, count: int, tally: Tally, folder: Path) -> None:
    """Damage invitation, request and answer, and read them as the other side would."""
    folder.mkdir(parents=True)
    path = folder / "file"
    key = ec.generate_private_key(ec.SECP256R1())
    authority, pem = _authority(key)
    reader = X25519PrivateKey.generate()
    sealing = reader.public_key().public_bytes_raw().hex()
    signing = _signing_request(key)
    asked = msgspec.json.encode(
        RequestBody(site="ward", gateway="gw1", signing_request=signing, sealing_key=sealing, invitation="i1")
    ).decode()
    request = Request(body=asked, proof=prove_token(_TOKEN, asked))
    sealed = seal_for(sealing, _SECRET, _NAME)
    given = AnswerBody(
        site="ward", gateway="gw1", request=request.digest, certificate=pem, message_key=sealed
    )
    answer = sign_answer(key, given)
    invitation = Invitation(
        number="i1", site="ward", gateway="gw1", token=_TOKEN, expires_ns=2**60, broker_host="broker",
        broker_port=8883, authority=pem,
    )  # fmt: skip
    corpora = [[content_of(file)] for file in (invitation, request, answer)]
    for _ in range(count):
        kind = int(rng.integers(5))
        try:
            if kind < 3:
                path.write_bytes(damaged(rng, corpora[kind]))
            match kind:
                case 0:
                    found = read_file(path, Invitation, "invitation")
                    name_in(read_certificate(found.authority, "authority"))
                case 1:
                    asking = read_file(path, Request, "request")
                    asking.parsed()
                    if token_proven(_TOKEN, asking):
                        assert asking.body == request.body, "a changed request was proven"
                case 2:
                    answering = read_file(path, Answer, "answer")
                    body = answering.parsed()
                    if answer_signed(authority, answering):
                        assert answering.body == answer.body, "a changed answer was signed"
                    if body.message_key is not None:
                        assert open_sealed(reader, body.message_key, _NAME) == _SECRET
                case 3:
                    name_in(read_certificate(damaged(rng, [pem.encode()]).decode("utf-8", "replace"), "it"))
                case 4:
                    changed = damaged(rng, [signing.encode()]).decode("utf-8", "replace")
                    asked_for(msgspec.structs.replace(request.parsed(), signing_request=changed), _NAME)
            tally.outcomes["enrolment file read"] += 1
        except EnrolmentError:
            tally.outcomes["enrolment file refused"] += 1


def _signing_request(key: ec.EllipticCurvePrivateKey) -> str:
    made = x509.CertificateSigningRequestBuilder().subject_name(_SUBJECT).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def _authority(key: ec.EllipticCurvePrivateKey) -> tuple[x509.Certificate, str]:
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(_SUBJECT)
        .issuer_name(_SUBJECT)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made, made.public_bytes(serialization.Encoding.PEM).decode()
