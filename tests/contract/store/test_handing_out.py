"""What leaves a store is what was in it, to the bit, in files that other programs read."""

import csv
import hashlib
import json

import numpy as np
import pytest
import wfdb
from stored import FS_HZ, SECOND_NS, T0, alarm, beats, item, scores, vitals, wave

from vitalwire_cloud.handing_out import hand_out
from vitalwire_cloud.store.interface import StoreError
from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.messages import ChannelInfo, DeviceBirth


def fill(store) -> np.ndarray:
    channels = (
        ChannelInfo(code=int(Code.ECG_I), name="I", unit="uV", rate_mhz=FS_HZ * 1000, scale=2.0),
        ChannelInfo(code=int(Code.HEART_RATE), name="HR", unit="/min"),
    )
    birth = DeviceBirth(session="s-1", at_ns=T0, device_boot=0, simulated=True, channels=channels)
    store.register("ward-3", "gw-1", "w-1", birth)
    rng = np.random.default_rng(3)
    steps = rng.integers(-32768, 32767, (6, FS_HZ), endpoint=True).astype(np.int16)
    store.write([wave(n, steps[n]) for n in (0, 1, 2, 5)], [])
    store.write([vitals(n, 60.0 + n) for n in range(6)] + [vitals(6, None)], [])
    store.write([beats(0, T0, T0 + SECOND_NS), scores(0, T0), item(alarm(0, "raised"), "alarm")], [])
    store.write([item(alarm(1, "raised", alarm_id="a-2", at_s=100), "alarm")], [])
    return steps


def test_everything_of_a_span_comes_back_from_the_files(store, tmp_path):
    steps = fill(store)
    out = tmp_path / "out"
    manifest = hand_out(store, "w-1", T0, T0 + 10 * SECOND_NS, out)
    assert [(w.record, w.start_ns - T0, w.samples) for w in manifest.waveforms] == [
        ("ecg_i-0001", 0, 3 * FS_HZ),
        ("ecg_i-0002", 5 * SECOND_NS, FS_HZ),
    ]
    first = wfdb.rdrecord(str(out / "ecg_i-0001"), physical=False)
    np.testing.assert_array_equal(first.d_signal[:, 0], steps[:3].ravel())
    assert (first.fs, first.units, first.adc_gain, first.sig_name) == (FS_HZ, ["mV"], [500.0], ["I"])
    assert first.base_datetime.isoformat() == "2026-09-21T14:13:20"
    assert wfdb.rdsamp(str(out / "ecg_i-0002"))[0][:, 0] == pytest.approx(steps[5] * 0.002)
    rows = list(csv.DictReader((out / "vitals.csv").read_text().splitlines()))
    assert [(r["name"], r["value"], r["unit"]) for r in rows[:2]] == [
        ("HR", "60.0", "/min"),
        ("HR", "61.0", "/min"),
    ]
    assert (rows[6]["value"], rows[6]["status"]) == ("", "2")
    assert len(list(csv.DictReader((out / "beats.csv").read_text().splitlines()))) == 2
    assert next(csv.DictReader((out / "scores.csv").read_text().splitlines()))["score"] == "3.5"
    alarms = [json.loads(line) for line in (out / "alarms.ndjson").read_text().splitlines()]
    assert [a["alarm_id"] for a in alarms] == ["a-1"]
    told = json.loads((out / "manifest.json").read_text())
    assert (told["device"], told["simulated"], told["site"]) == ("w-1", True, "ward-3")
    assert {f["name"] for f in told["files"]} == {p.name for p in out.iterdir()} - {"manifest.json"}
    for file in told["files"]:
        assert hashlib.sha256((out / file["name"]).read_bytes()).hexdigest() == file["sha256"]
    assert {f["name"]: f["rows"] for f in told["files"]}["vitals.csv"] == 7


def test_a_wfdb_header_carries_a_true_checksum(store, tmp_path):
    steps = fill(store)
    hand_out(store, "w-1", T0, T0 + SECOND_NS, tmp_path / "out")
    header = wfdb.rdheader(str(tmp_path / "out" / "ecg_i-0001"))
    assert header.checksum[0] % 65536 == int(steps[0].astype(np.int64).sum()) % 65536
    assert header.init_value[0] == steps[0][0]


def test_what_cannot_be_handed_out_says_why(store, tmp_path):
    with pytest.raises(StoreError, match="no device 'w-1'"):
        hand_out(store, "w-1", T0, T0 + 1, tmp_path / "out")
    fill(store)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "theirs").write_text("x")
    with pytest.raises(StoreError, match="not empty"):
        hand_out(store, "w-1", T0, T0 + 1, tmp_path / "full")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        hand_out(store, "w-1", T0, T0 + 1, tmp_path / "file")
