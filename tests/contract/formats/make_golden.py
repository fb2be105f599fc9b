"""Writes the golden files of today's formats: `python tests/contract/formats/make_golden.py FOLDER`.

For a new format number only: a golden file that is committed is never written again, or it proves nothing.
"""

import gzip
import json
import sqlite3
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.store.embedded import EmbeddedStore
from vitalwire_cloud.store.interface import Item, Quarantined, SeriesKey
from vitalwire_cloud.store.schema import FORMAT_VERSION
from vitalwire_edge.inference import features
from vitalwire_edge.inference.artifact import FORMAT as ARTIFACT_FORMAT
from vitalwire_edge.inference.artifact import Manifest, Needs
from vitalwire_edge.inference.artifact import pack as pack_artifact
from vitalwire_edge.inference.features import RHYTHM_FEATURES
from vitalwire_edge.inference.head import CLASSES, HIDDEN, SEEN, HeadParameters
from vitalwire_edge.inference.keys import Root
from vitalwire_edge.inference.score import FORM, VIEWS, Judged, ScoreParameters, Scoring
from vitalwire_edge.inference.sequence import (
    COMPONENTS,
    FEATURES,
    TOKEN,
    Layer,
    SequenceWeights,
    checked_by,
    layer,
)
from vitalwire_edge.signal.beats import WINDOW
from vitalwire_edge.spool.file import FORMAT, SpoolFile
from vitalwire_edge.spool.rows import Entry
from vitalwire_edge.wire import frames as f
from vitalwire_edge.wire import messages as m
from vitalwire_edge.wire import models
from vitalwire_edge.wire.blocks import pack
from vitalwire_edge.wire.codes import Code

T0 = 1_790_000_000_000_000_000
SECOND_NS = 1_000_000_000
KEY = bytes(range(32))
HASH = "5a" * 32
HEAD = "v1/ward-3/gw-1"


def wave(seq: int) -> m.WaveBlock:
    samples = (np.arange(seq * 250, (seq + 1) * 250) % 1000).astype(np.int16)
    codec, data = pack(samples)
    return m.WaveBlock(
        session="s-1", seq=seq, flags=0, code=int(Code.ECG_I), device_boot=0, first_sample=seq * 250,
        start_ns=T0 + seq * SECOND_NS, rate_mhz=250_000, scale=2.0, count=250, codec=int(codec), data=data,
    )  # fmt: skip


def vitals(seq: int, value: float | None) -> m.VitalsMessage:
    number = m.VitalValue(int(Code.HEART_RATE), value, 0 if value is not None else 2)
    return m.VitalsMessage(session="s-1", seq=seq, flags=0, time_ns=T0 + seq * SECOND_NS, values=(number,))


BEATS = m.BeatsMessage(
    session="s-1", seq=0, flags=0,
    beats=(
        m.BeatMark(T0 + 100_000_000, None, 900.0, 90.0, 0.75, False),
        m.BeatMark(T0 + 900_000_000, 800.0, 910.0, 95.0, 0.5, True),
    ),
)  # fmt: skip
SCORES = m.ScoresMessage(
    session="s-1", seq=0, flags=0, model=HASH, version=2, threshold=4.0,
    scores=(m.ScoreMark(T0 + 100_000_000, 3.5, 1.0, 2.0, 0.5),),
)  # fmt: skip
EVIDENCE = m.BeatEvidence(
    r_ns=T0, model=HASH, version=2, score=5.0, threshold=4.0, shape=1.0, timing=2.0, amplitude=0.5,
    rate_hz=250, r_index=1, observed_uv=(1, 2, 3), expected_uv=(1, 1, 1),
)  # fmt: skip
SKIP = m.Skip("s-1", 5, 6, 500, "age")
CLOCK = m.ClockState(boot="boot-1", synchronised=True, offset_ns=T0)
BIRTH = m.DeviceBirth(
    session="s-1", at_ns=T0, device_boot=0, simulated=True, paced="no",
    channels=(m.ChannelInfo(int(Code.ECG_I), "I", "uV", None, 250_000, 2.0),),
)  # fmt: skip


