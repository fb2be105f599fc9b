"""A class-conditional generator of beats in a patient's own scale, given the patient's reference beat.

After Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017: a critic with a gradient penalty, and
Mirza & Osindero, "Conditional generative adversarial nets", 2014, for the class and the style.
"""

from typing import Final

import torch
from torch import Tensor, nn

from vitalwire_edge.inference.generator import CLASSES, NOISE
from vitalwire_edge.signal.beats import WINDOW

PENALTY: Final = 10.0
_STYLE: Final = 24
_HIDDEN: Final = 128


class BeatGenerator(nn.Module):
    """Beats (n, WINDOW) from noise (n, NOISE), one-hot class (n, 4) and reference (n, WINDOW).

    The network adds to the reference, so that a beat keeps what is the patient's own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.style = nn.Sequential(nn.Linear(WINDOW, _STYLE), nn.ReLU())
        self.body = nn.Sequential(
            nn.Linear(NOISE + len(CLASSES) + _STYLE, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, WINDOW),
        )

    def forward(self, noise: Tensor, kind: Tensor, reference: Tensor) -> Tensor:
        """One beat for each row."""
        change: Tensor = self.body(torch.cat((noise, kind, self.style(reference)), dim=1))
        return reference + change


class Critic(nn.Module):
    """How real a beat is, given its class and the patient's reference: (n,), without bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2 * WINDOW + len(CLASSES), 2 * _HIDDEN),
            nn.LeakyReLU(0.2),
            nn.Linear(2 * _HIDDEN, _HIDDEN),
            nn.LeakyReLU(0.2),
            nn.Linear(_HIDDEN, 1),
        )

    def forward(self, beat: Tensor, kind: Tensor, reference: Tensor) -> Tensor:
        """One figure for each row."""
        judged: Tensor = self.body(torch.cat((beat - reference, reference, kind), dim=1))
        return judged[:, 0]


def critic_loss(critic: Critic, real: Tensor, made: Tensor, kind: Tensor, reference: Tensor) -> Tensor:
    """Negative Wasserstein estimate and the gradient penalty on points between real and made beats."""
    share = torch.rand(real.shape[0], 1)
    between = (share * real + (1 - share) * made).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, kind, reference).sum(), between, create_graph=True)
    penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
    distance = critic(made, kind, reference).mean() - critic(real, kind, reference).mean()
    return distance + PENALTY * penalty
