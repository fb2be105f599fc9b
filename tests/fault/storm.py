"""Storms over a whole site: what the gateway took in is stored exactly once, and alarms arrive.

Many, with a report: python tests/fault/storm.py --seeds 1000 --jobs 4 --report docs/storms.json
"""

import argparse
import dataclasses
import json
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from gateway_parts import FS_HZ, ecg
from storm_site import Heart, Site, StormError
from weather import SECONDS, Event, Weather, weather

from vitalwire_edge.wire.blocks import unpack

LOST_PER_KILL_S: Final = 2.5
"""What a power cut of the gateway may cost: one block being filled (1 s), one being analysed, one commit (0.1 s)."""


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
    problems: tuple[str, ...]


def play(storm: Weather, folder: Path) -> Outcome:
    """Play one storm in an empty folder and judge what it left."""
    problems: list[str] = []
    settle_s = 0.0
    with Site(folder, storm.broker) as site:
        try:
            _rage(site, storm)
            began = time.monotonic()
            site.settle()
            settle_s = time.monotonic() - began
        except StormError as error:
            problems.append(str(error))
        hearts = list(site.hearts)
    return _judge(storm, folder, hearts, problems, settle_s)


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
        _begin(site, event) if begins else _end(site, event)
    time.sleep(max(0.0, begin + SECONDS - time.monotonic()))


def _begin(site: Site, event: Event) -> None:
    match event.trouble:
        case "kill gateway":
            site.gateway.kill()
        case "kill cloud":
            site.cloud.kill()
        case "kill broker":
            site.broker.kill()
        case "hang cloud":
            site.cloud.signal(signal.SIGSTOP)
        case "cut link":
            site.cable.cut()
        case "thin link":
            site.cable.thin(up_s=0.05, down_s=4.95)
        case "lock store":
            site.lock_store(event.seconds)
        case "burst":
            for heart in site.hearts:
                heart.mute(event.seconds)
        case "replay":
            site.echo.repeat()


def _end(site: Site, event: Event) -> None:
    match event.trouble:
        case "kill gateway" if not site.gateway.running:
            site.gateway.start()
        case "kill cloud" if not site.cloud.running:
            site.cloud.start()
        case "kill broker" if not site.broker.running:
            site.broker.start()
        case "hang cloud":
            site.cloud.signal(signal.SIGCONT)
        case "cut link" | "thin link":
            site.cable.mend()
        case _:
            pass


def _judge(
    storm: Weather, folder: Path, hearts: list[Heart], problems: list[str], settle_s: float
) -> Outcome:
    """Count what the spool took against what the store holds, sample by sample."""
    stored = 0
    lost = 0
    with (
        closing(sqlite3.connect(folder / "cloud" / "store.sqlite")) as store,
        closing(sqlite3.connect(folder / "spool.sqlite")) as spool,
    ):
        taken = {
            (device, stream): (messages, samples, evicted)
            for device, stream, messages, samples, evicted in spool.execute(
                "SELECT device, stream, sum(messages), sum(samples), sum(evicted_messages) FROM accepted"
                " GROUP BY device, stream"
            )
        }
        for (device, stream), (messages, samples, evicted) in sorted(taken.items()):
            ranges = store.execute(
                "SELECT first, last FROM ledger JOIN series ON series.id = series WHERE device = ? AND stream = ?"
                " ORDER BY first",
                (device, stream),
            ).fetchall()
            if ranges != [(0, messages - 1)]:
                problems.append(
                    f"{device}/{stream}: the spool took {messages} messages, the ledger holds {ranges}"
                )
            if evicted:
                problems.append(f"{device}/{stream}: {evicted} messages given up although the spool had room")
            if stream == "ecg":
                found = _samples(store, device, problems)
                stored += found.size
                if found.size != samples:
                    problems.append(
                        f"{device}: the spool took {samples} samples, the store holds {found.size}"
                    )
                lost += max(0, _handed(hearts, device) - found.size)
        alarms = store.execute(
            "SELECT count(DISTINCT alarm_id) FROM alarm JOIN series ON series.id = series"
            " WHERE json_extract(body, '$.kind') = 'battery_low' AND json_extract(body, '$.phase') = 'raised'"
        ).fetchone()[0]
        (repeated,) = store.execute(
            "SELECT coalesce(sum(value), 0) FROM tally WHERE name = 'duplicates'"
        ).fetchone()
        (conflicts,) = store.execute("SELECT count(*) FROM conflict").fetchone()
    if len(taken) < len(hearts):
        problems.append(f"only {sorted(taken)} reached the spool")
    if conflicts:
        problems.append(f"{conflicts} conflicts: two messages held samples of one time")
    allowed = storm.count("kill gateway") * len(hearts) * LOST_PER_KILL_S * FS_HZ
    if lost > allowed:
        problems.append(
            f"{lost} samples lost, {storm.count('kill gateway')} power cuts explain {allowed:.0f}"
        )
    if alarms < len(hearts):
        problems.append(f"{alarms} low batteries alarmed of {len(hearts)}")
    return Outcome(
        seed=storm.seed,
        broker=storm.broker,
        troubles=dict(Counter(event.trouble for event in storm.events)),
        handed_samples=sum(heart.handed for heart in hearts),
        stored_samples=stored,
        lost_at_kills=lost,
        repeated_messages=int(repeated),
        alarms=int(alarms),
        settle_s=round(settle_s, 1),
        problems=tuple(problems),
    )


