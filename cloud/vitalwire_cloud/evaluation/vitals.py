"""Protocol P7: NEWS2 against its table."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from vitalwire_cloud.evaluation.news2_table import check
from vitalwire_cloud.evaluation.report import Advance, Grid, Outcome, Report, meets, silent

BAR: Final = {"news2_errors": 0.0}
_SHOWN: Final = 20


def vitals(data: Path, *, seed: int, steps: Callable[[int], Advance] = lambda _total: silent) -> Outcome:
    """Run protocol P7's check of NEWS2, which needs no recording."""
    advance = steps(1)
    tried, wrong = check()
    advance(f"{tried} observations")
    metrics = {"news2_errors": float(len(wrong)), "news2_observations": float(tried)}
    rows = tuple((str(each.observation), each.expected, each.got) for each in wrong[:_SHOWN])
    return Outcome(
        Report(
            protocol="vitals",
            model="NEWS2 of the gateway",
            data=str(data),
            records=[],
            seed=seed,
            metrics=metrics,
            peers={},
            bar=BAR,
            passed=meets(metrics, BAR),
        ),
        tables=(Grid("wrong", ("observation", "table", "gateway"), rows),) if rows else (),
    )
