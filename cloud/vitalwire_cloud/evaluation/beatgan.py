"""Protocol P1: beats on the anchor's own work (Zhou et al., "BeatGAN", IJCAI 2019), patients leaking as there.

All records but the paced ones, band-pass 3-45 Hz (FIR, order 108, zero phase), windows R-140 to R+180 at 360 Hz. One
class: trained on normal beats only, which are split at random in five folds; test is one fold of them and every
abnormal beat. Here class S also holds `e j`. No abnormal label chooses anything; see `models.window_mixture`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import filtfilt, firwin, resample_poly
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.evaluation.records import CLASSES, Recorded
from vitalwire_cloud.evaluation.report import Advance, Curve, Metrics, Outcome, Report, meets, silent
from vitalwire_cloud.models.window_mixture import WindowMixture, chosen_form
from vitalwire_cloud.train.dataset import TrainingDataError

BAR: Final = {"auc": 0.975, "ap": 0.95, "auc_context": 0.985, "ap_context": 0.965}
ANCHORS: Final[dict[str, Metrics]] = {
    "BeatGAN": {"auc": 0.9447, "ap": 0.9108},
    "BeatGAN, augmented": {"auc": 0.9475, "ap": 0.9143},
}
RATE_HZ: Final = 360.0
BEFORE: Final = 140
AFTER: Final = 180
FOLDS: Final = 5
_TAPS: Final = 109
_PASS_HZ: Final = (3.0, 45.0)
_NEIGHBOURS: Final = 5
_FLOOR_COMPONENTS: Final = 30
_RECENT_RR: Final = 10
_MIN_NORMAL: Final = 500
"""Of which four fifths teach and a quarter of those chooses the form."""
_LATE_ECTOPY: Final = frozenset("ej")


@dataclass(frozen=True, slots=True)
class Windows:
    """Beats of every record: (n, 320) windows in mV, (n, 4) rhythm, (n,) class letters; `lost` leave the recording."""

    window: NDArray[np.float32]
    rhythm: NDArray[np.float64]
    label: NDArray[np.str_]
    lost: int


def windows_of(record: Recorded) -> Windows:
    """Windows of one record, as the protocol cuts them."""
    ratio = Fraction(RATE_HZ / record.fs_hz).limit_denominator(1000)
    ecg = np.nan_to_num(record.ecg_uv.astype(np.float64)) / 1000
    if ratio != 1:
        ecg = resample_poly(ecg, ratio.numerator, ratio.denominator)
    ecg = filtfilt(firwin(_TAPS, _PASS_HZ, pass_zero=False, fs=RATE_HZ), [1.0], ecg)
    known = np.isin(record.symbol, list(CLASSES))
    label = np.array(["S" if s in _LATE_ECTOPY else CLASSES[str(s)] for s in record.symbol[known]], "<U1")
    at = np.round(record.sample[known] * float(ratio)).astype(np.int64)
    use = (at >= BEFORE) & (at + AFTER <= ecg.size)
    cut = ecg[at[use, None] + np.arange(-BEFORE, AFTER)].astype(np.float32)
    return Windows(cut, rhythm_of(at / RATE_HZ)[use], label[use], int((~use).sum()))


def rhythm_of(at_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of RR before and after against the median of the ten before, of RR against the one before, and of it.

    (n, 4) for n beats; the first and the last beat have the interval beside them twice.
    """
    if at_s.size < 2:
        return np.zeros((at_s.size, 4))
    rr = np.diff(at_s)
    before, after = np.concatenate((rr[:1], rr)), np.concatenate((rr, rr[-1:]))
    previous = np.concatenate((before[:1], before[:-1]))
    own = np.array([np.median(before[max(0, k - _RECENT_RR) : max(1, k)]) for k in range(before.size)])
    rhythm: NDArray[np.float64] = np.log(
        np.stack((before / own, after / own, before / previous, own), axis=1)
    )
    return rhythm


