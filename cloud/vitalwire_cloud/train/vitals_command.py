"""`vitalwire train vitals`."""

import datetime as dt
import time
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vitalwire_cloud.train.dataset import NoRecordError, TrainingDataError
from vitalwire_cloud.train.fit_vitals import EPOCHS, fit_vitals
from vitalwire_cloud.train.fit_vitals_head import fit_vitals_head
from vitalwire_cloud.train.vitals_data import Stays, read_stays
from vitalwire_cloud.train.vitals_file import SavedVitals, save_vitals, vitals_run

STAYS = "cinc2012"


def vitals(
    *,
    data: Annotated[Path, typer.Option("--data", help="Folder that holds cinc2012/.", metavar="DIR")],
    out: Annotated[
        Path, typer.Option("--out", help="Where the model goes; resumed if it is there.", metavar="DIR")
    ],
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes of training.")] = EPOCHS,
    stays: Annotated[int | None, typer.Option("--stays", min=100, help="Only so many stays.")] = None,
    seed: Annotated[int, typer.Option("--seed")] = 1,
    device: Annotated[
        Literal["cpu", "cuda"],
        typer.Option("--device", help="Where to train; only the CPU gives the same model for the same seed."),
    ] = "cpu",
) -> None:
    """Train the model of vital signs on stays, and its head on how they ended."""
    if device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("PyTorch finds no CUDA here: leave --device out")
    began = time.monotonic()
    torch.set_num_threads(1)
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    last = float("nan")
    try:
        every = read_stays(data / STAYS)
        known = Stays(every.cells[:stays], every.died[:stays], every.digest)
        out.mkdir(parents=True, exist_ok=True)
        with Progress(*shown, transient=True) as bar:
            task = bar.add_task("vital signs", total=epochs)

            def progress(epoch: int, lost: float) -> None:
                nonlocal last
                last = lost
                bar.update(task, completed=epoch, description=f"vital signs: loss {lost:.3f}")

            model = fit_vitals(
                known.cells, seed=seed, epochs=epochs, folder=out, progress=progress, device=device
            )
        head = fit_vitals_head(model, known.cells, known.died)
        run = vitals_run(
            model,
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            seed=seed,
            epochs=epochs,
            seconds=time.monotonic() - began,
            final_loss=last,
            data=known.digest,
            stays=known.died.size,
        )
        save_vitals(out, SavedVitals(model, head, run))
    except (NoRecordError, TrainingDataError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(
        f"{run.epochs} epochs on {run.stays} stays, {int(known.died.sum())} of which ended in death, "
        f"{run.parameters} parameters, in {run.seconds} s: {out}"
    )
