"""Protocol P4: what a generator's beats and strips are good for, how close they come, and whom they give away.

Usefulness (TSTR over TRTR, augmentation gain), fidelity and diversity against unseen patients with the ceiling that
real beats reach, strips, and privacy; for the GAN and the VAE in int8 and float, beside peers on the same beats.

A test patient's first five minutes are his style, the rest of the record is what made beats are compared with, as many
of each class as it holds. The ceiling is the real first five minutes against the same rest, equally many beats. For
privacy the beats are of nobody's style, as `vitalwire generate` makes them: N, S and V in the mix that training and
held-out patients can both give.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from vitalwire_cloud.evaluation import privacy
from vitalwire_cloud.evaluation.beat_makers import Maker, MixtureMaker, SimulatedMaker, cost, float_makers
from vitalwire_cloud.evaluation.fidelity import discrepancy, discriminative, neighbourhood, small
from vitalwire_cloud.evaluation.judged_generator import JudgedGenerator
from vitalwire_cloud.evaluation.report import (
    Advance,
    Metrics,
    Outcome,
    Report,
    silent,
)
from vitalwire_cloud.evaluation.strips import strip_metrics
from vitalwire_cloud.evaluation.usefulness import (
    LABELS,
    MINORITY,
    ORDINARY,
    PER_CLASS,
    Answers,
    Lesson,
    gains,
    lesson,
    macro_f1,
    made_like,
    taught,
)
from vitalwire_cloud.models import beat_gan
from vitalwire_cloud.train import export_generator
from vitalwire_cloud.train.dataset import NoRecordError, Patient, load_folder, patient_of
from vitalwire_cloud.train.export import RUNTIME
from vitalwire_cloud.train.fit_gan import fit, personal_styles
from vitalwire_edge.inference.generator import FILES, BeatGenerator, Family, StyleError, StylePrior
from vitalwire_edge.inference.runtime import load

FOLDS: Final = 3
BEATS: Final = 400
"""Of a patient at most: made, real, and real of the first five minutes alike."""

FEWEST: Final = 40
"""Of a patient; with fewer in either part a patient is left out of the comparison."""

PRIVATE: Final = 800
"""Of a class at most, where training and held-out beats are compared."""

OURS: Final = "gan int8"
SIMULATED: Final = "neurokit2 (N only)"
BAR: Final = {
    "tstr_ratio": 0.97,
    "gain_S": 0.0,
    "gain_V": 0.0,
    "nn_ratio": privacy.RATIO[0],
    "near_share": privacy.MAX_NEAR_SHARE,
    "mia_auc": privacy.MAX_MIA_AUC,
}
_CEILING_SHARE: Final = 0.85
_DISC_MARGIN: Final = 0.10
_CEILING: Final = "real first five minutes"


@dataclass(frozen=True, slots=True)
class Judged:
    """Makers by name, and the styles they take; `runner` is the int8 GAN, of which the file has `size` bytes."""

    makers: dict[str, Maker]
    styles: StylePrior
    costs: dict[str, Metrics]
    runner: BeatGenerator


@dataclass(frozen=True, slots=True)
class Split:
    """Patients that were learned from, and those that were not."""

    train: list[Patient]
    test: list[Patient]


@dataclass(slots=True)
class _Tally:
    """Figures as they come in, by maker."""

    fidelity: dict[str, list[Metrics]] = field(default_factory=dict)
    private: dict[str, list[Metrics]] = field(default_factory=dict)
    strips: list[Metrics] = field(default_factory=list)
    real: list[Answers] = field(default_factory=list)
    synthetic: dict[str, list[Answers]] = field(default_factory=dict)
    alone: list[Answers] = field(default_factory=list)
    augmented: dict[str, list[Answers]] = field(default_factory=dict)
    costs: dict[str, Metrics] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def synthesis(
    data: Path,
    *,
    train_data: Path | None = None,
    model: JudgedGenerator | None = None,
    seconds: float = 90.0,
    steps: int | None = None,
    seed: int = 1,
    cache: Path | None = None,
    names: Sequence[str] = (),
    progress: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Judge a generator: `model`, or one that is trained for `seconds` (or `steps`) on the patients of each split.

    Patients of `train_data` that are not in `data` are learned from; where there are none, `data` is cross-validated
    by patient. Raises `NoRecordError`, `TrainingDataError`, `StyleError`.
    """
    patients = load_folder(data, cache=cache, names=names)
    others = [] if train_data is None else load_folder(train_data, cache=cache)
    learned = () if model is None else tuple(sorted(map(patient_of, model.learned_from)))
    splits = _splits(patients, others, seed)
    advance = progress(sum(len(split.test) + 2 for split in splits))
    tally = _Tally()
    for split in splits:
        if model is None:
            judged = _trained(split.train, seconds=seconds, steps=steps, seed=seed)
        else:
            judged = _of_artifact(model)
        judged.makers["PCA-GMM"] = MixtureMaker(split.train, seed)
        _add_simulated(judged, seed)
        tally.costs |= judged.costs
        advance("generators ready")
        _useful(tally, judged, split, seed)
        _private(tally, judged, split, seed)
        advance("usefulness and privacy")
        for patient in split.test:
            _close(tally, judged, patient, data, seed)
            advance(patient.record)
    return _outcome(tally, data, model, learned, patients, seed)


