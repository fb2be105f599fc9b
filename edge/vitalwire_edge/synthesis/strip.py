"""A strip of ECG from a plan of beats: each generated, its time scaled to its interval, joined where the heart rests.

Beats meet before the P wave of the later one and fade into each other there. What follows the QRS is stretched with
the square root of the interval, as the QT interval is after Bazett. In atrial fibrillation P waves give way to
fibrillatory waves: a sawtooth of which frequency and amplitude vary, after Stridh & Sornmo, "Spatiotemporal QRST
cancellation techniques for analysis of atrial fibrillation", IEEE TBME 48(1):105-111, 2001.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitalwire_edge.inference.generator import BeatGenerator, Style
from vitalwire_edge.recordings.recording import Recording, RhythmMark, TrueBeat
from vitalwire_edge.signal.beats import BEFORE, P_PART, QRS_HALF, WINDOW
from vitalwire_edge.signal.resample import ANALYSIS_HZ
from vitalwire_edge.synthesis.rhythm import Plan

SYMBOLS: Final = {"N": "N", "S": "A", "V": "V", "F": "F"}
"""MIT-BIH symbol of each EC57 class."""

NOTE: Final = "SYNTHETIC ECG, generated, of no patient"
_HALF_FADE: Final = 10
_REST: Final = 24
"""Samples at a window's start in which the heart rests."""

_OWN_SHARE: Final = 0.64
"""Of the interval of its style: so long after the R peak a window shows its own beat."""

_STRETCH: Final = (0.75, 1.25)
_LEAD_IN: Final = {"N": (75, 0.42), "S": (60, 0.40), "V": (30, 0.30), "F": (55, 0.40)}
"""Samples before the R peak at which a beat takes over, and at most what share of the interval before it."""

_BREATH_HZ: Final = 0.25


@dataclass(frozen=True, slots=True)
class _Span:
    """A beat's samples from where it takes over to where the next does, fades included; `start` may be negative."""

    start: int
    value: NDArray[np.float64]
    weight: NDArray[np.float64]


def compose(
    generator: BeatGenerator, style: Style, plan: Plan, *, seconds: float, rng: np.random.Generator, name: str
) -> Recording:
    """The strip at `ANALYSIS_HZ`, in microvolts, with its beats and rhythms."""
    count = round(seconds * ANALYSIS_HZ)
    peaks = np.array([round(beat.at_s * ANALYSIS_HZ) for beat in plan.beats])
    labels = [beat.label for beat in plan.beats]
    made = generator.beats(labels, [style] * len(labels), rng, one_focus=True).astype(np.float64)
    _conduct(made, labels, generator.beats(["N"] * labels.count("S"), [style] * labels.count("S"), rng))
    fibrillating = plan.rhythms[0][1] == "(AFIB"
    if fibrillating:
        _flatten_p(made)
    ecg = _joined(made, peaks, labels, style, count)
    if fibrillating:
        ecg += _fibrillation(count, rng)
    uv = ecg * style.scale_uv
    uv += _breathing(uv, rng)
    beats = [TrueBeat(int(at), SYMBOLS[label]) for at, label in zip(peaks, labels, strict=True) if at < count]
    rhythms = [RhythmMark(round(at_s * ANALYSIS_HZ), mark) for at_s, mark in plan.rhythms]
    return Recording(
        name=name,
        lead="ECG synthetic",
        fs_hz=float(ANALYSIS_HZ),
        uv=uv,
        beats=tuple(beats),
        rhythms=tuple(mark for mark in rhythms if mark.sample < count),
    )


def _joined(
    made: NDArray[np.float64],
    peaks: NDArray[np.int64],
    labels: list[str],
    style: Style,
    count: int,
) -> NDArray[np.float64]:
    """Beats (n, WINDOW) at their peaks, faded into each other, in the style's unit."""
    own = round(style.rr_s * ANALYSIS_HZ)
    before = np.diff(peaks, prepend=peaks[0] - own)
    lead_in = [_LEAD_IN[label] for label in labels]
    reach = [min(most, int(share * rr)) for (most, share), rr in zip(lead_in, before, strict=True)]
    takes_over = np.append(peaks - np.array(reach), peaks[-1] + own)
    takes_over[0] = min(takes_over[0], 0)
    takes_over[-1] = max(takes_over[-1], count)
    # A window of a fast heart holds the beginning of the beat that followed; here another one follows.
    end = min(WINDOW - 1, BEFORE + int(_OWN_SHARE * own))
    rests = [_rough(beat) for beat, label in zip(made, labels, strict=True) if label == "N"] or [
        np.zeros(_REST)
    ]
    total, weights = np.zeros(count), np.zeros(count)
    for k, peak in enumerate(peaks):
        follows = made[k + 1, BEFORE - reach[k + 1]] if k + 1 < len(peaks) else 0.0
        stretch = float(np.clip(np.sqrt(before[k] / own), *_STRETCH)) if labels[k] in "NS" else 1.0
        rest = rests[k % len(rests)]
        span = _span(made[k], int(peak), takes_over[k], takes_over[k + 1], stretch, end, float(follows), rest)
        first, last = max(0, span.start), min(count, span.start + span.value.size)
        if first < last:
            part = slice(first - span.start, last - span.start)
            total[first:last] += span.value[part] * span.weight[part]
            weights[first:last] += span.weight[part]
    joined: NDArray[np.float64] = total / np.maximum(weights, 1e-9)
    return joined


