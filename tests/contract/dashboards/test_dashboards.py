"""Every query of every dashboard finds something in a filled store; a push makes a server what the code says."""

import re
from collections.abc import Iterator
from pathlib import Path

import influx
import numpy as np
import pytest
from grafana import Grafana
from grafana_api.grafana_api import GrafanaClientError
from grafana_api.grafana_face import GrafanaFace
from stored import FS_HZ, MODEL, SECOND_NS, T0, alarm, item, wave
from typer.testing import CliRunner

from vitalwire_cloud.dashboards import files
from vitalwire_cloud.dashboards.boards import BOARDS
from vitalwire_cloud.dashboards.commands import app
from vitalwire_cloud.dashboards.model import dashboard
from vitalwire_cloud.dashboards.pushing import GrafanaError, Source, push
from vitalwire_cloud.store.influx.store import InfluxStore
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import (
    BeatMark,
    BeatsMessage,
    ScoreMark,
    ScoresMessage,
    VitalsMessage,
    VitalValue,
)

MINUTE_NS = 60 * SECOND_NS
BASE = T0 - T0 % MINUTE_NS
SECONDS = 240
NUMBERS = {
    Code.HEART_RATE: 70.0, Code.PULSE_RATE: 70.0, Code.SPO2: 97.0, Code.RESPIRATION_RATE: 14.0,
    Code.TEMPERATURE: 36.8, Code.SYSTOLIC: 120.0, Code.DIASTOLIC: 80.0, Code.MEAN_PRESSURE: 93.0,
    Code.PR_INTERVAL: 160.0, Code.QRS_DURATION: 92.0, Code.QT_INTERVAL: 400.0, Code.QTC_INTERVAL: 421.0,
    Code.SDNN: 41.0, Code.RMSSD: 33.0, Code.VENTRICULAR_PER_H: 120.0, Code.PREMATURE_PER_H: 6.0,
    Code.COUPLETS_PER_H: 4.0, Code.RUNS_PER_H: 2.0, Code.VENTRICULAR_BURDEN: 2.5, Code.BIGEMINY: 1.5,
    Code.SDANN: 110.0, Code.SDNN_INDEX: 52.0,
}  # fmt: skip


def second(n: int, session: str = "s-1") -> list:
    """What a ward sends in one second."""
    at = BASE + n * SECOND_NS
    values = tuple(VitalValue(int(code), value + np.sin(n)) for code, value in NUMBERS.items())
    mark = BeatMark(at, 850.0, 900.0, 130.0, 0.9, n % 20 == 0)
    scores = (ScoreMark(at, 1.0 + n % 5, 1.0, 1.0, 0.0),)
    return [
        wave(n, start_ns=at, session=session),
        item(VitalsMessage(session=session, seq=n, flags=0, time_ns=at, values=values), "vitals"),
        item(BeatsMessage(session=session, seq=n, flags=0, beats=(mark,)), "beat"),
        item(
            ScoresMessage(
                session=session, seq=n, flags=0, model=MODEL, version=1, threshold=4.0, scores=scores
            ),
            "score",
        ),
    ]


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Iterator[InfluxStore]:
    """Four minutes of one device with alarms of each priority, a conflict of each kind, and two expired minutes."""
    folder = tmp_path_factory.mktemp("influxd")
    with influx.site(folder) as site, site.bucket() as address:
        store = InfluxStore(address, f"sqlite:///{folder / 'ledger.sqlite'}")
        store.write([each for n in range(SECONDS) for each in second(n)], [])
        store.write(second(200, "s-2"), [])
        for seq, priority in enumerate(("high", "medium", "low")):
            raised = alarm(
                seq, "raised", at_ns=BASE + (150 + seq) * SECOND_NS, priority=priority, value=1.0, limit=2.0
            )
            store.write([item(raised, "alarm")], [])
        store.expire("vitals", BASE + 2 * MINUTE_NS)
        yield store
        store.close()


def queries() -> Iterator[tuple[str, str]]:
    for board in BOARDS:
        model = dashboard(board)
        for panel in model["panels"]:
            for target in panel["targets"]:
                yield f"{board.title}: {panel['title']} {target['refId']}", target["query"]
        for variable in model["templating"]["list"]:
            yield f"{board.title}: ${variable['name']}", variable["query"]
        for marks in model["annotations"]["list"]:
            yield f"{board.title}: {marks['name']}", marks["query"]


def as_grafana_would(query: str) -> str:
    """With the variables filled in that Grafana fills in."""
    span = f"time >= {BASE // 10**6}ms and time <= {BASE // 10**6 + SECONDS * 1000}ms"
    filled = query.replace("$timeFilter", span).replace("$__interval", "10s").replace("$device", "w-1")
    assert "$" not in filled.replace("$/", "")
    return filled


@pytest.mark.parametrize("query", [pytest.param(q, id=name) for name, q in queries()])
def test_every_query_finds_something(filled, query):
    found = filled.server.records(as_grafana_would(query))
    values = [
        v for record in found for k, v in record.items() if k not in ("time", "device", "channel", "key")
    ]
    assert any(value not in (None, 0) for value in values), found[:3]


