"""A model as it travels and lies on disk: one signed file, `NAME-VERSION.vwm`.

The file is a container (see `container`) of `manifest.json`, `signature.json` and the parts that the manifest names
with size and SHA-256: model variants, self-test vectors, model card, parameters of the score. It is opened in stages,
each of which trusts only what the one before has proved: sizes, container, signature over the exact manifest bytes,
manifest, age, version, hardware, hashes. Nothing in it is ever executed or unpickled. The last stage, running the
model on the shipped vectors, is `selftest.run`.

The SHA-256 of the manifest is the model's identity: it covers every part.
"""

import hashlib
import importlib.util
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from vitalwire_edge.inference import container
from vitalwire_edge.inference.container import ContainerError
from vitalwire_edge.inference.keys import Delegation, Purpose, Signer, Trust
from vitalwire_edge.inference.refusal import ArtifactRefusedError, Refusal
from vitalwire_edge.wire.models import MAX_ARTIFACT_BYTES

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "signature.json"
SELF_TEST: Final = "selftest.npz"
CARD: Final = "card.json"
PARAMETERS: Final = "parameters.json"
FORMAT: Final = 1

RUNTIMES: Final[dict[str, str]] = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
"""Runtimes that a variant can be made for, and the module each is imported as; the first one installed is used."""

_MAX_MANIFEST_BYTES: Final = 64 * 1024

_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class PartInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size and hash of a part."""

    bytes: int
    sha256: _Sha256


class Needs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a gateway must be and stay within for this model.

    `arch` are names as `platform.machine()` gives them. `variants` names, per runtime, the part it loads. `max_p99_us`
    is the 99th percentile of one inference that the gateway may take, `max_bytes` what the whole artifact may weigh.
    """

    arch: tuple[str, ...]
    variants: dict[str, str]
    max_p99_us: _Positive
    max_bytes: _Positive


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed.

    `version` only grows. `parent_hash` is the manifest hash of the model this one was trained from or replaces. A
    rollback is a higher version whose `names_model` is the manifest hash of the older model that its parts are.
    `card` is the part that holds the model card. `parts` is filled in by `pack`.
    """

    format: int = FORMAT
    name: _Name
    version: _Positive
    created_ns: int
    expires_ns: int | None = None
    parent_hash: _Sha256 | None = None
    names_model: _Sha256 | None = None
    hardware: Needs
    card: str = CARD
    parts: dict[str, PartInfo] = {}


class _Format(msgspec.Struct, frozen=True):
    format: int


@dataclass(frozen=True, slots=True)
class Host:
    """The machine a model shall run on: its architecture and its runtimes, the preferred one first."""

    arch: str
    runtimes: tuple[str, ...]

    @classmethod
    def here(cls) -> "Host":
        """The machine this runs on, with the runtimes that are installed."""
        found = tuple(name for name, module in RUNTIMES.items() if importlib.util.find_spec(module))
        return cls(platform.machine(), found)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified artifact. `runtime` and `model` are the variant that this host loads."""

    manifest: Manifest
    manifest_sha256: str
    sha256: str
    signed_by: Delegation
    parts: Mapping[str, bytes]
    runtime: str

    @property
    def model(self) -> bytes:
        """The model file for `runtime`."""
        return self.parts[self.manifest.hardware.variants[self.runtime]]

    @property
    def file_name(self) -> str:
        """Name of the artifact's file."""
        return f"{self.manifest.name}-{self.manifest.version}.vwm"


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


_MODEL_PARTS: Final = frozenset({SELF_TEST, PARAMETERS})


def pack(
    parts: Mapping[str, bytes],
    manifest: Manifest,
    signer: Signer,
    needed: frozenset[str] = _MODEL_PARTS,
) -> bytes:
    """The artifact file; the same input gives the same bytes. `needed` are parts that it must have.

    `manifest.parts` is taken from `parts`. Raises `ArtifactRefusedError` for what `open_artifact` would refuse for its
    shape, so a bad artifact is found where it is made.
    """
    infos = {name: PartInfo(len(data), sha256(data)) for name, data in sorted(parts.items())}
    manifest = msgspec.structs.replace(manifest, parts=infos)
    manifest_bytes = msgspec.json.encode(manifest, order="deterministic")
    try:
        _manifest(manifest_bytes, needed)
        whole = {MANIFEST: manifest_bytes, SIGNATURE: signer.sign(manifest_bytes)}
        data = container.write(whole | {name: parts[name] for name in infos})
    except ContainerError as error:
        raise ArtifactRefusedError(Refusal.MALFORMED, str(error)) from error
    _check_size(len(data), manifest)
    return data


def open_artifact(
    data: bytes,
    trust: Trust,
    *,
    now_ns: int | None,
    running_version: int = 0,
    host: Host | None = None,
    max_bytes: int = MAX_ARTIFACT_BYTES,
) -> Artifact:
    """The verified artifact in `data`, or `ArtifactRefusedError`.

    `now_ns` is UTC by a synchronised clock, or None: then nothing expires. The version must be above `running_version`,
    the highest that ever ran here. `host` is this machine unless given.
    """
    host = host or Host.here()
    sealed = unseal(data, trust, now_ns=now_ns, running_version=running_version, max_bytes=max_bytes)
    _check_arch(sealed.manifest, host.arch)
    runtime = _runtime(sealed.manifest, host)
    return Artifact(
        sealed.manifest, sealed.manifest_sha256, sha256(data), sealed.signed_by, sealed.parts, runtime
    )


@dataclass(frozen=True, slots=True)
class Unsealed:
    """A file that is whole and signed; whether it fits here is another question."""

    manifest: Manifest
    manifest_sha256: str
    signed_by: Delegation
    parts: Mapping[str, bytes]


