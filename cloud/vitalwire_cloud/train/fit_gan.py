"""Fit the beat generator: classes drawn evenly, and patients evenly within a class."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from vitalwire_cloud.models.beat_gan import BeatGenerator, Critic, critic_loss
from vitalwire_cloud.train.dataset import DS1, Patient
from vitalwire_cloud.train.fit_beat import TrainingDataError
from vitalwire_edge.inference.generator import CLASSES, NOISE

BATCH: Final = 128
CRITIC_STEPS: Final = 3
_CLIP: Final = 6.0


@dataclass(frozen=True, slots=True)
class BeatGan:
    """A fitted generator, in float; `distance` is the critic's last loss."""

    generator: BeatGenerator
    steps: int
    distance: float


def fit(patients: Sequence[Patient], *, seed: int, steps: int, seconds: float = 600.0) -> BeatGan:
    """Train for `steps` generator steps, or until `seconds` are over.

    Raises `TrainingDataError` for records outside DS1 or a class of which there is no beat.
    """
    outside = [patient.record for patient in patients if patient.record not in DS1]
    if outside:
        raise TrainingDataError(f"records {', '.join(outside)} are not in DS1: leave them for evaluation")
    label = np.concatenate([patient.label for patient in patients])
    owner = np.concatenate([np.full(p.label.size, i) for i, p in enumerate(patients)])
    absent = [name for name in CLASSES if not (label == name).any()]
    if absent:
        raise TrainingDataError(f"no beat of class {', '.join(absent)}: give more records of DS1")
    beat = torch.from_numpy(np.concatenate([p.beat for p in patients]).clip(-_CLIP, _CLIP))
    reference = torch.from_numpy(np.concatenate([p.reference for p in patients]))
    groups = [
        [np.flatnonzero((label == name) & (owner == i)) for i in np.unique(owner[label == name])]
        for name in CLASSES
    ]
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    generator, critic = BeatGenerator(), Critic()
    ours = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.9))
    theirs = torch.optim.Adam(critic.parameters(), lr=4e-4, betas=(0.5, 0.9))
    one_hot = torch.eye(len(CLASSES))
    began, done, last = time.monotonic(), 0, float("nan")
    while done < steps and time.monotonic() - began < seconds:
        for turn in range(CRITIC_STEPS + 1):
            kinds = rng.integers(len(CLASSES), size=BATCH)
            rows = torch.tensor([int(rng.choice(groups[k][rng.integers(len(groups[k]))])) for k in kinds])
            kind, style = one_hot[torch.from_numpy(kinds)], reference[rows]
            made = generator(torch.randn(BATCH, NOISE), kind, style)
            if turn < CRITIC_STEPS:
                theirs.zero_grad()
                value = critic_loss(critic, beat[rows], made.detach(), kind, style)
                value.backward()  # type: ignore[no-untyped-call]
                theirs.step()
                last = value.item()
            else:
                ours.zero_grad()
                (-critic(made, kind, style).mean()).backward()
                ours.step()
        done += 1
    generator.eval()
    return BeatGan(generator, done, last)
