"""The protocols of the signal code, as commands: marked waves in QTDB's format, ectopy, HRV, quality."""

import json
from pathlib import Path

import numpy as np
import pytest
import wfdb
from typer.testing import CliRunner

from vitalwire_cloud.evaluation import delineation as protocol
from vitalwire_cloud.evaluation.commands import app
from vitalwire_cloud.evaluation.delineators import Marked
from vitalwire_cloud.evaluation.known_waves import KnownEcg, known_ecg
from vitalwire_cloud.evaluation.qtdb import read_waves, wave_records
from vitalwire_edge.signal.delineation import MARKS
from vitalwire_sim.cohort import write_cohort

FS_HZ = 250


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, KnownEcg]:
    """A record of two leads whose beats 20 to 29 are marked as the QT Database marks them: no T onset."""
    folder = tmp_path_factory.mktemp("qtdb")
    ecg = known_ecg("gaussian", np.random.default_rng(4), fs_hz=FS_HZ, seconds=60, noise_uv=4)
    poor = ecg.ecg_uv * 0.2 + np.random.default_rng(1).normal(0, 60, ecg.ecg_uv.size)
    wfdb.wrsamp(
        "sel1", fs=FS_HZ, units=["mV", "mV"], sig_name=["I", "II"], fmt=["16", "16"],
        p_signal=np.stack((poor / 1000, ecg.ecg_uv / 1000), axis=1), write_dir=str(folder),
    )  # fmt: skip
    at, symbols = [], []
    for k in range(20, 30):
        m = dict(zip(MARKS, ecg.marks_s[k], strict=True))
        for second, symbol in (
            *((m["p_on"], "("), (m["p_peak"], "p"), (m["p_off"], ")"), (m["qrs_on"], "("), (ecg.r_s[k], "N")),
            *((m["qrs_off"], ")"), (m["t_peak"], "t"), (m["t_off"], ")")),
        ):
            at.append(round(second * FS_HZ))
            symbols.append(symbol)
    # The package writes no extension with a digit in it, and reads it well.
    wfdb.wrann("sel1", "qc", np.array(at), symbols, write_dir=str(folder))
    (folder / "sel1.qc").rename(folder / "sel1.q1c")
    beats = np.rint(ecg.r_s * FS_HZ).astype(np.int64)
    wfdb.wrann("sel1", "atr", beats, ["N"] * beats.size, write_dir=str(folder))
    return folder, ecg


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, 3, seconds=385, seed=3, prefix="c")
    return folder


def ran(*arguments: str) -> dict[str, float]:
    path = Path(arguments[2]).parent / "out.json"
    done = CliRunner().invoke(app, [*arguments, "--json", str(path)])
    assert done.exit_code == 0, done.output
    found = json.loads(path.read_bytes())
    assert found["protocol"] == arguments[0]
    return dict(found["metrics"])


def test_marked_waves_are_read_as_they_were_written(marked: tuple[Path, KnownEcg]) -> None:
    folder, ecg = marked
    ((path, annotator),) = wave_records(folder)
    record = read_waves(path, annotator)
    assert annotator == "q1c"
    assert record.ecg_uv.shape == (2, ecg.ecg_uv.size)
    assert np.abs(record.r_s - ecg.r_s[20:30]).max() <= 0.5 / FS_HZ + 1e-9
    assert np.abs(record.marks_s - ecg.marks_s[20:30]).max() <= 0.5 / FS_HZ + 1e-9
    assert record.all_r_s.size == ecg.r_s.size


