"""A class-conditional generator of beats in a person's style, first a VAE's decoder, then a GAN's generator.

The critic is a Wasserstein critic with gradient penalty after Gulrajani et al., "Improved training of Wasserstein
GANs", NeurIPS 2017, given class and style by concatenation as in Mirza & Osindero, "Conditional generative adversarial
nets", 2014. Before it there is a conditional variational autoencoder (Kingma & Welling, ICLR 2014; Sohn et al., NeurIPS
2015) whose decoder is the generator's start, as in Larsen et al., "Autoencoding beyond pixels", ICML 2016.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from vitalwire_edge.inference.generator import CLASSES, COMPONENTS, LATENT, MANNER
from vitalwire_edge.signal.beats import WINDOW

PENALTY: Final = 10.0
_STYLE: Final = 32
_HIDDEN: Final = 160
_STRAY: Final = (-1.0, 0.7)
"""Bounds of the log of the factor by which a component's stray is widened."""

_FARTHEST: Final = 3.0
"""Of a decoded component, in its unit: a style unlike any in training must not be thrown far off."""


class BeatGenerator(nn.Module):
    """Beats from noise, class and style.

    A beat is its reference, plus what the person's beats of this class differ by as far as it is known, plus
    components decoded from the latent, plus a stray in the person's own manner times a decoded factor: so an unseen
    person's beats stray as theirs do.

    Args:
        basis: (COMPONENTS, WINDOW) orthonormal components of what beats differ by from their references.
        width: (COMPONENTS,) their standard deviations over beats of all classes.

    """

    basis: Tensor
    width: Tensor

    def __init__(self, basis: Tensor, width: Tensor) -> None:
        super().__init__()
        self.register_buffer("basis", basis.clone())
        self.register_buffer("width", width.clone())
        self.style = nn.Sequential(nn.Linear(WINDOW + MANNER, _STYLE), nn.ReLU())
        self.body = nn.Sequential(
            nn.Linear(LATENT + len(CLASSES) + 1 + _STYLE, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
        )
        self.to_shape = nn.Linear(_HIDDEN, COMPONENTS)
        self.to_stray = nn.Linear(_HIDDEN, COMPONENTS)
        with torch.no_grad():
            # The start is what the style says by itself.
            self.to_shape.weight.mul_(0.1)
            self.to_stray.weight.mul_(0.1)

    def components(
        self, latent: Tensor, kind: Tensor, reference: Tensor, manner: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Means of the components, and the factors of their strays (n, COMPONENTS)."""
        mean, spread, known = manner[:, :COMPONENTS], manner[:, COMPONENTS:-1], manner[:, -1:]
        style = self.style(torch.cat((reference, mean / self.width, 0.25 * (spread + 3.0), known), dim=1))
        hidden = self.body(torch.cat((latent, kind, known, style), dim=1))
        factor = torch.exp(self.to_stray(hidden).clamp(*_STRAY))
        # What is known of a person is not overruled: there the latent moves a beat by as much as his beats stray.
        unit = known * torch.exp(spread) + (1 - known) * self.width
        shape = _FARTHEST * torch.tanh(self.to_shape(hidden) / _FARTHEST)
        return mean + shape * unit, factor

    def forward(self, noise: Tensor, kind: Tensor, reference: Tensor, manner: Tensor) -> Tensor:
        """Beats (n, WINDOW) from noise (n, NOISE), one-hot class, reference and manner (n, MANNER)."""
        shape, factor = self.components(noise[:, :LATENT], kind, reference, manner)
        return reference + (shape + factor * noise[:, LATENT:]) @ self.basis


class Encoder(nn.Module):
    """Mean and log variance (n, LATENT) of a beat's latent, from its components in units of `width`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(COMPONENTS + len(CLASSES) + WINDOW, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, 2 * LATENT),
        )

    def forward(self, units: Tensor, kind: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Where in the latent a beat may lie."""
        both = self.body(torch.cat((units, kind, reference), dim=1))
        return both[:, :LATENT], both[:, LATENT:].clamp(-8.0, 4.0)


class Critic(nn.Module):
    """How real components are for a class and a style: (n,), without bounds.

    They are seen in units of all beats and, squeezed, as white as the person's own strays are made by `whitener`: there
    a quiet person's small faults are as large as another's great ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2 * COMPONENTS + MANNER + WINDOW + len(CLASSES), 256),
            nn.LeakyReLU(0.2),
            nn.Linear(256, 128),
            nn.LeakyReLU(0.2),
            nn.Linear(128, 1),
        )

    def forward(self, units: Tensor, given: "Given") -> Tensor:
        """One figure for each row."""
        mean, rest = given.manner[:, :COMPONENTS], 0.25 * (given.manner[:, COMPONENTS:] + 3.0)
        own = torch.asinh(_white(units * given.width - mean, given.whitener))
        judged: Tensor = self.body(
            torch.cat((units, own, mean / given.width, rest, given.reference, given.kind), dim=1)
        )
        return judged[:, 0]


@dataclass(frozen=True, slots=True)
class Given:
    """What a batch of beats is conditioned on.

    Attributes:
        kind: (n, 4) one-hot classes; reference: (n, WINDOW); manner: (n, MANNER).
        stray: (n, COMPONENTS) drawn in the manner.
        whitener: (n, COMPONENTS, COMPONENTS) that makes the manner's strays white.
        width: (COMPONENTS,) standard deviations of the components over all beats.

    """

    kind: Tensor
    reference: Tensor
    manner: Tensor
    stray: Tensor
    whitener: Tensor
    width: Tensor


def made(generator: BeatGenerator, given: Given) -> Tensor:
    """Generated components in units of `width`."""
    latent = torch.randn(given.kind.shape[0], LATENT)
    shape, factor = generator.components(latent, given.kind, given.reference, given.manner)
    return (shape + factor * given.stray) / given.width


def vae_loss(generator: BeatGenerator, encoder: Encoder, parts: Tensor, given: Given) -> Tensor:
    """Negative evidence lower bound of components (n, COMPONENTS), per beat, without its constant."""
    mean, log_variance = encoder(parts / given.width, given.kind, given.reference)
    latent = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
    shape, factor = generator.components(latent, given.kind, given.reference, given.manner)
    white = _white((parts - shape) / factor, given.whitener)
    likelihood = (torch.log(factor) + 0.5 * white**2).sum(dim=1)
    divergence = 0.5 * (mean**2 + torch.exp(log_variance) - 1.0 - log_variance).sum(dim=1)
    bound: Tensor = (likelihood + divergence).mean()
    return bound


def critic_loss(critic: Critic, real: Tensor, fake: Tensor, given: Given) -> tuple[Tensor, Tensor]:
    """The critic's loss on components in units of `width`, and the Wasserstein distance that it estimates.

    The penalty is on points between real and made, whose slope should be 1.
    """
    share = torch.rand(real.shape[0], 1)
    between = (share * real + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, given).sum(), between, create_graph=True)
    penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
    distance = critic(real, given).mean() - critic(fake, given).mean()
    return PENALTY * penalty - distance, distance


def _white(parts: Tensor, whitener: Tensor) -> Tensor:
    white: Tensor = torch.bmm(whitener, parts[:, :, None])[:, :, 0]
    return white
