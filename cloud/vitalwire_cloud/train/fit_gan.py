"""Fit the beat generator: as a VAE's decoder first, then against a critic; one run leaves both.

Classes are drawn evenly, and within a class a patient in proportion to the square root of how many beats he has: a
patient with three such beats must not be learned by heart, nor one with a thousand decide alone.
"""

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitalwire_cloud.models.beat_gan import (
    BeatGenerator,
    Critic,
    Encoder,
    Given,
    critic_loss,
    made,
    vae_loss,
)
from vitalwire_cloud.train.dataset import Patient, TrainingDataError
from vitalwire_edge.inference import features
from vitalwire_edge.inference.beat_model import CLIP
from vitalwire_edge.inference.generator import (
    CLASSES,
    COMPONENTS,
    MIN_STYLE_BEATS,
    MIXED,
    STRAYS,
    Style,
    StylePrior,
    manners_of,
)

BATCH: Final = 128
CRITIC_STEPS: Final = 3
STYLE_SECONDS: Final = 300.0
CHECKPOINT: Final = "checkpoint.pt"
_UNIT_UV: Final = 1000.0
"""Beats of the data set are in units of their patients; this one is put in for it."""
_VAE_SHARE: Final = 0.3
"""Of the steps or the time given: the autoencoder's part."""
_CHECKPOINT_STEPS: Final = 250
_DIRECTIONS: Final = 8
_AVERAGE: Final = 0.995

Progress = Callable[[str, int, int | None, float], None]
"""Called with the phase, the steps done in it, those it will do if known, and its latest figure."""


@dataclass(frozen=True, slots=True)
class FittedGenerator:
    """Generators in float: of the GAN, and of the VAE that it started from; `distance` is the critic's last."""

    gan: BeatGenerator
    vae: BeatGenerator
    styles: StylePrior
    steps: int
    distance: float


class GanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was trained, on what, with what: `run.json`."""

    model: str = "generator"
    created: str
    seed: int
    steps: int
    seconds: float
    distance: float
    parameters: int
    preprocessing: int
    records: dict[str, str]
    beats: dict[str, int]
    torch: str
    python: str
    machine: str


def personal_styles(patient: Patient, styles: StylePrior, *, seconds: float = STYLE_SECONDS) -> list[Style]:
    """The styles of a patient's first `seconds`, one for each ordinary beat: the reference moves, manners are one.

    Raises `StyleError` where there are too few ordinary beats.
    """
    chosen = patient.sample < seconds * patient.fs_hz
    if int((chosen & patient.normal).sum()) < MIN_STYLE_BEATS:
        chosen = np.cumsum(patient.normal) <= 10 * MIN_STYLE_BEATS
    parts = styles.parts(patient.beat[chosen].clip(-CLIP, CLIP), patient.reference[chosen])
    manners = manners_of(parts, patient.label[chosen])
    ordinary = np.flatnonzero(chosen & patient.normal)
    rr_s = float(np.exp(np.median(patient.context[ordinary, features.CONTEXT.index("rr_reference")])))
    return [Style(patient.reference[k], manners, _UNIT_UV, rr_s) for k in ordinary]


def fit(
    patients: Sequence[Patient],
    *,
    seed: int,
    steps: int | None = None,
    seconds: float | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> FittedGenerator:
    """Train until `steps` (of both phases together) or `seconds` are over.

    With `folder` a checkpoint is left there now and then, and one that is there is resumed.

    Raises:
        TrainingDataError: a class of which there is no beat, no limit given, or a checkpoint of other data.
        StyleError: a patient has too few ordinary beats.

    """
    if steps is None and seconds is None:
        raise TrainingDataError("give steps or seconds: training has no other end")
    data = _Data.of(patients)
    styles = data.styles
    torch.manual_seed(seed)
    run = _Run(data, seed, None if folder is None else folder / CHECKPOINT, progress)
    run.resume()
    run.autoencode(
        None if steps is None else round(_VAE_SHARE * steps),
        None if seconds is None else _VAE_SHARE * seconds,
    )
    run.compete(
        None if steps is None else steps - round(_VAE_SHARE * steps),
        None if seconds is None else (1 - _VAE_SHARE) * seconds,
    )
    return FittedGenerator(run.averaged.eval(), run.vae.eval(), styles, sum(run.done.values()), run.last)


@dataclass(frozen=True, slots=True)
class _Data:
    """All beats as components, with the patients' manners and where each class of each patient lies."""

    parts: Tensor
    reference: Tensor
    owner: Tensor
    manner: Tensor
    strays: Tensor
    whitener: Tensor
    groups: list[tuple[NDArray[np.float64], list[NDArray[np.int64]]]]
    styles: StylePrior
    width: Tensor
    digest: str

    @classmethod
    def of(cls, patients: Sequence[Patient]) -> "_Data":
        label = np.concatenate([patient.label for patient in patients])
        absent = [name for name in CLASSES if not (label == name).any()]
        if absent:
            raise TrainingDataError(f"no beat of class {', '.join(absent)}: give more records")
        owner = np.concatenate([np.full(p.label.size, i) for i, p in enumerate(patients)])
        beat = np.concatenate([p.beat for p in patients]).clip(-CLIP, CLIP)
        reference = np.concatenate([p.reference for p in patients])
        groups = []
        for name in CLASSES:
            rows = [np.flatnonzero((label == name) & (owner == i)) for i in np.unique(owner[label == name])]
            share = np.sqrt([each.size for each in rows])
            groups.append((share / share.sum(), rows))
        rng = np.random.default_rng(0)
        drawn = np.concatenate([_draw(rng, group, 4000) for group in groups])
        stray = beat[drawn] - reference[drawn]
        _, _, directions = np.linalg.svd(stray - stray.mean(axis=0), full_matrices=False)
        styles, personal = _prior(patients, directions[:COMPONENTS].astype(np.float32))
        parts = styles.parts(beat, reference)
        # Each patient's manners as they are, and as if only ordinary beats had been seen.
        manners = [
            manner
            for style in personal
            for name in CLASSES
            for manner in (
                style.manner(name),
                style.manner("N") if name == "N" else style.manner("N").unknown,
            )
        ]
        strays = np.stack([np.resize(each.strays, (STRAYS, COMPONENTS)) for each in manners])
        return cls(
            torch.from_numpy(parts),
            torch.from_numpy(reference),
            torch.from_numpy(owner),
            torch.from_numpy(np.stack([manner.given for manner in manners])),
            torch.from_numpy(strays),
            torch.from_numpy(np.stack([_whitener(manner.strays) for manner in manners])),
            groups,
            styles,
            torch.from_numpy(parts[drawn].std(axis=0)),
            hashlib.sha256(parts.tobytes() + reference.tobytes()).hexdigest(),
        )

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Given]:
        """Components of a batch, and what they are conditioned on; half the manners but N's are withheld."""
        kinds = np.sort(rng.integers(len(CLASSES), size=BATCH))
        rows = torch.from_numpy(
            np.concatenate([_draw(rng, g, int((kinds == k).sum())) for k, g in enumerate(self.groups)])
        )
        kind = torch.from_numpy(kinds)
        withheld = torch.from_numpy(rng.integers(2, size=BATCH))
        which = 2 * (len(CLASSES) * self.owner[rows] + kind) + withheld
        given = Given(
            torch.eye(len(CLASSES))[kind],
            self.reference[rows],
            self.manner[which],
            self._drawn(which, rng),
            self.whitener[which],
            self.width,
        )
        return self.parts[rows], given

    def _drawn(self, which: Tensor, rng: np.random.Generator) -> Tensor:
        """Strays (n, COMPONENTS), as `Manner.draw` makes them."""
        shape = (which.shape[0], MIXED)
        share = rng.dirichlet(np.ones(MIXED), size=shape[0]) * rng.choice(
            (-1.0, 1.0), size=shape, p=(0.1, 0.9)
        )
        share /= np.linalg.norm(share, axis=1, keepdims=True)
        chosen = self.strays[which[:, None], torch.from_numpy(rng.integers(STRAYS, size=shape))]
        drawn: Tensor = (torch.from_numpy(share.astype(np.float32))[:, :, None] * chosen).sum(dim=1)
        return drawn


