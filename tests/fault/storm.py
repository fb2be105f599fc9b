"""Storms over a whole site: what the gateway took in is stored exactly once, alarms arrive, memory stays bounded.

Many, with a report: python tests/fault/storm.py --seeds 1000 --jobs 4 --report tests/fault/reports/storms.json
A store that is away for three minutes: python tests/fault/storm.py --store-away-s 180
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from hearts import Heart
from judgement import judge
from storm_report import Report
from storm_site import Site, StormError
from weather import BROKERS, SECONDS, Event, Trouble, Weather, weather

_WEARABLES = 3
_CROWD = 9
"""Wearables for each one that is there: a tenfold load."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one storm left. `problems` is empty when everything held."""

    seed: int
    broker: str
    troubles: dict[str, int]
    handed_samples: int
    stored_samples: int
    lost_at_kills: int
    repeated_messages: int
    alarms: int
    settle_s: float
    grown_kib: dict[str, int]
    longest_queues: dict[str, float]
    shuffled: int
    thin_s: float
    thin_whole_s: float
    cpu_s: float
    problems: tuple[str, ...]


def play(storm: Weather, folder: Path) -> Outcome:
    """Play one storm in an empty folder and judge what it left."""
    problems: list[str] = []
    settle_s = 0.0
    began_cpu_s = time.process_time()
    site = Site(folder, storm.broker, wearables=_WEARABLES, seed=storm.seed)
    try:
        with site:
            _rage(site, storm)
            began = time.monotonic()
            site.settle()
            settle_s = time.monotonic() - began
    except StormError as error:
        problems.append(str(error))
    found = judge(
        site.data,
        site.spools,
        site.hearts,
        storm.count("kill gateway"),
        clock_stepped=storm.count("step gateway clock") > 0,
    )
    return Outcome(
        seed=storm.seed,
        broker=storm.broker,
        troubles=dict(Counter(event.trouble for event in storm.events)),
        handed_samples=sum(heart.handed for heart in site.hearts),
        stored_samples=found.stored_samples,
        lost_at_kills=found.lost_samples,
        repeated_messages=found.repeated_messages,
        alarms=found.alarms,
        settle_s=round(settle_s, 1),
        grown_kib=site.watch.grown_kib,
        longest_queues=site.watch.longest,
        shuffled=site.cable.shuffled,
        thin_s=site.cable.thin_s,
        thin_whole_s=site.cable.whole_s,
        cpu_s=round(site.cpu_s + time.process_time() - began_cpu_s, 2),
        problems=(*problems, *found.problems, *site.watch.problems()),
    )


def _rage(site: Site, storm: Weather) -> None:
    """Let every event begin and end at its time."""
    begin = time.monotonic()
    todo = sorted(
        [(event.at_s, True, event) for event in storm.events]
        + [(event.at_s + event.seconds, False, event) for event in storm.events],
        key=lambda step: step[:2],
    )
    for at_s, begins, event in todo:
        time.sleep(max(0.0, begin + at_s - time.monotonic()))
        act = (_BEGIN if begins else _END).get(event.trouble)
        if act is not None:
            act(site, event)
    time.sleep(max(0.0, begin + SECONDS - time.monotonic()))


def _for_hearts(what: Callable[[Heart, Event], None]) -> Callable[[Site, Event], None]:
    def apply(site: Site, event: Event) -> None:
        for heart in site.hearts:
            what(heart, event)

    return apply


def _swap(*, on: bool) -> Callable[[Heart, Event], None]:
    def apply(heart: Heart, _: Event) -> None:
        heart.swapping = on

    return apply


def _shuffle(*, on: bool) -> Callable[[Site, Event], None]:
    def apply(site: Site, _: Event) -> None:
        site.cable.shuffling = on

    return apply


_BEGIN: Final[dict[Trouble, Callable[[Site, Event], object]]] = {
    "kill gateway": lambda site, _: site.gateway.kill(),
    "kill cloud": lambda site, _: site.cloud.kill(),
    "kill broker": lambda site, _: site.broker.kill(),
    "hang cloud": lambda site, _: site.cloud.signal(signal.SIGSTOP),
    "cut link": lambda site, _: site.cable.cut(),
    "thin link": lambda site, _: site.cable.thin(up_s=0.05, down_s=4.95),
    "shuffle link": _shuffle(on=True),
    "lock store": lambda site, event: site.lock_store(event.seconds),
    "fill disk": lambda site, _: site.cloud.fill_disk(),
    "burst": _for_hearts(lambda heart, event: heart.mute(event.seconds)),
    "crowd": lambda site, event: site.crowd(_CROWD * _WEARABLES, event.seconds),
    "swap frames": _for_hearts(_swap(on=True)),
    "replay": lambda site, _: site.echo.repeat(),
    "step gateway clock": lambda site, event: site.gateway.step_clock(event.step_s),
    "step cloud clock": lambda site, event: site.cloud.step_clock(event.step_s),
    "twin": lambda site, _: site.bring_twin(),
}
"""What each trouble does; its end undoes it, and what has no end here ends by itself or stays."""

_END: Final[dict[Trouble, Callable[[Site, Event], object]]] = {
    "kill gateway": lambda site, _: site.gateway.revive(),
    "kill cloud": lambda site, _: site.cloud.revive(),
    "kill broker": lambda site, _: site.broker.revive(),
    "hang cloud": lambda site, _: site.cloud.signal(signal.SIGCONT),
    "cut link": lambda site, _: site.cable.mend(),
    "thin link": lambda site, _: site.cable.mend(),
    "shuffle link": _shuffle(on=False),
    "fill disk": lambda site, _: site.cloud.free_disk(),
    "swap frames": _for_hearts(_swap(on=False)),
    "step gateway clock": lambda site, _: site.gateway.step_clock(0),
    "step cloud clock": lambda site, _: site.cloud.step_clock(0),
}


def run(storm: Weather) -> Outcome:
    """Play a storm in a folder of its own, which is kept when something did not hold."""
    folder = Path(tempfile.mkdtemp(prefix=f"storm-{storm.seed}-"))
    outcome = play(storm, folder / "site")
    if not outcome.problems:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def main() -> int:
    """Run many storms and write what came of them after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="how many storms")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=3, help="storms at a time")
    parser.add_argument("--report", type=Path, help="JSON to write")
    parser.add_argument("--store-away-s", type=float, help="one storm a broker, of a store away for so long")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    storms = [weather(seed) for seed in seeds]
    if arguments.store_away_s is not None:
        away = (Event(1.0, arguments.store_away_s, "lock store"),)
        storms = [Weather(number, broker, away) for number, broker in enumerate(BROKERS)]
    report = Report(f"python tests/fault/storm.py {' '.join(sys.argv[1:])}", len(storms))
    with ProcessPoolExecutor(arguments.jobs) as pool:
        running = {pool.submit(run, storm): storm.seed for storm in storms}
        for done in as_completed(running):
            error = done.exception()
            if error is not None:
                report.fail(running[done], repr(error))
                state = repr(error)
            else:
                report.add(done.result())
                state = "; ".join(done.result().problems) or "held"
            sys.stdout.write(f"{report.storms}/{len(storms)} storm {running[done]}: {state}\n")
            sys.stdout.flush()
            if arguments.report is not None:
                report.write(arguments.report)
    sys.stdout.write(report.text())
    return 1 if report.not_held else 0


if __name__ == "__main__":
    raise SystemExit(main())
