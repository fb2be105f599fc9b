"""The gateway's wall clock jumps while it runs: nothing is lost or stored twice, and no interval notices."""

import itertools
import sqlite3
import time
from contextlib import closing

from judgement import judge
from storm_site import Site

HOUR_S = 3600.0


def test_hours_back_and_forth_change_neither_samples_nor_intervals(tmp_path):
    with Site(tmp_path / "site", "embedded", wearables=1) as site:
        time.sleep(3)
        for offset_s in (-HOUR_S, 2 * HOUR_S, -3.0, 0.0):
            site.gateway.step_clock(offset_s)
            time.sleep(1.6)
        site.settle()
    found = judge(site.data, site.spools, site.hearts, kills=0)
    assert found.problems == []
    assert found.lost_samples == 0
    assert found.stored_samples == site.hearts[0].handed
    with closing(sqlite3.connect(site.data / "store.sqlite")) as store:
        starts = [s for (s,) in store.execute("SELECT start_ns FROM wave ORDER BY first_sample")]
        intervals = [rr for (rr,) in store.execute("SELECT rr_ms FROM beat WHERE rr_ms IS NOT NULL")]
        kinds = {k for (k,) in store.execute("SELECT json_extract(body, '$.kind') FROM alarm")}
    jumps_h = {round((b - a) / 3.6e12) for a, b in itertools.pairwise(starts)}
    assert {-1, 3, -2} <= jumps_h, "the times of samples follow the clock"
    assert len(intervals) > 5
    assert all(abs(rr - 800) < 20 for rr in intervals), "intervals between beats do not"
    assert kinds == {"battery_low"}, "and no alarm comes of it"


def test_what_a_clock_days_ahead_stamps_is_set_aside_whole_and_nothing_else_is(tmp_path):
    with Site(tmp_path / "site", "embedded", wearables=1) as site:
        time.sleep(2)
        site.gateway.step_clock(48 * HOUR_S)
        time.sleep(2.5)
        site.gateway.step_clock(0.0)
        time.sleep(2)
        site.settle()
    found = judge(site.data, site.spools, site.hearts, kills=0)
    with closing(sqlite3.connect(site.data / "store.sqlite")) as store:
        aside = store.execute("SELECT reason, stream, seq, length(payload) FROM quarantine").fetchall()
        (blocks,) = store.execute("SELECT count(*) FROM wave").fetchone()
        ((first, last),) = store.execute(
            "SELECT first, last FROM ledger JOIN series ON series.id = series WHERE stream = 'ecg'"
        )
    waves = {seq for _, stream, seq, _ in aside if stream == "ecg"}
    assert waves
    assert all("too far in the future" in reason and size > 20 for reason, _, _, size in aside)
    assert first == 0
    assert blocks + len(waves) == last + 1, (
        "each message is in the store or set aside, and counted as committed"
    )
    assert site.hearts[0].handed > found.stored_samples > 0
