"""`vitalwire train` and `vitalwire export`."""

import datetime as dt
import time
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import torch
import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from vitalwire_cloud.store.interface import StoreError
from vitalwire_cloud.train import export as exporting
from vitalwire_cloud.train import gan_command, vitals_command
from vitalwire_cloud.train.dataset import NoRecordError, Patient, TrainingDataError, as_recorded, load_folder
from vitalwire_cloud.train.export import Beats, FittedModelError
from vitalwire_cloud.train.fit_beat import Parent, RunRecord, fit, run_record
from vitalwire_cloud.train.stored import read_store
from vitalwire_edge.inference.keys import KeyFileError, Signer
from vitalwire_edge.inference.refusal import ArtifactRefusedError

train_app = typer.Typer(no_args_is_help=True, help="Train the models.")
export_app = typer.Typer(invoke_without_command=True, help="Turn a trained model into files for gateways.")

_REPRESENTATIVE = 40


@train_app.callback()
def train() -> None:
    """Train the models."""


@train_app.command(
    epilog="Example: vitalwire train beat --data mitdb --out run --epochs 12 --seed 1\n\n"
    "Example: vitalwire train beat --store ./data --data mitdb --out run --seconds 20\n\n"
    "Example: vitalwire train beat --store ./data --parent run --out later --epochs 2"
)
def beat(
    *,
    data: Annotated[
        Path | None, typer.Option("--data", help="WFDB folder with annotations.", metavar="DIR")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", help="Data folder of a cloud service, also of one that runs.", metavar="DIR"),
    ] = None,
    hours: Annotated[float, typer.Option("--hours", min=0.01, help="With --store: the last so many.")] = 24.0,
    out: Annotated[
        Path, typer.Option("--out", help="Where the model goes; resumed if it is there.", metavar="DIR")
    ],
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="End after so many.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=1, help="End after so long.")] = None,
    seed: Annotated[int, typer.Option("--seed")] = 1,
    records: Annotated[
        str, typer.Option("--records", help="Only these of --data, separated by commas.")
    ] = "",
    device: Annotated[
        Literal["cpu", "cuda"],
        typer.Option("--device", help="Where to train; only the CPU gives the same model for the same seed."),
    ] = "cpu",
    parent: Annotated[
        Path | None,
        typer.Option(
            "--parent", help="Go on from the model that an earlier `train beat` left.", metavar="DIR"
        ),
    ] = None,
) -> None:
    """Train the beat model on normal beats: of a folder's records, of what a cloud service stored, or of both.

    What was stored carries no labels: `train.stored` says which of its beats are taken for normal.
    """
    if data is None and store is None:
        raise typer.BadParameter("give --data, --store or both")
    if epochs is None and seconds is None:
        epochs = 12
    if device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("PyTorch finds no CUDA here: leave --device out")
    began = time.monotonic()
    torch.set_num_threads(1)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        begun, begun_run = (None, None) if parent is None else _parent(parent)
        out.mkdir(parents=True, exist_ok=True)
        stored = [] if store is None else read_store(store, hours=hours)
        names = [r for r in records.split(",") if r]
        annotated = [] if data is None else load_folder(data, cache=out / "cache", names=names, to_learn=True)
        patients = stored + annotated
        leads = as_recorded(patients)
        with Progress(*columns, transient=True) as bar:
            task = bar.add_task("training", total=epochs)
            model = fit(
                patients,
                seed=seed,
                epochs=epochs,
                seconds=seconds,
                folder=out,
                progress=lambda name, done, lost: bar.update(
                    task, completed=done, description=f"{name}: epoch {done}, loss {lost:.3f}"
                ),
                parent=begun,
                device=device,
            )
        exporting.save(out, model.network, model.sequence, model.parameters, representative(leads, seed))
    except (NoRecordError, TrainingDataError, FittedModelError, StoreError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    sources = []
    if store is not None:
        sources.append(
            f"{sum(int(p.normal.sum()) for p in as_recorded(stored))} beats of {len(as_recorded(stored))} devices of a "
            "store, taken for normal "
            "without labels"
        )
    if data is not None:
        known = as_recorded(annotated)
        beats = sum(int(p.normal.sum()) for p in known)
        sources.append(
            f"{beats} normal beats in {len(known)} leads of annotated records of the folder {data.name}"
        )
    created = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    record = run_record(
        model,
        patients,
        seed=seed,
        seconds=time.monotonic() - began,
        created=created,
        sources=sources,
        parent=begun,
        parent_run=begun_run,
    )
    (out / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))
    typer.echo(
        f"{record.epochs} epochs on {record.normal_beats} normal beats in {len(leads)} leads, loss "
        f"{record.final_loss:.3f}, {record.parameters} parameters, in {record.seconds} s: {out}"
    )
    typer.echo("; ".join(sources))