def _span(
    beat: NDArray[np.float64],
    peak: int,
    first: int,
    last: int,
    stretch: float,
    end: int,
    follows: float,
    rest: NDArray[np.float64],
) -> _Span:
    """A beat from `first` to `last` with its fades.

    From index `end` of its window on it goes straight to the level that follows, as rough as a rest is, which is played
    to and fro, so that a long pause is no dead line.
    """
    at = np.arange(first - _HALF_FADE, last + _HALF_FADE)
    away = at - peak
    qrs = QRS_HALF
    source = np.where(away > qrs, qrs + (away - qrs) / stretch, away) + BEFORE
    value = np.interp(source, np.arange(WINDOW), beat)
    beyond = source > end
    count = int(beyond.sum())
    if count:
        steps = np.minimum(np.arange(1, count + 1) / max(1, count - _HALF_FADE), 1.0)
        level = float(beat[end - 3 : end + 1].mean())
        rough = np.pad(rest, (0, count), mode="reflect")[rest.size :]
        grows = np.minimum(np.arange(1, count + 1) / _HALF_FADE, 1.0)
        value[beyond] = level + (follows - level) * steps + rough * grows
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(2 * _HALF_FADE) + 0.5) / (2 * _HALF_FADE))
    weight = np.ones(at.size)
    weight[: ramp.size] *= ramp
    weight[-ramp.size :] *= ramp[::-1]
    return _Span(int(at[0]), value, weight)


def _conduct(made: NDArray[np.float64], labels: list[str], ordinary: NDArray[np.float32]) -> None:
    """Let premature supraventricular beats end as ordinary ones do, in place.

    The ventricles do what they always do; and where premature beats come in runs, a window shows the next one's QRS.
    """
    share = np.clip((np.arange(WINDOW) - BEFORE - QRS_HALF) / QRS_HALF, 0.0, 1.0)
    rows = [row for row, label in enumerate(labels) if label == "S"]
    for row, beat in zip(rows, ordinary, strict=True):
        made[row] = (1 - share) * made[row] + share * beat


def _rough(beat: NDArray[np.float64]) -> NDArray[np.float64]:
    """A beat's rest without its level and slope."""
    rest = beat[:_REST]
    line = np.polyval(np.polyfit(np.arange(_REST), rest, 1), np.arange(_REST))
    return (rest - line).astype(np.float64)


def _flatten_p(made: NDArray[np.float64]) -> None:
    """Draw a line under the P wave of every beat, in place."""
    first, last = P_PART.start - 5, P_PART.stop - 3
    share = np.linspace(0.0, 1.0, last - first)
    before, after = made[:, first - 5 : first + 1].mean(axis=1), made[:, last]
    line = before[:, None] * (1 - share) + after[:, None] * share
    rough = made[:, first:last] - made[:, first:last].mean(axis=0)
    made[:, first:last] = line + rough


def _fibrillation(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Fibrillatory waves (count,) in units of a QRS."""
    time_s = np.arange(count) / ANALYSIS_HZ
    hz, amplitude = rng.uniform(5.0, 7.5), rng.uniform(0.03, 0.07)
    drift = 0.25 / 0.15 * np.sin(2 * np.pi * 0.15 * time_s + rng.uniform(0, 2 * np.pi))
    phase = 2 * np.pi * hz * time_s + drift + rng.uniform(0, 2 * np.pi)
    swell = 1 + 0.35 * np.sin(2 * np.pi * rng.uniform(0.2, 0.4) * time_s + rng.uniform(0, 2 * np.pi))
    sawtooth = sum(2 / (k * np.pi) * np.sin(k * phase) for k in range(1, 5))
    waves: NDArray[np.float64] = amplitude * swell * sawtooth
    return waves


def _breathing(uv: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Breathing in baseline and amplitude, and a slow drift, to be added to the strip."""
    time_s = np.arange(uv.size) / ANALYSIS_HZ
    breath = np.sin(2 * np.pi * _BREATH_HZ * time_s + rng.uniform(0, 2 * np.pi))
    slow = sum(
        rng.uniform(5, 20) * np.sin(2 * np.pi * hz * time_s + rng.uniform(0, 2 * np.pi))
        for hz in (0.013, 0.041, 0.09)
    )
    added: NDArray[np.float64] = rng.uniform(10, 35) * breath + slow + 0.03 * breath * uv
    return added
