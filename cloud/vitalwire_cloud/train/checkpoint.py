"""When training ends, and where it goes on after it was cut off."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from vitalwire_cloud.train.dataset import TrainingDataError


@dataclass(frozen=True, slots=True)
class Limit:
    """The end of training: so many epochs, or so many seconds, whichever is given and comes first."""

    epochs: int | None
    seconds: float | None

    def over(self, epoch: int, began: float) -> bool:
        """Whether `epoch` epochs are enough, begun at `began` (monotonic, in seconds)."""
        enough = self.epochs is not None and epoch >= self.epochs
        return enough or (self.seconds is not None and time.monotonic() - began >= self.seconds)


class Checkpoint:
    """One network's state after each epoch, in a file of a folder; without a folder nothing is kept."""

    def __init__(
        self,
        folder: Path | None,
        name: str,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        data: str,
        seed: int,
    ) -> None:
        self._path = None if folder is None else folder / name
        self._network = network
        self._optimiser = optimiser
        self._data = data
        self._seed = seed

    def resume(self) -> tuple[int, float]:
        """Epochs done and the last one's loss. Raises `TrainingDataError`."""
        if self._path is None or not self._path.is_file():
            return 0, float("nan")
        kept = torch.load(self._path, weights_only=True, map_location="cpu")
        if kept["data"] != self._data or kept["seed"] != self._seed:
            raise TrainingDataError(
                f"{self._path} belongs to other data, another seed or another parent: give another folder"
            )
        self._network.load_state_dict(kept["network"])
        self._optimiser.load_state_dict(kept["optimiser"])
        return int(kept["epoch"]), float(kept["loss"])

    def leave(self, epoch: int, loss: float) -> None:
        """Keep the state after an epoch."""
        if self._path is None:
            return
        state = {"network": self._network.state_dict(), "optimiser": self._optimiser.state_dict()}
        part = self._path.with_suffix(".part")
        torch.save(state | {"epoch": epoch, "loss": loss, "data": self._data, "seed": self._seed}, part)
        part.replace(self._path)
