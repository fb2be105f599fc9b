"""`vitalwire evaluate candidate`: the evidence that the registry's gate asks for, left beside a candidate."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from vitalwire_cloud.evaluation import report
from vitalwire_cloud.evaluation.beats import records_of_card
from vitalwire_cloud.evaluation.evidence import NotEvaluatedError, of_candidate, write_evidence
from vitalwire_cloud.evaluation.judged import JudgedModelError, judged_artifact
from vitalwire_cloud.evaluation.report import Cache
from vitalwire_cloud.registry.gate import Decision, Evidence, decide
from vitalwire_cloud.registry.ledger import RegistryError, open_ledger
from vitalwire_cloud.registry.publishing import newest, read_candidate
from vitalwire_cloud.train.dataset import NoRecordError, Patient, load_folder, patient_of
from vitalwire_cloud.train.export import FittedModelError
from vitalwire_edge.inference.artifact import CARD


def candidate(
    folder: Annotated[Path, typer.Argument(help="Candidate that `export` left.", metavar="CANDIDATE")],
    *,
    source: Annotated[
        Path, typer.Option("--from", help="What `train beat` left: the float model.", metavar="DIR")
    ],
    data: Annotated[Path, typer.Option("--data", help="WFDB folder with annotations.", metavar="DIR")],
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Service whose model is at work now.", metavar="DIR")
    ] = None,
    running: Annotated[
        Path | None, typer.Option("--running", help="The model at work, if not --data-dir's.", metavar="FILE")
    ] = None,
    records: Annotated[str, typer.Option("--records", help="Only these, separated by commas.")] = "",
    about: Annotated[str, typer.Option("--about", help="Said of the data, e.g. that it is simulated.")] = "",
    cache: Cache = None,
) -> None:
    """Judge a candidate in float and int8 beside the model at work, on patients that neither learned from.

    Leaves `evidence.json` in the candidate, for `vitalwire model publish`; says what the gate would say to it.
    """
    try:
        at_work = _running(data_dir, running)
        names = [name for name in records.split(",") if name]
        patients = load_folder(data, cache=cache, names=names)
        learned = {patient_of(record) for record in records_of_card(read_candidate(folder).parts[CARD])}
        if at_work is not None:
            learned |= set(judged_artifact(at_work, "running model").patients)
        held_out = [patient for patient in patients if patient.patient not in learned]
        if not held_out:
            raise NotEvaluatedError(
                f"the candidate or the model at work learned from every record of {data}: give records of other people"
            )
        evidence = of_candidate(
            source, folder, held_out, running=at_work, source=_told(data, about, patients, held_out)
        )
        write_evidence(folder, evidence)
    except (
        *(NoRecordError, NotEvaluatedError, FittedModelError, JudgedModelError),
        *(RegistryError, OSError),
    ) as error:
        report.wrong(str(error))
    _say(evidence, decide(evidence))


def _running(data_dir: Path | None, named: Path | None) -> bytes | None:
    """The artifact at work: as named, else the service's newest that was not stopped."""
    if named is not None:
        return named.read_bytes()
    if data_dir is None:
        return None
    with closing(open_ledger(data_dir)) as ledger:
        model = newest(ledger)
        return None if model is None else ledger.data(model)


def _told(data: Path, about: str, patients: list[Patient], held_out: list[Patient]) -> str:
    left = len(patients) - len(held_out)
    known = f", {left} records left out because a model learned from them" if left else ""
    return f"{len(held_out)} annotated records of {data.name}{known}{f'; {about}' if about else ''}"


def _say(evidence: Evidence, decision: Decision) -> None:
    typer.echo(f"judged on {evidence.source}")
    for check in decision.checks:
        typer.echo(f"{'passed' if check.passed else 'FAILED'} {check.name}: {check.text}")
