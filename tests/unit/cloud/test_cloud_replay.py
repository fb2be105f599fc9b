"""The command that tries again what was set aside, after the fault that caused it was mended."""

import json
import sqlite3

import pytest
from stored import T0, vitals, wave
from test_cloud_pipeline import Hub, Link, Watcher, until
from typer.testing import CliRunner

from vitalwire_cloud.commands import app
from vitalwire_cloud.config import IngestConfig
from vitalwire_cloud.ingest.commits import CommitTeller
from vitalwire_cloud.ingest.keys import KeyRing
from vitalwire_cloud.ingest.pipeline import Pipeline
from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.reading import FILE_NAME
from vitalwire_edge.wire.messages import encode_data


def command(folder, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["quarantine", *words, "--data-dir", str(folder)])
    assert result.exit_code == code, result.output
    return result.output


def fault(folder, statement: str) -> None:
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.fixture
def folder(tmp_path):
    """A service's folder after a fault: what came while a trigger refused numbers, and one that is nonsense."""
    store, link = EmbeddedStore(tmp_path), Link()
    fault(tmp_path, "CREATE TRIGGER f BEFORE INSERT ON vital BEGIN SELECT RAISE(ABORT, 'worn out'); END")
    teller = CommitTeller(store, link, KeyRing(tmp_path), interval_s=0.05)
    pipeline = Pipeline(
        link=link, store=store, teller=teller, hub=Hub(), watcher=Watcher(), config=IngestConfig(linger_s=0.1)
    )
    link.deliver("w-1/vitals", encode_data(vitals(0).message))
    link.deliver("w-1/ecg", encode_data(wave(0).message))
    link.deliver("w-1/ecg", b"nonsense")
    pipeline.start()
    until(lambda: len(link.acknowledged) == 3, "acknowledgements")
    assert pipeline.stop(10)
    store.close()
    return tmp_path


def test_the_command_says_of_each_message_what_became_of_it(folder):
    listed = command(folder, "list")
    assert "refused by the store: a message cannot be stored: worn out" in listed
    assert "2 kept, 0 replayed" in listed
    by_topic = {each["topic"]: each["number"] for each in json.loads(command(folder, "list", "--json"))}
    number = str(by_topic["v1/ward-3/gw-1/w-1/vitals"])
    assert json.loads(command(folder, "show", number, "--json"))["seq"] == 0

    assert "worn out" in command(folder, "replay", "--all", code=1)
    fault(folder, "DROP TRIGGER f")
    lines = [json.loads(line) for line in command(folder, "replay", "--all", "--json", code=1).splitlines()]
    assert {line["what"] for line in lines} == {"stored", "refused"}
    (refused,) = [line for line in lines if line["what"] == "refused"]
    assert refused["reason"]
    store = EmbeddedStore(folder)
    assert [p.value for p in store.vitals("w-1", T0, T0 + 1)] == [70.0]
    store.close()

    assert "0 discarded (add --yes)" in command(folder, "discard", str(refused["number"]))
    assert "1 discarded; 0 kept, 1 replayed, 1 discarded" in command(folder, "discard", "--all", "--yes")
    assert "nothing to replay" in command(folder, "replay", "--all")


def test_wrong_use_is_named(folder):
    assert "nothing is set aside under 99" in command(folder, "replay", "99", code=1)
    held = EmbeddedStore(folder)
    assert "another process writes the store" in command(folder, "replay", "--all", code=1)
    assert "kept" in command(folder, "list")
    held.close()
