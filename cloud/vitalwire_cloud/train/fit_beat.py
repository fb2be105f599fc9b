"""Fit the beat model on normal beats: autoencoder, mixture, and the constants that join them.

No abnormal label enters the fit, an epoch or the threshold. The form of the score (which views count, and how) is not
label-free: it was settled once after looking at labelled, cross-validated development patients; see `score`.
"""

import hashlib
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from vitalwire_cloud.models.beat_vae import BeatVae, loss
from vitalwire_cloud.train.dataset import Patient
from vitalwire_edge.inference import features
from vitalwire_edge.inference.features import SHAPE_FEATURES
from vitalwire_edge.inference.level import relative
from vitalwire_edge.inference.score import ScoreParameters, Scoring, one_sided

BATCH: Final = 512
BEATS_PER_PATIENT: Final = 1500
"""A patient's share of an epoch, so that those with many normal beats do not decide alone."""

COMPONENTS: Final = 16
MIXTURE_BEATS: Final = 500
"""A patient's share of the mixture's beats: few, and the same for all."""
MIXTURE_CLIP: Final = 8.0
THRESHOLD_QUANTILE: Final = 0.95
CHECKPOINT: Final = "checkpoint.pt"

Progress = Callable[[int, float], None]
"""Called after an epoch with its number and loss."""


class TrainingDataError(ValueError):
    """Too little to learn from, or a checkpoint of something else."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A fitted model to go on from: its weights, and the units of context that they are used to."""

    network: BeatVae
    parameters: ScoreParameters

    def digest(self) -> bytes:
        """Of its weights."""
        weights = self.network.state_dict().values()
        return hashlib.sha256(b"".join(each.numpy().tobytes() for each in weights)).digest()


@dataclass(frozen=True, slots=True)
class BeatModel:
    """A fitted model, in float."""

    network: BeatVae
    parameters: ScoreParameters
    epochs: int
    final_loss: float

    def run(self, patient: Patient) -> tuple[NDArray[np.float32], ...]:
        """Outputs of the network for every beat of a patient."""
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
) -> BeatModel:
    """Train on the normal beats of patients until `epochs` or `seconds` are over.

    With `folder` a checkpoint is left there after every epoch, and one that is there is resumed. With `parent` the
    weights go on from it; mixture, view constants and threshold are fitted anew to these patients.

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
    parts = [np.flatnonzero(patient.normal) for patient in patients]
    if sum(part.size for part in parts) < 2 * BATCH:
        raise TrainingDataError(f"{sum(p.size for p in parts)} normal beats: at least {2 * BATCH} are needed")
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(part)[:BEATS_PER_PATIENT] for part in parts]
    beat = np.concatenate([p.beat[k] for p, k in zip(patients, chosen, strict=True)]).clip(-6, 6)
    reference = np.concatenate([p.reference[k] for p, k in zip(patients, chosen, strict=True)])
    context = np.concatenate([p.context[k] for p, k in zip(patients, chosen, strict=True)])
    base = _mixture(
        context, [p.context[k[:MIXTURE_BEATS]] for p, k in zip(patients, chosen, strict=True)], seed
    )
    if parent is not None:
        base = msgspec.structs.replace(base, centre=parent.parameters.centre, width=parent.parameters.width)
    scoring = Scoring(base)
    rhythm = scoring.normalised(context)[:, SHAPE_FEATURES:]
    data = tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in (beat, reference, rhythm))
    network, done, last = _train(data, seed, epochs, seconds, folder, progress, parent)
    raw = scoring.raw_views(beat, context, outputs(network, scoring, beat, reference, context))
    centre = np.median(raw, axis=0)
    width = np.maximum(np.subtract(*np.percentile(raw, (75, 25), axis=0)) / 1.349, 1e-3)
    parameters = msgspec.structs.replace(base, view_centre=centre.tolist(), view_width=width.tolist())
    scores = np.concatenate([_normal_scores(p, network, Scoring(parameters)) for p in patients])
    parameters = msgspec.structs.replace(parameters, threshold=float(np.quantile(scores, THRESHOLD_QUANTILE)))
    return BeatModel(network, parameters, done, last)


def _normal_scores(patient: Patient, network: BeatVae, scoring: Scoring) -> NDArray[np.float64]:
    """Scores of a patient's normal beats, above the patient's own level."""
    given = outputs(network, scoring, patient.beat, patient.reference, patient.context)
    chosen: NDArray[np.float64] = relative(scoring.views(patient.beat, patient.context, given).score)
    return chosen[patient.normal]


def _mixture(
    context: NDArray[np.float32], shares: Sequence[NDArray[np.float32]], seed: int
) -> ScoreParameters:
    """The Gaussian mixture over one-sided context features, with the views still in nats."""
    seen = one_sided(np.concatenate(shares))
    middle = np.median(seen, axis=0)
    width = np.maximum(np.subtract(*np.quantile(seen, (0.84, 0.16), axis=0)) / 2, 1e-6)
    known = ((seen - middle) / width).clip(-MIXTURE_CLIP, MIXTURE_CLIP)
    with warnings.catch_warnings():
        # The components are many on purpose; that the last digits still move after 40 rounds says nothing.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture = GaussianMixture(
            COMPONENTS, reg_covar=1e-2, max_iter=40, init_params="k-means++", random_state=seed
        ).fit(known)
    return ScoreParameters(
        preprocessing=features.VERSION,
        form=2,
        centre=context.mean(axis=0).tolist(),
        width=np.maximum(context.std(axis=0), 1e-3).tolist(),
        mixture_centre=middle.tolist(),
        mixture_width=width.tolist(),
        log_weights=np.log(mixture.weights_).tolist(),
        means=mixture.means_.tolist(),
        precisions=mixture.precisions_cholesky_.tolist(),
        view_centre=[0.0, 0.0, 0.0],
        view_width=[1.0, 1.0, 1.0],
        threshold=0.0,
    )


def _train(
    data: tuple[torch.Tensor, ...],
    seed: int,
    epochs: int | None,
    seconds: float | None,
    folder: Path | None,
    progress: Progress | None,
    parent: Parent | None,
) -> tuple[BeatVae, int, float]:
    torch.manual_seed(seed)
    network = BeatVae()
    if parent is not None:
        network.load_state_dict(parent.network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    begun_from = b"" if parent is None else parent.digest()
    print_of_data = hashlib.sha256(b"".join(x.numpy().tobytes() for x in data) + begun_from).hexdigest()
    path = None if folder is None else folder / CHECKPOINT
    epoch, last = 0, float("nan")
    if path is not None and path.is_file():
        kept = torch.load(path, weights_only=True)
        if kept["data"] != print_of_data or kept["seed"] != seed:
            raise TrainingDataError(
                f"{path} belongs to other data, another seed or another parent: give another folder"
            )
        network.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
        epoch, last = kept["epoch"], kept["loss"]
    began = time.monotonic()
    count = data[0].shape[0]
    while (epochs is None or epoch < epochs) and (seconds is None or time.monotonic() - began < seconds):
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
        if path is not None:
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch}
            part = path.with_suffix(".part")
            torch.save(state | {"loss": last, "data": print_of_data, "seed": seed}, part)
            part.replace(path)
        if progress is not None:
            progress(epoch, last)
    network.eval()
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
        parameters=sum(p.numel() for p in model.network.parameters()),
        preprocessing=features.VERSION,
        records=inherited | {patient.record: patient.digest for patient in patients},
        normal_beats=sum(int(patient.normal.sum()) for patient in patients),
        torch=str(torch.__version__),
        python=platform.python_version(),
        machine=platform.machine(),
    )
