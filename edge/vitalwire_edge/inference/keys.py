"""Who may sign models and software: a root key that stays offline delegates to a signing key with an end.

A gateway pins root keys (`Trust`). An artifact carries the statement in which a root delegates, so gateways learn of a
new signing key with the first artifact it signs, and a lost one ends by itself. Ed25519 (RFC 8032) throughout; every
signature is made over a purpose and the exact bytes, so none can pass for another. After the roles of The Update
Framework (specification 1.0.33, section 2.1), reduced to root and targets.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vitalwire_edge.inference.refusal import ArtifactRefusedError, Refusal

MAX_SIGNATURE_BYTES: Final = 4096

Purpose = Literal["models", "software"]
"""What a key may sign: one for models signs no software, and the other way round."""

_DELEGATES: Final = b"vitalwire model delegation 1\0"
_SIGNS: Final[dict[Purpose, bytes]] = {
    "models": b"vitalwire model manifest 1\0",
    "software": b"vitalwire software manifest 1\0",
}

_T = TypeVar("_T")


class KeyFileError(ValueError):
    """A key or trust file cannot be used; the message names the file and the fix."""


class Delegation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A root key says: `public_key` (hexadecimal) may sign for `purpose` until `expires_ns` (None: no end)."""

    format: Literal[1] = 1
    purpose: Purpose = "models"
    key_id: str
    public_key: str
    root_key_id: str
    created_ns: int
    expires_ns: int | None


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`signature.json`: the delegation as the exact text the root signed, and both signatures in hexadecimal."""

    format: Literal[1] = 1
    delegation: str
    root_signature: str
    signature: str


class _RootKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key_id: str
    public_key: str


class _TrustFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1] = 1
    roots: tuple[_RootKey, ...]


class _PrivateRoot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1] = 1
    kind: Literal["root"] = "root"
    key_id: str
    private_key: str


class _PrivateSigner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1] = 1
    kind: Literal["signing"] = "signing"
    private_key: str
    delegation: str
    root_signature: str


def key_id(public: Ed25519PublicKey) -> str:
    """Name of a key: the first 16 hexadecimal digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Trust:
    """The root keys that a gateway pins, by key id."""

    roots: Mapping[str, Ed25519PublicKey]

    @classmethod
    def of(cls, roots: Iterable[Ed25519PublicKey]) -> "Trust":
        """Trust in these root keys."""
        return cls({key_id(root): root for root in roots})

    @classmethod
    def read(cls, *paths: Path) -> "Trust":
        """Trust in every root key of these files. Raises `KeyFileError`."""
        roots: dict[str, Ed25519PublicKey] = {}
        for path in paths:
            for root in _read(path, _TrustFile, "trust file").roots:
                public = _public(root.public_key, path)
                if key_id(public) != root.key_id:
                    raise KeyFileError(f"trust file {path}: key id {root.key_id!r} is not that of its key")
                roots[root.key_id] = public
        return cls(roots)

    def to_json(self) -> bytes:
        """Content of a trust file."""
        roots = tuple(
            _RootKey(key_id=name, public_key=root.public_bytes_raw().hex())
            for name, root in self.roots.items()
        )
        return msgspec.json.format(msgspec.json.encode(_TrustFile(roots=roots)), indent=1) + b"\n"

    def verify(
        self,
        signature_json: bytes,
        manifest: bytes,
        now_ns: int | None,
        purpose: Purpose = "models",
    ) -> Delegation:
        """The delegation for `purpose` under which `manifest` (exact bytes) is signed.

        `now_ns` is UTC by a synchronised clock, or None: then nothing expires. Raises `ArtifactRefusedError` with
        `MALFORMED`, `UNKNOWN_KEY`, `WRONG_SIGNATURE` or `EXPIRED`.
        """
        if len(signature_json) > MAX_SIGNATURE_BYTES:
            raise ArtifactRefusedError(
                Refusal.TOO_LARGE,
                f"signature of {len(signature_json)} bytes: at most {MAX_SIGNATURE_BYTES}",
            )
        try:
            signature = msgspec.json.decode(signature_json, type=Signature)
            delegation = msgspec.json.decode(signature.delegation, type=Delegation)
            by_root = bytes.fromhex(signature.root_signature)
            by_signer = bytes.fromhex(signature.signature)
            signer = Ed25519PublicKey.from_public_bytes(bytes.fromhex(delegation.public_key))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ArtifactRefusedError(Refusal.MALFORMED, f"the signature cannot be read: {error}") from error
        if not (
            msgspec.json.encode(signature) == signature_json
            and by_root.hex() == signature.root_signature
            and by_signer.hex() == signature.signature
        ):
            # Files are told apart by their hashes, so nobody may make another file of the same content.
            raise ArtifactRefusedError(Refusal.MALFORMED, "the signature is not in its one form")
        root = self.roots.get(delegation.root_key_id)
        if root is None:
            raise ArtifactRefusedError(
                Refusal.UNKNOWN_KEY, f"root key {delegation.root_key_id[:16]!r} is not pinned here"
            )
        try:
            root.verify(by_root, _DELEGATES + signature.delegation.encode())
        except InvalidSignature as error:
            raise ArtifactRefusedError(
                Refusal.WRONG_SIGNATURE, f"root key {delegation.root_key_id} did not sign this delegation"
            ) from error
        if delegation.purpose != purpose:
            raise ArtifactRefusedError(
                Refusal.WRONG_SIGNATURE,
                f"key {delegation.key_id[:16]!r} may sign {delegation.purpose}, not {purpose}",
            )
        try:
            signer.verify(by_signer, _SIGNS[purpose] + manifest)
        except InvalidSignature as error:
            raise ArtifactRefusedError(
                Refusal.WRONG_SIGNATURE, f"key {delegation.key_id[:16]!r} did not sign this manifest"
            ) from error
        if now_ns is not None and delegation.expires_ns is not None and now_ns >= delegation.expires_ns:
            raise ArtifactRefusedError(
                Refusal.EXPIRED,
                f"the delegation of key {delegation.key_id[:16]!r} ended at {delegation.expires_ns} ns",
            )
        return delegation