def _samples(store: sqlite3.Connection, device: str, problems: list[str]) -> np.ndarray:
    """Counters of the stored samples of a device; each must be there once, with the value that belongs to it."""
    counters = []
    for first, count, codec, data in store.execute(
        "SELECT first_sample, count, codec, data FROM wave JOIN channel ON channel.id = channel WHERE device = ?"
        " ORDER BY first_sample",
        (device,),
    ):
        if not np.array_equal(unpack(codec, data, count), ecg(first, count)):
            problems.append(f"{device}: samples {first}..{first + count - 1} are not those that were sent")
        counters.append(np.arange(first, first + count))
    every = np.concatenate(counters) if counters else np.empty(0, dtype=np.int64)
    distinct = np.unique(every)
    if distinct.size != every.size:
        problems.append(f"{device}: {every.size - distinct.size} samples stored twice")
    return distinct


def _handed(hearts: list[Heart], device: str) -> int:
    return next(heart.handed for heart in hearts if heart.name == device)


def run(seed: int) -> Outcome:
    """Storm `seed` in a folder of its own, which is kept when something did not hold."""
    folder = Path(tempfile.mkdtemp(prefix=f"storm-{seed}-"))
    outcome = play(weather(seed), folder / "site")
    if not outcome.problems:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def main() -> int:
    """Run many storms and write what came of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="how many storms")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=3, help="storms at a time")
    parser.add_argument("--report", type=Path, help="JSON to write")
    arguments = parser.parse_args()
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        seeds = range(arguments.first, arguments.first + arguments.seeds)
        for done in as_completed([pool.submit(run, seed) for seed in seeds]):
            outcome = done.result()
            outcomes.append(outcome)
            state = "; ".join(outcome.problems) or "held"
            sys.stdout.write(
                f"{len(outcomes)}/{len(seeds)} storm {outcome.seed} ({outcome.broker}): {state}\n"
            )
            sys.stdout.flush()
    outcomes.sort(key=lambda outcome: outcome.seed)
    bad = [outcome for outcome in outcomes if outcome.problems]
    summary = {
        "storms": len(outcomes),
        "held": len(outcomes) - len(bad),
        "samples_stored": sum(outcome.stored_samples for outcome in outcomes),
        "lost_at_gateway_power_cuts": sum(outcome.lost_at_kills for outcome in outcomes),
        "gateway_power_cuts": sum(outcome.troubles.get("kill gateway", 0) for outcome in outcomes),
        "messages_dropped_as_repeated": sum(outcome.repeated_messages for outcome in outcomes),
        "settle_s_max": max(outcome.settle_s for outcome in outcomes),
        "troubles": dict(sum((Counter(outcome.troubles) for outcome in outcomes), Counter())),
        "brokers": dict(Counter(outcome.broker for outcome in outcomes)),
        "not_held": [dataclasses.asdict(outcome) for outcome in bad],
    }
    text = json.dumps(summary, indent=1)
    sys.stdout.write(text + "\n")
    if arguments.report is not None:
        arguments.report.write_text(text + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
