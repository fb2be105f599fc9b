"""A link that is up for one per cent of the time: alarms get through while it is so, and everything after."""

import sqlite3
from contextlib import closing

from judgement import judge
from storm_site import Site, until

PERIOD_S = 8.0
QUICK = {"mqtt.retry_first_s": "0.02", "mqtt.retry_max_s": "0.04"}


def test_one_per_cent_of_a_link_carries_alarms_first_and_the_rest_when_it_can(tmp_path):
    with Site(tmp_path / "site", "mosquitto", wearables=2, settings=QUICK) as site:
        site.cable.thin(up_s=0.01 * PERIOD_S, down_s=0.99 * PERIOD_S)
        until(lambda: _alarms(site) == {"chest-1", "chest-2"}, "alarms over a thin link", 150)
        until(lambda: site.cable.thin_s >= 2 * PERIOD_S, "two periods", 60)
        whole_s, thin_s = site.cable.whole_s, site.cable.thin_s
        site.settle()
    found = judge(site.data, site.spools, site.hearts, kills=0)
    assert found.problems == []
    assert found.lost_samples == 0
    assert found.stored_samples == sum(heart.handed for heart in site.hearts)
    assert 0.0 < whole_s / thin_s < 0.05
    assert site.watch.problems() == []


def _alarms(site: Site) -> set[str]:
    with closing(sqlite3.connect(site.data / "store.sqlite", timeout=5)) as store:
        return {
            device
            for (device,) in store.execute("SELECT device FROM alarm JOIN series ON series.id = series")
        }
