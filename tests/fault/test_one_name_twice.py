"""Two gateways of one name and key: both lose nothing, nothing is stored twice, and staff is told."""

import json
import sqlite3
import urllib.request
from contextlib import closing

import pytest
from judgement import judge
from storm_site import Site, until


@pytest.mark.parametrize("broker", ["embedded", "mosquitto"])
def test_two_gateways_of_one_name_lose_nothing_and_are_noticed(broker, tmp_path):
    with Site(tmp_path / "site", broker, wearables=1) as site:
        site.bring_twin()
        until(lambda: "gateway_twice" in _open_alarms(site.web_port), "the alarm", 30)
        until(lambda: _sessions(site) == {"chest-1": 1, "twin-1": 1}, "data of both", 20)
        site.settle()
    found = judge(site.data, site.spools, site.hearts, kills=0)
    assert found.problems == []
    assert found.lost_samples == 0
    assert found.stored_samples == sum(heart.handed for heart in site.hearts)
    assert "gateway_twice" in site.cloud.said(10_000)


def _open_alarms(port: int) -> set[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/alarms", timeout=5) as answer:
        return {alarm["kind"] for alarm in json.loads(answer.read())}


def _sessions(site: Site) -> dict[str, int]:
    """How many spools each wearable's waveform came from."""
    with closing(sqlite3.connect(site.data / "store.sqlite", timeout=5)) as store:
        return dict(
            store.execute(
                "SELECT device, count(DISTINCT session) FROM series JOIN ledger ON series = series.id"
                " WHERE stream = 'ecg' GROUP BY device"
            )
        )