class Signer:
    """A signing key with its delegation."""

    def __init__(self, private: Ed25519PrivateKey, delegation: str, root_signature: str) -> None:
        self._private = private
        self._delegation = delegation
        self._root_signature = root_signature
        self.delegation = msgspec.json.decode(delegation, type=Delegation)

    @classmethod
    def read(cls, path: Path) -> "Signer":
        """Signer in the file at `path`. Raises `KeyFileError`."""
        content = _read(path, _PrivateSigner, "signing key")
        signer = cls(_private(content.private_key, path), content.delegation, content.root_signature)
        if signer._private.public_key().public_bytes_raw().hex() != signer.delegation.public_key:
            raise KeyFileError(f"signing key {path}: the delegation is for another key")
        return signer

    def sign(self, manifest: bytes) -> bytes:
        """Content of `signature.json` for `manifest`."""
        signature = Signature(
            delegation=self._delegation,
            root_signature=self._root_signature,
            signature=self._private.sign(_SIGNS[self.delegation.purpose] + manifest).hex(),
        )
        return msgspec.json.encode(signature)

    def to_json(self) -> bytes:
        """Content of the signing key's file."""
        return msgspec.json.encode(
            _PrivateSigner(
                private_key=self._private.private_bytes_raw().hex(),
                delegation=self._delegation,
                root_signature=self._root_signature,
            )
        )


class Root:
    """A root key. It signs delegations and nothing else."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def new(cls) -> "Root":
        """A fresh root key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, path: Path) -> "Root":
        """Root key in the file at `path`. Raises `KeyFileError`."""
        return cls(_private(_read(path, _PrivateRoot, "root key").private_key, path))

    @property
    def trust(self) -> Trust:
        """What gateways pin to trust this root."""
        return Trust.of((self._private.public_key(),))

    def delegate(self, *, now_ns: int, expires_ns: int | None, purpose: Purpose = "models") -> Signer:
        """A fresh signing key that may sign for `purpose` until `expires_ns`."""
        private = Ed25519PrivateKey.generate()
        public = private.public_key()
        delegation = msgspec.json.encode(
            Delegation(
                purpose=purpose,
                key_id=key_id(public),
                public_key=public.public_bytes_raw().hex(),
                root_key_id=key_id(self._private.public_key()),
                created_ns=now_ns,
                expires_ns=expires_ns,
            )
        ).decode()
        return Signer(private, delegation, self._private.sign(_DELEGATES + delegation.encode()).hex())

    def to_json(self) -> bytes:
        """Content of the root key's file."""
        return msgspec.json.encode(
            _PrivateRoot(
                key_id=key_id(self._private.public_key()), private_key=self._private.private_bytes_raw().hex()
            )
        )


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; an existing one is never replaced. Raises `KeyFileError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(content)
    except FileExistsError as error:
        raise KeyFileError(
            f"{path} exists and is not replaced: move it away or choose another name"
        ) from error
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from error


def _read(path: Path, kind: type[_T], what: str) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise KeyFileError(f"{what} {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # The parser's message may quote the content, which may be a secret.
        raise KeyFileError(f"{what} {path} is not a {what} of this program") from None


def _private(text: str, path: Path) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text))
    except ValueError as error:
        raise KeyFileError(f"{path} does not hold a 32-byte Ed25519 key in hexadecimal") from error


def _public(text: str, path: Path) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    except ValueError as error:
        raise KeyFileError(f"{path} does not hold a 32-byte Ed25519 public key in hexadecimal") from error
