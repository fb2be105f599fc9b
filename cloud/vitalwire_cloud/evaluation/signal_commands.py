"""`vitalwire evaluate delineation`, `ectopy`, `hrv` and `quality`: the signal code that is no detector and no model."""

from pathlib import Path
from typing import Annotated

import typer

from vitalwire_cloud.evaluation import report
from vitalwire_cloud.evaluation.report import Data, Json, Seed
from vitalwire_cloud.evaluation.running import running

Records = Annotated[str, typer.Option("--records", help="Only these, separated by commas.")]


def add(app: typer.Typer) -> None:
    """Add the commands to `vitalwire evaluate`."""
    app.command(
        epilog="Example: vitalwire evaluate delineation --data mitdb --json delineation.json\n\n"
        "Example: vitalwire evaluate delineation --data qtdb"
    )(delineation)
    app.command(epilog="Example: vitalwire evaluate ectopy --data mitdb --json ectopy.json")(ectopy)
    app.command(epilog="Example: vitalwire evaluate hrv --data mitdb --json hrv.json")(hrv)
    app.command(epilog="Example: vitalwire evaluate quality --data mitdb --noise nstdb")(quality)


def delineation(
    *,
    data: Data,
    json: Json = None,
    patients: Annotated[int, typer.Option("--patients", min=1, help="Simulated ones of each kind.")] = 8,
    seed: Seed = 1,
    records: Records = "",
) -> None:
    """P, QRS and T on- and offset: on known waves, on marked ones (.q1c, .pu0), and how consistent intervals are."""
    from vitalwire_cloud.evaluation import delineation as protocol  # noqa: PLC0415 - the name is the command's

    with running("delineation") as steps:
        outcome = protocol.delineation(data, seed=seed, patients=patients, names=_split(records), steps=steps)
    report.say(outcome, json)


def ectopy(*, data: Data, json: Json = None, seed: Seed = 1, records: Records = "") -> None:
    """Ventricular and premature beats against annotations, by patient."""
    from vitalwire_cloud.evaluation import ectopy as protocol  # noqa: PLC0415 - the name is the command's

    with running("ectopy") as steps:
        outcome = protocol.ectopy(data, seed=seed, names=_split(records), steps=steps)
    report.say(outcome, json)


def hrv(*, data: Data, json: Json = None, seed: Seed = 1, records: Records = "") -> None:
    """Heart rate variability of annotated beats, beside NeuroKit2."""
    from vitalwire_cloud.evaluation import variability as protocol  # noqa: PLC0415 - used here only

    with running("hrv") as steps:
        outcome = protocol.hrv(data, seed=seed, names=_split(records), steps=steps)
    report.say(outcome, json)


def quality(
    *,
    data: Data,
    noise: Annotated[Path, typer.Option("--noise", help="WFDB folder with bw, ma and em.", metavar="DIR")],
    json: Json = None,
    seed: Seed = 1,
    records: Records = "",
) -> None:
    """Beats found under noise, with and without abstaining where the signal is poor, and how many are judged."""
    from vitalwire_cloud.evaluation import abstention as protocol  # noqa: PLC0415 - used here only

    with running("quality") as steps:
        outcome = protocol.quality(data, noise=noise, seed=seed, names=_split(records), steps=steps)
    report.say(outcome, json)


def _split(names: str) -> list[str]:
    return [name for name in names.split(",") if name]
