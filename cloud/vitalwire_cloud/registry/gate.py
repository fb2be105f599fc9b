"""The gate between training and a signature: a candidate beside the running model, on patients neither learned from.

Figures come per patient, for the float model and for the int8 file that would ship. Nothing here computes a score; an
evaluation that is incomplete, or that cannot be compared, does not pass.
"""

import math
from statistics import fmean, median
from typing import Annotated, Final, Literal

import msgspec
import numpy as np

_RESAMPLES: Final = 2000
_SEED: Final = 20_240_229
_LOWER: Final = 0.025

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class PatientResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One held-out patient: beats, those labelled abnormal, and the area under the ROC curve.

    `auc` is None where the patient has beats of one class only. `abstained` is the share of beats not scored.
    """

    patient: str
    beats: int
    abnormal: int
    auc: float | None
    abstained: float = 0.0


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Results of one model in one arithmetic.

    `auc` and `ap` are over all beats pooled; `learned_from` names the patients that it was trained on.
    """

    arithmetic: Literal["float", "int8"]
    patients: tuple[PatientResult, ...]
    auc: float
    ap: float
    learned_from: tuple[str, ...]
    p99_us: float | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the gate looks at. `running` is the model at work, int8; None only before the first one.

    `model_bytes` is the size of the int8 file. `source` says what was evaluated on: data set or store, dates, labels.
    """

    candidate_float: Evaluation
    candidate_int8: Evaluation
    running: Evaluation | None
    model_bytes: int
    source: str


class GateRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What passes. Quantisation and size limits are those of protocol P8; the others are choices of operation.

    A candidate need not be better, but its mean difference over patients must not be worse than `worse_mean` at the
    lower end of a 95 % bootstrap interval, and no patient may lose more than `worse_patient`.
    """

    min_patients: int = 5
    min_auc: Share = 0.80
    min_median_auc: Share = 0.80
    quantisation_auc: Share = 0.002
    quantisation_patient: Share = 0.02
    worse_mean: Share = 0.01
    worse_patient: Share = 0.10
    more_abstained: Share = 0.05
    max_bytes: int = 180_000
    max_p99_us: float = 2_000.0


class Check(msgspec.Struct, frozen=True):
    """One question, its answer, and the figures behind it."""

    name: str
    passed: bool
    text: str


class Decision(msgspec.Struct, frozen=True):
    """Every check. Only what passed all of them is signed."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether the candidate may be signed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not."""
        return tuple(f"{check.name}: {check.text}" for check in self.checks if not check.passed)


def decide(evidence: Evidence, rules: GateRules | None = None) -> Decision:
    """Whether the candidate may be signed, with every figure that decided it."""
    rules = rules or GateRules()
    whole = _whole(evidence)
    checks = [_held_out(evidence), whole]
    if not whole.passed:
        return Decision(tuple(checks))
    checks += [
        _enough(evidence.candidate_int8, rules),
        _good(evidence.candidate_int8, rules),
        _quantised(evidence, rules),
        _small(evidence, rules),
    ]
    if evidence.running is not None:
        checks += [
            _not_worse(evidence.candidate_int8, evidence.running, rules),
            _no_patient_lost(evidence.candidate_int8, evidence.running, rules),
            _abstains(evidence.candidate_int8, evidence.running, rules),
        ]
    return Decision(tuple(checks))


def _evaluations(evidence: Evidence) -> list[Evaluation]:
    three = (evidence.candidate_float, evidence.candidate_int8, evidence.running)
    return [each for each in three if each is not None]


def _held_out(evidence: Evidence) -> Check:
    judged = {each.patient for each in evidence.candidate_int8.patients}
    known = judged & {name for each in _evaluations(evidence) for name in each.learned_from}
    # Without names of those it learned from, nobody can say that the others were held out.
    nameless = not evidence.candidate_float.learned_from or not evidence.candidate_int8.learned_from
    text = f"learned from {', '.join(sorted(known))}" if known else f"{len(judged)} patients"
    if nameless:
        text = "the evaluation does not say which patients the candidate learned from"
    return Check("held out", not known and not nameless and bool(judged), text)


