"""Fit the sequence model: stretches of each patient's beats in order, of which only the normal ones are to be foretold.

Other beats are part of what goes before, as they are on a gateway, but never of what is learned. The size of the
network and the number of epochs were chosen by the likelihood of normal beats of patients held out, with no abnormal
label in sight.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, cos, pi
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vitalwire_cloud.models.beat_sequence import BeatSequence, surprise
from vitalwire_cloud.train.checkpoint import Checkpoint, Limit
from vitalwire_edge.inference.sequence import FEATURES, TOKEN

CHECKPOINT: Final = "sequence.pt"
STRETCH: Final = 256
BATCH: Final = 16
PASSES: Final = 3
"""How often, on average, a beat is part of an epoch's stretches."""
_FIRST_RATE: Final = 2e-3
_CHILD_RATE: Final = 5e-4
_LAST_RATE: Final = 1e-4
_SETTLED: Final = 16
"""Epochs until the rate of learning is the last one."""
_DECAY: Final = 1e-2


@dataclass(frozen=True, slots=True)
class Course:
    """One patient's beats in order: tokens (n, TOKEN), and which are normal (n,)."""

    tokens: NDArray[np.float32]
    normal: NDArray[np.bool_]


def fit_sequence(
    courses: Sequence[Course],
    *,
    seed: int,
    limit: Limit,
    folder: Path | None = None,
    progress: Callable[[int, float], None] | None = None,
    parent: BeatSequence | None = None,
    device: str = "cpu",
) -> BeatSequence:
    """Train until the limit; with `folder`, from the checkpoint there. Raises `TrainingDataError`."""
    torch.manual_seed(seed)
    network = BeatSequence()
    if parent is not None:
        network.load_state_dict(parent.state_dict())
    digest = hashlib.sha256(b"".join(each.tokens.tobytes() + each.normal.tobytes() for each in courses))
    for value in network.state_dict().values():
        digest.update(value.numpy().tobytes())
    network.to(device)
    first = _FIRST_RATE if parent is None else _CHILD_RATE
    optimiser = torch.optim.AdamW(network.parameters(), lr=first, weight_decay=_DECAY)
    checkpoint = Checkpoint(folder, CHECKPOINT, network, optimiser, data=digest.hexdigest(), seed=seed)
    epoch, last = checkpoint.resume()
    steps = ceil(PASSES * sum(len(each.normal) for each in courses) / (BATCH * STRETCH))
    began = time.monotonic()
    network.train()
    while not limit.over(epoch, began):
        rng = np.random.default_rng((seed, epoch))
        torch.manual_seed(seed * 100_003 + epoch)
        total = 0.0
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = _rate(epoch + step / steps, first)
            tokens, wanted = (each.to(device) for each in _stretches(courses, rng))
            optimiser.zero_grad()
            nats = surprise(network(tokens), tokens[..., FEATURES:])
            value = (nats * wanted).sum() / wanted.sum().clamp(min=1)
            torch.autograd.backward(value)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            total += value.item()
        epoch, last = epoch + 1, total / steps
        checkpoint.leave(epoch, last)
        if progress is not None:
            progress(epoch, last)
    network.cpu().eval()
    return network


def _rate(epoch: float, first: float) -> float:
    """Rate of learning, by the epoch alone: so a run that is resumed, or goes on longer, is the same run."""
    return _LAST_RATE + (first - _LAST_RATE) * (1 + cos(pi * min(1.0, epoch / _SETTLED))) / 2


def _stretches(courses: Sequence[Course], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of stretches of patients drawn alike, shorter ones filled up, and which beats are to be foretold."""
    tokens = np.zeros((BATCH, STRETCH, TOKEN), np.float32)
    wanted = np.zeros((BATCH, STRETCH), np.float32)
    for row, at in enumerate(rng.integers(len(courses), size=BATCH)):
        course = courses[at]
        first = int(rng.integers(max(1, len(course.normal) - STRETCH + 1)))
        part = slice(first, first + STRETCH)
        length = len(course.normal[part])
        tokens[row, :length] = course.tokens[part]
        wanted[row, :length] = course.normal[part]
    return torch.from_numpy(tokens), torch.from_numpy(wanted)
