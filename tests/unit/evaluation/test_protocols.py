"""The protocols as commands, on ten minutes of real records."""

import json
import re

import numpy as np
import pytest
import wfdb
from typer.testing import CliRunner

from vitalwire_cloud.evaluation import records
from vitalwire_cloud.evaluation.commands import app
from vitalwire_cloud.train.dataset import load_record

KEYS = ["protocol", "model", "data", "records", "seed", "metrics", "peers", "bar", "passed"]


def evaluate(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def figures(path):
    report = json.loads(path.read_bytes())
    assert list(report) == KEYS
    return report


def test_a_shipped_model_is_scored_end_to_end_and_says_whom_it_learned_from(slices, tmp_path):
    out = tmp_path / "p2.json"
    said = evaluate("anomaly", "--data", slices / "beats", "--model", "shipped", "--json", out)
    assert said.exit_code == 0, said.output
    report = figures(out)
    assert report["protocol"] == "inter-patient"
    assert report["records"] == ["119", "209"]
    assert "learned from" in report["model"]
    assert "warning: the model learned from 2 of these patients" in said.output
    assert report["metrics"]["auc_V"] > 0.99
    assert report["metrics"]["detected_auc_V"] > 0.9
    assert 0.9 < report["metrics"]["detected_coverage"] <= 1


@pytest.mark.parametrize(
    "words",
    [
        ("anomaly", "--model", "shipped"),
        ("int8", "--model", "nothing.vwm"),
        ("calibration", "--model", "shipped"),
        ("qrs",),
        ("rhythm",),
        ("anomaly", "--protocol", "beatgan"),
    ],
)
def test_a_folder_without_records_is_wrong_use(words, tmp_path):
    said = evaluate(*words, "--data", tmp_path)
    assert said.exit_code == 2
    assert "error: " in said.output


def test_beats_are_named_and_too_few_labels_are_wrong_use(recordings, tmp_path):
    out = tmp_path / "naming.json"
    words = ("naming", "--data", recordings / "mitdb", "--epochs", 1, "--json", out, "--records")
    said = evaluate(*words, "101,122")
    assert said.exit_code == 2
    assert "too few labelled S or V" in said.output
    said = evaluate(*words, "119,207,209")
    assert said.exit_code == 0, said.output
    report = figures(out)
    published = {"de Chazal 2004 (DS2)", "Mondejar 2019 (DS2)"}
    here = {"linear discriminant", "regression", "regression with latents", "simulated ectopy alone"}
    assert set(report["peers"]) == here | published
    assert report["metrics"]["se_V"] > 0.5
    assert report["metrics"]["se_F"] == 0


def test_a_file_that_is_no_model_is_wrong_use(slices, tmp_path):
    bad = tmp_path / "bad.vwm"
    bad.write_bytes(b"no model at all")
    said = evaluate("anomaly", "--data", slices / "beats", "--model", bad)
    assert said.exit_code == 2
    assert "is no model artifact" in said.output


def test_below_the_bar_is_no_failure_of_the_command(slices, tmp_path):
    out = tmp_path / "p6.json"
    words = ("calibration", "--data", slices / "beats", "--model", "shipped", "--json", out)
    said = evaluate(*words, "--budget", "0.5")
    assert said.exit_code == 0, said.output
    report = figures(out)
    assert report["metrics"]["worst_budget_ratio"] <= 1
    assert 0 < report["metrics"]["v_episode_se"] <= 1
    assert report["metrics"]["low_per_patient_day"] >= 0


def test_the_artifact_is_timed_and_weighed(slices, tmp_path):
    out = tmp_path / "p8.json"
    said = evaluate("int8", "--data", slices / "beats", "--model", "shipped", "--json", out)
    assert said.exit_code == 0, said.output
    report = figures(out)
    assert 10_000 < report["metrics"]["bytes"] <= 180_000
    assert 0 < report["metrics"]["p50_us"] <= report["metrics"]["p99_us"]
    # The network alone, as without --model; the whole score beside it.
    assert report["metrics"]["p50_us"] < report["metrics"]["whole_p50_us"]
    assert "d_auc" not in report["bar"]


def test_detection_is_the_same_for_every_block_and_quotes_the_first_minutes(slices, tmp_path):
    out = tmp_path / "p3.json"
    said = evaluate("qrs", "--data", slices / "beats", "--json", out)
    assert said.exit_code == 0, said.output
    metrics = figures(out)["metrics"]
    assert metrics["same_for_blocks"] == 1
    assert metrics["f1"] > 99
    assert metrics["first5_f1"] > 99
    assert metrics["decision_ms_max"] <= 300


def test_recorded_and_simulated_episodes_count_together(slices, recordings, tmp_path):
    out = tmp_path / "p9.json"
    words = ("--noise", recordings / "nstdb", "--repeats", "1", "--json", out)
    said = evaluate("rhythm", "--data", slices / "flutter", *words)
    assert said.exit_code == 0, said.output
    metrics = figures(out)["metrics"]
    assert metrics["vf_episodes"] >= 1
    assert metrics["vf_se"] >= 0.9
    assert metrics["asystole_se"] == 1
    assert metrics["reaction_s_p99"] <= 10


def test_windows_of_one_class_beat_the_floor_of_neighbours(slices, tmp_path):
    out = tmp_path / "p1.json"
    said = evaluate("anomaly", "--protocol", "beatgan", "--data", slices / "beats", "--json", out)
    assert said.exit_code == 0, said.output
    report = figures(out)
    assert {"auc", "ap", "auc_context", "ap_context"} <= set(report["metrics"])
    assert report["metrics"]["auc_context"] > 0.9
    assert report["peers"]["5-NN on 30 components"]["auc"] > 0.9


def test_every_protocol_stands_on_one_page_that_needs_nothing_else(slices, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "mitdb").symlink_to(slices / "beats")
    only = "inter-patient,vitals,calibration"
    report = tmp_path / "report"
    said = evaluate("all", "--data", data, "--report", report, "--model", "shipped", "--only", only)
    assert said.exit_code == 0, said.output
    page = (report / "report.html").read_text()
    for name in only.split(","):
        assert f'<h2 id="{name}">' in page
        figures(report / f"{name}.json")
    assert "<polyline" in page
    assert "Provenance" in page
    assert re.search(r"Made with vitalwire [^,]+, numpy .*; Python 3", page)
    # What labels taught is a column, not a figure of ours; and what there is to read is no power of ten.
    assert "<th>ours</th><th>with labels</th><th>bar</th>" in page
    assert "labelled_auc<" not in page.replace("<th>labelled_auc</th>", "")
    assert "e+0" not in page
    assert not any(word in page for word in ("http://", "https://", "<script", "src="))


def test_what_cannot_be_written_or_run_is_said_before_anything_runs(slices, tmp_path):
    beats = slices / "beats"
    for words, said in (
        (("qrs", "--data", tmp_path / "away"), "does not exist"),
        (("qrs", "--data", beats, "--json", tmp_path / "away" / "p3.json"), "there is no folder"),
        (("all", "--data", beats, "--report", tmp_path, "--only", "qrs,rythm"), "no protocol rythm here"),
    ):
        done = evaluate(*words)
        assert done.exit_code == 2
        assert said in re.sub(r"[\s\u2502]+", " ", done.output)


@pytest.mark.parametrize("seconds", [3, 45])
@pytest.mark.parametrize(
    "protocol",
    [
        *("anomaly --protocol beatgan", "anomaly --model shipped", "int8 --model shipped"),
        *("calibration --model shipped", "ectopy", "hrv", "qrs"),
    ],
)
def test_a_record_too_short_to_judge_is_no_crash(slices, tmp_path, protocol, seconds):
    whole = wfdb.rdrecord(str(slices / "beats" / "119"), sampto=seconds * 360)
    wfdb.wrsamp(
        "brief",
        fs=360,
        units=["mV"],
        sig_name=["patch"],
        p_signal=whole.p_signal,
        fmt=["16"],
        write_dir=str(tmp_path),
    )
    note = wfdb.rdann(str(slices / "beats" / "119"), "atr", sampto=seconds * 360)
    wfdb.wrann(
        "brief", "atr", note.sample, symbol=note.symbol, aux_note=note.aux_note, write_dir=str(tmp_path)
    )
    done = evaluate(*protocol.split(), "--data", tmp_path)
    assert done.exit_code in {0, 2}, done.exception
    assert done.exit_code == 0 or "error: " in done.output


@pytest.fixture(scope="module")
def odd(slices, tmp_path_factory):
    """Folders with one record each that is not as those of MIT-BIH are."""
    root = tmp_path_factory.mktemp("odd")
    source = slices / "beats" / "119"
    whole, note = wfdb.rdrecord(str(source)), wfdb.rdann(str(source), "atr")

    def made(folder, signals, units, names):
        (root / folder).mkdir()
        wfdb.wrsamp(
            "odd", fs=360, units=units, sig_name=names, p_signal=signals, fmt=["16"] * len(units),
            write_dir=str(root / folder),
        )  # fmt: skip
        wfdb.wrann(
            "odd",
            "atr",
            note.sample,
            symbol=note.symbol,
            aux_note=note.aux_note,
            write_dir=str(root / folder),
        )

    ecg_mv = whole.p_signal
    made(
        "pressure first",
        np.column_stack((90 + 20 * ecg_mv, ecg_mv, ecg_mv)),
        ["mmHg", "mV", "mV"],
        ["ABP", "RESP", "V5"],
    )
    made("no voltage", ecg_mv, ["NU"], ["II"])
    for folder in ("cut", "header", "away", "empty"):
        made(folder, ecg_mv, ["mV"], ["II"])
    (root / "cut" / "odd.dat").write_bytes((root / "cut" / "odd.dat").read_bytes()[:1000])
    (root / "header" / "odd.hea").write_text("nonsense\n")
    (root / "away" / "odd.dat").unlink()
    (root / "empty" / "odd.atr").write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("no voltage", "has no ECG lead 1: II in 'NU'"),
        ("cut", "cannot be read"),
        ("header", "cannot be read"),
        ("away", "cannot be read"),
        ("empty", "has an empty .atr"),
    ],
)
@pytest.mark.parametrize(
    "protocol", ["anomaly --model shipped", "anomaly --protocol beatgan", "qrs", "rhythm"]
)
def test_a_record_that_cannot_be_read_is_named_and_is_wrong_use(odd, protocol, folder, said):
    done = evaluate(*protocol.split(), "--data", odd / folder)
    assert done.exit_code == 2, done.exception
    assert said in done.output
    assert "odd" in done.output