def _parent(folder: Path) -> tuple[Parent, RunRecord]:
    """A model that an earlier run left. Raises `FittedModelError`."""
    kept = exporting.saved(folder)
    try:
        run = msgspec.json.decode((folder / "run.json").read_bytes(), type=RunRecord)
    except (OSError, msgspec.MsgspecError) as error:
        raise FittedModelError(
            f"{folder} does not say what it was trained on ({error}): train it anew"
        ) from error
    return Parent(kept.network, kept.sequence, kept.parameters), run


def representative(patients: list[Patient], seed: int) -> Beats:
    """Some normal beats of every patient, for quantisation and self-test."""
    rng = np.random.default_rng(seed)
    chosen = [(p, rng.permutation(np.flatnonzero(p.normal))[:_REPRESENTATIVE]) for p in patients]
    order = rng.permutation(sum(k.size for _, k in chosen))
    return Beats(
        np.concatenate([p.beat[k] for p, k in chosen])[order],
        np.concatenate([p.reference[k] for p, k in chosen])[order],
        np.concatenate([p.context[k] for p, k in chosen])[order],
    )


train_app.command(
    name="gan", epilog="Example: vitalwire train gan --data mitdb --out generator --seconds 280 --seed 1"
)(gan_command.gan)

train_app.command(name="vitals", epilog="Example: vitalwire train vitals --data recordings --out vitals-run")(
    vitals_command.vitals
)


@export_app.callback(
    epilog="Example: vitalwire export --from run --out candidate\n\n"
    "Example: vitalwire export --from run --out candidate --report evaluation\n\n"
    "Example: vitalwire export --from run --out candidate --key signing.key --version 1",
)
def export(
    *,
    source: Annotated[Path, typer.Option("--from", help="Folder that `train` left.", metavar="DIR")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the candidate.", metavar="DIR")],
    key: Annotated[
        Path | None,
        typer.Option("--key", help="Signing key: also write the signed artifact.", metavar="FILE"),
    ] = None,
    version: Annotated[int, typer.Option("--version", min=1, help="With --key: version to sign.")] = 1,
    figures: Annotated[
        list[Path] | None,
        typer.Option(
            "--figures", help="JSON of `vitalwire evaluate` for the card; repeat it.", metavar="FILE"
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="What `vitalwire evaluate all --report` left: figures for the card, and the page it links to.",
            metavar="DIR",
        ),
    ] = None,
) -> None:
    """Write a candidate: model files, parameters, self-test vectors and card, for `vitalwire model publish`."""
    from vitalwire_cloud.train.candidate import (  # noqa: PLC0415 - the exporter is heavy
        FiguresError,
        candidate_of,
        signed_artifact,
    )
    from vitalwire_cloud.train.export_generator import generator_candidate, is_generator  # noqa: PLC0415 - likewise

    try:
        sizes = (
            generator_candidate(source, out)
            if is_generator(source)
            else candidate_of(source, out, figures or (), report)
        )
        if key is not None:
            signed = signed_artifact(out, Signer.read(key), version=version, now_ns=time.time_ns())
            sizes[signed.name] = signed.stat().st_size
    except (FittedModelError, FiguresError, KeyFileError, ArtifactRefusedError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    for name, size in sizes.items():
        typer.echo(f"{name}: {size} bytes")
