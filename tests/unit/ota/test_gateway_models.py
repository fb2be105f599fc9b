"""The models of a gateway as a whole: what ships goes to work, and whatever is wrong costs only the scores."""

import shutil
from pathlib import Path

import pytest
from model_gateway import NOW_NS
from structlog.testing import capture_logs

from vitalwire_edge.clock.gateway_clock import Stamp
from vitalwire_edge.inference.artifact import Host
from vitalwire_edge.inference.shipped import folder as shipped_folder
from vitalwire_edge.ota.config import OtaConfig
from vitalwire_edge.ota.gateway import GatewayModels


def models(folder: Path, **config) -> GatewayModels:
    made = GatewayModels(
        OtaConfig(folder=str(folder), **config), now=lambda: Stamp(0, NOW_NS, True), wake=lambda: None
    )
    made.start()
    return made


def test_what_ships_goes_to_work_and_is_told_to_the_cloud(tmp_path):
    made = models(tmp_path / "models")
    try:
        state = made.state
        assert state.version >= 1
        assert state.problem is None
        assert not state.on_probation
        assert made.slot.loaded.model.threshold > 0
        assert made.alive()
    finally:
        made.stop()
    assert not made.alive()


def test_only_beat_models_are_taken_from_what_ships(tmp_path):
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for name in ("trust.json", "beat-1.vwm"):
        shutil.copy(shipped_folder() / name, shipped / name)
    (shipped / "generator-9.vwm").write_bytes(b"no beat model")
    with capture_logs() as logs:
        made = GatewayModels(
            OtaConfig(folder=str(tmp_path / "models")),
            now=lambda: Stamp(0, NOW_NS, True),
            wake=lambda: None,
            shipped=shipped,
        )
        made.start()
    made.stop()
    assert made.state.version == 1
    assert not [line for line in logs if line["event"] == "shipped_model_refused"]


def no_folder(folder, _monkeypatch):
    folder.write_text("a file where the folder should be")
    return {}


def no_runtime(_folder, monkeypatch):
    monkeypatch.setattr(Host, "here", classmethod(lambda cls: cls("x86_64", ())))
    return {}


def no_trust(folder, _monkeypatch):
    bad = folder.parent / "trust.json"
    bad.write_text("{}")
    return {"trust_files": (str(bad),)}


def foreign_machine(_folder, monkeypatch):
    monkeypatch.setattr(Host, "here", classmethod(lambda cls: cls("sparc", ("ai-edge-litert",))))
    return {}


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (no_folder, "models"),
        (no_runtime, "vitalwire[edge]"),
        (no_trust, "trust.json"),
        (foreign_machine, "no model here"),
    ],
)
def test_whatever_is_wrong_the_gateway_has_no_model_and_says_why(tmp_path, monkeypatch, break_it, named):
    folder = tmp_path / "models"
    made = models(folder, **break_it(folder, monkeypatch))
    state = made.state
    assert state.version == 0
    assert named in state.problem
    assert made.slot.loaded is None
    assert made.alive()
    made.connected()
    made.receive(b"an offer")
    assert isinstance(made.take(), list)
    made.stop()
