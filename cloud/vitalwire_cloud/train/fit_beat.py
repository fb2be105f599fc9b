"""Fit the beat model on normal beats: autoencoder, sequence model, and what joins them (`joining`).

No label of an abnormal beat enters the networks, an epoch, or the score without labels, whose head learns from
simulated ectopy; only the other head learns from labels, where there are any. The form of the score (which views count,
and how) is not label-free: it was settled once after looking at labelled, cross-validated development patients; see
`score`.
"""

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from vitalwire_cloud.models.beat_sequence import BeatSequence
from vitalwire_cloud.models.beat_vae import BeatVae, loss
from vitalwire_cloud.train.checkpoint import Checkpoint, Limit
from vitalwire_cloud.train.dataset import Patient, TrainingDataError, as_recorded
from vitalwire_cloud.train.fit_sequence import Course, fit_sequence
from vitalwire_cloud.train.joining import Outputs, joined
from vitalwire_edge.inference import features
from vitalwire_edge.inference.features import SHAPE_FEATURES
from vitalwire_edge.inference.score import ScoreParameters, Scoring, one_sided
from vitalwire_edge.inference.sequence import TOKEN, checked_by

BATCH: Final = 512
BEATS_PER_PATIENT: Final = 1500
"""A patient's share of an epoch, so that those with many normal beats do not decide alone."""

CHECKPOINT: Final = "checkpoint.pt"
CHECKED_BEATS: Final = 16
SEQUENCE_SHARE: Final = 0.75
"""Of a limit in seconds, what the sequence model gets."""

Progress = Callable[[str, int, float], None]
"""Called after an epoch with the model's name, the epoch's number and its loss."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A fitted model to go on from: its weights, and the constants that they are used to."""

    network: BeatVae
    sequence: BeatSequence
    parameters: ScoreParameters

    def digest(self) -> bytes:
        """Of its weights."""
        weights = (*self.network.state_dict().values(), *self.sequence.state_dict().values())
        return hashlib.sha256(b"".join(each.numpy().tobytes() for each in weights)).digest()