def test_marks_of_a_record_are_compared_on_the_nearer_lead(
    marked: tuple[Path, KnownEcg], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = {"late": lambda _ecg, _fs, r_s: Marked(np.tile(r_s[:, None] + 0.05, (1, len(MARKS))), 1.0)}
    monkeypatch.setattr(protocol, "peers", lambda: late)
    metrics = ran("delineation", "--data", str(marked[0]), "--patients", "1")
    assert metrics["marked_p_on_found"] == metrics["marked_t_off_found"] == 1.0
    for name, limit_ms in protocol.LIMIT_MS.items():
        assert metrics[f"marked_{name}_sd"] < limit_ms
        assert abs(metrics[f"marked_{name}_mean"]) < 10
    path = marked[0].parent / "out.json"
    theirs = json.loads(path.read_bytes())["peers"]["late"]
    assert theirs["marked_qrs_off_mean"] > 0
    assert theirs["marked_p_on_mean"] > 150


def test_without_marks_intervals_are_shown_by_record_and_between_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "peers", dict)
    folder = tmp_path / "beats"
    folder.mkdir()
    ecg = known_ecg("gaussian", np.random.default_rng(4), fs_hz=FS_HZ, seconds=200, noise_uv=4)
    wfdb.wrsamp(
        "two", fs=FS_HZ, units=["mV", "mV"], sig_name=["I", "II"], fmt=["16", "16"],
        p_signal=np.stack((ecg.ecg_uv, ecg.ecg_uv / 2), axis=1) / 1000, write_dir=str(folder),
    )  # fmt: skip
    beats = np.rint(ecg.r_s * FS_HZ).astype(np.int64)
    wfdb.wrann("two", "atr", beats, ["N"] * beats.size, write_dir=str(folder))
    metrics = ran("delineation", "--data", str(folder), "--patients", "1")
    assert metrics["t_off_found"] == 1.0
    assert "qrs_measured" in metrics
    assert abs(metrics["qt_leads_mean_ms"]) < 10


def test_a_record_of_one_lead_has_intervals_and_none_between_leads(
    marked: tuple[Path, KnownEcg], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "peers", dict)
    whole = wfdb.rdrecord(str(marked[0] / "sel1"), channels=[0])
    wfdb.wrsamp(
        "sel1",
        fs=whole.fs,
        units=whole.units,
        sig_name=["patch"],
        p_signal=whole.p_signal,
        fmt=["16"],
        write_dir=str(tmp_path),
    )
    (tmp_path / "sel1.atr").write_bytes((marked[0] / "sel1.atr").read_bytes())
    metrics = ran("delineation", "--data", str(tmp_path), "--patients", "1")
    assert "qrs_measured" in metrics
    assert "qt_leads_mean_ms" not in metrics
    wrong = CliRunner().invoke(app, ["delineation", "--data", str(tmp_path), "--records", "sel2"])
    assert wrong.exit_code == 2


def test_a_folder_without_records_is_used_wrongly(tmp_path: Path) -> None:
    for name in ("delineation", "ectopy", "hrv"):
        done = CliRunner().invoke(app, [name, "--data", str(tmp_path)])
        assert done.exit_code == 2
        assert "no " in done.output


def test_ectopic_beats_of_simulated_patients_are_told_by_patient(cohort: Path) -> None:
    metrics = ran("ectopy", "--data", str(cohort))
    assert metrics["v_se"] > 0.9
    assert metrics["v_ppv"] > 0.9
    assert metrics["judged"] > 0.9


def test_variability_agrees_with_itself_where_there_is_a_peer_and_runs_without(
    cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitalwire_cloud.evaluation.variability.importlib.util.find_spec", lambda _name: None)
    done = CliRunner().invoke(app, ["hrv", "--data", str(cohort)])
    assert done.exit_code == 0
    assert "neurokit2 was not run" in done.output


def test_abstaining_is_measured_under_noise(cohort: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for kind in ("bw", "ma", "em"):
        burst = rng.normal(0, 1, 400 * FS_HZ) * (np.arange(400 * FS_HZ) // (10 * FS_HZ) % 2)
        wfdb.wrsamp(
            kind, fs=FS_HZ, units=["mV"], sig_name=["noise"], p_signal=burst[:, None], fmt=["16"],
            write_dir=str(tmp_path),
        )  # fmt: skip
    metrics = ran("quality", "--data", str(cohort), "--noise", str(tmp_path), "--records", "c001")
    assert metrics["clean_coverage"] > 0.9
    assert metrics["em0_coverage"] < metrics["em24_coverage"]
    assert metrics["em0_off_ppv"] < metrics["em24_off_ppv"]
    assert metrics["em24_on_se"] > 98