def _whole(evidence: Evidence) -> Check:
    """Same patients, same beats, finite figures: else there is nothing to compare."""
    every = _evaluations(evidence)
    asked = [sorted((p.patient, p.beats, p.abnormal, p.auc is None) for p in each.patients) for each in every]
    figures = [
        figure
        for each in every
        for figure in (
            each.auc,
            each.ap,
            *(p.auc for p in each.patients),
            *(p.abstained for p in each.patients),
        )
        if figure is not None
    ]
    if len({name for name, *_ in asked[0]}) != len(asked[0]):
        return Check("comparable", passed=False, text="a patient appears twice")
    if any(each != asked[0] for each in asked):
        return Check("comparable", passed=False, text="the evaluations are not of the same beats")
    if not all(math.isfinite(figure) and 0 <= figure <= 1 for figure in figures):
        return Check("comparable", passed=False, text="a figure is not a number between 0 and 1")
    if (evidence.candidate_float.arithmetic, evidence.candidate_int8.arithmetic) != ("float", "int8"):
        return Check("comparable", passed=False, text="it takes one evaluation in float and one in int8")
    if evidence.running is not None and evidence.running.arithmetic != "int8":
        return Check("comparable", passed=False, text="the running model is judged as it runs, in int8")
    return Check(
        "comparable", passed=True, text=f"{sum(p[1] for p in asked[0])} beats in {len(every)} evaluations"
    )


def _aucs(evaluation: Evaluation) -> dict[str, float]:
    return {each.patient: each.auc for each in evaluation.patients if each.auc is not None}


def _enough(candidate: Evaluation, rules: GateRules) -> Check:
    count = len(_aucs(candidate))
    return Check(
        "enough patients",
        count >= rules.min_patients,
        f"{count} with normal and abnormal beats, at least {rules.min_patients} are needed",
    )


def _good(candidate: Evaluation, rules: GateRules) -> Check:
    middle = median(_aucs(candidate).values() or [0.0])
    return Check(
        "good enough",
        candidate.auc >= rules.min_auc and middle >= rules.min_median_auc,
        f"AUC {candidate.auc:.4f} (at least {rules.min_auc}), median over patients {middle:.4f} "
        f"(at least {rules.min_median_auc}), AP {candidate.ap:.4f}",
    )


def _quantised(evidence: Evidence, rules: GateRules) -> Check:
    whole, small = evidence.candidate_float, evidence.candidate_int8
    lost = whole.auc - small.auc
    per_patient = _aucs(small)
    worst = max((auc - per_patient[name] for name, auc in _aucs(whole).items()), default=math.inf)
    return Check(
        "quantised",
        abs(lost) <= rules.quantisation_auc and worst <= rules.quantisation_patient,
        f"int8 loses {lost:+.4f} AUC (at most {rules.quantisation_auc}), at worst {worst:+.4f} on one patient "
        f"(at most {rules.quantisation_patient})",
    )


def _small(evidence: Evidence, rules: GateRules) -> Check:
    p99_us = evidence.candidate_int8.p99_us
    fast = p99_us is not None and p99_us <= rules.max_p99_us
    took = "unknown" if p99_us is None else f"{p99_us:.0f} us"
    return Check(
        "small and fast",
        fast and evidence.model_bytes <= rules.max_bytes,
        f"{evidence.model_bytes} bytes (at most {rules.max_bytes}), p99 {took} (at most {rules.max_p99_us:.0f} us)",
    )


def _not_worse(candidate: Evaluation, running: Evaluation, rules: GateRules) -> Check:
    theirs = _aucs(running)
    gains = np.array([auc - theirs[name] for name, auc in sorted(_aucs(candidate).items())])
    if gains.size == 0:
        return Check("not worse", passed=False, text="no patient has normal and abnormal beats")
    # Patients, not beats, are what the next ward brings: so patients are resampled (Efron's percentile interval).
    drawn = np.random.default_rng(_SEED).integers(0, gains.size, (_RESAMPLES, gains.size))
    lower = float(np.quantile(gains[drawn].mean(axis=1), _LOWER))
    return Check(
        "not worse",
        lower >= -rules.worse_mean,
        f"mean difference {fmean(gains):+.4f} AUC over {gains.size} patients, lower bound {lower:+.4f} "
        f"(at least {-rules.worse_mean}); pooled {candidate.auc:.4f} after {running.auc:.4f}",
    )


def _no_patient_lost(candidate: Evaluation, running: Evaluation, rules: GateRules) -> Check:
    theirs = _aucs(running)
    lost = {name: theirs[name] - auc for name, auc in _aucs(candidate).items()}
    name, worst = max(lost.items(), key=lambda item: item[1], default=("nobody", math.inf))
    return Check(
        "no patient lost",
        worst <= rules.worse_patient,
        f"{name} loses most: {worst:+.4f} AUC (at most {rules.worse_patient})",
    )


def _abstains(candidate: Evaluation, running: Evaluation, rules: GateRules) -> Check:
    mine, theirs = (
        sum(p.abstained * p.beats for p in each.patients) / max(sum(p.beats for p in each.patients), 1)
        for each in (candidate, running)
    )
    return Check(
        "abstains no more",
        mine - theirs <= rules.more_abstained,
        f"{mine:.1%} of beats after {theirs:.1%} (at most {rules.more_abstained:.0%} more)",
    )
