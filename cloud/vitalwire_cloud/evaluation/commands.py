"""`vitalwire evaluate`: the protocols as commands, each with a table and a JSON file."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from vitalwire_cloud.evaluation import candidate, inter_patient, report, signal_commands
from vitalwire_cloud.evaluation.judged import SHIPPED, JudgedModel, JudgedModelError, judged_model
from vitalwire_cloud.evaluation.report import Cache, Data, Epochs, Json, Model, Seed
from vitalwire_cloud.evaluation.running import running

app = typer.Typer(no_args_is_help=True, help="Evaluate models and signal code after the protocols.")

Records = Annotated[str, typer.Option("--records", help="Only these, separated by commas.")]

Noise = Annotated[Path | None, typer.Option("--noise", help="WFDB folder with bw, ma and em.", metavar="DIR")]


@app.callback()
def evaluate() -> None:
    """Evaluate models and signal code after the protocols, with anchors beside.

    The command ends with 0 when it is done, also below the bar: `passed` in the JSON says which.
    """


@app.command(
    epilog="Example: vitalwire evaluate anomaly --protocol inter-patient --data mitdb --json p2.json\n\n"
    "Example: vitalwire evaluate anomaly --data mitdb --model shipped\n\n"
    "Example: vitalwire evaluate anomaly --protocol beatgan --data mitdb --json p1.json"
)
def anomaly(
    *,
    data: Data,
    json: Json = None,
    cache: Cache = None,
    protocol: Annotated[
        Literal["inter-patient", "beatgan"],
        typer.Option("--protocol", help="Patients apart, or as BeatGAN did."),
    ] = "inter-patient",
    model: Model = None,
    epochs: Epochs = 16,
    seed: Seed = 1,
    records: Records = "",
) -> None:
    """Abnormal beats: of patients never seen, at annotated R peaks and end to end (P2); or as BeatGAN did (P1)."""
    if protocol == "beatgan":
        from vitalwire_cloud.evaluation.beatgan import beatgan  # noqa: PLC0415 - used here only

        if model is not None:
            report.wrong("beatgan judges a one-class model of its own windows: leave --model out")
        with running("P1") as steps:
            outcome = beatgan(data, seed=seed, names=split(records), steps=steps)
        report.say(outcome, json)
        return
    with running("P2") as steps:
        outcome = inter_patient.inter_patient(
            data,
            seed=seed,
            epochs=epochs,
            model=named(model),
            cache=cache,
            names=split(records),
            steps=steps,
        )
    report.say(outcome, json)


@app.command(epilog="Example: vitalwire evaluate int8 --data mitdb --json p8.json")
def int8(
    *,
    data: Data,
    json: Json = None,
    cache: Cache = None,
    model: Model = None,
    epochs: Epochs = 16,
    seed: Seed = 1,
    records: Records = "",
) -> None:
    """The int8 files against their float parent, by patient (P8)."""
    from vitalwire_cloud.evaluation import int8 as protocol  # noqa: PLC0415 - the name is the command's

    with running("P8") as steps:
        outcome = protocol.int8(
            data,
            seed=seed,
            epochs=epochs,
            model=named(model),
            cache=cache,
            names=split(records),
            steps=steps,
        )
    report.say(outcome, json)


@app.command(epilog="Example: vitalwire evaluate naming --data mitdb --json naming.json")
def naming(
    *,
    data: Data,
    json: Json = None,
    cache: Cache = None,
    epochs: Epochs = 16,
    seed: Seed = 1,
    records: Records = "",
) -> None:
    """What beats of patients never seen are named: N, S, V or F, by the head that learned from labels."""
    from vitalwire_cloud.evaluation import naming as protocol  # noqa: PLC0415 - the name is the command's

    with running("naming") as steps:
        outcome = protocol.naming(
            data, seed=seed, epochs=epochs, cache=cache, names=split(records), steps=steps
        )
    report.say(outcome, json)


@app.command(epilog="Example: vitalwire evaluate table seed-1 seed-2 seed-3 p3.json")
def table(
    *,
    reports: Annotated[
        list[Path],
        typer.Argument(
            help="Files that --json wrote, or folders of --report: of several seeds.", metavar="PATH..."
        ),
    ],
) -> None:
    """One table of every bar, as Markdown: our mean over the seeds, its spread, the best peer of the same runs."""
    from vitalwire_cloud.evaluation import summary  # noqa: PLC0415 - used here only

    try:
        typer.echo(summary.markdown(summary.read(reports)))
    except summary.SummaryError as error:
        report.wrong(str(error))


@app.command(epilog="Example: vitalwire evaluate qrs --data mitdb --noise nstdb --json p3.json")
def qrs(
    *,
    data: Data,
    noise: Noise = None,
    json: Json = None,
    seed: Seed = 1,
    records: Records = "",
) -> None:
    """QRS detection beside the peers that are installed (P3); --model has no meaning here: it is no model."""
    from vitalwire_cloud.evaluation import qrs as protocol  # noqa: PLC0415 - the name is the command's

    with running("P3") as steps:
        outcome = protocol.qrs(data, noise=noise, seed=seed, names=split(records), steps=steps)
    report.say(outcome, json)


@app.command(epilog="Example: vitalwire evaluate rhythm --data mitdb --noise nstdb --json p9.json")
def rhythm(
    *,
    data: Data,
    noise: Noise = None,
    json: Json = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Simulated episodes of each kind.")] = 4,
    seed: Seed = 1,
    records: Records = "",
) -> None:
    """Lethal rhythms and atrial fibrillation: found, missed, false, and how fast (P9)."""
    from vitalwire_cloud.evaluation import rhythm as protocol  # noqa: PLC0415 - the name is the command's

    with running("P9") as steps:
        outcome = protocol.rhythm(
            data, noise=noise, seed=seed, repeats=repeats, names=split(records), steps=steps
        )
    report.say(outcome, json)


signal_commands.add(app)

app.command(
    name="candidate",
    epilog="Example: vitalwire evaluate candidate ./candidate --from run --data mitdb --data-dir ./data",
)(candidate.candidate)


@app.command(epilog="Example: vitalwire evaluate calibration --data mitdb --noise nstdb --json p6.json")
def calibration(
    *,
    data: Data,
    noise: Noise = None,
    json: Json = None,
    cache: Cache = None,
    model: Model = None,
    budget: Annotated[float, typer.Option("--budget", min=0.1, help="Alerts an hour and patient.")] = 6.0,
    epochs: Epochs = 16,
    seed: Seed = 1,
    records: Records = "",
) -> None:
    """The alert budget of a patient-hour, kept without labels, and what it finds (P6)."""
    from vitalwire_cloud.evaluation import calibration as protocol  # noqa: PLC0415 - the name is the command's

    with running("P6") as steps:
        outcome = protocol.calibration(
            data,
            noise=noise,
            seed=seed,
            epochs=epochs,
            budget=budget,
            model=named(model),
            cache=cache,
            names=split(records),
            steps=steps,
        )
    report.say(outcome, json)


@app.command(
    epilog="Example: vitalwire evaluate vitals --data recordings --json p7.json\n\n"
    "Example: vitalwire evaluate vitals --data recordings --model vitals-run"
)
def vitals(
    *,
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help="Folder with cinc2012/ and mimic4wdb/.",
            metavar="DIR",
            exists=True,
            file_okay=False,
        ),
    ],
    json: Json = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Judge what `vitalwire train vitals` left there, and train nothing.",
            metavar="DIR",
            show_default="trained here, by stay",
        ),
    ] = None,
    stays: Annotated[int | None, typer.Option("--stays", min=100, help="Only so many stays.")] = None,
    seed: Seed = 1,
) -> None:
    """NEWS2 against its table; the model of vital signs on faults and on the outcome of stays never seen (P7)."""
    from vitalwire_cloud.evaluation import vitals as protocol  # noqa: PLC0415 - the name is the command's
    from vitalwire_cloud.train.vitals_file import VitalsFileError, saved_vitals  # noqa: PLC0415 - used here only

    if model == SHIPPED:
        report.wrong("no model of vital signs ships: give the folder that `vitalwire train vitals` left")
    try:
        saved = None if model is None else saved_vitals(Path(model))
    except VitalsFileError as error:
        report.wrong(str(error))
    with running("P7") as steps:
        outcome = protocol.vitals(data, seed=seed, limit=stays, saved=saved, steps=steps)
    report.say(outcome, json)


@app.command("all", epilog="Example: vitalwire evaluate all --data recordings --report evaluation")
def everything(
    *,
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help="Folder with mitdb/, nstdb/, cinc2012/, mimic4wdb/.",
            metavar="DIR",
            exists=True,
            file_okay=False,
        ),
    ],
    folder: Annotated[Path, typer.Option("--report", help="Where page and JSON files go.", metavar="DIR")],
    cache: Cache = None,
    model: Model = None,
    epochs: Epochs = 16,
    seed: Seed = 1,
    records: Records = "",
    only: Annotated[str, typer.Option("--only", help="Only these protocols, separated by commas.")] = "",
) -> None:
    """Every protocol, and one self-contained page with tables, curves, worst cases and provenance."""
    from vitalwire_cloud.evaluation.everything import (  # noqa: PLC0415 - loads every protocol
        Options,
        UnknownProtocolError,
        run_all,
    )
    from vitalwire_cloud.evaluation.judged_generator import judged_generator  # noqa: PLC0415 - as above

    torch.set_num_threads(1)
    try:
        options = Options(
            seed=seed,
            epochs=epochs,
            model=named(model),
            generator=judged_generator(SHIPPED) if model == SHIPPED else None,
            cache=cache,
            names=tuple(split(records)),
        )
        with report.many() as progress:
            outcomes, failed = run_all(
                data,
                folder,
                options=options,
                only=split(only),
                created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                progress=progress,
            )
    except (JudgedModelError, UnknownProtocolError, OSError) as error:
        report.wrong(str(error))
    if not outcomes:
        report.wrong("; ".join(f"{name}: {why}" for name, why in failed.items()))
    for outcome in outcomes:
        typer.echo(f"{outcome.report.protocol}: {report.verdict(outcome.report)}")
    for name, why in failed.items():
        typer.echo(f"{name}: not run, {why}")
    typer.echo(str(folder / "report.html"))


@app.command(
    epilog="Example: vitalwire evaluate synthesis --data mitdb --json p4.json\n\n"
    "Example: vitalwire evaluate synthesis --data unseen --train-data mitdb --model shipped"
)
def synthesis(
    *,
    data: Data,
    json: Json = None,
    cache: Cache = None,
    train_data: Annotated[
        Path | None,
        typer.Option("--train-data", help="WFDB folder of the patients learned from.", metavar="DIR"),
    ] = None,
    model: Model = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Training of each generator.")] = 90.0,
    seed: Seed = 1,
    records: Records = "",
) -> None:
    """Generated beats and strips: usefulness, fidelity, diversity and privacy, beside peers and ceilings (P4)."""
    from vitalwire_cloud.evaluation import synthesis as protocol  # noqa: PLC0415 - the name is the command's
    from vitalwire_cloud.evaluation.judged_generator import judged_generator  # noqa: PLC0415 - used here only

    with running("P4") as steps:
        outcome = protocol.synthesis(
            data,
            train_data=train_data,
            model=None if model is None else judged_generator(model),
            seconds=seconds,
            seed=seed,
            cache=cache,
            names=split(records),
            progress=steps,
        )
    report.say(outcome, json)


def named(model: str | None) -> JudgedModel | None:
    """The model that `--model` names; None where one shall be trained."""
    return None if model is None else judged_model(model)


def split(names: str) -> list[str]:
    """Names separated by commas."""
    return [name for name in names.split(",") if name]