def _splits(patients: list[Patient], others: list[Patient], seed: int) -> list[Split]:
    people = {p.patient for p in patients}
    train = [p for p in others if p.patient not in people]
    if train:
        return [Split(train, patients)]
    if len(people) < FOLDS:
        raise NoRecordError(
            f"{len(people)} patients: at least {FOLDS}, or others with --train-data, are needed to compare with"
        )
    order = np.random.default_rng(seed).permutation(sorted(people))
    return [
        Split([p for p in patients if p.patient not in held], [p for p in patients if p.patient in held])
        for held in (set(part.tolist()) for part in np.array_split(order, FOLDS))
    ]


def _trained(patients: Sequence[Patient], *, seconds: float, steps: int | None, seed: int) -> Judged:
    model = fit(patients, seed=seed, steps=steps, seconds=None if steps is not None else seconds)
    networks: dict[Family, beat_gan.BeatGenerator] = {"gan": model.gan, "vae": model.vae}
    files = {family: export_generator.variants(networks[family]) for family in FILES}
    runners = {
        f"{family} int8": BeatGenerator(load(made[export_generator.WEIGHTS], RUNTIME), model.styles)
        for family, made in files.items()
    }
    makers: dict[str, Maker] = {**runners, **float_makers(networks)}
    costs: dict[str, Metrics] = {}
    for family, made in files.items():
        costs[f"{family} int8"] = cost(made[export_generator.WEIGHTS], model.styles)
        costs[f"{family} float"] = cost(made[export_generator.FLOAT], model.styles)
    return Judged(makers, model.styles, costs, runners[OURS])


def _of_artifact(model: JudgedGenerator) -> Judged:
    runners = {f"{family} int8": runner for family, runner in model.runners.items()}
    costs = {f"{family} int8": cost(file, model.styles) for family, file in model.files.items()}
    return Judged(dict(runners), model.styles, costs, runners[OURS])


def _add_simulated(judged: Judged, seed: int) -> None:
    try:
        judged.makers[SIMULATED] = SimulatedMaker(seed)
    except ModuleNotFoundError:
        # A peer that is not installed is left out, and its absence is said with the result.
        return


def _useful(tally: _Tally, judged: Judged, split: Split, seed: int) -> None:
    rng = np.random.default_rng(seed)
    styles = [personal_styles(patient, judged.styles) for patient in split.train]
    real = lesson(split.train, rng, dict.fromkeys(LABELS, PER_CLASS))
    ordinary = lesson(split.train, rng, {"N": ORDINARY} | dict.fromkeys(MINORITY, PER_CLASS))
    wanted = _more(ordinary, rng)
    tally.real += taught([real], split.test, seed)
    tally.alone += taught([ordinary], split.test, seed)
    for name, maker in judged.makers.items():
        # Float differs from int8 by less than one draw from another; the simulated peer knows no classes.
        if name == SIMULATED or name.endswith("float"):
            continue
        made = made_like(maker, real, styles, rng)
        tally.synthetic.setdefault(name, []).extend(taught([made], split.test, seed))
        more = made_like(maker, wanted, styles, rng)
        tally.augmented.setdefault(name, []).extend(taught([ordinary, more], split.test, seed))


def _more(ordinary: Lesson, rng: np.random.Generator) -> Lesson:
    """What is to be made so that each minority class counts as much as N does."""
    rows = []
    for name in MINORITY:
        have = np.flatnonzero(ordinary.label == name)
        missing = int((ordinary.label == "N").sum()) - have.size
        if have.size and missing > 0:
            rows.append(have[rng.integers(have.size, size=missing)])
    return ordinary.only(np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64))


def _private(tally: _Tally, judged: Judged, split: Split, seed: int) -> None:
    rng = np.random.default_rng(seed)
    train, held = (_by_class(patients, rng) for patients in (split.train, split.test))
    counts = {name: min(train[name].owner.size, held[name].owner.size) for name in LABELS}
    members, others = (
        privacy.Real(
            np.concatenate([each[name].beat[: counts[name]] for name in LABELS]),
            np.concatenate([each[name].owner[: counts[name]] for name in LABELS]),
        )
        for each in (train, held)
    )
    labels = [name for name in LABELS for _ in range(counts[name])]
    for name, maker in judged.makers.items():
        made = maker.beats(labels, [judged.styles.draw(rng) for _ in labels], rng)
        tally.private.setdefault(name, []).append(privacy.privacy(made, members, others))