def unseal(
    data: bytes,
    trust: Trust,
    *,
    now_ns: int | None,
    running_version: int = 0,
    max_bytes: int = MAX_ARTIFACT_BYTES,
    purpose: Purpose = "models",
    needed: frozenset[str] = _MODEL_PARTS,
) -> Unsealed:
    """What is in `data` after every stage that does not ask for the machine, or `ArtifactRefusedError`."""
    if len(data) > max_bytes:
        raise ArtifactRefusedError(
            Refusal.TOO_LARGE, f"{len(data)} bytes: this gateway takes at most {max_bytes}"
        )
    parts, manifest_bytes, delegation = _proved(data, trust, now_ns, purpose)
    manifest = _manifest(manifest_bytes, needed)
    _check_age(manifest, now_ns, running_version)
    _check_size(len(data), manifest)
    _check_hashes(manifest, parts)
    ordered = {name: parts[name] for name in (MANIFEST, SIGNATURE, *sorted(manifest.parts))}
    if container.write(ordered) != data:
        raise ArtifactRefusedError(Refusal.MALFORMED, "the container is not in its one form")
    del ordered[MANIFEST], ordered[SIGNATURE]
    return Unsealed(manifest, sha256(manifest_bytes), delegation, ordered)


def read_manifest(data: bytes, trust: Trust) -> tuple[Manifest, str]:
    """Signed manifest of `data` and its hash, without asking whether it fits here. Raises `ArtifactRefusedError`."""
    _, manifest_bytes, _ = _proved(data, trust, None)
    return _manifest(manifest_bytes), sha256(manifest_bytes)


def _proved(
    data: bytes, trust: Trust, now_ns: int | None, purpose: Purpose = "models"
) -> tuple[dict[str, bytes], bytes, Delegation]:
    """Parts, exact manifest bytes, and who signed them."""
    try:
        parts = container.read(data)
    except ContainerError as error:
        reason = Refusal.TRUNCATED if error.truncated else Refusal.MALFORMED
        raise ArtifactRefusedError(reason, str(error)) from error
    if list(parts)[:2] != [MANIFEST, SIGNATURE]:
        raise ArtifactRefusedError(Refusal.MALFORMED, f"it does not begin with {MANIFEST} and {SIGNATURE}")
    manifest = parts[MANIFEST]
    if len(manifest) > _MAX_MANIFEST_BYTES:
        raise ArtifactRefusedError(
            Refusal.TOO_LARGE, f"manifest of {len(manifest)} bytes: at most {_MAX_MANIFEST_BYTES}"
        )
    return parts, manifest, trust.verify(parts[SIGNATURE], manifest, now_ns, purpose)


def _manifest(data: bytes, needed: frozenset[str] = _MODEL_PARTS) -> Manifest:
    try:
        found = msgspec.json.decode(data, type=_Format).format
        if found != FORMAT:
            raise ArtifactRefusedError(
                Refusal.UNKNOWN_FORMAT, f"artifact format {found}, this program reads {FORMAT}: update it"
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ArtifactRefusedError(Refusal.MALFORMED, f"the manifest cannot be read: {error}") from error
    named = {manifest.card, *manifest.hardware.variants.values()}
    missing = sorted((needed | named) - set(manifest.parts))
    if missing or {MANIFEST, SIGNATURE} & set(manifest.parts):
        raise ArtifactRefusedError(Refusal.MALFORMED, f"the manifest's parts lack {', '.join(missing)}")
    return manifest


def _check_age(manifest: Manifest, now_ns: int | None, running_version: int) -> None:
    if now_ns is not None and manifest.expires_ns is not None and now_ns >= manifest.expires_ns:
        raise ArtifactRefusedError(
            Refusal.EXPIRED, f"{manifest.name} {manifest.version} ended at {manifest.expires_ns} ns"
        )
    if manifest.version <= running_version:
        raise ArtifactRefusedError(
            Refusal.OLDER_VERSION,
            f"version {manifest.version} after {running_version}: versions only grow, publish a higher one",
        )


def _check_arch(manifest: Manifest, arch: str) -> None:
    made_for = manifest.hardware.arch
    if arch not in made_for:
        raise ArtifactRefusedError(
            Refusal.WRONG_HARDWARE, f"made for {', '.join(made_for) or 'nothing'}, this is {arch}"
        )


def _runtime(manifest: Manifest, host: Host) -> str:
    needs = manifest.hardware
    runtime = next((name for name in host.runtimes if name in needs.variants), None)
    if runtime is None:
        raise ArtifactRefusedError(
            Refusal.WRONG_HARDWARE,
            f"made for {', '.join(sorted(needs.variants)) or 'no runtime'}, "
            f"installed: {', '.join(host.runtimes) or 'none'}",
        )
    return runtime


def _check_size(size: int, manifest: Manifest) -> None:
    limit = min(manifest.hardware.max_bytes, MAX_ARTIFACT_BYTES)
    if size > limit:
        raise ArtifactRefusedError(Refusal.TOO_LARGE, f"{size} bytes: its manifest allows {limit}")


def _check_hashes(manifest: Manifest, parts: Mapping[str, bytes]) -> None:
    if set(parts) != {MANIFEST, SIGNATURE, *manifest.parts}:
        raise ArtifactRefusedError(Refusal.HASH_MISMATCH, "the parts are not those that the manifest names")
    for name, info in manifest.parts.items():
        if len(parts[name]) != info.bytes or sha256(parts[name]) != info.sha256:
            raise ArtifactRefusedError(Refusal.HASH_MISMATCH, f"part {name} is not the one that was signed")
