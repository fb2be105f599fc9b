"""Patients from the command line: who wears what, and what follows from it for export, erasure and gateways."""

import json
from contextlib import closing

import pytest
from stored import T0, alarm, beats, item, vitals, wave
from typer.testing import CliRunner

from vitalwire_cloud.commands import app as cloud
from vitalwire_cloud.metadata.register import open_register
from vitalwire_cloud.orders import open_orders
from vitalwire_cloud.patient_commands import app as patient
from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.reading import StoreReader
from vitalwire_edge.process.config import ConfigError
from vitalwire_edge.wire.messages import DeviceBirth

FROM, MIDDLE, TO = "2026-09-21T14:13:20Z", "2026-09-21T14:13:25Z", "2026-09-21T14:13:30Z"
BY = ("--by", "Dr. A")


@pytest.fixture
def folder(tmp_path):
    store = EmbeddedStore(tmp_path / "data")
    birth = DeviceBirth(session="s-1", at_ns=T0, device_boot=0, simulated=True, channels=())
    store.register("ward-3", "gw-1", "w-1", birth)
    store.write([wave(n) for n in range(10)] + [vitals(n) for n in range(10)], [])
    store.write([beats(0, T0), item(alarm(0, "raised"), "alarm")], [])
    store.close()
    return tmp_path / "data"


def run(app, folder, *words):
    return CliRunner().invoke(app, [*words, "--data-dir", str(folder)])


def admit(folder):
    done = run(patient, folder, "admit", *BY)
    assert done.exit_code == 0, done.output
    return done.output.strip()


def test_export_of_a_patient_is_what_the_device_sent_while_it_was_theirs(folder, tmp_path):
    one, two = admit(folder), admit(folder)
    assert run(patient, folder, "assign", "w-1", one, "--at", FROM, *BY).exit_code == 0
    done = run(patient, folder, "transfer", "w-1", two, "--at", MIDDLE, *BY)
    assert "ward-3/gw-1 is told to begin anew with w-1" in done.output
    for name, seconds in ((one, 5), (two, 5)):
        out = tmp_path / name
        done = run(cloud, folder, "export", "--patient", name, "--from", FROM, "--to", TO, "--out", str(out))
        assert done.exit_code == 0, done.output
        manifest = json.loads((out / "01-w-1" / "manifest.json").read_text())
        assert manifest["end_ns"] - manifest["start_ns"] == seconds * 1_000_000_000
        # The pseudonym is for whoever asked; no file names it.
        assert not any(name in file.read_text() for file in out.rglob("*.json"))


def test_erasing_a_patient_leaves_the_next_ones_data(folder):
    one, two = admit(folder), admit(folder)
    run(patient, folder, "assign", "w-1", one, "--at", FROM, *BY)
    run(patient, folder, "transfer", "w-1", two, "--at", MIDDLE, *BY)
    words = ("erase", "--patient", one, "--from", FROM, "--to", TO, *BY, "--reason", "asked")
    assert run(cloud, folder, *words).exit_code == 2
    done = run(cloud, folder, *words, "--yes")
    assert done.exit_code == 0, done.output
    with closing(StoreReader(folder)) as reader:
        (left,) = reader.strip("w-1", wave(0).message.code, T0, T0 + 10_000_000_000)
    assert left.start_ns == T0 + 5_000_000_000


def test_every_change_of_the_wearer_has_the_gateway_begin_anew(folder):
    one, two = admit(folder), admit(folder)
    for words in (
        ("assign", "w-1", one),
        ("transfer", "w-1", two),
        ("standby", "w-1"),
        ("assign", "w-1", one),
    ):
        assert run(patient, folder, *words, *BY).exit_code == 0
    assert run(patient, folder, "discharge", one, *BY).exit_code == 0
    with closing(open_orders(folder)) as book:
        (order,) = book.orders(pending=True)
    assert (order.site, order.gateway, order.device) == ("ward-3", "gw-1", "w-1")
    said = json.loads(run(patient, folder, "history", "--json").output)
    actions = [(each["action"], each["patient"]) for each in said]
    assert actions == [
        *(("admit", one), ("admit", two), ("assign", one), ("standby", one), ("assign", two)),
        *(("standby", two), ("assign", one), ("discharge", one)),
    ]
    assert {each["author"] for each in said} == {"Dr. A"}


def test_a_device_that_sent_nothing_yet_can_be_assigned(folder):
    done = run(patient, folder, "assign", "w-9", admit(folder), *BY)
    assert done.exit_code == 0
    assert "w-9 has sent nothing yet" in done.output
    shown = run(patient, folder, "list").output
    assert "w-9" in shown
    assert "to now" in shown


