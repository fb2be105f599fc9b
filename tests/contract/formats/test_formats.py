"""What earlier versions wrote is opened, brought up to date and read as exactly what it was; the future is refused.

The files in `golden/` were made by the code of their day (`make_golden.py` makes today's) and are never written again.
"""

import gzip
import json
import sqlite3
import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from make_golden import judged_by

from vitalwire_cloud.config import CloudConfig
from vitalwire_cloud.ingest.decoding import read
from vitalwire_cloud.ingest.replay import every, replay
from vitalwire_cloud.store import schema
from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.interface import Item, Quarantined, StoreError
from vitalwire_cloud.store.reading import FILE_NAME, StoreReader
from vitalwire_edge.config import EdgeConfig
from vitalwire_edge.inference import container
from vitalwire_edge.inference.artifact import FORMAT as ARTIFACT_FORMAT
from vitalwire_edge.inference.artifact import open_artifact
from vitalwire_edge.inference.keys import Trust
from vitalwire_edge.inference.refusal import ArtifactRefusedError, Refusal
from vitalwire_edge.inference.score import FORM, ScoreParameters
from vitalwire_edge.process import config as layers
from vitalwire_edge.spool import file as spool
from vitalwire_edge.spool.reader import SpoolReader
from vitalwire_edge.spool.rows import SpoolError
from vitalwire_edge.wire import frames, models
from vitalwire_edge.wire import messages as m
from vitalwire_edge.wire.codes import Code

GOLDEN = Path(__file__).parent / "golden"
STORES = sorted(path.name.removesuffix(".sqlite.gz") for path in GOLDEN.glob("store-*.gz"))
SPOOLS = sorted(path.name.removesuffix(".sqlite.gz") for path in GOLDEN.glob("spool-*.gz"))
WIRE = json.loads((GOLDEN / "wire-1.json").read_text())
STAFF_WIRE = json.loads((GOLDEN / "wire-1-staff.json").read_text())
NEWS2_WIRE = json.loads((GOLDEN / "wire-1-news2.json").read_text())
T0 = 1_790_000_000_000_000_000
SECOND_NS = 1_000_000_000
KEY = bytes(range(32))
HOUR_NS = 3600 * SECOND_NS


OPENERS = {
    "store": lambda path: EmbeddedStore(path.parent),
    "reader": lambda path: StoreReader(path.parent),
    "spool": lambda path: spool.SpoolFile(path, "boot-1"),
}


def unpacked(name: str, path: Path) -> Path:
    path.write_bytes(gzip.decompress((GOLDEN / f"{name}.sqlite.gz").read_bytes()))
    return path