def beatgan(
    data: Path,
    *,
    seed: int,
    names: Iterable[str] = (),
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Run protocol P1. Raises `NoRecordError`, `TrainingDataError`, `OSError`."""
    paths = records.paths(data, paced=False, names=names)
    advance = steps(len(paths) + 1 + FOLDS)
    parts: list[Windows] = []
    digests: dict[str, str] = {}
    for path in paths:
        record = records.read(path)
        parts.append(windows_of(record))
        digests[record.name] = record.digest
        advance(record.name)
    window = np.concatenate([part.window for part in parts])
    rhythm = np.concatenate([part.rhythm for part in parts])
    label = np.concatenate([part.label for part in parts])
    normal, abnormal = np.flatnonzero(label == "N"), np.flatnonzero(label != "N")
    if normal.size < _MIN_NORMAL or not abnormal.size:
        raise TrainingDataError(
            f"{normal.size} normal and {abnormal.size} abnormal beats in {data}: {_MIN_NORMAL} and 1 are needed"
        )
    folds = np.array_split(np.random.default_rng(seed).permutation(normal), FOLDS)
    form = chosen_form(window[np.concatenate(folds[1:])], seed=seed)
    advance(f"{form.components} components, {form.gaussians} Gaussians")
    rows: dict[str, list[Metrics]] = {"ours": [], "5-NN on 30 components": []}
    curves: tuple[Curve, ...] = ()
    for turn, fold in enumerate(folds):
        train, test = (
            np.concatenate([f for k, f in enumerate(folds) if k != turn]),
            np.concatenate((fold, abnormal)),
        )
        plain = WindowMixture(window[train], None, form=form, seed=seed).surprise(window[test])
        joint = WindowMixture(window[train], rhythm[train], form=form, seed=seed)
        context = joint.surprise(window[test], rhythm[test])
        near = neighbours(window[train], window[test], seed=seed)
        rows["ours"].append(_figures(label[test], plain) | _figures(label[test], context, "_context"))
        rows["5-NN on 30 components"].append(_figures(label[test], near))
        truth = label[test] != "N"
        curves = (
            Curve("window", truth, plain),
            Curve("with rhythm", truth, context),
            Curve("5-NN", truth, near),
        )
        advance(f"fold {turn + 1}")
    means = {name: _mean(each) for name, each in rows.items()}
    ours = means.pop("ours")
    lost = sum(part.lost for part in parts)
    return Outcome(
        Report(
            protocol="beatgan",
            model=f"one-class mixture of windows, {form.components} components and {form.gaussians} Gaussians",
            data=str(data),
            records=[path.name for path in paths],
            seed=seed,
            metrics=ours,
            peers=means | ANCHORS,
            bar=BAR,
            passed=meets(ours, BAR),
        ),
        notes=(
            "components and Gaussians were chosen on normal beats and distortions of them, without an abnormal label",
            f"{normal.size} normal and {abnormal.size} abnormal beats; {lost} more whose window leaves the recording",
            "beats of one patient are on both sides of the split: this is the anchor's protocol, not an honest one",
        ),
        curves=curves,
        digests=digests,
    )


def neighbours(train: NDArray[np.float32], test: NDArray[np.float32], *, seed: int) -> NDArray[np.float64]:
    """The protocol's floor: mean distance to the five nearest normal beats on 30 principal components."""
    pca = PCA(min(_FLOOR_COMPONENTS, *train.shape), random_state=seed).fit(train)
    near = NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(pca.transform(train))
    distance: NDArray[np.float64] = near.kneighbors(pca.transform(test))[0].mean(axis=1)
    return distance


def _figures(label: NDArray[np.str_], score: NDArray[np.float64], suffix: str = "") -> Metrics:
    abnormal = label != "N"
    found = {
        f"auc{suffix}": float(roc_auc_score(abnormal, score)),
        f"ap{suffix}": float(average_precision_score(abnormal, score)),
    }
    for name in "SVF":
        if (label == name).any():
            both = ~abnormal | (label == name)
            found[f"auc_{name}{suffix}"] = float(roc_auc_score(abnormal[both], score[both]))
    return found


def _mean(rows: Sequence[Metrics]) -> Metrics:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
