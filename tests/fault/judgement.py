"""What a storm left: what the spools took against what the store holds, counted sample by sample."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from gateway_parts import FS_HZ, ecg
from hearts import Heart

from vitalwire_edge.wire.blocks import unpack

LOST_PER_KILL_S: Final = 2.5
"""What a power cut of the gateway may cost: one block being filled (1 s), one being analysed, one commit (0.1 s)."""


@dataclass(slots=True)
class Judgement:
    """What was found. `problems` is empty when everything held."""

    problems: list[str] = field(default_factory=list)
    stored_samples: int = 0
    lost_samples: int = 0
    repeated_messages: int = 0
    alarms: int = 0


def judge(
    data: Path, spools: list[Path], hearts: list[Heart], kills: int, *, clock_stepped: bool = False
) -> Judgement:
    """Count. `kills` power cuts of the gateway explain so much loss, and nothing else explains any.

    Where the gateway's wall clock was set back (`clock_stepped`), what came before may bear the very time of what comes
    after; the store keeps both and says so.
    """
    found = Judgement()
    taken: dict[tuple[str, str], tuple[int, int, int]] = {}
    for spool in spools:
        with closing(sqlite3.connect(spool)) as connection:
            for device, stream, *counts in connection.execute(
                "SELECT device, stream, sum(messages), sum(samples), sum(evicted_messages) FROM accepted"
                " GROUP BY device, stream"
            ):
                if (device, stream) in taken:
                    found.problems.append(f"{device}/{stream} is in two spools")
                taken[device, stream] = counts[0], counts[1], counts[2]
    with closing(sqlite3.connect(data / "store.sqlite")) as store:
        for (device, stream), counts in sorted(taken.items()):
            _stream(store, device, stream, counts, hearts, found)
        # A wearable that was there only for the moment of a power cut may have gone with it.
        excused = kills * LOST_PER_KILL_S * FS_HZ
        expected = {heart.name for heart in hearts if heart.handed > excused}
        _whole(store, expected, found, clock_stepped=clock_stepped)
    allowed = len(hearts) * excused
    if found.lost_samples > allowed:
        found.problems.append(f"{found.lost_samples} samples lost, {kills} power cuts explain {allowed:.0f}")
    return found


def _stream(
    store: sqlite3.Connection,
    device: str,
    stream: str,
    counts: tuple[int, int, int],
    hearts: list[Heart],
    found: Judgement,
) -> None:
    messages, samples, evicted = counts
    ranges = store.execute(
        "SELECT first, last FROM ledger JOIN series ON series.id = series WHERE device = ? AND stream = ?"
        " ORDER BY first",
        (device, stream),
    ).fetchall()
    if ranges != [(0, messages - 1)]:
        found.problems.append(
            f"{device}/{stream}: the spool took {messages} messages, the ledger holds {ranges}"
        )
    if evicted:
        found.problems.append(f"{device}/{stream}: {evicted} messages given up although the spool had room")
    if stream == "ecg":
        held = _samples(store, device, found.problems)
        found.stored_samples += held.size
        if held.size != samples:
            found.problems.append(f"{device}: the spool took {samples} samples, the store holds {held.size}")
        handed = next(heart.handed for heart in hearts if heart.name == device)
        found.lost_samples += max(0, handed - held.size)


def _whole(store: sqlite3.Connection, expected: set[str], found: Judgement, *, clock_stepped: bool) -> None:
    """What is counted over all devices; the batteries of all those `expected` are low."""
    alarmed = store.execute(
        "SELECT DISTINCT device FROM alarm JOIN series ON series.id = series"
        " WHERE json_extract(body, '$.kind') = 'battery_low' AND json_extract(body, '$.phase') = 'raised'"
    ).fetchall()
    found.alarms = len(alarmed)
    silent = expected - {device for (device,) in alarmed}
    (found.repeated_messages,) = store.execute(
        "SELECT coalesce(sum(value), 0) FROM tally WHERE name = 'duplicates'"
    ).fetchone()
    conflicts = store.execute(
        "SELECT * FROM conflict WHERE NOT ? OR series != other_series", (clock_stepped,)
    ).fetchall()
    aside = store.execute("SELECT reason, count(*) FROM quarantine GROUP BY reason").fetchall()
    if conflicts:
        found.problems.append(f"{len(conflicts)} conflicts, two messages of one time: {conflicts[:3]}")
    if aside:
        found.problems.append(f"set aside: {aside}")
    if silent:
        found.problems.append(f"no low battery alarmed of {sorted(silent)}")


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
