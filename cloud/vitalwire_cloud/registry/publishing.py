"""From a candidate on disk to a signed artifact on offer, and from a bad one back to an older."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from vitalwire_cloud.registry.gate import Decision
from vitalwire_cloud.registry.ledger import Model, ModelLedger, RegistryError, Stage
from vitalwire_edge.inference import artifact as artifacts
from vitalwire_edge.inference import container, selftest
from vitalwire_edge.inference.artifact import MANIFEST, SIGNATURE, Host, Manifest, Needs, sha256
from vitalwire_edge.inference.keys import Signer, Trust
from vitalwire_edge.inference.refusal import ArtifactRefusedError
from vitalwire_edge.inference.selftest import Load

SPECIFICATION: Final = "candidate.json"
EVIDENCE: Final = "evidence.json"
REPORT: Final = "report.html"


class NotSignedError(RegistryError):
    """A candidate did not pass; the message names every reason."""


class Specification(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`candidate.json`: what the manifest will say beside what the registry adds.

    `parts` names those that not every model has.
    """

    name: str
    hardware: Needs
    parts: tuple[str, ...] = ()
    expires_ns: int | None = None


class CardReport(msgspec.Struct, frozen=True, kw_only=True):
    """A card's link to the page that tells how the model was judged: its name beside the candidate, and its hash."""

    file: str
    sha256: str


class _Card(msgspec.Struct):
    report: CardReport | None = None


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What training and export leave in a folder: `candidate.json`, `evidence.json`, the parts, and `report.html`.

    `report` is the page that the card links to. It stays with the registry: no gateway needs it.
    """

    specification: Specification
    parts: Mapping[str, bytes]
    report: bytes | None = None


def write_candidate(folder: Path, candidate: Candidate) -> None:
    """Leave a candidate in `folder`; its evidence is written beside it as `evidence.json`. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    specification = msgspec.json.encode(candidate.specification)
    (folder / SPECIFICATION).write_bytes(msgspec.json.format(specification, indent=1))
    for name, data in candidate.parts.items():
        (folder / name).write_bytes(data)
    if candidate.report is not None:
        (folder / REPORT).write_bytes(candidate.report)


