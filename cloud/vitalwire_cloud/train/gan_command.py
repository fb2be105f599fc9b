"""`vitalwire train gan`."""

import datetime as dt
import time
from pathlib import Path
from typing import Annotated

import msgspec
import torch
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from vitalwire_cloud.train import export_generator
from vitalwire_cloud.train.dataset import NoRecordError, TrainingDataError, load_folder
from vitalwire_cloud.train.fit_gan import fit, run_record
from vitalwire_edge.inference.generator import StyleError

_STEPS = 6000


def gan(
    *,
    data: Annotated[Path, typer.Option("--data", help="WFDB folder with annotations.", metavar="DIR")],
    out: Annotated[
        Path, typer.Option("--out", help="Where the model goes; resumed if it is there.", metavar="DIR")
    ],
    steps: Annotated[int | None, typer.Option("--steps", min=10, help="End after so many.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=1, help="End after so long.")] = None,
    seed: Annotated[int, typer.Option("--seed")] = 1,
    records: Annotated[str, typer.Option("--records", help="Only these, separated by commas.")] = "",
) -> None:
    """Train the beat generator on the beats of a folder's records: a VAE, then a GAN that starts from its decoder."""
    if steps is None and seconds is None:
        steps = _STEPS
    began = time.monotonic()
    torch.set_num_threads(1)
    shown = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    try:
        out.mkdir(parents=True, exist_ok=True)
        patients = load_folder(data, cache=out / "cache", names=[r for r in records.split(",") if r])
        with Progress(*shown, transient=True) as bar:
            tasks = {name: bar.add_task(name, total=None) for name in ("vae", "gan")}

            def progress(phase: str, done: int, total: int | None, figure: float) -> None:
                text = f"{phase}, step {done}, {'loss' if phase == 'vae' else 'distance'} {figure:.3f}"
                bar.update(tasks[phase], completed=done, total=total, description=text)

            model = fit(patients, seed=seed, steps=steps, seconds=seconds, folder=out, progress=progress)
        export_generator.save(out, model, seed)
    except (NoRecordError, TrainingDataError, StyleError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    created = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    record = run_record(model, patients, seed=seed, seconds=time.monotonic() - began, created=created)
    (out / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))
    counts = ", ".join(f"{count} {name}" for name, count in record.beats.items())
    typer.echo(
        f"{record.steps} steps on {counts} beats of {len(patients)} records, distance {record.distance:.3f}, "
        f"{record.parameters} parameters, in {record.seconds} s: {out}"
    )
