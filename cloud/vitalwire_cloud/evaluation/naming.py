"""What beats are named: N, S, V or F for patients never seen, beside what was published with labels.

The head learned from labels, so its figures stand apart from those of the score. Peers: a linear discriminant on the
same beats' intervals and sampled shape, after de Chazal et al., IEEE TBME 51(7), 2004, and our head with the
autoencoder's latents beside what it sees, both trained in the same folds; and as published on DS2, which is other
patients than those here. The index j-kappa is 1/2 kappa + 1/8 (Se S + Se V +
PPV S + PPV V), after Mondejar-Guerra et al., Biomedical Signal Processing and Control 47, 2019.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import cohen_kappa_score

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.evaluation.beats import counted, fitted_model, folds, judged, parted
from vitalwire_cloud.evaluation.report import Advance, Grid, Metrics, Outcome, Report, silent
from vitalwire_cloud.train.dataset import Patient, TrainingDataError, first_leads, load_folder
from vitalwire_cloud.train.fit_beat import BeatModel
from vitalwire_cloud.train.fit_head import fit_head
from vitalwire_edge.inference.features import CONTEXT, RHYTHM_FEATURES
from vitalwire_edge.inference.head import CLASSES, HeadParameters, in_units, seen
from vitalwire_edge.inference.score import Scoring

ANCHORS: Final[dict[str, Metrics]] = {
    "de Chazal 2004 (DS2)": {"se_S": 0.759, "ppv_S": 0.385, "se_V": 0.777, "ppv_V": 0.819},
    "Mondejar 2019 (DS2)": {"j_kappa": 0.773},
}
FUSION_RECORD: Final = "208"
_SHAPE_STEP: Final = 10


def naming(
    data: Path,
    *,
    seed: int,
    epochs: int,
    cache: Path | None = None,
    names: Iterable[str] = (),
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Name the beats of patients held out, five folds. Raises `NoRecordError`, `TrainingDataError`, `OSError`."""
    paths = records.paths(data, paced=False, names=names)
    patients = load_folder(data, cache=cache, names=[path.name for path in paths], second_leads=True)
    held_out = folds(patients, seed)
    advance = steps(len(held_out))
    said: list[tuple[Patient, NDArray[np.str_], NDArray[np.str_], NDArray[np.str_]]] = []
    for held in held_out:
        train, test = parted(patients, held)
        model = fitted_model(train, seed=seed, epochs=epochs)
        if model.parameters.head is None:
            raise TrainingDataError(
                "too few labelled S or V beats to learn names from: give a folder with more records"
            )
        peer, latents = _discriminant(train), _with_latents(model, train)
        for patient in test:
            own = _named(model.parameters.head, _looked_at(model, patient))
            said.append((patient, own, peer(patient), latents(patient)))
        advance(f"named {' '.join(sorted(held))}")
    ours, theirs, more = ([(p, each[k]) for p, *each in said] for k in range(3))
    others = [(p, each) for p, each in ours if p.record != FUSION_RECORD]
    found = figures(ours)
    if len(others) not in {0, len(ours)}:
        found |= {f"{name}_without_{FUSION_RECORD}": value for name, value in figures(others).items()}
    report = Report(
        protocol="naming",
        model="cross-validated by patient; learned from labels",
        data=str(data),
        records=[p.record for p in first_leads(patients)],
        seed=seed,
        metrics=found,
        peers={"linear discriminant": figures(theirs), "with latents too": figures(more), **ANCHORS},
        bar={},
        passed=True,
    )
    return Outcome(
        report,
        notes=("the published figures are of DS2: other patients than these",),
        tables=(_confusion(ours),),
        digests={p.record: p.digest for p in patients},
    )


def figures(named: Sequence[tuple[Patient, NDArray[np.str_]]]) -> Metrics:
    """Accuracy, kappa, j-kappa, and by class sensitivity and positive predictivity, over the beats that count."""
    label, said = _pairs(named)
    found: Metrics = {
        "accuracy": float((label == said).mean()),
        "kappa": float(cohen_kappa_score(label, said)),
    }
    for name in CLASSES:
        hits = int(((label == name) & (said == name)).sum())
        found[f"se_{name}"] = hits / max(1, int((label == name).sum()))
        found[f"ppv_{name}"] = hits / max(1, int((said == name).sum()))
    found["j_kappa"] = found["kappa"] / 2 + sum(found[f"{m}_{n}"] for m in ("se", "ppv") for n in "SV") / 8
    return found


def _pairs(named: Sequence[tuple[Patient, NDArray[np.str_]]]) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    return (
        np.concatenate([p.label[counted(p)] for p, _ in named]),
        np.concatenate([said[counted(p)] for p, said in named]),
    )


def _confusion(named: Sequence[tuple[Patient, NDArray[np.str_]]]) -> Grid:
    label, said = _pairs(named)
    rows = tuple(
        (f"is {is_}", *(str(int(((label == is_) & (said == named_)).sum())) for named_ in CLASSES))
        for is_ in CLASSES
    )
    return Grid("beats", ("", *(f"named {name}" for name in CLASSES)), rows)


def _looked_at(model: BeatModel, patient: Patient) -> NDArray[np.float64]:
    views, said = judged(Scoring(model.parameters), patient, model.run(patient))
    return seen((views.sequence, views.shape, said.unlabelled), patient.context)


def _named(head: HeadParameters, looked: NDArray[np.float64]) -> NDArray[np.str_]:
    units = in_units(looked, np.asarray(head.centre), np.asarray(head.width))
    logits = units @ np.asarray(head.weights).T + np.asarray(head.bias)
    named: NDArray[np.str_] = np.array(list(CLASSES))[logits.argmax(axis=1)]
    return named


def _with_latents(model: BeatModel, train: Sequence[Patient]) -> Callable[[Patient], NDArray[np.str_]]:
    """A head like ours that sees the means of the latents too."""

    def of(patient: Patient) -> NDArray[np.float64]:
        latent = model.run(patient)[3]
        return np.concatenate((_looked_at(model, patient), latent[:, : latent.shape[1] // 2]), axis=1)

    head = fit_head(train, [of(p) for p in train])
    assert head is not None  # The model has one of the same labels.
    return lambda patient: _named(head, of(patient))


def _discriminant(train: Sequence[Patient]) -> Callable[[Patient], NDArray[np.str_]]:
    """Intervals and the sampled beat, classes weighed alike, in one linear discriminant."""

    def of(patient: Patient) -> NDArray[np.float64]:
        rhythm = patient.context[:, len(CONTEXT) - RHYTHM_FEATURES :]
        return np.concatenate((rhythm, patient.beat[:, ::_SHAPE_STEP].clip(-6, 6)), axis=1).astype(np.float64)

    which = [np.isin(p.label, list(CLASSES)) for p in train]
    label = np.concatenate([p.label[k] for p, k in zip(train, which, strict=True)])
    alike = np.full(len(set(label.tolist())), 1 / len(set(label.tolist())))
    fitted = LinearDiscriminantAnalysis(priors=alike).fit(
        np.concatenate([of(p)[k] for p, k in zip(train, which, strict=True)]), label
    )
    return lambda patient: np.asarray(fitted.predict(of(patient)))
