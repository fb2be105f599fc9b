"""Export, erasure and retention from the command line, on the embedded store."""

import json
import threading
import time

import pytest
from stored import SECOND_NS, T0, alarm, beats, item, stored, vitals, wave
from typer.testing import CliRunner

from vitalwire_cloud.alerts import machine
from vitalwire_cloud.alerts.ledger import AlarmLedger
from vitalwire_cloud.commands import app
from vitalwire_cloud.config import RetentionConfig
from vitalwire_cloud.retention import RetentionTask, expire, limits
from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.reading import StoreReader
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.wire.messages import DeviceBirth

FROM, TO = "2026-09-21T14:13:20Z", "2026-09-21T14:13:25+00:00"
SPAN = ["--device", "w-1", "--from", FROM, "--to", TO]


@pytest.fixture
def folder(tmp_path):
    store = EmbeddedStore(tmp_path / "data")
    birth = DeviceBirth(session="s-1", at_ns=T0, device_boot=0, simulated=True, channels=())
    store.register("ward-3", "gw-1", "w-1", birth)
    store.write([wave(n) for n in range(10)] + [vitals(n) for n in range(10)], [])
    store.write([beats(0, T0), item(alarm(0, "raised"), "alarm")], [])
    store.close()
    desk = AlarmLedger(f"sqlite:///{tmp_path / 'data' / 'desk.sqlite'}")
    with desk.transaction() as connection:
        moved, step = machine.apply(None, stored(alarm(0, "raised")), T0)
        desk.put(connection, moved, step)
    desk.close()
    return tmp_path / "data"


def run(*words: str, folder):
    return CliRunner().invoke(app, [*words, "--data-dir", str(folder)])


def test_export_names_what_it_wrote(folder, tmp_path):
    done = run("export", *SPAN, "--out", str(tmp_path / "out"), folder=folder)
    assert done.exit_code == 0, done.output
    assert "manifest.json" in done.output
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["start_ns"] == T0
    again = run("export", *SPAN, "--out", str(tmp_path / "out"), folder=folder)
    assert again.exit_code == 1
    assert "not empty" in again.output


def test_erase_takes_the_desks_alarms_too_and_only_when_told_twice(folder):
    words = ["erase", *SPAN, "--by", "Dr. X", "--reason", "patient asked"]
    hesitant = run(*words, folder=folder)
    assert hesitant.exit_code == 2
    assert "nothing was done" in hesitant.output
    done = run(*words, "--yes", folder=folder)
    assert done.exit_code == 0, done.output
    removed = json.loads(done.output.splitlines()[-1])
    assert (removed["waveform"], removed["vitals"], removed["beats"]) == (5, 5, 1)
    assert (removed["alarms"], removed["alarms_at_desk"]) == (1, 1)
    reader = StoreReader(folder)
    (record,) = reader.erasures()
    assert (record.by, record.reason, record.end_ns - record.start_ns) == (
        "Dr. X",
        "patient asked",
        5 * SECOND_NS,
    )
    reader.close()
    desk = AlarmLedger(f"sqlite:///{folder / 'desk.sqlite'}")
    with desk.transaction() as connection:
        assert desk.records(connection, open_only=False) == []
    desk.close()


def test_erased_bytes_are_not_left_in_the_file(folder):
    store = EmbeddedStore(folder)
    secret = "a text that only this alarm has"
    store.write([item(alarm(1, "raised", text=secret), "alarm")], [])
    assert any(secret.encode() in path.read_bytes() for path in folder.iterdir())
    store.erase("w-1", T0, T0 + 10 * SECOND_NS, by="x", reason="y")
    assert not any(secret.encode() in path.read_bytes() for path in folder.iterdir())
    store.close()


