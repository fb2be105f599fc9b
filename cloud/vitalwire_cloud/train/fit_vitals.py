"""Fit the model of vital signs on stays; no outcome enters the fit."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vitalwire_cloud.models.vitals_vae import HOURS, LATENT, SIGNS, VitalsVae, loss
from vitalwire_cloud.train.checkpoint import Checkpoint
from vitalwire_cloud.train.dataset import TrainingDataError

EPOCHS: Final = 30
CHECKPOINT: Final = "checkpoint-of-{epochs}.pt"
"""By how many epochs were asked for: the rate of learning follows from it."""
WINDOWS_PER_STAY: Final = 6
BATCH: Final = 256
_HIDE_CELL: Final = 0.15
_HIDE_LAST: Final = 0.5
_CLIP: Final = 8.0
_MIN_CELLS: Final = 10

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class VitalsModel:
    """A fitted model with the population's centre and width of each sign."""

    network: VitalsVae
    centre: Floats
    width: Floats

    def given(self, cells: Floats) -> tuple[torch.Tensor, torch.Tensor]:
        """Values in population units and mask of windows (n, HOURS, signs) with NaN where missing."""
        mask = np.isfinite(cells)
        units = np.where(mask, (cells - self.centre) / self.width, 0.0).clip(-_CLIP, _CLIP)
        return torch.from_numpy(units.astype(np.float32)), torch.from_numpy(mask.astype(np.float32))

    def surprise(self, cells: Floats) -> Floats:
        """(n, signs) squared deviation of each sign of the newest hour from what is expected, in population units.

        Each sign is hidden in turn: expected from the hours before and the other signs of the same hour. NaN where it
        was not measured. Not in the model's own variance: that grows where little is measured, and a fault would hide.
        """
        value, mask = self.given(cells)
        out = np.full((cells.shape[0], len(SIGNS)), np.nan, dtype=np.float32)
        with torch.inference_mode():
            for sign in range(len(SIGNS)):
                shown = mask.clone()
                shown[:, -1, sign] = 0.0
                expected, _ = self.network(value, shown)
                off = (value[:, -1, sign] - expected[:, -1, sign]) ** 2
                out[:, sign] = torch.where(mask[:, -1, sign] > 0, off, torch.nan).numpy()
        return out

    def described(self, cells: Floats) -> Floats:
        """(n, k) latent and expected cells of windows, for a head on top."""
        value, mask = self.given(cells)
        with torch.inference_mode():
            latent, _ = self.network.encode(value, mask)
            expected, _ = self.network.decode(latent)
        return np.concatenate((latent.numpy(), expected[:, -1].numpy()), axis=1)


def windows_of(cells: Floats, ends: NDArray[np.int64]) -> Floats:
    """Windows (n, HOURS, signs) of stays (n, hours, signs) that end before the given hours; NaN before admission."""
    padded = np.concatenate(
        (np.full((cells.shape[0], HOURS, cells.shape[2]), np.nan, np.float32), cells), axis=1
    )
    at = ends[:, None] + np.arange(HOURS)[None]
    windows: Floats = padded[np.arange(cells.shape[0])[:, None], at]
    return windows


@dataclass(frozen=True, slots=True)
class _Batch:
    """Stays drawn (n,), the hours (n,) before which their windows end, and the cells (n, HOURS, signs) to hide."""

    stays: NDArray[np.int64]
    ends: NDArray[np.int64]
    hidden: NDArray[np.bool_]


def fit_vitals(
    cells: Floats,
    *,
    seed: int,
    epochs: int = EPOCHS,
    folder: Path | None = None,
    progress: Callable[[int, float], None] | None = None,
    device: str = "cpu",
) -> VitalsModel:
    """Train on stays (n, hours, signs); `progress` is told each epoch and its loss.

    With `folder` a checkpoint is left there after every epoch, and one that is there is resumed: the run ends as one
    that was never cut off, if it is asked for as many epochs. The same seed gives the same model on the CPU only.
    Raises `TrainingDataError` where too little was measured or the checkpoint is of other data.
    """
    if int(np.isfinite(cells).sum()) < _MIN_CELLS * BATCH:
        raise TrainingDataError(f"{int(np.isfinite(cells).sum())} measured values: too few to learn from")
    rng = np.random.default_rng(seed)
    centre, width = np.nanmean(cells, axis=(0, 1)), np.maximum(np.nanstd(cells, axis=(0, 1)), 1e-3)
    torch.manual_seed(seed)
    model = VitalsModel(VitalsVae(), centre.astype(np.float32), width.astype(np.float32))
    model.network.to(device)
    optimiser = torch.optim.AdamW(model.network.parameters(), lr=2e-3, weight_decay=1e-4)
    batches = WINDOWS_PER_STAY * -(-cells.shape[0] // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=epochs * batches)
    digest = hashlib.sha256(cells.tobytes()).hexdigest()
    name = CHECKPOINT.format(epochs=epochs)
    checkpoint = Checkpoint(folder, name, model.network, optimiser, data=digest, seed=seed)
    done, last = checkpoint.resume()
    if done and progress is not None:
        progress(done, last)
    for _ in range(done):
        # What those epochs drew is drawn again, so that the next one draws what it would have drawn.
        for batch in _epoch(rng, cells.shape):
            torch.randn(batch.stays.size, LATENT)
    schedule.last_epoch = done * batches
    model.network.train()
    for epoch in range(done, epochs):
        beta = min(1.0, 0.1 + epoch / 6)
        total = 0.0
        for batch in _epoch(rng, cells.shape):
            value, mask = model.given(windows_of(cells[batch.stays], batch.ends))
            shown = mask * (1 - torch.from_numpy(batch.hidden.astype(np.float32)))
            optimiser.zero_grad()
            found = loss(model.network, *(each.to(device) for each in (value, mask, shown)), beta=beta)
            torch.autograd.backward(found)
            torch.nn.utils.clip_grad_norm_(model.network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            total += found.item()
        checkpoint.leave(epoch + 1, total / batches)
        if progress is not None:
            progress(epoch + 1, total / batches)
    model.network.cpu().eval()
    return model


def _epoch(rng: np.random.Generator, shape: tuple[int, ...]) -> Iterator[_Batch]:
    """Every stay `WINDOWS_PER_STAY` times, in batches."""
    for _ in range(WINDOWS_PER_STAY):
        order = rng.permutation(shape[0])
        for stays in np.array_split(order, -(-shape[0] // BATCH)):
            ends = rng.integers(1, shape[1] + 1, size=stays.size)
            hidden = rng.random((stays.size, HOURS, len(SIGNS))) < _HIDE_CELL
            hidden[:, -1] = rng.random((stays.size, len(SIGNS))) < _HIDE_LAST
            yield _Batch(stays, ends, hidden)
