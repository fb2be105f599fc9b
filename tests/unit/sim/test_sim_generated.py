"""A simulated wearable that wears a generated patient."""

import numpy as np
import pytest
from typer.testing import CliRunner

from vitalwire_edge.recordings.recording import Replay
from vitalwire_sim import cli, scenario
from vitalwire_sim.generated import generated_ecg
from vitalwire_sim.physiology.body import Body
from vitalwire_sim.scenario import ScenarioError, parse
from vitalwire_sim.wearable import Wearable

TEXT = """
site = "s"
title = "t"
seconds = 30
gateways = ["g"]
[[devices]]
name = "d"
gateway = "g"
fs_hz = 200
generated = {{ rhythm = "pvc", rate_bpm = 80, seconds = 20{more} }}
{device}
"""


def device(more="", extra=""):
    return parse(TEXT.format(more=more, device=extra), source="x").devices[0]


def test_the_same_seed_makes_the_same_patient_at_the_device_s_rate():
    one = device()
    first, second, other = (generated_ecg(one, one.generated, seed=seed) for seed in (1, 1, 2))
    assert first.fs_hz == 200
    assert first.duration_s == 20
    assert np.array_equal(first.uv, second.uv)
    assert first.beats == second.beats
    assert not np.array_equal(first.uv, other.uv)
    fixed = device(", seed = 9")
    one, two = (generated_ecg(fixed, fixed.generated, seed=seed) for seed in (1, 2))
    assert np.array_equal(one.uv, two.uv)


def test_its_wearable_sends_it_and_tells_its_beats():
    loaded = parse(TEXT.format(more="", device=""), source="x")
    worn = loaded.devices[0]
    ecg = generated_ecg(worn, worn.generated, seed=3)
    script = loaded.script("d", 30)
    body = Body(worn.patient, script, fs_hz=200, seed=3)
    wearable = Wearable(worn, script, Replay(ecg, loop=True), body, fs_hz=200.0, seed=3)
    beats = [beat for moment in wearable.moments(30.0) for beat in moment.beats]
    assert len(beats) == pytest.approx(40, abs=4)
    assert [beat.sample for beat in beats[: len(ecg.beats)]] == [beat.sample for beat in ecg.beats]


@pytest.mark.parametrize(
    ("more", "extra", "says"),
    [
        (", colour = 1", "", "colour"),
        (', family = "dream"', "", "family|enum"),
        ("", 'recording = "toy"', "give one of them"),
        ("", 'episodes = [{ kind = "vf", start_s = 1, duration_s = 5 }]', "cannot happen to a generated ECG"),
    ],
)
def test_what_cannot_be_worn_is_said_when_the_file_is_read(more, extra, says):
    with pytest.raises(ScenarioError, match=says):
        device(more, extra)


def test_what_cannot_be_generated_is_said_with_the_device():
    worn = device(", classes = { V = 0.9 }")
    with pytest.raises(ScenarioError, match=r"device 'd' wears a generated patient: .*at most 0.5"):
        generated_ecg(worn, worn.generated, seed=1)


def test_the_scenario_that_ships_has_two_and_says_so():
    loaded = scenario.load("generated")
    assert [one.generated.family for one in loaded.devices] == ["gan", "vae"]
    assert "wears a generated patient in sinus" in CliRunner().invoke(cli.app, ["list"]).output