def read_candidate(folder: Path) -> Candidate:
    """Candidate in `folder`. Raises `RegistryError` naming the file that is missing or wrong."""
    path = folder / SPECIFICATION
    try:
        specification = msgspec.json.decode(path.read_bytes(), type=Specification)
        needed = {artifacts.SELF_TEST, artifacts.PARAMETERS, artifacts.CARD}
        names = needed | set(specification.hardware.variants.values()) | set(specification.parts)
        parts = {name: (folder / name).read_bytes() for name in sorted(names)}
        report = _linked(parts[artifacts.CARD], folder)
    except OSError as error:
        raise RegistryError(f"candidate file {error.filename}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise RegistryError(f"{path} is no candidate: {error}") from error
    return Candidate(specification=specification, parts=parts, report=report)


def report_of(card: bytes) -> CardReport | None:
    """The report that a card links to; None where it links to none, or cannot be read."""
    try:
        return msgspec.json.decode(card, type=_Card).report
    except msgspec.MsgspecError:
        return None


def report_path(ledger: ModelLedger, model: Model) -> Path | None:
    """Where the registry keeps the page that tells how a model was judged; None where it has none.

    Raises `RegistryError` for an artifact that cannot be read.
    """
    link = report_of(container.read(ledger.data(model)).get(artifacts.CARD, b""))
    path = None if link is None else ledger.report_path(link.sha256)
    return path if path is not None and path.is_file() else None


def _linked(card: bytes, folder: Path) -> bytes | None:
    link = report_of(card)
    if link is None:
        return None
    page = (folder / REPORT).read_bytes()
    if sha256(page) != link.sha256:
        raise RegistryError(f"{folder / REPORT} is not the report that the card names: export the model anew")
    return page


def publish(
    ledger: ModelLedger,
    candidate: Candidate,
    decision: Decision,
    signer: Signer,
    *,
    now_ns: int,
    load: Load | None = None,
) -> Model:
    """Sign a candidate that passed the gate and put it on offer to the first gateways.

    With `load` its self-test is run here before it is signed. Raises `NotSignedError`, `RegistryError`.
    """
    if not decision.passed:
        raise NotSignedError(f"not signed: {'; '.join(decision.reasons) or 'it was not evaluated'}")
    running = newest(ledger)
    manifest = Manifest(
        name=candidate.specification.name,
        version=ledger.next_version(),
        created_ns=now_ns,
        expires_ns=candidate.specification.expires_ns,
        parent_hash=None if running is None else running.manifest_sha256,
        hardware=candidate.specification.hardware,
    )
    gate = msgspec.json.encode(decision)
    if candidate.report is not None:
        ledger.keep_report(candidate.report)
    return _sign(
        ledger, candidate.parts, manifest, signer, now_ns=now_ns, gate=gate, stage="first", load=load
    )


def register(
    ledger: ModelLedger, data: bytes, trust: Trust, *, now_ns: int, stage: Stage, why: str = ""
) -> Model:
    """Take in an artifact that is signed already, as one that ships with the software.

    Raises `RegistryError` when it is not one that gateways with `trust` would open.
    """
    try:
        manifest, manifest_sha256 = artifacts.read_manifest(data, trust)
        needs = manifest.hardware
        host = Host(needs.arch[0] if needs.arch else "", tuple(needs.variants))
        opened = artifacts.open_artifact(data, trust, now_ns=now_ns, host=host)
    except ArtifactRefusedError as error:
        raise RegistryError(f"artifact refused: {error}") from error
    known = next((model for model in ledger.models() if model.manifest_sha256 == manifest_sha256), None)
    if known is not None:
        return known
    model = _entry(manifest, data, opened.signed_by.key_id, now_ns=now_ns, gate=None, stage=stage, why=why)
    ledger.add(model, data)
    return model


def rollback(ledger: ModelLedger, to_version: int, signer: Signer, *, now_ns: int, why: str) -> Model:
    """A higher version that is the older model `to_version` again, on offer to every gateway at once.

    It is a whole artifact, so a gateway that never had the older model, or lost it, can take it too.
    """
    older, replaced = ledger.model(to_version), ledger.models()[0]
    if older.version == replaced.version:
        raise RegistryError(f"version {to_version} is the newest: name an older one")
    parts = container.read(ledger.data(older))
    manifest = msgspec.structs.replace(
        older.manifest,
        version=ledger.next_version(),
        created_ns=now_ns,
        parent_hash=replaced.manifest_sha256,
        names_model=older.manifest.names_model or older.manifest_sha256,
    )
    model_parts = {name: data for name, data in parts.items() if name not in (MANIFEST, SIGNATURE)}
    target = ledger.target()
    if target is not None:
        ledger.set_stage(target.version, "halted", why)
    return _sign(ledger, model_parts, manifest, signer, now_ns=now_ns, gate=older.gate, stage="all", why=why)


def newest(ledger: ModelLedger) -> Model | None:
    """The model that a new one takes the place of: on offer, or at work since before."""
    models = [model for model in ledger.models() if model.stage != "halted"]
    return ledger.target() or (models[0] if models else None)


def _sign(
    ledger: ModelLedger,
    parts: Mapping[str, bytes],
    manifest: Manifest,
    signer: Signer,
    *,
    now_ns: int,
    gate: bytes | None,
    stage: Stage,
    why: str = "",
    load: Load | None = None,
) -> Model:
    end = signer.delegation.expires_ns
    if end is not None and now_ns >= end:
        raise RegistryError(
            f"signing key {signer.delegation.key_id} ended at {end} ns: "
            "make another with `vitalwire model keys delegate`"
        )
    try:
        if load is not None:
            _self_test(parts, manifest, load)
        data = artifacts.pack(parts, manifest, signer)
    except ArtifactRefusedError as error:
        raise RegistryError(f"not published: {error}") from error
    key = signer.delegation.key_id
    manifest = msgspec.json.decode(container.read(data)[MANIFEST], type=Manifest)
    model = _entry(manifest, data, key, now_ns=now_ns, gate=gate, stage=stage, why=why)
    ledger.add(model, data)
    return model


def _self_test(parts: Mapping[str, bytes], manifest: Manifest, load: Load) -> None:
    """What every gateway will ask, asked here first, of the variants whose runtime is installed."""
    needs = manifest.hardware
    for runtime in Host.here().runtimes:
        if runtime in needs.variants:
            model, vectors = parts[needs.variants[runtime]], parts[artifacts.SELF_TEST]
            selftest.prove(model, runtime, vectors, load, limit_us=float(needs.max_p99_us))


def _entry(
    manifest: Manifest, data: bytes, key: str, *, now_ns: int, gate: bytes | None, stage: Stage, why: str
) -> Model:
    return Model(
        version=manifest.version,
        name=manifest.name,
        manifest_sha256=sha256(container.read(data)[MANIFEST]),
        sha256=sha256(data),
        size=len(data),
        manifest=manifest,
        signed_by=key,
        published_ns=now_ns,
        gate=gate,
        stage=stage,
        first=(),
        why=why,
    )
