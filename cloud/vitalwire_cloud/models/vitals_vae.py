"""A variational autoencoder of a patient's vital signs over half a day, which never needs them all.

After Kingma & Welling, ICLR 2014, with partial observations as in Nazabal et al., "Handling incomplete heterogeneous
data using VAEs", Pattern Recognition 107, 2020: the encoder sees values and which of them are there, the likelihood
counts only what was measured, and training hides more at random, the newest hour above all, so that the decoder learns
what to expect of an hour from those before it and of one sign from the others.
"""

from typing import Final

import torch
from torch import Tensor, nn

HOURS: Final = 12
SIGNS: Final = ("heart_rate", "respiration", "spo2", "systolic", "diastolic", "temperature", "gcs")
LATENT: Final = 16
_HIDDEN: Final = 128
_LOG_VARIANCE: Final = (-4.0, 3.0)
_CELLS: Final = HOURS * len(SIGNS)


class VitalsVae(nn.Module):
    """Windows (n, HOURS, signs) in population units, 0 where missing, and a mask of the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(2 * _CELLS, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, 2 * LATENT),
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()
        )
        self.to_mean = nn.Linear(_HIDDEN, _CELLS)
        self.to_spread = nn.Linear(_HIDDEN, _CELLS)

    def encode(self, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latent (n, LATENT)."""
        given = torch.cat(((value * mask).flatten(1), mask.flatten(1)), dim=1)
        both = self.encoder(given)
        return both[:, :LATENT], both[:, LATENT:].clamp(-8.0, 4.0)

    def decode(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of every cell (n, HOURS, signs)."""
        hidden = self.decoder(latent)
        shape = (-1, HOURS, len(SIGNS))
        spread = self.to_spread(hidden).clamp(*_LOG_VARIANCE)
        return self.to_mean(hidden).reshape(shape), spread.reshape(shape)

    def forward(self, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Expected cells and their log variance, with the mean of the latent."""
        return self.decode(self.encode(value, mask)[0])


def loss(model: VitalsVae, value: Tensor, mask: Tensor, shown: Tensor, *, beta: float) -> Tensor:
    """Negative evidence lower bound per window: the encoder sees `shown` of the cells in `mask`, all of them count."""
    mean, log_variance = model.encode(value, shown)
    latent = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
    expected, spread = model.decode(latent)
    nats = 0.5 * (spread + (value - expected) ** 2 * torch.exp(-spread)) * mask
    divergence = 0.5 * (mean**2 + torch.exp(log_variance) - 1.0 - log_variance).sum(dim=1)
    return (nats.sum(dim=(1, 2)) + beta * divergence).mean()
