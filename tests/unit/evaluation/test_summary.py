"""The table over seeds: means, spread, the best peer, and what is refused."""

import msgspec
import pytest
from typer.testing import CliRunner

from vitalwire_cloud.evaluation.commands import app
from vitalwire_cloud.evaluation.report import Report, columns, encoded, verdict


def report(seed, *, auc=0.98, faults=0.0, **changes):
    whole = Report(
        protocol="inter-patient",
        model="m",
        data="mitdb",
        records=["100"],
        seed=seed,
        metrics={"auc": auc, "news2_errors": faults, "other": 1.0},
        peers={"a": {"auc": 0.90 + seed / 100, "news2_errors": 3.0}, "b": {"auc": 0.91, "news2_errors": 2.0}},
        bar={"auc": 0.98, "news2_errors": 0.0},
        passed=True,
    )
    return msgspec.structs.replace(whole, **changes)


def table(folder, *reports):
    for k, each in enumerate(reports):
        (folder / f"{k}.json").write_bytes(msgspec.json.encode(each))
    return CliRunner().invoke(app, ["table", str(folder)])


def test_a_table_has_mean_spread_bar_and_the_best_peer(tmp_path):
    said = table(tmp_path, report(1, auc=0.99), report(2, auc=0.97), report(3, auc=0.98, faults=3.0))
    assert said.exit_code == 0, said.output
    auc, errors = said.output.splitlines()[2:]
    assert "| auc | **0.98** (0.97 to 0.99) |  | 0.92 (a) | 0.98 | `anomaly` |" in auc
    # Of errors, less is better.
    assert "| news2_errors | 1 (0 to 3) |  | 2 (b) | 0 |" in errors


def test_one_run_has_no_spread(tmp_path):
    assert "| **0.98** |  | 0.91 (" in table(tmp_path, report(1)).output


def test_what_labels_add_stands_in_a_column_of_its_own(tmp_path):
    metrics = {"auc": 0.97, "labelled_auc": 0.99}
    said = table(tmp_path, report(1, metrics=metrics)).output
    assert "| auc | 0.97 | **0.99** | 0.91 (" in said
    said = table(tmp_path, report(1, protocol="calibration")).output
    assert "| auc |  | **0.98** | 0.91 (" in said


@pytest.mark.parametrize(
    ("second", "said"),
    [(report(1), "two runs have one seed"), (report(2, records=["101"]), "different records")],
)
def test_runs_that_do_not_belong_together_are_refused(tmp_path, second, said):
    done = table(tmp_path, report(1), second)
    assert done.exit_code == 2
    assert said in done.output


def test_what_is_no_report_is_refused(tmp_path):
    assert "holds no JSON" in table(tmp_path).output
    (tmp_path / "bad.json").write_text("{}")
    assert "give what `vitalwire evaluate --json` wrote" in table(tmp_path).output


def test_what_has_no_bar_passes_none_and_what_is_no_number_is_left_out():
    assert verdict(report(1, bar={})) == "no bar"
    assert verdict(report(1, passed=False)) == "bar not reached"
    kept = msgspec.json.decode(encoded(report(1, auc=float("nan"))), type=Report)
    assert set(kept.metrics) == {"news2_errors", "other"}


def test_only_what_has_an_unlabelled_figure_beside_it_leaves_its_column():
    every = columns(report(1, metrics={"auc": 0.9, "labelled_auc": 0.95, "labelled_only": 0.5}))
    assert every["ours"] == {"auc": 0.9, "labelled_only": 0.5}
    assert every["with labels"] == {"auc": 0.95}
