"""Whether a new model does worse than the one before it, from counts of beats alone.

Compared are shares of beats that failed or were missed, were slow, or were abstained from. A share counts as worse when
its excess over the model before is larger than the margin plus three standard errors of the difference of two
proportions (Wald): with a look every second of a few minutes, chance alone then raises it in about one of a hundred
updates.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

from vitalwire_edge.ota.config import ProbationConfig
from vitalwire_edge.ota.slot import Conduct

_ERRORS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`why` says which share is worse and by how much."""

    state: Literal["open", "good", "worse"]
    why: str = ""


def judge(before: Conduct, after: Conduct, served_s: float, config: ProbationConfig) -> Verdict:
    """Verdict on a model that did `after` in `served_s` seconds (monotonic), where its predecessor did `before`."""
    if after.beats >= config.early_beats:
        for name, margin, old, new in (
            ("failed", config.failed_more, before.failed + before.missed, after.failed + after.missed),
            ("slow", config.slow_more, before.slow, after.slow),
            ("abstained", config.abstained_more, before.abstained, after.abstained),
        ):
            allowed = _allowed(old, before.beats, new, after.beats, margin)
            if new / after.beats > allowed:
                return Verdict(
                    "worse",
                    f"{name}: {new} of {after.beats} beats, {old} of {before.beats} with the model before; "
                    f"at most {allowed:.1%} are allowed",
                )
    if after.beats >= config.beats and served_s >= config.seconds:
        return Verdict("good")
    return Verdict("open")


def _allowed(old: int, old_beats: int, new: int, new_beats: int, margin: float) -> float:
    """Share of beats that is not worse. Without beats of the model before, the margin stands alone."""
    share = old / old_beats if old_beats else 0.0
    # One pseudo-beat on either side keeps the error of a share of 0 or 1 from being 0 (Agresti and Caffo, 2000).
    variance = _variance(new, new_beats) + (_variance(old, old_beats) if old_beats else 0.0)
    return share + margin + _ERRORS * math.sqrt(variance)


def _variance(count: int, beats: int) -> float:
    share = (count + 1) / (beats + 2)
    return share * (1 - share) / (beats + 2)
