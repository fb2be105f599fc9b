"""What `vitalwire train vitals` leaves: the model of vital signs with its head, and what was trained on what."""

import pickle
import platform
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch

from vitalwire_cloud.models.vitals_vae import VitalsVae
from vitalwire_cloud.train.fit_vitals import VitalsModel
from vitalwire_cloud.train.fit_vitals_head import VitalsHead

FITTED: Final = "vitals.pt"
RUN: Final = "run.json"
FORMAT: Final = 1


class VitalsFileError(ValueError):
    """A folder holds no model of vital signs."""


class VitalsRun(msgspec.Struct, frozen=True, kw_only=True):
    """What was trained, on what, with what: `run.json`. `data` is the SHA-256 of the stays' archive."""

    format: int = FORMAT
    created: str
    seed: int
    epochs: int
    seconds: float
    final_loss: float
    parameters: int
    data: str
    stays: int
    torch: str
    python: str
    machine: str


@dataclass(frozen=True, slots=True)
class SavedVitals:
    """A fitted model, its head, and its run record."""

    model: VitalsModel
    head: VitalsHead
    run: VitalsRun


def vitals_run(
    model: VitalsModel,
    *,
    created: str,
    seed: int,
    epochs: int,
    seconds: float,
    final_loss: float,
    data: str,
    stays: int,
) -> VitalsRun:
    """The run record of a fitted model."""
    return VitalsRun(
        created=created,
        seed=seed,
        epochs=epochs,
        seconds=round(seconds, 1),
        final_loss=final_loss,
        parameters=sum(each.numel() for each in model.network.parameters()),
        data=data,
        stays=stays,
        torch=str(torch.__version__),
        python=platform.python_version(),
        machine=platform.machine(),
    )


def save_vitals(folder: Path, saved: SavedVitals) -> None:
    """Leave a fitted model in a folder. Raises `OSError`."""
    numbers = {"centre": saved.model.centre, "width": saved.model.width}
    head = {
        field.name: torch.from_numpy(np.array(getattr(saved.head, field.name)))
        for field in fields(VitalsHead)
    }
    units = {name: torch.from_numpy(value.copy()) for name, value in numbers.items()}
    torch.save({"network": saved.model.network.state_dict(), "units": units, "head": head}, folder / FITTED)
    (folder / RUN).write_bytes(msgspec.json.format(msgspec.json.encode(saved.run), indent=1))


def saved_vitals(folder: Path) -> SavedVitals:
    """Read what `save_vitals` left. Raises `VitalsFileError`."""
    try:
        state = torch.load(folder / FITTED, weights_only=True)
        run = msgspec.json.decode((folder / RUN).read_bytes(), type=VitalsRun)
        network = VitalsVae()
        network.load_state_dict(state["network"])
        units = {name: state["units"][name].numpy() for name in ("centre", "width")}
        head = {field.name: state["head"][field.name].numpy() for field in fields(VitalsHead)}
    except (OSError, msgspec.MsgspecError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        raise VitalsFileError(
            f"{folder} holds no model of vital signs ({error}): run `vitalwire train vitals` first"
        ) from error
    if run.format != FORMAT:
        raise VitalsFileError(f"{folder} is of format {run.format}, this is {FORMAT}: train it anew")
    network.eval()
    return SavedVitals(
        VitalsModel(network, **units), VitalsHead(**(head | {"bias": float(head["bias"])})), run
    )
