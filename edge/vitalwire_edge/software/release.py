"""A release: the wheel of the software as a signed file, in the same container and under the same trust as a model.

The signing key is one that the root delegated for software; a key for models signs no release. `manifest.json` carries
the release's number, which only grows, `release.json` what people and the launcher call it.
"""

import platform
from dataclasses import dataclass
from typing import Final

import msgspec

from vitalwire_edge.inference.artifact import Manifest, Needs, pack, sha256, unseal
from vitalwire_edge.inference.keys import Delegation, Signer, Trust
from vitalwire_edge.inference.refusal import ArtifactRefusedError, Refusal
from vitalwire_edge.software.wheel import NAME, Wheel, read_wheel
from vitalwire_edge.wire.models import MAX_ARTIFACT_BYTES

CARD: Final = "release.json"
WHEEL: Final = "software.whl"
ARCHITECTURES: Final = ("x86_64", "aarch64", "armv7l")

_NEEDED: Final = frozenset({WHEEL})


class ReleaseCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`release.json`."""

    format: int = 1
    software: str
    requires_python: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A verified release."""

    manifest: Manifest
    manifest_sha256: str
    sha256: str
    signed_by: Delegation
    wheel: Wheel


def pack_release(
    wheel: bytes,
    signer: Signer,
    *,
    version: int,
    created_ns: int,
    arch: tuple[str, ...] = ARCHITECTURES,
    parent_hash: str | None = None,
) -> bytes:
    """The signed file of `wheel` as release number `version`. Raises `ArtifactRefusedError` for no fitting wheel."""
    read = read_wheel(wheel)
    if signer.delegation.purpose != "software":
        raise ArtifactRefusedError(
            Refusal.WRONG_SIGNATURE,
            f"key {signer.delegation.key_id} may sign {signer.delegation.purpose}: "
            "make one with `vitalwire model keys delegate --purpose software`",
        )
    card = ReleaseCard(software=read.software, requires_python=read.requires_python)
    manifest = Manifest(
        name=NAME,
        version=version,
        created_ns=created_ns,
        parent_hash=parent_hash,
        hardware=Needs(arch=arch, variants={}, max_p99_us=1, max_bytes=MAX_ARTIFACT_BYTES),
        card=CARD,
    )
    return pack({CARD: msgspec.json.encode(card), WHEEL: wheel}, manifest, signer, _NEEDED)


def open_release(
    data: bytes,
    trust: Trust,
    *,
    now_ns: int | None,
    running_version: int = 0,
    arch: str | None = None,
    max_bytes: int = MAX_ARTIFACT_BYTES,
) -> Release:
    """The verified release in `data`, or `ArtifactRefusedError`. `now_ns` as for `open_artifact`."""
    sealed = unseal(
        data,
        trust,
        now_ns=now_ns,
        running_version=running_version,
        max_bytes=max_bytes,
        purpose="software",
        needed=_NEEDED,
    )
    manifest = sealed.manifest
    arch = arch or platform.machine()
    if manifest.name != NAME or arch not in manifest.hardware.arch:
        made_for = ", ".join(manifest.hardware.arch)
        raise ArtifactRefusedError(
            Refusal.WRONG_HARDWARE, f"{manifest.name} for {made_for}: this is {NAME} on {arch}"
        )
    wheel = read_wheel(sealed.parts[WHEEL])
    return Release(manifest, sealed.manifest_sha256, sha256(data), sealed.signed_by, wheel)