def told(path: Path, pragma: str) -> int:
    connection = sqlite3.connect(path)
    (value,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    connection.close()
    return value


def test_every_version_up_to_todays_has_its_golden_file():
    assert {int(name.split("-")[1]) for name in STORES} == set(range(1, schema.FORMAT_VERSION + 1))
    assert {int(name.split("-")[1]) for name in SPOOLS} == set(range(1, spool.FORMAT + 1))


@pytest.mark.parametrize("name", STORES)
def test_a_store_of_any_version_reads_as_what_was_written(name, tmp_path):
    path = unpacked(name, tmp_path / FILE_NAME)
    assert told(path, "user_version") == int(name.split("-")[1])
    store = EmbeddedStore(tmp_path)
    assert told(path, "user_version") == schema.FORMAT_VERSION
    end_ns = T0 + 10 * SECOND_NS

    segments = store.strip("w-1", int(Code.ECG_I), T0, end_ns)
    assert [((s.start_ns - T0) // SECOND_NS, s.samples.size) for s in segments] == [(0, 500), (3, 250)]
    np.testing.assert_array_equal(segments[0].samples, 2.0 * (np.arange(500) % 1000))
    numbers = [(p.time_ns - T0, p.code, p.value, p.status) for p in store.vitals("w-1", T0, end_ns)]
    assert numbers == [(0, int(Code.HEART_RATE), 70.0, 0), (SECOND_NS, int(Code.HEART_RATE), None, 2)]
    marks = [
        (b.r_ns - T0, b.rr_ms, b.amplitude_uv, b.width_ms, b.quality, b.wide)
        for b in store.beats("w-1", T0, end_ns)
    ]
    assert marks == [
        (100_000_000, None, 900.0, 90.0, 0.75, False),
        (900_000_000, 800.0, 910.0, 95.0, 0.5, True),
    ]
    assert [(a.message.text, a.message.notes, a.message.limit) for a in store.alarm_messages(0, 9)] == [
        ("text 0", ("pulse present",), 4.0),
        ("text 1", ("pulse present",), 4.0),
    ]
    known = [] if name.startswith("store-1") or "from-first" in name else [3.5]
    assert [s.score for s in store.scores("w-1", T0, end_ns)] == known
    (record,) = store.devices()
    assert (record.site, record.gateway, record.birth.paced) == ("ward-3", "gw-1", "no")
    commits = {c.stream: (c.low_water, c.ranges) for c in store.committed("gw-1", "s-1")}
    assert commits["ecg"] == (2, ((3, 3), (5, 6)))
    assert commits["vitals"] == (3, ())
    assert [a.skipped for a in store.audit() if a.stream == "ecg"] == [500]
    assert [q.reason for q in store.quarantine(9)] == ["a fault"]
    store.close()


@pytest.mark.parametrize("name", STORES)
def test_a_store_of_any_version_goes_on(name, tmp_path):
    unpacked(name, tmp_path / FILE_NAME)
    store = EmbeddedStore(tmp_path)
    assert [o.what for o in replay(store, every(store), max_future_ns=HOUR_NS)] == ["stored"]
    # The first files insisted on a width; wearables have long said when they have none.
    beats = m.BeatsMessage(
        session="s-1",
        seq=1,
        flags=0,
        beats=(m.BeatMark(T0 + 2 * SECOND_NS, None, None, None, 0.1, wide=False),),
    )
    result = store.write([Item("gw-1", "w-1", "beat", "s-1", 1, beats, T0)], [])
    assert (len(result.stored), store.counts().quarantine_held) == (1, 0)
    assert [b.width_ms for b in store.beats("w-1", T0, T0 + 9 * SECOND_NS)] == [90.0, 95.0, None]
    store.erase("w-1", T0, T0 + SECOND_NS, by="Dr. X", reason="asked")
    store.close()


@pytest.mark.parametrize("name", SPOOLS)
def test_a_spool_of_any_version_sends_what_it_held(name, tmp_path):
    path = unpacked(name, tmp_path / "spool.sqlite")
    file = spool.SpoolFile(path, "boot-2")
    reader = SpoolReader(path)
    held = list(reader.every_alarm()) + reader.others(0, reader.last_id(), 99)
    # The beats were given up and the first second of ECG was confirmed.
    places = {(row.stream, row.seq) for row in held}
    assert places - {("score", 0)} == {
        ("alarm", 0),
        ("alarm", 1),
        ("ecg", 1),
        ("ecg", 2),
        ("vitals", 0),
        ("vitals", 1),
    }
    for row in held:
        topic = f"v1/ward-3/gw-1/w-1/{row.stream}"
        found = read(topic, row.payload, received_ns=T0 + HOUR_NS, max_future_ns=HOUR_NS)
        assert not isinstance(found, Quarantined), found
        assert found.item.session == file.session
        assert (row.boot, row.offset_ns, row.synchronised) == ("boot-1", T0, True)
    assert [(s.stream, s.first, s.last, s.reason) for s in reader.skips(9)] == [("beat", 0, 0, "size")]
    assert file.open_alarms() == [("w-1", b"state")]
    entry = spool.Entry("w-1", "vitals", m.VitalsMessage("", 0, 0, T0, ()), 1, T0, synchronised=True)
    ((_, seq),) = file.append([entry])
    assert seq == 2
    reader.close()
    file.close()


@pytest.mark.parametrize("opened", OPENERS)
def test_a_file_from_the_future_is_refused_and_stays_as_it_is(opened, tmp_path):
    if opened == "spool":
        path = unpacked(f"spool-{spool.FORMAT}", tmp_path / "spool.sqlite")
    else:
        path = unpacked(f"store-{schema.FORMAT_VERSION}", tmp_path / FILE_NAME)
    # As another program would leave it: not even the log's kind may be changed.
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises((StoreError, SpoolError), match=r"newer vitalwire \(format 99.*install that"):
        OPENERS[opened](path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*-wal"))


@pytest.mark.parametrize("golden", WIRE["data"], ids=lambda golden: golden["kind"])
def test_data_messages_keep_their_bytes_and_their_meaning(golden):
    message = m.decode_data(bytes.fromhex(golden["hex"]))
    assert type(message).__name__ == golden["kind"]
    assert json.loads(msgspec.json.encode(message)) == golden["value"]
    assert m.encode_data(message).hex() == golden["hex"]


@pytest.mark.parametrize(
    "golden", WIRE["json"] + STAFF_WIRE["json"] + NEWS2_WIRE["json"], ids=lambda golden: golden["kind"]
)
def test_json_messages_keep_their_meaning(golden):
    message = m.decode_json(bytes.fromhex(golden["hex"]), getattr(m, golden["kind"]))
    said = json.loads(msgspec.json.encode(message))
    assert {key: said[key] for key in golden["value"]} == golden["value"]


def test_a_status_of_before_the_scores_tells_none_and_a_cloud_of_before_reads_one_with_them():
    (before,) = (
        m.decode_json(bytes.fromhex(each["hex"]), m.GatewayStatus)
        for each in WIRE["json"]
        if each["kind"] == "GatewayStatus"
    )
    assert [device.news2 for device in before.devices] == [msgspec.UNSET]
    payload = bytes.fromhex(NEWS2_WIRE["json"][0]["hex"])
    told, none, untold = m.decode_json(payload, m.GatewayStatus).devices
    assert (told.news2.total, told.news2.scale, none.news2, untold.news2) == (4, 2, None, msgspec.UNSET)

    class Device(msgspec.Struct):
        """As the cloud of before knew it."""

        device: str
        connected: bool
        frames: int

    class Status(msgspec.Struct):
        at_ns: int
        devices: tuple[Device, ...]

    assert [each.device for each in msgspec.json.decode(payload, type=Status).devices] == [
        "w-1",
        "w-2",
        "w-3",
    ]


@pytest.mark.parametrize("golden", WIRE["models"], ids=lambda golden: golden["kind"])
def test_messages_about_models_keep_their_bytes_and_their_meaning(golden):
    down = golden["kind"] in {"ModelOffer", "ModelChunk"}
    decode = models.decode_to_gateway if down else models.decode_from_gateway
    message = decode(bytes.fromhex(golden["hex"]))
    assert json.loads(msgspec.json.encode(message)) == golden["value"]
    assert models.encode_model(message).hex() == golden["hex"]


def test_what_is_committed_keeps_its_bytes_and_its_seal():
    golden = WIRE["committed"]
    sealed = bytes.fromhex(golden["hex"])
    committed = m.decode_committed(m.unseal(KEY, golden["topic"], sealed))
    assert json.loads(msgspec.json.encode(committed)) == golden["value"]
    assert m.seal(KEY, golden["topic"], m.encode_committed(committed)) == sealed


def test_frames_keep_their_bytes_and_those_of_the_future_are_counted():
    stream = [bytes.fromhex(golden["hex"]) for golden in WIRE["frames"]]
    decoder = frames.FrameDecoder()
    found = list(decoder.feed(b"".join(stream)))
    assert [type(frame.payload).__name__ for frame in found] == [golden["kind"] for golden in WIRE["frames"]]
    assert [frames.encode(frame) for frame in found] == stream
    hello, wave = found[0].payload, found[1].payload
    assert (hello.device, hello.boot, hello.channels[0].scale) == ("w-1", 3, 2.0)
    assert (wave.first_sample, wave.samples.tolist(), wave.lead_off) == (500, [1, -2, 32767], True)
    newer = bytearray(stream[0])
    newer[2] = frames.FRAME_VERSION + 1
    assert list(decoder.feed(bytes(newer))) == []
    assert decoder.counters.bad_version == 1


def test_a_topic_of_another_wire_version_is_set_aside_with_the_reason():
    found = read("v2/ward-3/gw-1/w-1/ecg", b"x", received_ns=T0, max_future_ns=HOUR_NS)
    assert isinstance(found, Quarantined)
    assert "not of wire version 1" in found.reason


def test_an_artifact_of_the_first_format_is_opened_and_one_of_the_future_refused():
    data = (GOLDEN / "artifact-1.vwm").read_bytes()
    trust = Trust.read(GOLDEN / "artifact-1.trust.json")
    artifact = open_artifact(data, trust, now_ns=T0 + HOUR_NS)
    assert (artifact.manifest.name, artifact.manifest.version, artifact.model) == ("beat", 3, b"a model")
    assert artifact.manifest.format == ARTIFACT_FORMAT
    newer = b'"format":9'
    with pytest.raises(ArtifactRefusedError) as refused:
        open_artifact(data.replace(b'"format":1', newer), trust, now_ns=T0 + HOUR_NS)
    # The signature is looked at first: nothing of an unproved manifest is believed, its format neither.
    assert refused.value.reason is not Refusal.UNKNOWN_FORMAT
    assert container.read(data)


FORM_WITHOUT_HEADS = 3


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("score-*.json")), ids=lambda path: path.stem)
def test_a_score_of_every_form_says_what_it_said(path):
    kept = json.loads(path.read_text())
    form = kept["parameters"]["form"]
    assert path.stem == f"score-{form}"
    parameters = msgspec.json.decode(msgspec.json.encode(kept["parameters"]), type=ScoreParameters)
    beat, context = (np.array(kept[name], np.float32) for name in ("beat", "context"))
    said = judged_by(parameters, beat, context)
    np.testing.assert_allclose(said.score, kept["scores"], rtol=1e-5)
    if form == FORM_WITHOUT_HEADS:
        # Its head saw other things: none weighs, and nothing is named.
        assert said.logits is None
        np.testing.assert_array_equal(said.surprise, said.score)
    else:
        unlabelled = judged_by(parameters.without_labels(), beat, context)
        np.testing.assert_allclose(said.surprise, kept["surprise"], rtol=1e-5)
        np.testing.assert_allclose(unlabelled.score, kept["unlabelled"], rtol=1e-5)
        np.testing.assert_allclose(said.alert, kept["alerts"], rtol=1e-5)


def test_a_score_of_the_future_is_refused():
    kept = json.loads((GOLDEN / f"score-{FORM}.json").read_text())
    kept["parameters"]["form"] = 99
    with pytest.raises(msgspec.ValidationError, match="99"):
        msgspec.json.decode(msgspec.json.encode(kept["parameters"]), type=ScoreParameters)


@pytest.mark.parametrize(("name", "kind"), [("edge-1", EdgeConfig), ("cloud-1", CloudConfig)])
def test_a_configuration_file_of_the_first_version_means_what_it_meant(name, kind):
    path = GOLDEN / f"{name}.toml"
    loaded = json.loads(msgspec.json.encode(layers.load(kind, path=path, env_prefix="NONE", environ={})))

    def same(said: object, understood: object, where: str) -> None:
        if isinstance(said, dict):
            assert isinstance(understood, dict), where
            for key, value in said.items():
                same(value, understood[key], f"{where}.{key}")
        else:
            assert understood == said, where

    same(tomllib.loads(path.read_text()), loaded, name)
