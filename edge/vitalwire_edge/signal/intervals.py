"""PR, QRS, QT and QTc of the median of a patient's own beats, or why there are none.

A trend is measured best on one beat that stands for many: noise falls with the square root of their number and what a
single beat has by chance falls out (Badilini et al., Ann. Noninvasive Electrocardiol. 12:91, 2007).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import nan, sqrt
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.signal.delineation import BEFORE, delineate

Formula = Literal["fridericia", "bazett", "framingham", "hodges"]

LEAST_BEATS: Final = 10
"""As many as a ten-second resting ECG holds; fewer are not averaged by electrocardiographs either."""

MOST_BEATS: Final = 40
"""More than these change the median by less than a sample is worth."""

LEAST_P: Final = 5.0
LEAST_T: Final = 6.0
"""How far a wave stands above the standard error of the median beat; fibrillatory waves average to less."""

MOST_NOISE_UV: Final = 20.0
"""Standard error of the median beat from which on nothing but the QRS is measured."""

MOST_UNSTEADY: Final = 0.15
"""Standard deviation of the intervals over their mean from which on no rate stands for the QT: as in fibrillation."""

QTC_RATES: Final = (40.0, 120.0)
"""Beats a minute between which a correction means something (AHA/ACCF/HRS, Circulation 119:e241, 2009: not for rapid
or much varying rates)."""

_BETWEEN: Final = slice(BEFORE - 65, BEFORE - 15)


class Unmeasured(StrEnum):
    """Why an interval was not measured."""

    FEW_BEATS = "few beats"
    NOISY = "noisy"
    NO_QRS = "no qrs"
    NO_P = "no p wave"
    NO_T = "no t wave"
    UNSTEADY = "unsteady rate"
    RATE = "rate out of range"


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of a median beat; NaN where `why` names the reason, by `pr`, `qrs`, `qt`, `qtc`."""

    pr_ms: float = nan
    qrs_ms: float = nan
    qt_ms: float = nan
    qtc_ms: float = nan
    rr_s: float = nan
    beats: int = 0
    why: Mapping[str, Unmeasured] = field(default_factory=dict)


def qtc_ms(qt_ms: float, rr_s: float, formula: Formula = "fridericia") -> float:
    """QT corrected for the rate.

    Fridericia (Acta Med. Scand. 53:469, 1920), Bazett (Heart 7:353, 1920), Framingham (Sagie et al., Am. J. Cardiol.
    70:797, 1992), Hodges (J. Am. Coll. Cardiol. 1:694, 1983).
    """
    match formula:
        case "fridericia":
            return float(qt_ms / rr_s ** (1 / 3))
        case "bazett":
            return qt_ms / sqrt(rr_s)
        case "framingham":
            return qt_ms + 154.0 * (1.0 - rr_s)
        case "hodges":
            return qt_ms + 1.75 * (60.0 / rr_s - 60.0)


def median_beat(rows_uv: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Median of (n, WINDOW) finite rows, each first brought to its level before the QRS, and its standard error."""
    n = rows_uv.shape[0]
    level = rows_uv[:, BEFORE - 25 : BEFORE - 12].mean(axis=1, keepdims=True)
    ordered = np.sort(np.ascontiguousarray((rows_uv - level).T), axis=1)
    beat = np.float32(0.5) * (ordered[:, (n - 1) // 2] + ordered[:, n // 2])
    # Half of the spread of the middle half of the values is their median deviation, near enough.
    deviation = np.float32(0.5) * (ordered[:, (3 * n) // 4] - ordered[:, n // 4])
    return beat, deviation * np.float32(1.4826 * 1.2533 / sqrt(n))


def measure(
    rows_uv: NDArray[np.float32],
    rr_before_s: NDArray[np.float64],
    rr_after_s: NDArray[np.float64],
    formula: Formula = "fridericia",
) -> Intervals:
    """Measure the median of the patient's own, clean beats.

    Args:
        rows_uv: (n, WINDOW) from `delineation.rows`; rows with missing samples are left out.
        rr_before_s: (n,) intervals to the beats before; NaN if unknown.
        rr_after_s: (n,) intervals to the beats after; NaN if unknown.
        formula: of the correction for the rate.

    """
    whole = np.flatnonzero(np.isfinite(rows_uv).all(axis=1) & np.isfinite(rr_before_s))
    if whole.size < LEAST_BEATS:
        return Intervals(
            beats=whole.size, why=dict.fromkeys(("pr", "qrs", "qt", "qtc"), Unmeasured.FEW_BEATS)
        )
    if whole.size > MOST_BEATS:
        whole = whole[np.linspace(0, whole.size - 1, MOST_BEATS).astype(np.int64)]
    beat, error = median_beat(rows_uv[whole])
    before, after = rr_before_s[whole], rr_after_s[whole]
    after = after[np.isfinite(after)]
    rr_s = float(before.mean())
    ends = float(np.median(after)) if after.size else nan
    marks = delineate(beat[None], np.array([np.median(before)]), np.array([ends]))
    pr, qrs, qt = float(marks.pr_ms[0]), float(marks.qrs_ms[0]), float(marks.qt_ms[0])
    p_uv, t_uv = float(marks.height_uv[0, 0]), float(marks.height_uv[0, 1])
    noise = float(np.median(error))
    why: dict[str, Unmeasured] = {}
    if noise > MOST_NOISE_UV:
        why = dict.fromkeys(("pr", "qt"), Unmeasured.NOISY)
        if not qrs > 0:
            why["qrs"] = Unmeasured.NOISY
    elif not qrs > 0:
        why = dict.fromkeys(("pr", "qrs", "qt"), Unmeasured.NO_QRS)
    else:
        if not p_uv >= LEAST_P * float(np.median(error[_BETWEEN])):
            why["pr"] = Unmeasured.NO_P
        if not t_uv >= LEAST_T * noise:
            why["qt"] = Unmeasured.NO_T
    if "qt" in why:
        why["qtc"] = why["qt"]
    elif float(before.std()) > MOST_UNSTEADY * rr_s:
        why["qtc"] = Unmeasured.UNSTEADY
    elif not QTC_RATES[0] <= 60.0 / rr_s <= QTC_RATES[1]:
        why["qtc"] = Unmeasured.RATE
    return Intervals(
        pr_ms=nan if "pr" in why else pr,
        qrs_ms=nan if "qrs" in why else qrs,
        qt_ms=nan if "qt" in why else qt,
        qtc_ms=nan if "qtc" in why else qtc_ms(qt, rr_s, formula),
        rr_s=rr_s,
        beats=whole.size,
        why=why,
    )