def test_the_first_ecg_of_a_record_is_judged_wherever_it_stands(odd, slices):
    first = records.read(odd / "pressure first" / "odd")
    plain = records.read(slices / "beats" / "119")
    assert np.corrcoef(first.ecg_uv, plain.ecg_uv)[0, 1] > 0.999
    assert (
        load_record(odd / "pressure first" / "odd").sample.size
        == load_record(slices / "beats" / "119").sample.size
    )


def test_a_record_that_is_not_there_is_not_left_out_in_silence(slices):
    done = evaluate("hrv", "--data", slices / "beats", "--records", "119,120")
    assert done.exit_code == 2
    assert "no annotated record 120 in" in done.output


def test_a_protocol_that_cannot_read_its_records_leaves_the_others(slices, tmp_path):
    data = tmp_path / "data"
    (data / "mitdb").mkdir(parents=True)
    for suffix in (".hea", ".atr"):
        (data / "mitdb" / f"119{suffix}").write_bytes((slices / "beats" / f"119{suffix}").read_bytes())
    done = evaluate("all", "--data", data, "--report", tmp_path / "report", "--only", "qrs,vitals")
    assert done.exit_code == 0, done.output
    assert "qrs: not run" in done.output
    assert "not run" in (tmp_path / "report" / "report.html").read_text()
