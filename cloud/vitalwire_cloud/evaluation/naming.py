"""What beats are named: N, S, V or F for patients never seen, beside what was published with labels.

The head learned from labels, so its figures stand apart from those of the score. Peers in the same folds: a linear
discriminant on the same beats' intervals and sampled shape, after de Chazal et al., IEEE TBME 51(7), 2004; multinomial
regression on what our head sees, without simulated ectopy, and with the autoencoder's latents beside it; our head that
learned from simulated ectopy alone. As published on DS2: other patients than those here. The index j-kappa is
1/2 kappa + 1/8 (Se S + Se V + PPV S + PPV V), after Mondejar-Guerra et al., Biomedical Signal Processing and
Control 47, 2019.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.evaluation.beats import counted, fitted_model, folds, judged, parted
from vitalwire_cloud.evaluation.report import Advance, Grid, Metrics, Outcome, Report, silent
from vitalwire_cloud.train.dataset import Patient, TrainingDataError, first_leads, load_folder
from vitalwire_cloud.train.fit_beat import BeatModel
from vitalwire_edge.inference.features import CONTEXT, RHYTHM_FEATURES
from vitalwire_edge.inference.head import CLASSES, Head, HeadParameters, seen
from vitalwire_edge.inference.score import Scoring

ANCHORS: Final[dict[str, Metrics]] = {
    "de Chazal 2004 (DS2)": {"se_S": 0.759, "ppv_S": 0.385, "se_V": 0.777, "ppv_V": 0.819},
    "Mondejar 2019 (DS2)": {"j_kappa": 0.773},
}
FUSION_RECORD: Final = "208"
_SHAPE_STEP: Final = 10
_OURS: Final = "ours"
_INVERSE_PENALTY: Final = 0.02
_ROUNDS: Final = 400

_Namer = Callable[[Patient], NDArray[np.str_]]


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
    patients = load_folder(data, cache=cache, names=[path.name for path in paths], to_learn=True)
    held_out = folds(patients, seed)
    advance = steps(len(held_out))
    said: dict[str, list[tuple[Patient, NDArray[np.str_]]]] = {}
    for held in held_out:
        train, test = parted(patients, held)
        model = fitted_model(train, seed=seed, epochs=epochs)
        for name, by in _namers(model, train).items():
            said.setdefault(name, []).extend((patient, by(patient)) for patient in test)
        advance(f"named {' '.join(sorted(held))}")
    ours = said.pop(_OURS)
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
        peers={name: figures(each) for name, each in said.items()} | ANCHORS,
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
    return seen((views.sequence, views.shape, said.surprise), patient.context)


def _namers(model: BeatModel, train: Sequence[Patient]) -> dict[str, _Namer]:
    """Our head, and its peers. Raises `TrainingDataError`."""
    head, without = model.parameters.labelled_head, model.parameters.simulated_head
    if head is None or without is None:
        raise TrainingDataError(
            "too few labelled S or V beats to learn names from: give a folder with more records"
        )

    def with_latents(patient: Patient) -> NDArray[np.float64]:
        latent = model.run(patient)[3]
        return np.concatenate((_looked_at(model, patient), latent[:, : latent.shape[1] // 2]), axis=1)

    first = first_leads(train)
    return {
        _OURS: lambda patient: _named(head, _looked_at(model, patient)),
        "simulated ectopy alone": lambda patient: _named(without, _looked_at(model, patient)),
        "regression": _regression(first, lambda patient: _looked_at(model, patient)),
        "regression with latents": _regression(first, with_latents),
        "linear discriminant": _discriminant(first),
    }


def _named(head: HeadParameters, looked: NDArray[np.float64]) -> NDArray[np.str_]:
    named: NDArray[np.str_] = np.array(list(CLASSES))[Head(head).logits(looked).argmax(axis=1)]
    return named


def _regression(train: Sequence[Patient], of: Callable[[Patient], NDArray[np.float64]]) -> _Namer:
    """Multinomial regression on labels alone, every patient counting alike."""
    which = [np.isin(p.label, list(CLASSES)) for p in train]
    weight = np.concatenate([np.full(k.sum(), 1 / max(1, k.sum())) for k in which])
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=_INVERSE_PENALTY, max_iter=_ROUNDS)).fit(
        np.concatenate([of(p)[k] for p, k in zip(train, which, strict=True)]),
        np.concatenate([p.label[k] for p, k in zip(train, which, strict=True)]),
        logisticregression__sample_weight=weight / weight.mean(),
    )
    return lambda patient: np.asarray(fitted.predict(of(patient)))


def _discriminant(train: Sequence[Patient]) -> _Namer:
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
