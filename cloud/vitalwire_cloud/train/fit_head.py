"""Fit the head that weighs and names beats: every patient counts alike, however many beats there are.

It learns from recordings that simulated ectopy was written into, and, where beats are labelled, from those too; all
labelled patients together then weigh as much as all simulated ones.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vitalwire_cloud.train.dataset import Patient
from vitalwire_edge.inference.head import CLASSES, HIDDEN, SEEN, Head, HeadParameters, in_units
from vitalwire_edge.inference.sequence import layer

MIN_BEATS: Final = 20
"""Of each class that is learned; with fewer of N, S or V there is no head."""
FOLDS: Final = 5
BATCH: Final = 512
ROUNDS: Final = 5
_FEWEST_STEPS: Final = 300
_DROPOUT: Final = 0.2
_DECAY: Final = 0.05
_RATE: Final = 4e-3
_SMOOTHING: Final = 0.01

Looked = tuple[Patient, NDArray[np.float64]]
"""A patient, and what a head sees (n, SEEN) of its beats."""


def fit_head(patients: Sequence[Looked], *, seed: int) -> HeadParameters | None:
    """A head for what is seen of these patients; None where there are too few beats of N, S or V."""
    named = [np.isin(patient.label, list(CLASSES)) for patient, _ in patients]
    if not any(which.any() for which in named):
        return None
    label = np.concatenate([p.label[which] for (p, _), which in zip(patients, named, strict=True)])
    if min(int((label == name).sum()) for name in "NSV") < MIN_BEATS:
        return None
    features = np.concatenate([seen[which] for (_, seen), which in zip(patients, named, strict=True)])
    simulated = np.array([patient.draw > 0 for patient, _ in patients])
    share = np.where(simulated, 1 / max(1, int(simulated.sum())), 1 / max(1, int((~simulated).sum())))
    weight = np.concatenate(
        [np.full(which.sum(), of / max(1, which.sum())) for of, which in zip(share, named, strict=True)]
    )
    centre, width = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)
    units = in_units(features, centre, width)
    code = np.array([CLASSES.index(name) for name in label.tolist()], dtype=np.int64)
    network = _fitted(units, code, weight / weight.mean(), seed)
    layers = [each for each in network if isinstance(each, nn.Linear)]
    return HeadParameters(
        centre=centre.tolist(),
        width=width.tolist(),
        layers=[layer(each.weight.detach().numpy(), each.bias.detach().numpy()) for each in layers],
    )


def _fitted(
    units: NDArray[np.float64], label: NDArray[np.int64], weight: NDArray[np.float64], seed: int
) -> nn.Sequential:
    """A network fitted to features (n, SEEN) and classes (n,) of beats that weigh so much each."""
    torch.manual_seed(seed)
    sizes = (SEEN, *HIDDEN)
    hidden = [
        part
        for given, made in zip(sizes, HIDDEN, strict=False)
        for part in (nn.Linear(given, made), nn.ReLU(), nn.Dropout(_DROPOUT))
    ]
    network = nn.Sequential(*hidden, nn.Linear(sizes[-1], len(CLASSES)))
    data = (
        torch.from_numpy(units.astype(np.float32)),
        torch.from_numpy(label),
        torch.from_numpy(weight.astype(np.float32)),
    )
    count = max(_FEWEST_STEPS, ROUNDS * len(units) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=count)
    cost = nn.CrossEntropyLoss(reduction="none", label_smoothing=_SMOOTHING)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(count):
        if len(order) < min(BATCH, len(units)):
            order = torch.randperm(len(units))
        batch, order = order[:BATCH], order[BATCH:]
        seen, of, much = (each[batch] for each in data)
        optimiser.zero_grad()
        torch.autograd.backward((cost(network(seen), of) * much).mean())
        optimiser.step()
        rate.step()
    return network.eval()


def strangers(
    patients: Sequence[Looked], teachers: Sequence[Looked], head: HeadParameters, *, seed: int
) -> list[NDArray[np.float64]]:
    """Logits (n, 4) of each patient by a head that learned from other people's `teachers`, as it is on a gateway.

    Where the others have too few beats to learn from it is `head`, which learned from all of them.
    """
    people = np.random.default_rng(seed).permutation(sorted({p.patient for p, _ in patients}))
    found: dict[int, NDArray[np.float64]] = {}
    for held in np.array_split(people, min(FOLDS, len(people))):
        other = fit_head([each for each in teachers if each[0].patient not in held], seed=seed)
        by = Head(other or head)
        found |= {k: by.logits(looked) for k, (p, looked) in enumerate(patients) if p.patient in held}
    return [found[k] for k in range(len(patients))]