def _whitener(strays: NDArray[np.float32]) -> NDArray[np.float32]:
    """What makes strays white; their covariance is drawn a little towards its diagonal."""
    covariance = strays.T.astype(np.float64) @ strays / strays.shape[0]
    covariance = 0.9 * covariance + np.diag(0.1 * np.diag(covariance) + 1e-6)
    return np.linalg.inv(np.linalg.cholesky(covariance)).astype(np.float32)


def _draw(
    rng: np.random.Generator, group: tuple[NDArray[np.float64], list[NDArray[np.int64]]], count: int
) -> NDArray[np.int64]:
    share, rows = group
    whose = rng.choice(len(rows), size=count, p=share)
    return np.array([rows[i][rng.integers(rows[i].size)] for i in whose], dtype=np.int64)


def _prior(patients: Sequence[Patient], basis: NDArray[np.float32]) -> tuple[StylePrior, list[Style]]:
    """The prior of styles, and a style of each patient."""
    none = np.zeros((0, 0), dtype=np.float32)
    empty = StylePrior(basis, none, none, none)
    personal = [(found := personal_styles(patient, empty))[len(found) // 2] for patient in patients]
    strays = [each.manner("N").strays for each in personal]
    spreads = [np.maximum(each.std(axis=0), 1e-3) for each in strays]
    vectors = np.stack(
        [
            np.concatenate((each.reference, np.log(spread), [np.log(each.rr_s)]))
            for each, spread in zip(personal, spreads, strict=True)
        ]
    )
    units = [each / spread for each, spread in zip(strays, spreads, strict=True)]
    correlation = np.mean([each.T @ each / each.shape[0] for each in units], axis=0).astype(np.float32)
    centre = vectors.mean(axis=0)
    _, size, directions = np.linalg.svd(vectors - centre, full_matrices=False)
    kept = size[:_DIRECTIONS, None] / np.sqrt(max(1, len(patients) - 1)) * directions[:_DIRECTIONS]
    return StylePrior(basis, centre.astype(np.float32), kept.astype(np.float32), correlation), personal


class _Run:
    """The networks while they are trained, and their checkpoint."""

    def __init__(self, data: _Data, seed: int, path: Path | None, progress: Progress | None) -> None:
        self._data, self._seed, self._path, self._progress = data, seed, path, progress
        basis, self._width = torch.from_numpy(data.styles.basis.copy()), data.width
        self.vae, self.encoder = BeatGenerator(basis, self._width), Encoder()
        self.gan, self.averaged = BeatGenerator(basis, self._width), BeatGenerator(basis, self._width)
        self.critic = Critic()
        both = [*self.vae.parameters(), *self.encoder.parameters()]
        self._optimisers = {
            "vae": torch.optim.Adam(both, lr=1e-3),
            "gan": torch.optim.Adam(self.gan.parameters(), lr=1e-4, betas=(0.0, 0.9)),
            "critic": torch.optim.Adam(self.critic.parameters(), lr=3e-4, betas=(0.0, 0.9)),
        }
        self._networks = {"vae": self.vae, "encoder": self.encoder, "gan": self.gan}
        self._networks |= {"averaged": self.averaged, "critic": self.critic}
        self.done = {"vae": 0, "gan": 0}
        self.last = float("nan")

    def resume(self) -> None:
        """Go on where the checkpoint ended, if there is one."""
        if self._path is None or not self._path.is_file():
            return
        kept: dict[str, Any] = torch.load(self._path, weights_only=True)
        if kept.get("data") != self._data.digest or kept["seed"] != self._seed:
            raise TrainingDataError(
                f"{self._path} belongs to other data or another seed: give another folder"
            )
        for name, network in self._networks.items():
            network.load_state_dict(kept[name])
        for name, optimiser in self._optimisers.items():
            optimiser.load_state_dict(kept[f"{name}_optimiser"])
        self.done, self.last = kept["done"], kept["last"]

    def autoencode(self, steps: int | None, seconds: float | None) -> None:
        """Train the autoencoder."""

        def step(rng: np.random.Generator) -> float:
            value = vae_loss(self.vae, self.encoder, *self._data.batch(rng))
            self._descend("vae", value)
            return value.item()

        self._train("vae", step, steps, seconds)

    def compete(self, steps: int | None, seconds: float | None) -> None:
        """Train the generator against the critic."""
        if self.done["gan"] == 0:
            self.gan.load_state_dict(self.vae.state_dict())
            self.averaged.load_state_dict(self.vae.state_dict())

        def step(rng: np.random.Generator) -> float:
            for _ in range(CRITIC_STEPS):
                parts, given = self._data.batch(rng)
                with torch.no_grad():
                    fake = made(self.gan, given)
                value, distance = critic_loss(self.critic, parts / self._width, fake, given)
                self._descend("critic", value)
            _, given = self._data.batch(rng)
            self._descend("gan", -self.critic(made(self.gan, given), given).mean())
            with torch.no_grad():
                for kept, new in zip(self.averaged.parameters(), self.gan.parameters(), strict=True):
                    kept.lerp_(new, 1 - _AVERAGE)
            return distance.item()

        self._train("gan", step, steps, seconds)

    def _descend(self, name: str, value: Tensor) -> None:
        self._optimisers[name].zero_grad()
        torch.autograd.backward(value)
        self._optimisers[name].step()

    def _train(
        self,
        phase: str,
        step: Callable[[np.random.Generator], float],
        steps: int | None,
        seconds: float | None,
    ) -> None:
        began = time.monotonic()
        while (steps is None or self.done[phase] < steps) and (
            seconds is None or time.monotonic() - began < seconds
        ):
            # Seeded by the step, so that a run that was resumed draws what an unbroken one draws.
            draw = np.random.default_rng((self._seed, len(phase), ord(phase[0]), self.done[phase]))
            torch.manual_seed(int(draw.integers(2**31)))
            self.last = step(draw)
            self.done[phase] += 1
            if self.done[phase] % _CHECKPOINT_STEPS == 0:
                self._keep()
                if self._progress is not None:
                    self._progress(phase, self.done[phase], steps, self.last)
        self._keep()

    def _keep(self) -> None:
        if self._path is None:
            return
        state: dict[str, Any] = {name: network.state_dict() for name, network in self._networks.items()}
        state |= {f"{name}_optimiser": each.state_dict() for name, each in self._optimisers.items()}
        state |= {"done": self.done, "last": self.last, "data": self._data.digest, "seed": self._seed}
        part = self._path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self._path)


def run_record(
    model: FittedGenerator, patients: Sequence[Patient], *, seed: int, seconds: float, created: str
) -> GanRecord:
    """What `run.json` says about a fitted generator."""
    return GanRecord(
        created=created,
        seed=seed,
        steps=model.steps,
        seconds=round(seconds, 1),
        distance=model.distance,
        parameters=sum(p.numel() for p in model.gan.parameters()),
        preprocessing=features.VERSION,
        records={patient.record: patient.digest for patient in patients},
        beats={name: sum(int((p.label == name).sum()) for p in patients) for name in CLASSES},
        torch=str(torch.__version__),
        python=platform.python_version(),
        machine=platform.machine(),
    )