def alarm(seq: int, evidence: m.BeatEvidence | None = None) -> m.AlarmMessage:
    return m.AlarmMessage(
        session="s-1", seq=seq, flags=0, alarm_id="a-1", kind="asystole", priority="high",
        category="physiological", phase="raised", onset_ns=T0, at_ns=T0 + seq * SECOND_NS, text=f"text {seq}",
        rule="asystole", value=0.5, limit=4.0, notes=("pulse present",), evidence=evidence,
    )  # fmt: skip


STREAMS = (
    ("ecg", wave(0)), ("ecg", wave(1)), ("ecg", wave(3)), ("vitals", vitals(0, 70.0)), ("vitals", vitals(1, None)),
    ("beat", BEATS), ("alarm", alarm(0)), ("alarm", alarm(1)), ("score", SCORES),
)  # fmt: skip


def store(folder: Path) -> Path:
    held = EmbeddedStore(folder)
    held.register("ward-3", "gw-1", "w-1", BIRTH)
    items = [Item("gw-1", "w-1", stream, "s-1", each.seq, each, T0) for stream, each in STREAMS]
    items.append(Item("gw-1", "w-1", "ecg", "s-1", SKIP.first, SKIP, T0))
    place = SeriesKey("gw-1", "w-1", "vitals", "s-1")
    payload = m.encode_data(vitals(2, 71.0))
    held.write(items, [Quarantined(f"{HEAD}/w-1/vitals", payload, "a fault", T0, place, 2)])
    held.erase("w-9", T0, T0 + SECOND_NS, by="Dr. X", reason="asked")
    held.close()
    return folder / "store.sqlite"


def spool(folder: Path) -> Path:
    path = folder / "spool.sqlite"
    file = SpoolFile(path, "boot-1")
    file.append(
        Entry(
            "w-1", stream, each, mono_ns=1_000 + n, offset_ns=T0, synchronised=True,
            code=getattr(each, "code", 0), samples=getattr(each, "count", 1),
            open_alarm=("asystole", b"state") if stream == "alarm" else None,
        )
        for n, (stream, each) in enumerate(STREAMS)
    )  # fmt: skip
    file.evict("beat", "size")
    file.confirm([m.StreamCommit("w-1", "ecg", file.session, 1, ())])
    file.close()
    return path


