"""Recordings of any format, and what is said about those that cannot be used."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from vitalwire_edge.recordings.locate import data_folder, open_recording
from vitalwire_edge.recordings.recording import Recording, RecordingError, Replay, RhythmMark, TrueBeat
from vitalwire_edge.recordings.writing import write
from vitalwire_sim.data.convert import convert, resampled
from vitalwire_sim.data.info import describe


def made(fs_hz: float = 250, seconds: float = 6.4, lead: str = "II") -> Recording:
    time_s = np.arange(round(fs_hz * seconds)) / fs_hz
    uv = np.round(800 * np.sin(2 * np.pi * 1.2 * time_s) / 2.5) * 2.5
    beats = tuple(TrueBeat(round(t * fs_hz), "N") for t in np.arange(0.5, seconds, 0.8))
    return Recording(name="made", lead=lead, fs_hz=fs_hz, uv=uv, beats=beats)


def test_the_toy_is_five_minutes_of_a_real_heart():
    toy = open_recording("toy")
    assert toy.duration_s == 300
    assert toy.fs_hz == 360
    assert 300 < np.nanstd(toy.uv) < 1500
    assert toy.licence
    assert toy.citation


@pytest.mark.parametrize("form", ["wfdb", "edf", "csv"])
def test_what_is_written_is_read_back(tmp_path, form):
    original = made()
    original = replace(original, rhythms=(RhythmMark(0, "(N"), RhythmMark(700, "(AFIB")))
    first = write(tmp_path / "r", form, [original, made(lead="V5")], note="SYNTHETIC test")[0]
    back = open_recording(str(first), channel="V5")
    assert (back.lead, back.fs_hz, back.uv.size) == ("V5", 250, original.uv.size)
    assert np.abs(back.uv - original.uv).max() < 0.1
    assert open_recording(str(first)).lead == "II"
    assert back.beats == original.beats
    assert back.rhythms == original.rhythms
    assert b"SYNTHETIC" in first.read_bytes()


@pytest.mark.parametrize(("suffix", "module"), [("hea", "wfdb"), ("edf", "edfio")])
def test_a_reader_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch, suffix, module):
    (tmp_path / f"x.{suffix}").touch()
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(
        sys.modules, f"vitalwire_edge.recordings.{suffix.replace('hea', 'wfdb')}", raising=False
    )
    with pytest.raises(RecordingError, match=rf"needs {module}: install vitalwire\[recordings\]"):
        open_recording(str(tmp_path / f"x.{suffix}"))
    with pytest.raises(RecordingError, match=rf"needs {module}: install vitalwire\[recordings\]"):
        write(tmp_path / "y", suffix.replace("hea", "wfdb"), [made()], note="")


@pytest.mark.parametrize("form", ["wfdb", "csv"])
def test_gaps_survive_a_round_trip(tmp_path, form):
    gappy = made()
    gappy.uv[100:150] = np.nan
    first = write(tmp_path / "r", form, [gappy], note="a test")[0]
    back = open_recording(str(first))
    assert np.flatnonzero(np.isnan(back.uv)).tolist() == list(range(100, 150))


def test_edf_says_that_it_cannot_hold_gaps_or_odd_rates(tmp_path):
    gappy = made()
    gappy.uv[3] = np.nan
    with pytest.raises(RecordingError, match="write WFDB or CSV"):
        write(tmp_path / "r", "edf", [gappy], note="")
    with pytest.raises(RecordingError, match="give --fs 250"):
        write(tmp_path / "r", "edf", [made(fs_hz=249.89)], note="")


@pytest.mark.parametrize(
    ("text", "fs_hz", "first_uv"),
    [
        ("# SYNTHETIC, no patient\n# seed 1\ntime_s,ecg_uv\n0,5\n0.004,6\n0.008,7\n", 250, 5),
        ("Time [ms],Lead II (mV)\n0,0.5\n10,0.6\n20,0.7\n", 100, 500),
        ("fs_hz,V1\n360,0.25\n,0.5\n", 360, 250),
        ("\ufefft,I\n0,-1\n0.002,2\n0.004,3\n", 500, -1000),
    ],
)
def test_csv_headers_of_many_kinds(tmp_path, text, fs_hz, first_uv):
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8")
    recording = open_recording(str(path))
    assert recording.fs_hz == pytest.approx(fs_hz)
    assert recording.uv[0] == pytest.approx(first_uv)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no header row"),
        ("time_s,II\n", "no header row"),
        ("II\n1\n2\n", "needs a column time_s"),
        ("time_s,II\n0,1\n0.004,2\n0.5,3\n0.504,4\n", "evenly"),
        ("time_s,II\n0,1\n0,2\n", "must rise"),
        ("time_s,PLETH\n0,1\n0.01,2\n", "looks like an ECG"),
        ("time_s,II [mmHg]\n0,1\n0.01,2\n", "mmHg"),
        ("time_s,II\n0,\n0.01,x\n0.02,\n", "holds no sample"),
        ("time_s,II\n0,1\n1,2\n2,1\n", "no rate of an ECG"),
    ],
)
def test_bad_csv_is_named_with_its_fault(tmp_path, text, says):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(RecordingError, match=says):
        open_recording(str(path))


def test_garbage_in_the_other_formats_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "g.edf").write_bytes(b"\0garbage" * 100)
    (tmp_path / "g2.hea").write_text("g2 1 250 100\nmissing.dat 16 200/mV 16 0 0 0 0 II\n")
    (tmp_path / "g3.hea").write_bytes(b"\xff\xfe\x00")
    for name in ("g.edf", "g2.hea", "g3.hea"):
        with pytest.raises(RecordingError, match=name):
            open_recording(str(tmp_path / name))


def test_an_unknown_name_says_where_it_was_looked_for(tmp_path, monkeypatch):
    with pytest.raises(RecordingError, match="VITALWIRE_DATA"):
        open_recording("nothing")
    with pytest.raises(RecordingError, match=str(tmp_path)):
        open_recording("nothing", data=tmp_path)
    monkeypatch.setenv("VITALWIRE_DATA", str(tmp_path))
    assert data_folder(None) == tmp_path


def test_real_records_by_name_with_their_beats(recordings):
    record = open_recording("208", data=recordings / "mitdb")
    assert record.fs_hz == 360
    assert len(record.beats) == 2955
    assert {"N", "V", "F"} <= {beat.symbol for beat in record.beats}
    with pytest.raises(RecordingError, match="MLII"):
        open_recording("208", data=recordings, channel="V9")


def test_a_record_in_pieces_is_read_by_segment(recordings):
    folder = recordings / "mimic4wdb" / "85594648"
    segment = open_recording(str(folder / "85594648_0007"), channel="II")
    assert segment.fs_hz == pytest.approx(249.89, abs=0.01)
    assert segment.duration_s == pytest.approx(7278.7, abs=1)
    with pytest.raises(RecordingError, match=r"name one segment: .*85594648_0007"):
        open_recording(str(folder / "85594648"))


def test_missing_segments_are_gaps(tmp_path):
    for name in ("m_1", "m_2"):
        wfdb.wrsamp(
            name, fs=250, units=["mV"], sig_name=["II"], p_signal=np.ones((500, 1)), fmt=["16"],
            adc_gain=[200.0], baseline=[0], write_dir=str(tmp_path),
        )  # fmt: skip
    (tmp_path / "m.hea").write_text("m/4 1 250 1750\nm_1 500\n~ 250\nm_2 500\nm_3 500\n")
    (tmp_path / "m_2.dat").unlink()
    recording = open_recording(str(tmp_path / "m.hea"))
    assert recording.uv.size == 1750
    assert np.isfinite(recording.uv).nonzero()[0].tolist() == list(range(500))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2500), min_size=1, max_size=20))
def test_a_loop_is_the_same_for_any_cut(sizes):
    recording = made()
    whole = Replay(recording, loop=True).read(sum(sizes))
    replay = Replay(recording, loop=True)
    strips = [replay.read(size) for size in sizes]
    assert np.array_equal(np.concatenate([s.uv for s in strips]), whole.uv)
    assert sum((s.beats for s in strips), ()) == whole.beats
    count = sum(sizes)
    expected = [b.sample + lap * 1600 for lap in range(count // 1600 + 1) for b in recording.beats]
    assert [b.sample for b in whole.beats] == [s for s in expected if s < count]


def test_without_a_loop_a_recording_ends():
    replay = Replay(made(), loop=False)
    assert replay.read(1500).uv.size == 1500
    assert replay.read(1500).uv.size == 100
    assert replay.read(1500).uv.size == 0


@pytest.mark.parametrize("method", ["polyphase", "causal"])
def test_resampling_keeps_shape_and_beats(method):
    original = made(fs_hz=360)
    back = resampled(original, 250, method)
    time_s = np.arange(back.uv.size) / 250
    inner = slice(100, -100)
    error = back.uv[inner] - 800 * np.sin(2 * np.pi * 1.2 * time_s[inner])
    assert np.nanmax(np.abs(error)) < 8
    assert abs(back.beats[2].sample / 250 - original.beats[2].sample / 360) < 0.003


def test_resampling_never_fills_a_gap():
    gappy = made(fs_hz=500)
    gappy.uv[1000:1200] = np.nan
    back = resampled(gappy, 250, "polyphase")
    assert np.isnan(back.uv[500:600]).all()
    assert np.isfinite(back.uv[:470]).all()
    with pytest.raises(RecordingError, match="polyphase for 200"):
        resampled(gappy, 200, "causal")


def test_convert_and_describe_a_real_record(recordings, tmp_path):
    done = convert(recordings / "mitdb" / "101.hea", tmp_path / "r101", "wfdb", fs_hz=250)
    assert done.leads == ("MLII", "V1")
    found = describe(tmp_path)
    (record,) = found.records
    assert [(c.name, c.unit, c.fs_hz) for c in record.channels] == [("MLII", "mV", 250), ("V1", "mV", 250)]
    assert record.annotations["atr"]["N"] == 1860
    assert found.licence is None


def test_describe_knows_databases_and_survives_bad_files(recordings, tmp_path):
    found = describe(recordings / "mitdb")
    assert len(found.records) == len((recordings / "mitdb" / "RECORDS").read_text().split())
    assert found.licence == "ODC-By 1.0"
    pieces = {r.name: r for r in describe(recordings / "mimic4wdb").records}
    assert "0003e.dat" in pieces["85594648_0003"].problem
    assert pieces["85594648"].segments == 8
    (tmp_path / "bad.edf").write_bytes(b"no")
    (tmp_path / "good.csv").write_text("time_s,II\n0,1\n0.004,2\n0.008,1\n")
    bad, good = describe(tmp_path).records
    assert bad.problem
    assert good.problem is None
    with pytest.raises(RecordingError, match="give a recording"):
        describe(tmp_path / "nothing")
