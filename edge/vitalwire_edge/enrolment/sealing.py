"""A secret for one reader: X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439).

Every box has a key of its own, made from a fresh key of the sender's, so the nonce may be constant. Who sealed it shows
nowhere: the answer around it is signed.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vitalwire_edge.enrolment.formats import EnrolmentError, Sealed

_PURPOSE: Final = b"vitalwire enrolment message key 1\0"
_NONCE: Final = bytes(12)


def seal_for(reader: str, secret: bytes, name: str) -> Sealed:
    """`secret` for the holder of `reader` (public key, hexadecimal), for use as `name`. Raises `EnrolmentError`."""
    sender = X25519PrivateKey.generate()
    public = sender.public_key().public_bytes_raw()
    try:
        their = X25519PublicKey.from_public_bytes(bytes.fromhex(reader))
        key = _key(sender.exchange(their), public, their.public_bytes_raw())
    except ValueError as error:
        raise EnrolmentError("the request's sealing key is not an X25519 key: ask again") from error
    return Sealed(sender=public.hex(), box=ChaCha20Poly1305(key).encrypt(_NONCE, secret, name.encode()).hex())


def open_sealed(reader: X25519PrivateKey, sealed: Sealed, name: str) -> bytes:
    """The secret sealed for `reader` as `name`. Raises `EnrolmentError`."""
    try:
        sender = bytes.fromhex(sealed.sender)
        shared = reader.exchange(X25519PublicKey.from_public_bytes(sender))
        key = _key(shared, sender, reader.public_key().public_bytes_raw())
        return ChaCha20Poly1305(key).decrypt(_NONCE, bytes.fromhex(sealed.box), name.encode())
    except (InvalidTag, ValueError) as error:
        raise EnrolmentError("the message key was sealed for another gateway or another request") from error


def _key(shared: bytes, sender: bytes, reader: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, None, _PURPOSE + sender + reader).derive(shared)