def packed(path: Path) -> bytes:
    """The file without its log, as small as it gets."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()
    return gzip.compress(path.read_bytes(), 9, mtime=0)


def frames() -> list[dict[str, object]]:
    said: list[f.Payload] = [
        f.Hello("w-1", 3, (f.WaveChannel(Code.ECG_I, 250_000, 2.0),)),
        f.Wave(0, 500, np.array([1, -2, 32767], np.int16), lead_off=True),
        f.Vitals((f.Reading(Code.HEART_RATE, 70.0),)),
        f.Status(80, -60, 2),
        f.Goodbye(),
    ]
    return [
        {"kind": type(each).__name__, "hex": f.encode(f.Frame(n, 1_000_000 * n, each)).hex()}
        for n, each in enumerate(said)
    ]


def wire() -> dict[str, object]:
    data = [wave(0), vitals(0, 70.0), vitals(1, None), BEATS, SCORES, SKIP]
    status = m.DeviceStatus(
        device="w-1", connected=True, battery_percent=80, quality=0.9, last_frame_age_s=0.5, frames=7,
        dropped={"crc": 1},
    )  # fmt: skip
    named = {"session": "s-1", "at_ns": T0, "clock": CLOCK}
    text: list[m.JsonMessage] = [
        alarm(0),
        alarm(1, EVIDENCE),
        m.GatewayBirth(**named, software="0.1.0", devices=("w-1",)),
        m.GatewayDeath(session="s-1", expected=False),
        BIRTH,
        m.DeviceDeath(session="s-1", at_ns=T0, reason="goodbye"),
        m.GatewayStatus(
            **named, spool_rows=1, spool_bytes=2, unconfirmed=3, counters={"sent": 4}, devices=(status,)
        ),
        m.Command(command="rebirth", at_ns=T0, expires_ns=T0 + 1),
        m.Command(command="waveform", at_ns=T0, expires_ns=T0 + 1, device="w-1", seconds=60.0),
        m.Command(command="new_patient", at_ns=T0, expires_ns=T0 + 1, device="w-1", order=9),
        m.Obeyed(command="new_patient", order=9, device="w-1", at_ns=T0),
    ]
    about = {"name": "beat", "version": 2, "manifest_sha256": HASH, "sha256": HASH}
    carried = [
        models.ModelOffer(**about, size=10, chunks=1),
        models.ModelChunk(HASH, 0, b"bytes"),
        models.ModelRequest(HASH, (0, 1)),
        models.ModelReport(at_ns=T0, state="running", **about, running_version=2, running_sha256=HASH),
    ]
    committed = m.Committed(T0, (m.StreamCommit("w-1", "ecg", "s-1", 5, ((7, 9),)),))
    topic = f"{HEAD}/committed"

    def row(each: object, payload: bytes) -> dict[str, object]:
        return {"kind": type(each).__name__, "hex": payload.hex(), "value": msgspec.to_builtins(each)}

    return {
        "frames": frames(),
        "data": [row(each, m.encode_data(each)) for each in data],
        "json": [row(each, m.encode_json(each)) for each in text],
        "models": [row(each, models.encode_model(each)) for each in carried],
        "committed": row(committed, m.seal(KEY, topic, m.encode_committed(committed))) | {"topic": topic},
    }


def staff_wire() -> dict[str, object]:
    """What came with the entries of staff; the first messages stay as they were."""

    def seen(value: object) -> m.Entered:
        return m.Entered(value=value, entered_ns=T0, expires_ns=T0 + 12 * 3600 * SECOND_NS)

    said = m.StaffState(consciousness=seen("voice"), oxygen=seen(True), spo2_scale=seen(2), paced="no")
    about = {"command": "staff", "device": "w-1", "at_ns": T0}
    text: list[m.JsonMessage] = [
        m.Command(**about, expires_ns=T0 + 1, order=10, staff=said),
        m.Command(**about, expires_ns=T0 + 1, order=11, staff=m.StaffState()),
        m.Obeyed(**about, order=10),
    ]
    return {
        "json": [
            {
                "kind": type(each).__name__,
                "hex": m.encode_json(each).hex(),
                "value": msgspec.to_builtins(each),
            }
            for each in text
        ]
    }


def news2_wire() -> dict[str, object]:
    """What came with the scores of NEWS2 in the status."""
    old = m.TooOld(what="oxygen", entered_ns=T0 - 13 * 3600 * SECOND_NS)
    points = {"respiration": 0, "spo2": 1, "systolic": 0, "pulse": 3, "consciousness": 0, "temperature": 0}
    score = m.News2Status(
        at_ns=T0, total=4, band="low_medium", points=points, missing=("oxygen",), too_old=(old,), scale=2
    )
    about = {"connected": True, "battery_percent": 80, "quality": 0.9, "last_frame_age_s": 0.5, "frames": 7}
    told = m.DeviceStatus(device="w-1", **about, dropped={}, news2=score)
    none = m.DeviceStatus(device="w-2", **about, dropped={}, news2=None)
    untold = m.DeviceStatus(device="w-3", **about, dropped={})
    status = m.GatewayStatus(
        session="s-1", at_ns=T0, clock=CLOCK, spool_rows=1, spool_bytes=2, unconfirmed=3, counters={},
        devices=(told, none, untold),
    )  # fmt: skip
    row = {
        "kind": "GatewayStatus", "hex": m.encode_json(status).hex(), "value": msgspec.to_builtins(status)
    }  # fmt: skip
    return {"json": [row]}


def artifact(folder: Path) -> None:
    """An artifact and the root that it is trusted by; the private half is thrown away."""
    root = Root.new()
    needs = Needs(
        arch=("x86_64", "aarch64"), variants={"ai-edge-litert": "m"}, max_p99_us=1, max_bytes=10_000
    )
    manifest = Manifest(name="beat", version=3, created_ns=T0, hardware=needs)
    parts = {
        "m": b"a model", "selftest.npz": b"vectors", "card.json": b'{"what": "a line"}', "parameters.json": b"{}"
    }  # fmt: skip
    data = pack_artifact(parts, manifest, root.delegate(now_ns=T0, expires_ns=None))
    (folder / f"artifact-{ARTIFACT_FORMAT}.vwm").write_bytes(data)
    (folder / f"artifact-{ARTIFACT_FORMAT}.trust.json").write_bytes(root.trust.to_json())


def score() -> dict[str, object]:
    """Parameters of a score with a sequence model of two units, what was asked of them, and what they said."""
    rng = np.random.default_rng(FORM)

    def affine(rows: int, columns: int) -> Layer:
        return layer(rng.normal(0, 0.2, (rows, columns)).astype("f4"), rng.normal(0, 0.1, rows).astype("f4"))

    def some(count: int) -> list[float]:
        return [round(float(each), 3) for each in rng.uniform(0.5, 1.5, count)]

    def head() -> HeadParameters:
        sizes = zip((*HIDDEN, len(CLASSES)), (SEEN, *HIDDEN), strict=True)
        return HeadParameters(centre=some(SEEN), width=some(SEEN), layers=[affine(*each) for each in sizes])

    units, outcome = 2, COMPONENTS * (1 + 2 * FEATURES)
    sequence = SequenceWeights(
        token=affine(3, TOKEN), from_input=affine(3 * units, 3), from_state=affine(3 * units, units),
        hidden=affine(2, units), outcome=affine(outcome, 2), check=[], check_nats=[],
    )  # fmt: skip
    tokens = rng.normal(0, 1, (2, TOKEN)).astype(np.float32)
    parameters = ScoreParameters(
        preprocessing=features.VERSION, centre=some(FEATURES), width=some(FEATURES),
        one_sided_centre=some(FEATURES), one_sided_width=some(FEATURES),
        sequence=checked_by(sequence, tokens).quantised(), view_centre=some(VIEWS), view_width=some(VIEWS),
        threshold=3.25, decision=2.75,
        simulated_head=head().quantised(), labelled_head=head().quantised(),
    )  # fmt: skip
    beat = np.round(rng.normal(0, 1, (3, WINDOW)), 3).astype(np.float32)
    context = np.round(rng.normal(0, 1, (3, FEATURES)), 3).astype(np.float32)
    said = judged_by(parameters, beat, context)
    return {
        "parameters": msgspec.to_builtins(parameters),
        "beat": [[round(float(v), 3) for v in row] for row in beat],
        "context": [[round(float(v), 3) for v in row] for row in context],
        "surprise": said.surprise.tolist(),
        "unlabelled": judged_by(parameters.without_labels(), beat, context).score.tolist(),
        "scores": said.score.tolist(),
        "alerts": said.alert.tolist(),
    }


def judged_by(parameters: ScoreParameters, beat: NDArray[np.float32], context: NDArray[np.float32]) -> Judged:
    """What these parameters say of beats of an autoencoder that expects nothing."""
    scoring = Scoring(parameters)
    memory = scoring.begin()
    blank = np.zeros_like(beat)
    timing = np.zeros((len(beat), 2 * RHYTHM_FEATURES), np.float32)
    views = scoring.views(beat, context, (blank, blank, timing, timing), memory.history)
    return scoring.judged(views, context, memory)


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as made:
        (folder / f"store-{FORMAT_VERSION}.sqlite.gz").write_bytes(packed(store(Path(made))))
        (folder / f"spool-{FORMAT}.sqlite.gz").write_bytes(packed(spool(Path(made))))
    artifact(folder)
    (folder / f"score-{FORM}.json").write_text(json.dumps(score(), separators=(",", ":")) + "\n")
    (folder / "wire-1.json").write_text(json.dumps(wire(), indent=1) + "\n")
    (folder / "wire-1-staff.json").write_text(json.dumps(staff_wire(), indent=1) + "\n")
    (folder / "wire-1-news2.json").write_text(json.dumps(news2_wire(), indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
