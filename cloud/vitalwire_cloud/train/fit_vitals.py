"""Fit the model of vital signs on stays; no outcome enters the fit."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vitalwire_cloud.models.vitals_vae import HOURS, SIGNS, VitalsVae, loss

EPOCHS: Final = 30
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


def fit_vitals(cells: Floats, *, seed: int, epochs: int = EPOCHS) -> VitalsModel:
    """Train on stays (n, hours, signs). Raises `ValueError` where too little was measured."""
    if int(np.isfinite(cells).sum()) < _MIN_CELLS * BATCH:
        raise ValueError(f"{int(np.isfinite(cells).sum())} measured values: too few to learn from")
    rng = np.random.default_rng(seed)
    centre, width = np.nanmean(cells, axis=(0, 1)), np.maximum(np.nanstd(cells, axis=(0, 1)), 1e-3)
    torch.manual_seed(seed)
    model = VitalsModel(VitalsVae(), centre.astype(np.float32), width.astype(np.float32))
    optimiser = torch.optim.AdamW(model.network.parameters(), lr=2e-3, weight_decay=1e-4)
    batches = epochs * WINDOWS_PER_STAY * -(-cells.shape[0] // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=batches)
    model.network.train()
    for epoch in range(epochs):
        for _ in range(WINDOWS_PER_STAY):
            order = rng.permutation(cells.shape[0])
            for chosen in np.array_split(order, -(-cells.shape[0] // BATCH)):
                ends = rng.integers(1, cells.shape[1] + 1, size=chosen.size)
                value, mask = model.given(windows_of(cells[chosen], ends))
                hidden = torch.from_numpy((rng.random(mask.shape) < _HIDE_CELL).astype(np.float32))
                hidden[:, -1] = torch.from_numpy(
                    (rng.random(mask[:, -1].shape) < _HIDE_LAST).astype(np.float32)
                )
                optimiser.zero_grad()
                beta = min(1.0, 0.1 + epoch / 6)
                found = loss(model.network, value, mask, mask * (1 - hidden), beta=beta)
                torch.autograd.backward(found)
                torch.nn.utils.clip_grad_norm_(model.network.parameters(), 5.0)
                optimiser.step()
                schedule.step()
    model.network.eval()
    return model
