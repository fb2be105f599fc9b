"""`vitalwire evaluate delineation`: where waves begin and end, on waves that are known, marked, or only consistent.

Errors are mean and standard deviation in milliseconds beside what CSE's referees agree within (The CSE Working Party,
Eur. Heart J. 6:815, 1985; as Martinez et al., IEEE TBME 2004, quote it): two standard deviations of P onset 10.2, P end
12.7, QRS onset 6.5, QRS end 11.6 and T end 30.6 ms, taken as a limit of one standard deviation as they do.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import wfdb
from numpy.typing import NDArray

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.evaluation.delineators import Delineator, Floats, beats_of, ours, peers
from vitalwire_cloud.evaluation.known_waves import FAMILIES, known_ecg
from vitalwire_cloud.evaluation.qtdb import read_waves, wave_records
from vitalwire_cloud.evaluation.report import Advance, Grid, Metrics, Outcome, Report, meets, silent
from vitalwire_cloud.train.dataset import NoRecordError
from vitalwire_edge.inference.trend import EcgTrend, TrendMinute
from vitalwire_edge.signal.chain import EcgChain
from vitalwire_edge.signal.delineation import MARKS
from vitalwire_edge.signal.intervals import measure

LIMIT_MS: Final = {"p_on": 10.2, "p_off": 12.7, "qrs_on": 6.5, "qrs_off": 11.6, "t_off": 30.6}
NOISE_UV: Final = (0, 10, 25, 50)
BAR: Final = {f"{name}_sd": limit for name, limit in LIMIT_MS.items()}
AT_UV: Final = 25
"""The noise at which the bar is asked of single beats: about what a monitor's electrodes have."""

_PATIENTS: Final = 8
_SETTLE: Final = 3
_INTERVALS: Final = ("pr", "qrs", "qt")
_SLICE: Final = 60.0


def delineation(
    data: Path,
    *,
    seed: int = 1,
    patients: int = _PATIENTS,
    names: Iterable[str] = (),
    steps: Callable[[int], Advance] = lambda _total: silent,
) -> Outcome:
    """Known waves; then marked waves where DATA has some, and how consistent intervals are where it has beats.

    Raises `NoRecordError` where DATA has neither, `OSError`.
    """
    wanted = set(names)
    marked = [each for each in wave_records(data) if not wanted or each[0].name in wanted]
    try:
        beats = records.paths(data, paced=False, names=wanted) if not marked else []
    except NoRecordError as error:
        raise NoRecordError(
            f"no record with marked waves (.q1c, .pu0) or beats (.atr) in {data}: give a folder such as qtdb/ or mitdb/"
        ) from error
    advance = steps(len(FAMILIES) * len(NOISE_UV) + len(marked) + len(beats))
    others = peers()
    metrics, rows, known = _known(patients, seed, others, advance)
    grids = [known]
    if marked:
        grids.append(_marked(marked, others, metrics, rows, advance))
    if beats:
        grids.append(_consistent(beats, metrics, advance))
    notes = [] if others else ["neurokit2 was not run: install neurokit2"]
    bar = BAR if not marked else {f"marked_{name}": limit for name, limit in BAR.items()}
    return Outcome(
        Report(
            protocol="delineation",
            model="streaming delineator of the gateway",
            data=str(data),
            records=[path.name for path, _ in marked] or [path.name for path in beats],
            seed=seed,
            metrics=metrics,
            peers=rows,
            bar=bar,
            passed=meets(metrics, bar),
        ),
        notes=tuple(notes),
        tables=tuple(grids),
    )


