"""A candidate for the registry: what training and export leave in a folder."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from vitalwire_cloud.registry.publishing import (
    REPORT,
    Candidate,
    CardReport,
    Specification,
    read_candidate,
    write_candidate,
)
from vitalwire_cloud.train import export
from vitalwire_edge.inference.artifact import CARD, PARAMETERS, SELF_TEST, Manifest, Needs, pack, sha256
from vitalwire_edge.inference.keys import Signer
from vitalwire_edge.inference.selftest import pack_vectors

NEEDS: Final = Needs(
    arch=("x86_64", "aarch64"),
    variants={
        export.RUNTIME: export.FILES[export.DYNAMIC],
        export.OLD_RUNTIME: export.FILES[export.WEIGHTS],
    },
    max_p99_us=20_000,
    max_bytes=400_000,
)
_MITDB_RECORD: Final = re.compile("[12][0-3][0-9]")
CITATIONS: Final = (
    "Moody & Mark, The impact of the MIT-BIH Arrhythmia Database, IEEE EMB Mag 20(3):45-50, 2001",
    "Goldberger et al., PhysioBank, PhysioToolkit, and PhysioNet, Circulation 101(23):e215-e220, 2000",
)


JUDGED: Final = ("inter-patient", "naming", "calibration", "int8")
"""Protocols of a report whose figures belong on the beat model's card."""


class FiguresError(ValueError):
    """A file is not what `vitalwire evaluate` writes."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a card tells of one protocol, out of the JSON of `vitalwire evaluate`."""

    protocol: str
    model: str
    records: list[str]
    seed: int
    metrics: dict[str, float | None]
    peers: dict[str, dict[str, float | None]]
    bar: dict[str, float]
    passed: bool


def candidate_of(
    source: Path, out: Path, figures: Sequence[Path] = (), report: Path | None = None
) -> dict[str, int]:
    """Export a fitted model and write the candidate, with what was measured. Returns the sizes of its parts.

    `report` is a folder that `vitalwire evaluate all --report` left: its figures enter the card, and its page goes with
    the candidate, named by the card. Raises `FittedModelError`, `FiguresError`, `OSError`.
    """
    fitted = export.saved(source)
    parameters, beats = fitted.parameters.quantised(), fitted.beats
    run: dict[str, Any] = msgspec.json.decode((source / "run.json").read_bytes())
    page = None if report is None else _page(report)
    if report is not None:
        figures = (*figures, *(path for name in JUDGED if (path := report / f"{name}.json").is_file()))
    told = card(run, figures, page)
    made = export.variants(fitted.network, parameters, beats)
    model = made[export.DYNAMIC]
    parts = {
        export.FILES[export.DYNAMIC]: model,
        export.FILES[export.WEIGHTS]: made[export.WEIGHTS],
        SELF_TEST: pack_vectors(export.self_test(model, parameters, beats)),
        PARAMETERS: msgspec.json.encode(parameters),
        CARD: msgspec.json.format(msgspec.json.encode(told), indent=1),
    }
    specification = Specification(name="beat", hardware=NEEDS)
    write_candidate(out, Candidate(specification=specification, parts=parts, report=page))
    out.joinpath(export.FILES[export.FLOAT]).write_bytes(made[export.FLOAT])
    out.joinpath(export.FILES[export.STATIC]).write_bytes(made[export.STATIC])
    return {name: len(data) for name, data in parts.items()}


def signed_artifact(folder: Path, signer: Signer, *, version: int, now_ns: int) -> Path:
    """Sign the candidate in a folder, as for a model that ships with the software; returns `beat-VERSION.vwm` there.

    What goes to gateways over the air passes the registry's gate instead (`vitalwire model publish`).
    Raises `RegistryError`, `ArtifactRefusedError`, `OSError`.
    """
    made = read_candidate(folder)
    manifest = Manifest(
        name=made.specification.name,
        version=version,
        created_ns=now_ns,
        hardware=made.specification.hardware,
    )
    path = folder / f"{manifest.name}-{version}.vwm"
    path.write_bytes(pack(made.parts, manifest, signer))
    return path


def card(run: dict[str, Any], figures: Sequence[Path], page: bytes | None = None) -> dict[str, Any]:
    """The model card: what it is for, what it learned from, what it was measured to do. Raises `FiguresError`.

    `page` is the report that the card links to.
    """
    link = (
        {} if page is None else {"report": msgspec.to_builtins(CardReport(file=REPORT, sha256=sha256(page)))}
    )
    return {
        "model": "conditional variational autoencoder of normal beats, and a recurrent model of a patient's course",
        "use": "ranks beats of one ECG lead by how unlike the patient's normal beats they are; not a diagnosis",
        "limits": "adults, no paced rhythm; lethal rhythms are detected by rules, never by this model",
        "selection": "networks fitted on normal beats only, a head on simulated ectopy, another on labels too where "
        "there were any; the form of the score was picked among some dozens after seeing labelled, cross-validated "
        "figures on the same patients, so the figures below flatter it",
        "training": run | _provenance(run),
        "figures": [msgspec.to_builtins(_figures(path)) for path in figures],
        **link,
    }


def _page(report: Path) -> bytes:
    try:
        return (report / REPORT).read_bytes()
    except OSError as error:
        raise FiguresError(
            f"report {report}: {error.strerror}; give a folder that `vitalwire evaluate all --report` wrote"
        ) from error


def _figures(path: Path) -> Figures:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Figures)
    except (OSError, msgspec.MsgspecError) as error:
        raise FiguresError(f"figures {path}: {error}; give what `vitalwire evaluate --json` wrote") from error


def _provenance(run: dict[str, Any]) -> dict[str, Any]:
    """Where the data came from; licence and citations for what carries the names of MIT-BIH records."""
    known = sorted(name for name in run["records"] if _MITDB_RECORD.fullmatch(name))
    others = len(run["records"]) - len(known)
    sources = [] if others == 0 else [f"{others} not of MIT-BIH: {'; '.join(run['sources'])}"]
    if not known:
        return {"data": "; ".join(sources)}
    named = "MIT-BIH Arrhythmia Database"
    return {
        "data": "; ".join((named, *sources)),
        "licence": "ODC-By 1.0" if not others else f"{named}: ODC-By 1.0",
        "citations": list(CITATIONS),
    }