def test_panels_say_what_was_stored(filled):
    by_name = dict(queries())

    def total(name: str) -> float:
        found = filled.server.records(as_grafana_would(by_name[name]))
        return sum(next(v for k, v in record.items() if k != "time") or 0 for record in found)

    assert total("Ingest: Waveform samples stored A") == (SECONDS + 1) * FS_HZ
    assert total("Ingest: Points moved beside another one A") == 1
    assert total("Fleet: Devices that sent waveform A") == 1
    assert total("Fleet: High alarms raised A") == 1
    assert total("Patient vitals and alarms: Wide beats A") == SECONDS / 20 + 1


def test_no_panel_is_drawn_over_another_and_everything_has_a_uid():
    uids = [board.uid for board in BOARDS]
    assert len(set(uids)) == len(uids)
    for board in BOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in dashboard(board)["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken
            assert max(x for x, _ in cells) < 24
            taken |= cells
            assert panel["datasource"]["uid"] == "vitalwire-influxdb"


def test_the_files_in_the_repository_are_those_of_the_code():
    folder = Path(__file__).parents[3] / "dashboards"
    for name, text in files.files():
        assert (folder / name).read_text() == text, f"{name}: run `vitalwire dashboards write dashboards`"
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert kept == {name for name, _ in files.files()}


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    double = Grafana()
    yield double
    double.close()


SOURCE = Source("http://influxdb:8086", "vitalwire")


def test_pushing_twice_changes_nothing_the_second_time(grafana):
    first = push(grafana.url, grafana.token, SOURCE)
    assert set(first.values()) == {"made"}
    assert set(grafana.dashboards) == {board.uid for board in BOARDS}
    made = list(grafana.changes)
    assert made[:2] == ["folder vitalwire", "source vitalwire-influxdb"]
    assert set(push(grafana.url, grafana.token, SOURCE).values()) == {"as it was"}
    assert grafana.changes == made


def test_what_somebody_changed_by_hand_comes_back(grafana):
    push(grafana.url, grafana.token, SOURCE)
    grafana.dashboards["vitalwire-fleet"]["dashboard"]["title"] = "mine"
    grafana.sources["vitalwire-influxdb"]["url"] = "http://elsewhere"
    changes = push(grafana.url, grafana.token, SOURCE)
    assert {uid for uid, change in changes.items() if change == "changed"} == {
        "vitalwire-fleet",
        "vitalwire-influxdb",
    }
    assert grafana.dashboards["vitalwire-fleet"]["dashboard"]["title"] == "Fleet"
    assert grafana.sources["vitalwire-influxdb"]["url"] == SOURCE.url


def test_a_token_goes_to_the_data_source_and_is_not_readable_there(grafana):
    push(grafana.url, grafana.token, Source(SOURCE.url, "b", "influx-secret"))
    held = grafana.sources["vitalwire-influxdb"]
    assert held["secureJsonFields"] == {"httpHeaderValue1": True}
    assert "influx-secret" not in str(held)


def test_the_command_pushes_and_names_what_is_wrong(grafana, tmp_path):
    (tmp_path / "token").write_text(grafana.token)
    words = ["push", "--token-file", str(tmp_path / "token"), "--influx-url", SOURCE.url, "--url"]
    done = CliRunner().invoke(app, [*words, grafana.url])
    assert done.exit_code == 0, done.output
    assert "vitalwire-patient: made" in done.output
    (tmp_path / "token").write_text("another")
    refused = CliRunner().invoke(app, [*words, grafana.url])
    assert refused.exit_code == 1
    assert re.search(r"refuses \(401\).*service account", refused.output)
    silent = CliRunner().invoke(app, [*words, "http://127.0.0.1:9"])
    assert silent.exit_code == 1
    assert "correct --url" in silent.output


def test_the_command_writes_the_files(tmp_path):
    done = CliRunner().invoke(app, ["write", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "provisioning" / "datasources" / "vitalwire.yaml").is_file()


def test_grafana_api_can_push_dashboards_but_not_keep_a_data_source(grafana):
    """Why `grafana-client` is used (docs/decisions/grafana-client.md)."""
    api = GrafanaFace(grafana.token, host=grafana.host, port=grafana.port)
    api.folder.create_folder("vitalwire", uid="vitalwire")
    body = {"dashboard": dashboard(BOARDS[0]), "folderUid": "vitalwire", "overwrite": True}
    assert api.dashboard.update_dashboard(body)["status"] == "success"
    wanted = {"uid": "vitalwire-influxdb", "name": "vitalwire", "type": "influxdb", "access": "proxy"}
    made = api.datasource.create_datasource(wanted)
    assert not any("uid" in name for name in dir(api.datasource))
    with pytest.raises(GrafanaClientError, match="404"):
        api.datasource.update_datasource(made["id"], wanted)
    api.api.s.close()


def test_an_unknown_error_is_told(grafana):
    grafana.folders["vitalwire"] = {"uid": "vitalwire"}
    grafana.answer = lambda *_: (500, {"message": "database is locked"})
    with pytest.raises(GrafanaError, match="database is locked"):
        push(grafana.url, grafana.token, SOURCE)