def _known(
    patients: int, seed: int, others: dict[str, Delineator], advance: Advance
) -> tuple[Metrics, dict[str, Metrics], Grid]:
    """Errors on `known_waves`: beat by beat, ours and others', and of the median beat's intervals."""
    everyone: dict[str, Delineator] = {"ours": ours, **others}
    rows: list[tuple[str, ...]] = []
    found: dict[str, Metrics] = {name: {} for name in everyone}
    spent = dict.fromkeys(everyone, 0.0)
    beats = 0
    for family in FAMILIES:
        for noise_uv in NOISE_UV:
            errors: dict[str, list[Floats]] = {name: [] for name in everyone}
            middle: list[list[float]] = []
            for number in range(patients):
                rng = np.random.default_rng((seed, FAMILIES.index(family), number))
                ecg = known_ecg(family, rng, noise_uv=noise_uv)
                for name, run in everyone.items():
                    marks = run(ecg.ecg_uv, ecg.fs_hz, ecg.r_s)
                    spent[name] += marks.spent_s
                    errors[name].append(((marks.s - ecg.marks_s) * 1000)[_SETTLE:])
                beats += ecg.r_s.size
                middle.append(_median_errors(ecg.ecg_uv, ecg.fs_hz, ecg.r_s, ecg.marks_s))
            for name, several in errors.items():
                error = np.concatenate(several)
                rows.append(
                    (f"{family} {noise_uv} uV", name, *(_said(error[:, MARKS.index(m)]) for m in LIMIT_MS))
                )
                if family == "gaussian" and noise_uv == AT_UV:
                    found[name] |= _errors("", error)
            average = np.asarray(middle)
            rows.append((f"{family} {noise_uv} uV", "ours, median beat: PR, QRS, QT", *_three(average)))
            if family == "gaussian" and noise_uv == AT_UV:
                for column, name in enumerate(_INTERVALS):
                    known = average[:, column][np.isfinite(average[:, column])]
                    if known.size:
                        found["ours"][f"median_{name}_mean"] = float(known.mean())
                        found["ours"][f"median_{name}_sd"] = float(known.std())
            advance(f"{family} at {noise_uv} uV")
    for name in everyone:
        found[name]["beats_per_s"] = beats / max(spent[name], 1e-9)
    title = f"known waves: mean +- SD of the error in ms (found), {patients} patients each"
    return found.pop("ours"), found, Grid(title, ("waves", "", *LIMIT_MS), tuple(rows))


def _median_errors(ecg_uv: NDArray[np.float32], fs_hz: float, r_s: Floats, marks_s: Floats) -> list[float]:
    cut, _, before_s, after_s = beats_of(ecg_uv, fs_hz, r_s)
    found = measure(cut[_SETTLE:], before_s[_SETTLE:], after_s[_SETTLE:])
    on, off, p_on, t_off = (marks_s[0, MARKS.index(m)] for m in ("qrs_on", "qrs_off", "p_on", "t_off"))
    true_ms = ((on - p_on) * 1000, (off - on) * 1000, (t_off - on) * 1000)
    return [a - b for a, b in zip((found.pr_ms, found.qrs_ms, found.qt_ms), true_ms, strict=True)]


def _marked(
    marked: Sequence[tuple[Path, str]],
    others: dict[str, Delineator],
    metrics: Metrics,
    rows: dict[str, Metrics],
    advance: Advance,
) -> Grid:
    """Errors against marks, of the channel that is nearer at each mark, as Martinez et al. compare."""
    everyone: dict[str, Delineator] = {"ours": ours, **others}
    errors: dict[str, list[Floats]] = {name: [] for name in everyone}
    annotators = set()
    for path, annotator in marked:
        record = read_waves(path, annotator)
        annotators.add(annotator)
        for name, run in everyone.items():
            errors[name].append(
                _nearest(record.ecg_uv, record.fs_hz, record.all_r_s, record.r_s, record.marks_s, run)
            )
        advance(record.name)
    said = []
    for name, several in errors.items():
        error = np.concatenate(several)
        (metrics if name == "ours" else rows[name]).update(_errors("marked_", error))
        said.append((name, *(_said(error[:, MARKS.index(m)]) for m in LIMIT_MS)))
    title = f"marked by {', '.join(sorted(annotators))}: mean +- SD of the error in ms (found), the nearer channel"
    return Grid(title, ("", *LIMIT_MS), tuple(said))


def _nearest(
    ecg_uv: NDArray[np.float32], fs_hz: float, all_r_s: Floats, r_s: Floats, marks_s: Floats, run: Delineator
) -> Floats:
    """Errors (b, 7) in ms of the marked beats, over the stretches of the record that hold some."""
    known = np.unique(np.concatenate((all_r_s[np.abs(all_r_s[:, None] - r_s).min(axis=1) > 0.15], r_s)))
    best = np.full(marks_s.shape, np.nan)
    first_s = max(0.0, float(r_s[0]) - _SLICE)
    last_s = float(r_s[-1]) + 5.0
    part = slice(round(first_s * fs_hz), round(last_s * fs_hz))
    chosen = known[(known > first_s + 0.5) & (known < last_s - 1.0)]
    at = np.searchsorted(chosen, r_s)
    at = np.clip(at, 0, max(0, chosen.size - 1))
    inside = chosen.size > 0
    for lead in ecg_uv:
        if not inside or not np.isfinite(lead[part]).all():
            continue
        found = run(lead[part], fs_hz, chosen - first_s).s[at] + first_s
        found[np.abs(chosen[at] - r_s) > 1e-6] = np.nan
        error = (found - marks_s) * 1000
        nearer = np.isnan(best) | (np.abs(error) < np.abs(best))
        best = np.where(nearer & np.isfinite(error), error, best)
    # What is not marked is no error; what is marked and not found stays NaN and counts as not found.
    best[np.isnan(marks_s)] = np.inf
    return best