def test_what_cannot_be_ends_with_one_and_the_fix(folder):
    done = run(patient, folder, "assign", "w-1", "p-nobody", *BY)
    assert done.exit_code == 1
    assert "`vitalwire patient list` shows them" in done.output
    words = ("export", "--from", FROM, "--to", TO, "--out", str(folder / "out"))
    done = run(cloud, folder, *words, "--patient", admit(folder))
    assert done.exit_code == 1
    assert "wore no device in that time" in done.output
    both = run(cloud, folder, *words, "--patient", "p-x", "--device", "w-1")
    assert isinstance(both.exception, ConfigError)
    assert isinstance(run(patient, folder, "standby", "w-1", "--at", "noon", *BY).exception, ConfigError)


def test_what_staff_sees_is_said_of_whoever_wears_the_device(folder):
    one = admit(folder)
    run(patient, folder, "assign", "w-1", one, *BY)
    done = run(patient, folder, "observe", "w-1", "--consciousness", "voice", "--spo2-scale", "2", *BY)
    assert done.exit_code == 0, done.output
    assert f"w-1: {one}, paced unknown" in done.output
    assert "consciousness voice" in done.output
    assert run(patient, folder, "observe", "w-1", "--spo2-scale", "withdraw", *BY).exit_code == 0
    assert run(patient, folder, "paced", one, "yes", *BY).exit_code == 0
    (found,) = json.loads(run(patient, folder, "bedside", "w-1", "--json").output)["bedsides"]
    assert (found["patient"], found["paced"]) == (one, "yes")
    (entry,) = found["entries"]
    assert (entry["value"], entry["author"]) == ("voice", "Dr. A")
    assert entry["expires_ns"] - entry["entered_ns"] == 12 * 3_600_000_000_000
    shown = run(patient, folder, "bedside").output
    assert "counts until" in shown
    said = json.loads(run(patient, folder, "history", "--json").output)
    assert [each["action"] for each in said][2:] == ["observe", "observe", "paced yes"]


def test_what_cannot_be_observed_says_why(folder):
    run(patient, folder, "assign", "w-1", admit(folder), *BY)

    def refused(*words):
        done = run(patient, folder, "observe", *words, *BY)
        return done.exit_code, f"{done.output} {done.exception}"

    for words, code, why in (
        (("w-1", "--consciousness", "sleepy"), 2, "'sleepy' is not one of"),
        (("w-9", "--oxygen", "yes"), 1, "no device w-9"),
        (("w-1",), 1, "nothing was said"),
        (("w-1", "--oxygen", "yes", "--at", "2020-01-01T08:00:00Z"), 1, "counts no more"),
        (("w-1", "--oxygen", "yes", "--at", "2026-11-22T08:00:00"), 1, "names no zone"),
        (("w-1", "--oxygen", "yes", "--hours", "200"), 1, "at most 168 hours"),
    ):
        found = refused(*words)
        assert (found[0], why in found[1]) == (code, True), found
    run(patient, folder, "standby", "w-1", *BY)
    assert "w-1 is nobody's: assign it first" in refused("w-1", "--oxygen", "yes")[1]
    assert run(patient, folder, "paced", "p-nobody", "yes", *BY).exit_code == 1


def test_export_hands_out_what_staff_saw_and_erase_takes_it(folder, tmp_path):
    one = admit(folder)
    run(patient, folder, "assign", "w-1", one, "--at", FROM, *BY)
    with closing(open_register(folder)) as register:
        expires_ns = T0 + 3_600_000_000_000
        register.say(
            "w-1",
            {"consciousness": "pain"},
            author="N. B",
            entered_ns=T0 + 5_000_000_000,
            expires_ns=expires_ns,
            now_ns=T0 + 6_000_000_000,
        )
    whose = ("--patient", one, "--from", FROM, "--to", TO)
    assert run(cloud, folder, "export", *whose, "--out", str(tmp_path / "out")).exit_code == 0
    lines = (tmp_path / "out" / "01-w-1" / "staff.csv").read_text().splitlines()
    assert lines[1:] == [f"{T0 + 5_000_000_000},{expires_ns},consciousness,pain"]
    done = run(cloud, folder, "erase", *whose, *BY, "--reason", "asked", "--yes")
    assert json.loads(done.output)["staff_entries"] == 1
    with closing(open_register(folder)) as register:
        assert register.bedsides("w-1")[0].entries == ()
