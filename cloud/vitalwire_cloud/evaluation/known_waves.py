"""ECG whose waves are known: where each begins and ends is drawn before the wave is.

Three families, so that a delineator is not judged by the waves it was adjusted on: `cosine` (a wave is nothing outside
its marks; the thresholds of `signal.delineation` were chosen on these), `ramp` (likewise, steeper in its middle) and
`gaussian` (as in McSharry's model; a wave that never ends is taken to end 2.5 standard deviations from its peak, where
4 % of it are left). QRS complexes are made of cosines in all of them: Q, R and S, or R and S; Q has at least
4 % of the height of R.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Family = Literal["cosine", "ramp", "gaussian"]

FAMILIES: Final[tuple[Family, ...]] = ("cosine", "ramp", "gaussian")
_GAUSSIAN_END: Final = 2.5
_FIRST_S: Final = 1.0
_LAST_S: Final = 1.2
_WANDER_UV: Final = 60.0


@dataclass(frozen=True, slots=True)
class KnownEcg:
    """A simulated lead.

    Attributes:
        ecg_uv: (n,) samples.
        r_s: (b,) R peaks.
        marks_s: (b, 7) P onset, peak, end, QRS onset, end, T peak, end.

    """

    ecg_uv: NDArray[np.float32]
    fs_hz: float
    r_s: Floats
    marks_s: Floats


def known_ecg(
    family: Family,
    rng: np.random.Generator,
    *,
    fs_hz: float = 500.0,
    seconds: float = 40.0,
    noise_uv: float = 0.0,
) -> KnownEcg:
    """One patient at rest: intervals, heights and the rate drawn within what is seen in adults.

    `noise_uv` is the standard deviation of white noise in 0-250 Hz; breathing moves the baseline by 60 uV.
    """
    rr_s, pr_s, p_s, qrs_s = (
        rng.uniform(*span) for span in ((0.6, 1.15), (0.12, 0.2), (0.08, 0.11), (0.08, 0.11))
    )
    qt_s = rng.uniform(0.37, 0.42) * np.sqrt(rr_s)
    t_s, skew = rng.uniform(0.15, 0.2), rng.uniform(0.5, 0.62)
    p_uv, r_uv, t_uv = rng.uniform(60, 180), rng.uniform(700, 1500), rng.uniform(150, 450)
    q_uv, s_uv = -rng.uniform(0.04, 0.15) * r_uv * (rng.random() < 0.6), -rng.uniform(0.08, 0.35) * r_uv
    t_uv = float(np.copysign(t_uv, rng.random() - 0.15))
    r_at = qrs_s * rng.uniform(0.4, 0.48)
    t_s = min(t_s, qt_s - qrs_s - 0.04)

    time_s = np.arange(round(seconds * fs_hz)) / fs_hz
    ecg = np.zeros_like(time_s)
    peaks, marks = [], []
    at = _FIRST_S
    while at < seconds - _LAST_S:
        on = at - r_at
        p_on, off, t_off = on - pr_s, on + qrs_s, on + qt_s
        p_peak, t_peak = p_on + 0.48 * p_s, t_off - t_s * (1 - skew)
        near = slice(round((at - 0.5) * fs_hz), round((at + 0.9) * fs_hz))
        t = time_s[near]
        r_on = on + 0.28 * qrs_s if q_uv else on
        s_on = on + 0.68 * qrs_s
        beat = _wave(family, t, p_on, p_peak, p_on + p_s, p_uv)
        if q_uv:
            beat += _wave("cosine", t, on, 0.5 * (on + r_on), r_on, q_uv)
        beat += _wave("cosine", t, r_on, at, s_on, r_uv)
        beat += _wave("cosine", t, s_on, 0.5 * (s_on + off), off, s_uv)
        beat += _wave(family, t, t_off - t_s, t_peak, t_off, t_uv)
        ecg[near] += beat
        peaks.append(at)
        marks.append((p_on, p_peak, p_on + p_s, on, off, t_peak, t_off))
        at += rr_s * (1 + 0.03 * rng.standard_normal())
    # White noise of the same density whatever the rate.
    ecg += noise_uv * np.sqrt(fs_hz / 500.0) * rng.standard_normal(ecg.size)
    ecg += _WANDER_UV * np.sin(2 * np.pi * 0.25 * time_s)
    return KnownEcg(ecg.astype(np.float32), fs_hz, np.asarray(peaks), np.asarray(marks))


def _wave(family: Family, t: Floats, start: float, peak: float, end: float, height_uv: float) -> Floats:
    rising = (t - start) / (peak - start)
    falling = (end - t) / (end - peak)
    part = np.where(t < peak, rising, falling)
    shape: Floats
    if family == "gaussian":
        shape = np.exp(-0.5 * (_GAUSSIAN_END * (1 - part)) ** 2)
    else:
        part = np.clip(part, 0, 1)
        shape = 0.5 * (1 - np.cos(np.pi * part)) if family == "cosine" else part**2 * (3 - 2 * part)
    return height_uv * shape