def _consistent(beats: Sequence[Path], metrics: Metrics, advance: Advance) -> Grid:
    """How much intervals of the minute vary within a record, and how the leads agree."""
    said: list[tuple[str, ...]] = []
    spreads: dict[str, list[float]] = {name: [] for name in _INTERVALS}
    between: dict[str, list[Floats]] = {name: [] for name in _INTERVALS}
    measured: dict[str, list[float]] = {name: [] for name in _INTERVALS}
    for path in beats:
        leads = [_minutes(path, channel) for channel in range(min(2, wfdb.rdheader(str(path)).n_sig))]
        cells = []
        for name in _INTERVALS:
            values = [
                np.array([getattr(minute.intervals, f"{name}_ms") for minute in lead]) for lead in leads
            ]
            first = values[0]
            middle, spread = (float("nan"),) * 2
            if np.isfinite(first).sum() >= 3:
                low, middle, high = np.nanpercentile(first, (25, 50, 75))
                spread = float(high - low)
                spreads[name].append(spread)
            share = float(np.isfinite(first).mean()) if first.size else 0.0
            measured[name].append(share)
            length = min(part.size for part in values)
            if len(values) > 1:
                between[name].append(values[0][:length] - values[1][:length])
            cells.append(f"{middle:.0f}, {spread:.0f} ({100 * share:.0f} %)")
        said.append((path.name, *cells))
        advance(path.name)
    for name in _INTERVALS:
        apart = np.concatenate([np.empty(0), *between[name]])
        metrics[f"{name}_spread_ms"] = float(np.median(spreads[name])) if spreads[name] else float("nan")
        metrics[f"{name}_measured"] = float(np.mean(measured[name]))
        metrics[f"{name}_leads_mean_ms"] = (
            float(np.nanmean(apart)) if np.isfinite(apart).any() else float("nan")
        )
        metrics[f"{name}_leads_median_abs_ms"] = (
            float(np.nanmedian(np.abs(apart))) if np.isfinite(apart).any() else float("nan")
        )
    return Grid(
        "by the minute: median, interquartile range in ms (minutes measured)",
        ("record", *_INTERVALS),
        tuple(said),
    )


def _minutes(path: Path, channel: int) -> list[TrendMinute]:
    record = records.read(path, channel=channel)
    chain, trend = EcgChain(fs_hz=record.fs_hz), EcgTrend(fs_hz=record.fs_hz)
    block = round(10 * record.fs_hz)
    found: list[TrendMinute] = []
    for start in range(0, record.ecg_uv.size, block):
        found += trend.push(chain.push(start, record.ecg_uv[start : start + block]))
    return found


def _errors(prefix: str, error: Floats) -> Metrics:
    """Mean, standard deviation and share found of each mark that has a limit; `inf` is a mark that nobody asks for."""
    metrics: Metrics = {}
    for name in LIMIT_MS:
        column = error[:, MARKS.index(name)]
        asked = column[~np.isinf(column)]
        known = asked[np.isfinite(asked)]
        metrics[f"{prefix}{name}_mean"] = float(known.mean()) if known.size else float("nan")
        metrics[f"{prefix}{name}_sd"] = float(known.std()) if known.size else float("nan")
        metrics[f"{prefix}{name}_found"] = known.size / asked.size if asked.size else float("nan")
    return metrics


def _said(column: Floats) -> str:
    asked = column[~np.isinf(column)]
    known = asked[np.isfinite(asked)]
    if not known.size:
        return "none"
    return f"{known.mean():.1f} +- {known.std():.1f} ({100 * known.size / asked.size:.0f} %)"


def _three(average: Floats) -> tuple[str, ...]:
    return (*(_said(average[:, column]) for column in range(3)), "", "")
