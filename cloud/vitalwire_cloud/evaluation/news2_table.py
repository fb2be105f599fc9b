"""NEWS2 checked against its table, written here a second time and from the document, not from the gateway's code.

Royal College of Physicians, "National Early Warning Score (NEWS) 2", London, 2017: chart 1 (scoring system) and chart 2
(thresholds and triggers). Every boundary is tried one display step to each side, on both SpO2 scales, on air and on
oxygen; then every response band, values that must be rounded first, and what is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final

from vitalwire_edge.alarms.news2 import Consciousness, Observation, Scale, news2

Bands = tuple[tuple[float, float, int], ...]
"""Lowest and highest displayed value of a band, both included, and its points."""

RESPIRATION: Final[Bands] = ((0, 8, 3), (9, 11, 1), (12, 20, 0), (21, 24, 2), (25, 80, 3))
SPO2_1: Final[Bands] = ((50, 91, 3), (92, 93, 2), (94, 95, 1), (96, 100, 0))
SPO2_2_AIR: Final[Bands] = ((50, 83, 3), (84, 85, 2), (86, 87, 1), (88, 100, 0))
SPO2_2_OXYGEN: Final[Bands] = (
    *((50, 83, 3), (84, 85, 2), (86, 87, 1), (88, 92, 0)),
    *((93, 94, 1), (95, 96, 2), (97, 100, 3)),
)
SYSTOLIC: Final[Bands] = ((30, 90, 3), (91, 100, 2), (101, 110, 1), (111, 219, 0), (220, 300, 3))
PULSE: Final[Bands] = ((20, 40, 3), (41, 50, 1), (51, 90, 0), (91, 110, 1), (111, 130, 2), (131, 250, 3))
TEMPERATURE: Final[Bands] = (
    *((30.0, 35.0, 3), (35.1, 36.0, 1), (36.1, 38.0, 0)),
    *((38.1, 39.0, 1), (39.1, 43.0, 2)),
)
WELL: Final = Observation(
    respiration=16, spo2=97, oxygen=False, systolic=120, pulse=70, consciousness="alert", temperature=37.0
)
_CONSCIOUSNESS: Final[tuple[Consciousness, ...]] = ("alert", "confusion", "voice", "pain", "unresponsive")
_ROUNDED: Final = (
    *(("temperature", 35.04, 35.0), ("temperature", 35.05, 35.1), ("temperature", 39.05, 39.1)),
    *(("respiration", 20.5, 21), ("respiration", 8.4, 8), ("pulse", 90.5, 91), ("systolic", 219.5, 220)),
)


def _with(**known: Any) -> Observation:
    """The well patient with other parameters."""
    return replace(WELL, **known)


@dataclass(frozen=True, slots=True)
class Wrong:
    """An observation whose points are not those of the table."""

    observation: Observation
    expected: str
    got: str


def points_of(value: float, bands: Bands) -> int:
    """Points of a displayed value."""
    return next(points for low, high, points in bands if low <= value <= high)


def expected_points(o: Observation) -> dict[str, int]:
    """Points by parameter of a complete observation of displayed values."""
    assert o.respiration is not None
    assert o.spo2 is not None
    assert o.systolic is not None
    assert o.pulse is not None
    assert o.temperature is not None
    spo2 = SPO2_1 if o.scale == 1 else SPO2_2_OXYGEN if o.oxygen else SPO2_2_AIR
    return {
        "respiration": points_of(o.respiration, RESPIRATION),
        "spo2": points_of(o.spo2, spo2),
        "oxygen": 2 if o.oxygen else 0,
        "systolic": points_of(o.systolic, SYSTOLIC),
        "pulse": points_of(o.pulse, PULSE),
        "consciousness": 0 if o.consciousness == "alert" else 3,
        "temperature": points_of(o.temperature, TEMPERATURE),
    }


def expected_band(points: dict[str, int]) -> str:
    """The response: 0-4 low, a single 3 at 0-4 low-medium, 5-6 medium, 7 and more high."""
    total = sum(points.values())
    if total >= 7:
        return "high"
    if total >= 5:
        return "medium"
    return "low_medium" if 3 in points.values() else "low"


def edges(bands: Bands, step: float) -> list[float]:
    """Every boundary of the bands, one step to each side."""
    values = {
        round(edge + off, 1) for low, high, _ in bands for edge in (low, high) for off in (-step, 0, step)
    }
    return sorted(value for value in values if bands[0][0] <= value <= bands[-1][1])


def cases() -> Iterator[Observation]:
    """Complete observations: all pairs of boundary values, and all of saturation, oxygen, scale and consciousness."""
    axes: dict[str, list[float]] = {
        "respiration": edges(RESPIRATION, 1),
        "systolic": edges(SYSTOLIC, 1),
        "pulse": edges(PULSE, 1),
        "temperature": edges(TEMPERATURE, 0.1),
        "spo2": sorted({v for bands in (SPO2_1, SPO2_2_AIR, SPO2_2_OXYGEN) for v in edges(bands, 1)}),
    }
    scales: tuple[Scale, ...] = (1, 2)
    for spo2, oxygen, scale, mind in product(axes["spo2"], (False, True), scales, _CONSCIOUSNESS):
        yield _with(spo2=spo2, oxygen=oxygen, scale=scale, consciousness=mind)
    names = list(axes)
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            for a, b in product(axes[names[first]], axes[names[second]]):
                for oxygen, scale in product((False, True), scales):
                    here = {names[first]: a, names[second]: b}
                    yield _with(oxygen=oxygen, scale=scale, **here)


def check() -> tuple[int, list[Wrong]]:
    """How many observations were tried, and those that the gateway scores otherwise."""
    tried = 0
    wrong: list[Wrong] = []
    for observation in cases():
        tried += 1
        points = expected_points(observation)
        said = news2(observation)
        expected = f"{sum(points.values())} {expected_band(points)} {points}"
        got = f"{said.total} {said.band} {dict(said.points)}"
        if expected != got:
            wrong.append(Wrong(observation, expected, got))
    for name, raw, shown in _ROUNDED:
        tried += 1
        as_given, as_shown = news2(_with(**{name: raw})), news2(_with(**{name: shown}))
        if as_given != as_shown:
            wrong.append(Wrong(_with(**{name: raw}), as_shown.text, as_given.text))
    for name in ("respiration", "spo2", "oxygen", "systolic", "pulse", "consciousness", "temperature"):
        tried += 1
        said = news2(_with(**{name: None}))
        if said.text != "NEWS2 incomplete, at least 0" or said.band != "incomplete":
            wrong.append(Wrong(_with(**{name: None}), "NEWS2 incomplete, at least 0", said.text))
    return tried, wrong
