"""Protocol P8 judges every model file that an export makes, also the one that ships for tflite-runtime."""

import msgspec
import pytest
import wfdb
from typer.testing import CliRunner

from vitalwire_cloud.evaluation.commands import app
from vitalwire_cloud.train import export
from vitalwire_cloud.train.candidate import NEEDS

LIMIT = 0.002
"""Of the difference in AUC from the float parent, by the protocol."""

MINUTES = 16
"""Of each record: what is left has just enough normal beats to train on one and judge on the other."""


@pytest.fixture
def short(recordings, tmp_path):
    """The beginnings of two records: one calm, one with supraventricular beats."""
    folder, end = tmp_path / "short", 360 * 60 * MINUTES
    folder.mkdir()
    for name in ("122", "209"):
        source = str(recordings / "mitdb" / name)
        record = wfdb.rdrecord(source, sampto=end, channels=[0])
        wfdb.wrsamp(
            name,
            fs=record.fs,
            units=record.units,
            sig_name=record.sig_name,
            p_signal=record.p_signal,
            fmt=["16"],
            write_dir=str(folder),
        )
        beats = wfdb.rdann(source, "atr", sampto=end)
        wfdb.wrann(name, "atr", beats.sample, symbol=beats.symbol, write_dir=str(folder))
    return folder


@pytest.mark.filterwarnings(
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
    "ignore:.*experimental_preserve_all_tensors:UserWarning",
)
def test_every_file_is_judged_and_those_that_ship_keep_their_parents_order(short, tmp_path):
    out = tmp_path / "p8.json"
    arguments = ["int8", "--data", str(short), "--epochs", "1"]
    said = CliRunner().invoke(app, [*arguments, "--json", str(out)])
    assert said.exception is None or isinstance(said.exception, SystemExit), said.output
    report = msgspec.json.decode(out.read_bytes())
    by_file = {export.DYNAMIC: report["metrics"]} | {
        kind: report["peers"][kind] for kind in (export.FLOAT, export.STATIC, export.WEIGHTS)
    }
    assert set(by_file) == set(export.FILES)
    shipped = [kind for kind, file in export.FILES.items() if file in NEEDS.variants.values()]
    assert sorted(shipped) == [export.DYNAMIC, export.WEIGHTS]
    for kind in shipped:
        assert by_file[kind]["d_auc"] <= LIMIT
        assert by_file[kind]["bytes"] < by_file[export.FLOAT]["bytes"] / 3
    assert all(0 < each["p50_us"] <= each["p99_us"] for each in by_file.values())
