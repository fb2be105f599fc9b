"""A recurrent model of a patient's beats: before each it says what the beat's context features will be.

A gated recurrent unit (Cho et al., EMNLP 2014) whose state drives a mixture of Gaussians (Bishop, "Mixture density
networks", 1994). `vitalwire_edge.inference.sequence` runs it beat by beat in plain arithmetic; here it learns.
"""

from typing import Final

import torch
from torch import Tensor, nn

from vitalwire_edge.inference.sequence import (
    COMPONENTS,
    FEATURES,
    MAX_LOG_WIDTH,
    MIN_LOG_WIDTH,
    TOKEN,
    SequenceWeights,
    layer,
)

UNITS: Final = 96
_HIDDEN: Final = 48
_DROPOUT: Final = 0.1


class BeatSequence(nn.Module):
    """Tokens (n, t, TOKEN) of beats in order to the description (n, t, outcome) of each, made before it was seen."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Linear(TOKEN, _HIDDEN)
        self.unit = nn.GRU(_HIDDEN, UNITS, batch_first=True)
        self.hidden = nn.Linear(UNITS, _HIDDEN)
        self.outcome = nn.Linear(_HIDDEN, COMPONENTS * (1 + 2 * FEATURES))
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, tokens: Tensor) -> Tensor:
        """What is said of each beat, knowing only those before it."""
        states, _ = self.unit(torch.relu(self.token(tokens)))
        before = torch.cat((torch.zeros_like(states[:, :1]), states[:, :-1]), dim=1)
        said: Tensor = self.outcome(self.dropout(torch.relu(self.hidden(before))))
        return said

    def weights(self) -> SequenceWeights:
        """For the gateway's arithmetic, in single precision and without a check."""
        held = {name: value.detach().numpy() for name, value in self.named_parameters()}
        layers = {
            "token": layer(held["token.weight"], held["token.bias"]),
            "from_input": layer(held["unit.weight_ih_l0"], held["unit.bias_ih_l0"]),
            "from_state": layer(held["unit.weight_hh_l0"], held["unit.bias_hh_l0"]),
            "hidden": layer(held["hidden.weight"], held["hidden.bias"]),
            "outcome": layer(held["outcome.weight"], held["outcome.bias"]),
        }
        return SequenceWeights(**layers, check=[], check_nats=[])


def surprise(said: Tensor, features: Tensor) -> Tensor:
    """Negative log density (n, t), without the constant, of features (n, t, FEATURES) under what was said."""
    means = COMPONENTS * (1 + FEATURES)
    weight, mean, width = said[..., :COMPONENTS], said[..., COMPONENTS:means], said[..., means:]
    width = width.reshape(*width.shape[:-1], COMPONENTS, FEATURES).clamp(MIN_LOG_WIDTH, MAX_LOG_WIDTH)
    away = (features.unsqueeze(-2) - mean.reshape(width.shape)) * torch.exp(-width)
    each = weight.log_softmax(dim=-1) - (0.5 * away.square() + width).sum(dim=-1)
    return -torch.logsumexp(each, dim=-1)