def test_erase_beside_a_running_service_is_refused(folder):
    running = EmbeddedStore(folder)
    done = run("erase", *SPAN, "--by", "x", "--reason", "y", "--yes", folder=folder)
    running.close()
    assert done.exit_code == 1
    assert "one service at a time" in done.output


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        ("2026-09-21", TO, "names no zone"),
        ("yesterday", TO, "write it as"),
        (TO, FROM, "is not before"),
    ],
)
def test_moments_must_say_what_they_mean(tmp_path, start, end, told):
    with pytest.raises(ConfigError, match=told):
        CliRunner().invoke(
            app,
            ["export", "--device", "w", "--from", start, "--to", end, "--out", str(tmp_path / "o")],
            catch_exceptions=False,
        )


def test_retention_deletes_only_what_it_was_told_to(folder):
    unset = run("retention", folder=folder)
    assert unset.exit_code == 2
    assert "kept for good" in unset.output
    done = run("retention", "--set", "retention.waveform_days=1", folder=folder)
    assert done.exit_code == 0, done.output
    store = StoreReader(folder)
    aged = time.time_ns() - T0 > 86_400 * SECOND_NS
    assert json.loads(done.output.splitlines()[-1]) == {"waveform": 10 if aged else 0}
    assert len(store.vitals("w-1", T0, T0 + 99 * SECOND_NS)) == 10
    store.close()


def test_limits_name_what_is_not_kept_for_good():
    day_ns = 86_400 * SECOND_NS
    config = RetentionConfig(waveform_days=2, beats_days=0.5)
    assert limits(config, 10 * day_ns) == {"waveform": 8 * day_ns, "beats": 9.5 * day_ns}
    assert limits(RetentionConfig(), 0) == {}


def test_the_task_expires_and_goes_on_after_a_failure(folder):
    store = EmbeddedStore(folder)
    tried = threading.Event()
    twice = threading.Event()

    class Failing:
        def expire(self, kind, before_ns):
            if not tried.is_set():
                tried.set()
                store.close()
                return store.expire(kind, before_ns)
            twice.set()
            return 0

    task = RetentionTask(Failing(), RetentionConfig(waveform_days=1, every_s=0.01))
    task.start()
    assert twice.wait(5)
    task.close()


def test_expire_counts_by_kind(folder):
    store = EmbeddedStore(folder)
    config = RetentionConfig(waveform_days=1, vitals_days=1, beats_days=1, scores_days=1)
    found = expire(store, config, T0 + 3 * 86_400 * SECOND_NS)
    assert found == {"waveform": 10, "vitals": 10, "beats": 1, "scores": 0}
    assert [a.stream for a in store.audit()] == ["alarm"]
    store.close()


def test_what_a_gateway_may_still_know_of_an_erased_patient_it_is_told_to_forget(folder):
    words = ["erase", "--device", "w-1", "--by", "x", "--reason", "y", "--yes", "--from", FROM]
    done = run(*words, "--to", TO, folder=folder)
    assert json.loads(done.output.splitlines()[-1])["gateways_told"] == 0, "that was weeks ago"
    done = run(*words, "--to", "2099-01-01T00:00:00Z", folder=folder)
    assert json.loads(done.output.splitlines()[-1])["gateways_told"] == 1
    done = run("orders", "--json", folder=folder)
    (order,) = json.loads(done.output)
    assert (order["site"], order["gateway"], order["device"], order["done_ns"]) == (
        "ward-3",
        "gw-1",
        "w-1",
        None,
    )


def test_a_new_patient_is_ordered_from_the_command_line_and_waited_for(folder):
    done = run("new-patient", "gw-1", "w-2", "--site", "ward-3", "--wait-s", "0.1", folder=folder)
    assert done.exit_code == 1
    assert "goes on telling gw-1" in done.output
    listed = run("orders", folder=folder)
    assert "ward-3/gw-1 w-2: new patient, waits for the gateway" in listed.output
    wrong = run("new-patient", "gw-1", "W_2", "--site", "ward-3", folder=folder)
    assert isinstance(wrong.exception, ConfigError)
    nowhere = run("new-patient", "gw-1", "w-2", folder=folder)
    assert isinstance(nowhere.exception, ConfigError)
