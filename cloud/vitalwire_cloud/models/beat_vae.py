"""A conditional variational autoencoder of a normal beat and its rhythm, given the patient's reference beat.

After Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014, and Sohn et al., "Learning structured output
representation using deep conditional generative models", NeurIPS 2015. The decoder gives a Gaussian for each sample of
the beat and for each rhythm feature, so a premature beat of ordinary shape is as unlikely as a strange shape.
"""

from typing import Final

import torch
from torch import Tensor, nn

from vitalwire_edge.inference.features import RHYTHM_FEATURES
from vitalwire_edge.signal.beats import WINDOW

LATENT: Final = 12
_HIDDEN: Final = 96
_STYLE: Final = 24
_LOG_VARIANCE: Final = (-8.0, 3.0)


class BeatVae(nn.Module):
    """Encoder and decoder; `forward` is what is exported: deterministic, with the mean of the latent.

    The expected beat is the reference plus what the decoder adds to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.style = nn.Sequential(nn.Linear(WINDOW, _STYLE), nn.ReLU())
        self.encoder = nn.Sequential(
            nn.Linear(WINDOW + _STYLE + RHYTHM_FEATURES, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
        )
        self.to_latent = nn.Linear(_HIDDEN, 2 * LATENT)
        self.decoder = nn.Sequential(nn.Linear(LATENT + _STYLE, _HIDDEN), nn.ReLU())
        self.to_beat = nn.Linear(_HIDDEN, WINDOW)
        self.to_spread = nn.Linear(_HIDDEN, WINDOW)
        self.to_rhythm = nn.Linear(_HIDDEN, 2 * RHYTHM_FEATURES)

    def encode(self, beat: Tensor, reference: Tensor, rhythm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log variance of the latent (n, LATENT), and the style of the reference."""
        style = self.style(reference)
        hidden = self.encoder(torch.cat((beat - reference, style, rhythm), dim=1))
        both = self.to_latent(hidden)
        return both[:, :LATENT], both[:, LATENT:].clamp(-8.0, 4.0), style

    def decode(self, latent: Tensor, style: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Expected beat and log variance (n, WINDOW), then mean and log variance of the rhythm (n, 12)."""
        hidden = self.decoder(torch.cat((latent, style), dim=1))
        spread = self.to_spread(hidden).clamp(*_LOG_VARIANCE)
        return self.to_beat(hidden) + reference, spread, self.to_rhythm(hidden)

    def forward(
        self, beat: Tensor, reference: Tensor, rhythm: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Expected beat, its log variance, the rhythm's mean and log variance, and the latent's."""
        mean, log_variance, style = self.encode(beat, reference, rhythm)
        expected, spread, timing = self.decode(mean, style, reference)
        return expected, spread, timing, torch.cat((mean, log_variance), dim=1)


def loss(model: BeatVae, beat: Tensor, reference: Tensor, rhythm: Tensor, *, beta: float) -> Tensor:
    """Negative evidence lower bound per beat, the beat's 200 correlated samples weighed as 40."""
    mean, log_variance, style = model.encode(beat, reference, rhythm)
    latent = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
    expected, spread, timing = model.decode(latent, style, reference)
    shape = (spread + (beat - expected) ** 2 * torch.exp(-spread)).mean(dim=1) * 20.0
    centre, width = timing[:, :RHYTHM_FEATURES], timing[:, RHYTHM_FEATURES:].clamp(-6.0, 3.0)
    when = 0.5 * (width + (rhythm - centre) ** 2 * torch.exp(-width)).sum(dim=1)
    divergence = 0.5 * (mean**2 + torch.exp(log_variance) - 1.0 - log_variance).sum(dim=1)
    return (shape + when + beta * divergence).mean()
