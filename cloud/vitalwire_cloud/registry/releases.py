"""Releases of the gateways' software, in a registry of their own: the same ledger, desk and rollout as for models."""

from pathlib import Path

import msgspec

from vitalwire_cloud.registry.ledger import Model, ModelLedger, RegistryError
from vitalwire_edge.inference import container
from vitalwire_edge.inference.artifact import MANIFEST, Manifest, sha256
from vitalwire_edge.inference.keys import Signer
from vitalwire_edge.inference.refusal import ArtifactRefusedError
from vitalwire_edge.software.release import CARD, ReleaseCard, pack_release


def open_releases(data_dir: Path) -> ModelLedger:
    """The releases of a service's data folder. Raises `RegistryError`."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryError(f"data folder {data_dir}: {error.strerror}") from error
    return ModelLedger(f"sqlite:///{(data_dir / 'software.sqlite').absolute()}", data_dir / "software")


def publish_release(
    ledger: ModelLedger,
    wheel: bytes,
    signer: Signer,
    *,
    now_ns: int,
    first: tuple[tuple[str, str], ...] = (),
    why: str = "",
) -> Model:
    """Sign `wheel` as the next release and put it on offer to the gateways `first`, or to those a rollout chooses.

    Once all of those confirmed it, every gateway is offered it. Raises `RegistryError`.
    """
    end = signer.delegation.expires_ns
    if end is not None and now_ns >= end:
        raise RegistryError(
            f"signing key {signer.delegation.key_id} ended at {end} ns: "
            "make another with `vitalwire model keys delegate --purpose software`"
        )
    newest = next(iter(ledger.models()), None)
    try:
        data = pack_release(
            wheel,
            signer,
            version=ledger.next_version(),
            created_ns=now_ns,
            parent_hash=None if newest is None else newest.manifest_sha256,
        )
    except ArtifactRefusedError as error:
        raise RegistryError(f"not published: {error}") from error
    parts = container.read(data)
    manifest = msgspec.json.decode(parts[MANIFEST], type=Manifest)
    model = Model(
        version=manifest.version,
        name=manifest.name,
        manifest_sha256=sha256(parts[MANIFEST]),
        sha256=sha256(data),
        size=len(data),
        manifest=manifest,
        signed_by=signer.delegation.key_id,
        published_ns=now_ns,
        gate=None,
        stage="first",
        first=first,
        why=why,
    )
    ledger.add(model, data)
    return model


def card_of(ledger: ModelLedger, release: Model) -> ReleaseCard:
    """What is said of a release: the software's version. Raises `RegistryError`."""
    return msgspec.json.decode(container.read(ledger.data(release))[CARD], type=ReleaseCard)
