"""What a request has to be before the authority answers it. Everything raises `EnrolmentError` and changes nothing."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from vitalwire_cloud.enrolment.ledger import Invited, Ledger
from vitalwire_edge.enrolment.formats import (
    EnrolmentError,
    Request,
    RequestBody,
    key_proven,
    name_in,
    read_certificate,
    token_proven,
)


def asked_for(body: RequestBody, name: str) -> ec.EllipticCurvePublicKey:
    """The key that a certificate is asked for."""
    try:
        asked = x509.load_pem_x509_csr(body.signing_request.encode())
        public = asked.public_key()
        sound = asked.is_signature_valid
        # Parsed only when it is asked for.
        named = name_in(asked)
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise EnrolmentError("the request's signing request cannot be read: ask again") from error
    if not sound or not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise EnrolmentError("the request's signing request is not signed with its own P-256 key: ask again")
    if named != name:
        raise EnrolmentError(f"the signing request is for {named!r}, and the request for {name!r}")
    return public


def invited_by(ledger: Ledger, number: str, name: str, request: Request) -> Invited:
    """The invitation that `request` proves to hold."""
    invited = ledger.invitations.get(number)
    if invited is None:
        raise EnrolmentError(
            f"the invitation {number[:16]!r} is not known here: it was withdrawn, replaced by a later one, or is of "
            "another authority; invite again"
        )
    if not token_proven(invited.token, request):
        raise EnrolmentError(
            "the request does not prove the invitation's token: it was changed, or has a wrong one"
        )
    if invited.name != name:
        raise EnrolmentError(f"the invitation is for {invited.name}, and the request for {name}")
    return invited


def check_unique(ledger: Ledger, name: str, now_ns: int) -> None:
    """Refuse a second gateway of one name: the cloud tells them apart by name alone."""
    gateway = name.rpartition("/")[2]
    taken = {n for n, state in ledger.gateways.items() if state == "enrolled"}
    taken |= {i.name for i in ledger.invitations.values() if i.used_by is None and i.expires_ns > now_ns}
    other = next((n for n in taken if n != name and n.rpartition("/")[2] == gateway), None)
    if other is not None:
        raise EnrolmentError(
            f"{other} has the same gateway name as {name}: names are unique over all sites, choose another"
        )


def _signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def renewable(
    ledger: Ledger, body: RequestBody, name: str, request: Request, now_ns: int, authority: x509.Certificate
) -> None:
    """Refuse a renewal that is not the holder's of a certificate that still counts."""
    assert body.certificate is not None
    old = read_certificate(body.certificate, "the certificate to be renewed")
    serial = f"{old.serial_number:x}"
    known = next((c for c in ledger.certificates if c.serial == serial), None)
    if known is None or not _signed_by(old, authority):
        raise EnrolmentError("the certificate to be renewed is not of this authority: wrong --authority?")
    if name_in(old) != name or known.name != name:
        raise EnrolmentError(f"the certificate to be renewed is {name_in(old)}'s, and the request {name}'s")
    if not key_proven(old, request):
        raise EnrolmentError(f"the request was changed on its way, or is not of the holder of {name}'s key")
    if known.revoked_ns is not None or ledger.gateways.get(name) != "enrolled":
        raise EnrolmentError(f"{name} is revoked: invite it again if it is to come back")
    if known.expires_ns <= now_ns:
        raise EnrolmentError(f"the certificate of {name} has ended: invite it again with --replace")