def _by_class(patients: Sequence[Patient], rng: np.random.Generator) -> dict[str, privacy.Real]:
    beat = np.concatenate([p.beat for p in patients])
    label = np.concatenate([p.label for p in patients])
    owner = np.concatenate([np.full(p.label.size, p.patient) for p in patients])
    rows = {name: rng.permutation(np.flatnonzero(label == name))[:PRIVATE] for name in LABELS}
    return {name: privacy.Real(beat[chosen], owner[chosen]) for name, chosen in rows.items()}


def _close(tally: _Tally, judged: Judged, patient: Patient, folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = patient.label != "Q"
    early, late = np.flatnonzero(known & ~patient.late), np.flatnonzero(known & patient.late)
    count = min(BEATS, early.size, late.size)
    if count < FEWEST:
        tally.left_out.append(patient.record)
        return
    try:
        styles = personal_styles(patient, judged.styles)
    except StyleError:
        tally.left_out.append(patient.record)
        return
    real = small(patient.beat[rng.permutation(late)[:count]])
    labels = patient.label[rng.permutation(late)[:count]].tolist()
    chosen = [styles[k] for k in rng.integers(len(styles), size=count)]
    made = {_CEILING: patient.beat[rng.permutation(early)[:count]]}
    made |= {name: maker.beats(labels, chosen, rng) for name, maker in judged.makers.items()}
    for name, beats in made.items():
        other = small(beats)
        found = neighbourhood(real, other)
        found["mmd"] = discrepancy(real, other)
        # The slowest figure, which float and int8 cannot differ in.
        if not name.endswith("float"):
            found["disc"] = discriminative(real, other, seed=seed)
        tally.fidelity.setdefault(name, []).append(found)
    strips = strip_metrics(folder, patient, judged.runner, styles, seed=seed)
    if strips:
        tally.strips.append(strips)


def _outcome(
    tally: _Tally,
    data: Path,
    model: JudgedGenerator | None,
    learned: tuple[str, ...],
    patients: Sequence[Patient],
    seed: int,
) -> Outcome:
    ceiling = _mean(tally.fidelity.get(_CEILING, []))
    rows = {name: dict(_of_maker(tally, name)) for name in tally.private}
    ours = rows.pop(OURS)
    ours |= {f"{name}_ceiling": ceiling[name] for name in ceiling}
    ours |= _mean(tally.strips)
    bar = BAR | {
        "precision": _CEILING_SHARE * ceiling.get("precision", 1.0),
        "coverage": _CEILING_SHARE * ceiling.get("coverage", 1.0),
        "disc": ceiling.get("disc", 0.0) + _DISC_MARGIN,
    }
    seen = [p.record for p in patients if p.patient in learned]
    notes = [
        f"privacy gate: {'passed' if privacy.gate(ours) else 'failed'}",
        f"macro-F1 of the classifier that learned from real beats: {macro_f1(tally.real):.3f}",
        "ecgen, a peer of the protocol, is not run: it makes 12 leads of 10 s and must be trained with its own stack",
    ]
    if SIMULATED not in tally.private:
        notes.append("neurokit2, a peer of the protocol, is not installed: install vitalwire[bench]")
    if tally.left_out:
        notes.append(f"too few beats in a part to compare: {' '.join(tally.left_out)}")
    if seen:
        notes.append(f"records that this generator learned from, which flatters it: {' '.join(seen)}")
    report = Report(
        protocol="synthesis",
        model="trained here, by patient" if model is None else model.title,
        data=str(data),
        records=[p.record for p in patients],
        seed=seed,
        metrics=ours,
        peers=rows | {_CEILING: ceiling},
        bar=bar,
        passed=passed(ours, bar),
    )
    return Outcome(report, notes=tuple(notes), digests={p.record: p.digest for p in patients})


def passed(found: Metrics, bar: Metrics) -> bool:
    """Whether everything the protocol's bar asks is reached; gains must be above it."""
    return (
        all(found.get(name, 0.0) >= bar[name] for name in ("tstr_ratio", "precision", "coverage"))
        and found.get("disc", 1.0) <= bar["disc"]
        and all(found.get(name, 0.0) > bar[name] for name in ("gain_S", "gain_V"))
        and privacy.gate(found)
    )


def _of_maker(tally: _Tally, name: str) -> Iterator[tuple[str, float]]:
    if name in tally.synthetic:
        yield "tstr_ratio", macro_f1(tally.synthetic[name]) / max(macro_f1(tally.real), 1e-9)
        yield from gains(tally.alone, tally.augmented[name]).items()
    yield from _mean(tally.fidelity.get(name, [])).items()
    yield from _mean(tally.private[name]).items()
    yield from tally.costs.get(name, {}).items()


def _mean(rows: Sequence[Metrics]) -> Metrics:
    return {name: float(np.mean([row[name] for row in rows])) for name in (rows[0] if rows else {})}
