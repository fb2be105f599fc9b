"""X.509 as the authority makes it (RFC 5280): itself, gateways, broker and cloud, and the list of the revoked."""

import datetime as dt
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH

_CLOCKS_APART: Final = dt.timedelta(hours=1)
_HASH: Final = hashes.SHA256()


def authority(name: str, key: ec.EllipticCurvePrivateKey, *, now: dt.datetime, days: int) -> x509.Certificate:
    """The authority's own certificate. It signs nobody who could sign further."""
    subject = _named(name)
    return (
        _begun(subject, subject, key.public_key(), now, now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, _HASH)
    )


def issued(
    name: str,
    public: ec.EllipticCurvePublicKey,
    purpose: ObjectIdentifier,
    *,
    by: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    days: int,
    hosts: Sequence[str] = (),
) -> x509.Certificate:
    """A certificate of `name` for `purpose`, which never outlives the authority's. `hosts` are names or addresses."""
    ends = min(now + dt.timedelta(days=days), by.not_valid_after_utc)
    builder = (
        _begun(_named(name), by.subject, public, now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(_signer_of(by), critical=False)
    )
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
        )
    return builder.sign(key, _HASH)


def revocations(
    revoked: Iterable[tuple[int, dt.datetime]],
    number: int,
    *,
    by: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
) -> x509.CertificateRevocationList:
    """The list of serial numbers revoked, and when.

    It is valid as long as the authority: a broker with a list past its date lets nobody in, and a ward must not go
    dark because nobody was revoked for a while.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(by.subject)
        .last_update(now - _CLOCKS_APART)
        .next_update(by.not_valid_after_utc)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_signer_of(by), critical=False)
    )
    for serial, at in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
        )
    return builder.sign(key, _HASH)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    ends: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_APART)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _signer_of(by: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = by.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