@dataclass(frozen=True, slots=True)
class BeatModel:
    """A fitted model, in float."""

    network: BeatVae
    sequence: BeatSequence
    parameters: ScoreParameters
    epochs: int
    final_loss: float

    def run(self, patient: Patient) -> tuple[NDArray[np.float32], ...]:
        """Outputs of the autoencoder for every beat of a patient."""
        return outputs(
            self.network, Scoring(self.parameters), patient.beat, patient.reference, patient.context
        )


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was trained, on what, with what: `run.json`. `records` are SHA-256 by name, `sources` say whose they are.

    Both tell of a parent's data too, for its weights learned from them. `parent` is the SHA-256 of those weights.
    """

    created: str
    sources: tuple[str, ...] = ()
    parent: str = ""
    seed: int
    epochs: int
    seconds: float
    final_loss: float
    parameters: int
    preprocessing: int
    records: dict[str, str]
    normal_beats: int
    torch: str
    python: str
    machine: str


def outputs(
    network: BeatVae,
    scoring: Scoring,
    beat: NDArray[np.float32],
    reference: NDArray[np.float32],
    context: NDArray[np.float32],
) -> tuple[NDArray[np.float32], ...]:
    """Network outputs (n, ...) for n beats."""
    rhythm = scoring.normalised(context)[:, SHAPE_FEATURES:]
    with torch.inference_mode():
        given = (torch.from_numpy(np.ascontiguousarray(each)) for each in (beat, reference, rhythm))
        return tuple(each.numpy() for each in network(*given))


def fit(
    patients: Sequence[Patient],
    *,
    seed: int,
    epochs: int | None = None,
    seconds: float | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    parent: Parent | None = None,
    device: str = "cpu",
) -> BeatModel:
    """Train on the normal beats of patients until `epochs` or `seconds` are over; heads on simulated ectopy and labels.

    With `folder` checkpoints are left there after every epoch, and those that are there are resumed. With `parent` the
    weights go on from it; view constants and thresholds are fitted anew to these patients, and so are the heads where
    there is something to teach them. `device` is PyTorch's name
    for where to train; the same seed gives the same model on the CPU only.

    Raises:
        TrainingDataError: too few normal beats, no limit given, a checkpoint of other data, or a parent that was
            trained on other features.

    """
    if epochs is None and seconds is None:
        raise TrainingDataError("give epochs or seconds: training has no other end")
    if parent is not None and parent.parameters.preprocessing != features.VERSION:
        raise TrainingDataError(
            f"the parent was trained on preprocessing {parent.parameters.preprocessing}, this is {features.VERSION}: "
            "train without a parent"
        )
    real = as_recorded(patients)
    parts = [np.flatnonzero(patient.normal) for patient in real]
    if sum(part.size for part in parts) < 2 * BATCH:
        raise TrainingDataError(f"{sum(p.size for p in parts)} normal beats: at least {2 * BATCH} are needed")
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(part)[:BEATS_PER_PATIENT] for part in parts]
    shares = [(patient, which) for patient, which in zip(real, chosen, strict=True) if which.size]
    bare = _constants(np.concatenate([p.context[k] for p, k in shares]), BeatSequence(), parent)
    scoring = Scoring(bare)
    rhythm = [scoring.normalised(p.context[k])[:, SHAPE_FEATURES:] for p, k in shares]
    data = tuple(
        torch.from_numpy(np.concatenate(each))
        for each in ([p.beat[k].clip(-6, 6) for p, k in shares], [p.reference[k] for p, k in shares], rhythm)
    )
    vae_s, sequence_s = (
        (None, None) if seconds is None else ((1 - SEQUENCE_SHARE) * seconds, SEQUENCE_SHARE * seconds)
    )
    network, done, last = _train(
        data, seed, Limit(epochs, vae_s), folder, _named("autoencoder", progress), parent, device
    )
    sequence = fit_sequence(
        [Course(scoring.tokens(patient.context), patient.normal) for patient, _ in shares],
        seed=seed,
        limit=Limit(epochs, sequence_s),
        folder=folder,
        progress=_named("sequence", progress),
        parent=None if parent is None else parent.sequence,
        device=device,
    )
    some = np.concatenate([scoring.tokens(p.context[np.sort(k)[:CHECKED_BEATS]]) for p, k in shares])
    parameters = msgspec.structs.replace(
        bare, sequence=checked_by(sequence.weights(), some[:: len(shares)].reshape(-1, TOKEN))
    )
    scoring = Scoring(parameters)
    none = np.empty(0, dtype=np.int64)
    every = [
        Outputs(p, k, outputs(network, scoring, p.beat, p.reference, p.context))
        for p, k in (*shares, *((each, none) for each in patients if each.draw))
    ]
    whole = joined(parameters, every, seed=seed, parent=None if parent is None else parent.parameters)
    return BeatModel(network, sequence, whole, done, last)


def _named(name: str, progress: Progress | None) -> Callable[[int, float], None] | None:
    return None if progress is None else lambda epoch, value: progress(name, epoch, value)


def _constants(
    context: NDArray[np.float32], sequence: BeatSequence, parent: Parent | None
) -> ScoreParameters:
    """What normalises the features, with the views still in nats and a sequence model that learned nothing yet."""
    seen = one_sided(context)
    found = ScoreParameters(
        preprocessing=features.VERSION,
        centre=context.mean(axis=0).tolist(),
        width=np.maximum(context.std(axis=0), 1e-3).tolist(),
        one_sided_centre=np.median(seen, axis=0).tolist(),
        one_sided_width=np.maximum(np.subtract(*np.quantile(seen, (0.84, 0.16), axis=0)) / 2, 1e-3).tolist(),
        sequence=sequence.weights(),
        view_centre=[0.0, 0.0, 0.0],
        view_width=[1.0, 1.0, 1.0],
        threshold=0.0,
    )
    if parent is None:
        return found
    names = ("centre", "width", "one_sided_centre", "one_sided_width")
    return msgspec.structs.replace(found, **{name: getattr(parent.parameters, name) for name in names})


def _train(
    data: tuple[torch.Tensor, ...],
    seed: int,
    limit: Limit,
    folder: Path | None,
    progress: Callable[[int, float], None] | None,
    parent: Parent | None,
    device: str,
) -> tuple[BeatVae, int, float]:
    torch.manual_seed(seed)
    network = BeatVae()
    if parent is not None:
        network.load_state_dict(parent.network.state_dict())
    network.to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    begun_from = b"" if parent is None else parent.digest()
    print_of_data = hashlib.sha256(b"".join(x.numpy().tobytes() for x in data) + begun_from).hexdigest()
    checkpoint = Checkpoint(folder, CHECKPOINT, network, optimiser, data=print_of_data, seed=seed)
    epoch, last = checkpoint.resume()
    began = time.monotonic()
    count = data[0].shape[0]
    data = tuple(each.to(device) for each in data)
    while not limit.over(epoch, began):
        torch.manual_seed(seed * 100_003 + epoch)
        beta = min(1.0, 0.1 + epoch / 10) if parent is None else 1.0
        order = torch.randperm(count)
        total = 0.0
        for batch in torch.split(order, BATCH):
            optimiser.zero_grad()
            value = loss(network, *(x[batch] for x in data), beta=beta)
            torch.autograd.backward(value)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            total += value.item() * len(batch)
        epoch, last = epoch + 1, total / count
        checkpoint.leave(epoch, last)
        if progress is not None:
            progress(epoch, last)
    network.cpu().eval()
    return network, epoch, last


def run_record(
    model: BeatModel,
    patients: Sequence[Patient],
    *,
    seed: int,
    seconds: float,
    created: str,
    sources: Sequence[str] = (),
    parent: Parent | None = None,
    parent_run: RunRecord | None = None,
) -> RunRecord:
    """What `run.json` says about a fitted model, and its parent with its own."""
    inherited = {} if parent_run is None else parent_run.records
    return RunRecord(
        created=created,
        sources=(
            *sources,
            *(() if parent_run is None else (f"parent: {each}" for each in parent_run.sources)),
        ),
        parent="" if parent is None else parent.digest().hex(),
        seed=seed,
        epochs=model.epochs,
        seconds=round(seconds, 1),
        final_loss=model.final_loss,
        parameters=sum(p.numel() for net in (model.network, model.sequence) for p in net.parameters()),
        preprocessing=features.VERSION,
        records=inherited | {patient.record: patient.digest for patient in patients},
        normal_beats=sum(int(patient.normal.sum()) for patient in as_recorded(patients)),
        torch=str(torch.__version__),
        python=platform.python_version(),
        machine=platform.machine(),
    )
