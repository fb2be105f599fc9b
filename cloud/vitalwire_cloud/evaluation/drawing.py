"""Curves and ECG strips as SVG, for the report's page."""

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from vitalwire_cloud.evaluation.report import Curve, Strip

COLOURS: Final = ("#0b6e99", "#c2571a", "#5b7f2b", "#7a4ea3")
_SIDE: Final = 260
_MARGIN: Final = 34
_POINTS: Final = 400
_STRIP_WIDTH: Final = 900
_STRIP_HEIGHT: Final = 130
_MARK_HEIGHT: Final = 16


def roc(curves: Sequence[Curve]) -> str:
    """Receiver operating characteristic."""
    lines = []
    for curve in curves:
        false, true, _ = roc_curve(curve.abnormal, curve.score)
        name = f"{curve.name}: AUC {roc_auc_score(curve.abnormal, curve.score):.4f}"
        lines.append((name, false, true))
    return _chart("false positive rate", "sensitivity", lines)


def precision_recall(curves: Sequence[Curve]) -> str:
    """Precision over recall."""
    lines = []
    for curve in curves:
        precision, recall, _ = precision_recall_curve(curve.abnormal, curve.score)
        name = f"{curve.name}: AP {average_precision_score(curve.abnormal, curve.score):.4f}"
        lines.append((name, recall[::-1], precision[::-1]))
    return _chart("recall", "precision", lines)


def _chart(
    across: str, up: str, lines: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]]
) -> str:
    size, legend = _SIDE + 2 * _MARGIN, 16 * len(lines)
    parts = [
        f'<svg viewBox="0 0 {size} {size + legend}" width="{size}" role="img" aria-label="{up} over {across}">',
        f'<rect x="{_MARGIN}" y="{_MARGIN / 2}" width="{_SIDE}" height="{_SIDE}" class="frame"/>',
        _text(_MARGIN + _SIDE / 2, _SIDE + _MARGIN + 12, across, "middle"),
        f'<g transform="translate(12 {_SIDE / 2 + _MARGIN / 2}) rotate(-90)">{_text(0, 0, up, "middle")}</g>',
    ]
    for share in (0.0, 0.5, 1.0):
        x, y = _MARGIN + share * _SIDE, _MARGIN / 2 + (1 - share) * _SIDE
        parts += [
            _text(x, _SIDE + _MARGIN / 2 + 13, f"{share:g}", "middle"),
            _text(_MARGIN - 4, y + 4, f"{share:g}", "end"),
        ]
    for k, (name, along, height) in enumerate(lines):
        colour = COLOURS[k % len(COLOURS)]
        at = np.unique(np.linspace(0, along.size - 1, _POINTS).astype(int))
        points = " ".join(
            f"{_MARGIN + a * _SIDE:.1f},{_MARGIN / 2 + (1 - b) * _SIDE:.1f}"
            for a, b in zip(along[at], height[at], strict=True)
        )
        below = size + 16 * k - 4
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>',
            f'<path d="M{_MARGIN} {below - 4} h18" stroke="{colour}" stroke-width="3"/>',
            _text(_MARGIN + 24, below, name, "start"),
        ]
    return "".join([*parts, "</svg>"])


def strip(given: Strip) -> str:
    """One ECG strip with its marks; a line of 1 mV and of 1 s for scale."""
    ecg = np.nan_to_num(given.ecg_uv.astype(np.float64))
    low, high = float(ecg.min()), float(ecg.max())
    room = max(high - low, 500.0)
    across = _STRIP_WIDTH / max(1, ecg.size - 1)
    up = _STRIP_HEIGHT / room
    step = max(1, ecg.size // 3000)
    points = " ".join(
        f"{k * across:.1f},{_MARK_HEIGHT + (high - ecg[k]) * up:.1f}" for k in range(0, ecg.size, step)
    )
    second, millivolt = given.fs_hz * across, 1000 * up
    bottom = _MARK_HEIGHT + _STRIP_HEIGHT
    marks = "".join(_text(at * across, 11, text, "middle") for at, text in given.marks)
    return (
        f"<figure><figcaption>{escape(given.title)}</figcaption>"
        f'<svg viewBox="0 0 {_STRIP_WIDTH} {bottom + 14}" role="img" aria-label="ECG strip">{marks}'
        f'<polyline class="ecg" points="{points}"/>'
        f'<path class="scale" d="M2 {bottom + 4} h{second:.1f} M2 {bottom + 4} v-{min(millivolt, bottom):.1f}"/>'
        f"{_text(second + 6, bottom + 8, '1 s, 1 mV', 'start')}</svg></figure>"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="label" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
