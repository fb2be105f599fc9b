"""Scenario files: what they may say, and what is said about those that may not."""

import pytest

from vitalwire_sim import scenario
from vitalwire_sim.kinds import KINDS
from vitalwire_sim.scenario import CloudRestart, LinkLoss, ScenarioError, parse
from vitalwire_sim.script import Occurrence, Script

BASE = """
site = "s1"
title = "t"
seconds = 60
gateways = ["gw-a"]
"""
DEVICE = BASE + '[[devices]]\nname = "d1"\ngateway = "gw-a"\n'


def episodes(*lines: str) -> str:
    return DEVICE + "episodes = [" + ",".join("{" + line + "}" for line in lines) + "]\n"


def test_the_ward_is_what_the_demo_promises():
    ward = scenario.load("ward")
    raised = [e for d in ward.devices for e in d.episodes if KINDS[e.kind].expects]
    assert len(raised) >= 8
    assert max(e.start_s for e in raised) <= 60
    assert len(ward.gateways) == 2
    assert len(ward.devices) >= 5
    assert any(d.recording == "toy" for d in ward.devices)
    assert len({d.name for d in ward.devices for e in d.episodes if KINDS[e.kind].expects}) >= 4
    quiet_kinds = {e.kind for d in ward.devices for e in d.episodes if not KINDS[e.kind].expects}
    assert {"motion", "frame_drop", "frame_reorder", "clock_drift", "pvc_run"} <= quiet_kinds
    events = list(ward.site_events(90))
    (cut,) = [e for e in events if isinstance(e, LinkLoss)]
    assert [e for e in events if isinstance(e, CloudRestart)]
    behind = {d.name for d in ward.devices if d.gateway == cut.gateway}
    assert any(
        cut.start_s < e.start_s < cut.start_s + cut.duration_s - 8
        for d in ward.devices
        if d.name in behind
        for e in d.episodes
        if KINDS[e.kind].expects
    ), "an episode begins early enough to be raised while the link is down"


@pytest.mark.parametrize("name", list(scenario.shipped()))
def test_every_shipped_scenario_loads_and_its_episodes_fit_one_run(name):
    loaded = scenario.load(name)
    assert loaded.script_end_s <= loaded.seconds
    for device in loaded.devices:
        assert len(loaded.script(device.name, loaded.seconds).occurrences) == len(device.episodes)


def test_a_short_run_leaves_out_what_it_would_cut_off():
    ward = scenario.load("ward")
    kinds = [o.kind for o in ward.script("chest-2", 40).occurrences]
    assert kinds == ["asystole"]


def test_a_long_run_repeats_whole_rounds_only():
    ward = scenario.load("ward")
    assert len(ward.script("chest-2", 300 + ward.script_end_s).occurrences) == 4
    assert len(ward.script("chest-2", 299 + ward.script_end_s).occurrences) == 2
    assert [e.start_s for e in ward.site_events(400)] == [25, 45, 325, 345]


def test_a_file_of_ones_own_is_loaded_by_its_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(DEVICE)
    assert scenario.load(str(path)).devices[0].name == "d1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("site = ", "not TOML"),
        (DEVICE + "colour = 1\n", "colour"),
        (BASE, "devices"),
        (episodes('kind = "sneeze", start_s = 1, duration_s = 2'), "known kinds: .*asystole"),
        (episodes('kind = "vf", start_s = 1'), "duration_s"),
        (episodes('kind = "vf", start_s = -1, duration_s = 2'), "start_s = -1"),
        (episodes('kind = "vf", start_s = nan, duration_s = 2'), "start_s = nan"),
        (episodes('kind = "vf", start_s = 1, duration_s = 2, strength = 9'), "strength = 9"),
        (
            episodes(
                'kind = "vf", start_s = 1, duration_s = 9', 'kind = "asystole", start_s = 5, duration_s = 9'
            ),
            "asystole at 5.0 s begins before vf ends",
        ),
        (
            DEVICE + 'recording = "toy"\nepisodes = [{kind = "vt", start_s = 1, duration_s = 5}]\n',
            "recording",
        ),
        (DEVICE + 'lead = "IV"\n', "lead 'IV'"),
        (DEVICE + "fs_hz = 20\n", "fs_hz = 20"),
        (DEVICE + 'channel = "II"\n', "give recording too"),
        (DEVICE + "patient = {hr_bpm = 300}\n", "hr_bpm = 300"),
        (DEVICE + "radio = {corrupt = 2.0}\n", "corrupt = 2.0"),
        (DEVICE.replace("d1", "Chest 1"), "device name 'Chest 1'"),
        (DEVICE.replace('name = "d1"', 'name = "a-name-too-long-for-it"'), "16 characters"),
        (DEVICE.replace('gateway = "gw-a"', 'gateway = "gw-z"'), "unknown gateway 'gw-z', use one of gw-a"),
        (DEVICE + '[[devices]]\nname = "d1"\ngateway = "gw-a"\n', "'d1' is there twice"),
        (
            DEVICE + '[[events]]\nkind = "link_loss"\ngateway = "x"\nstart_s = 1\nduration_s = 2\n',
            "unknown gateway 'x'",
        ),
        (DEVICE + '[[events]]\nkind = "meteor"\nstart_s = 1\n', "meteor"),
        ("repeat_s = 5\n" + episodes('kind = "vf", start_s = 1, duration_s = 9'), "repeat_s = 5"),
    ],
)
def test_what_is_wrong_is_named(text, says):
    with pytest.raises(ScenarioError, match=says) as caught:
        parse(text, source="mine.toml")
    assert "mine.toml" in str(caught.value)


def test_an_unknown_scenario_or_device_names_the_known_ones():
    with pytest.raises(ScenarioError, match="quiet, stress, ward"):
        scenario.load("wrad")
    with pytest.raises(ScenarioError, match="chest-1, chest-2"):
        scenario.load("quiet").device("chest-9")


def test_kinds_that_must_alarm_expect_known_alarm_kinds():
    known = {
        "asystole",
        "ventricular_fibrillation",
        "ventricular_tachycardia",
        "extreme_tachycardia",
        "extreme_bradycardia",
        "tachycardia",
        "bradycardia",
        "atrial_fibrillation",
        "spo2_low",
        "temperature_high",
        "temperature_low",
        "respiration_high",
        "respiration_low",
        "pressure_high",
        "pressure_low",
        "news2",
        "ecg_unanalysable",
        "lead_off",
        "device_silent",
        "battery_low",
        "beat_anomaly",
    }
    for kind in KINDS.values():
        assert {*kind.expects, *kind.allows} <= known
    assert set(KINDS) == set(scenario.EpisodeKind.__args__)
    assert {k for k in KINDS if not KINDS[k].expects} == {
        "pvc_run", "motion", "frame_drop", "frame_reorder", "clock_drift"
    }  # fmt: skip


def test_script_finds_what_covers_starts_and_ends():
    plan = Script([Occurrence("vf", 10, 20), Occurrence("asystole", 20, 25), Occurrence("vf", 40, 50)])
    assert plan.active("vf", 9.99) is None
    assert plan.active("vf", 10) == plan.occurrences[0]
    assert plan.active("vf", 20) is None
    assert plan.latest("vf", 30) == plan.occurrences[0]
    assert plan.silent_until(12) == 25
    assert plan.silent_until(30) is None
    assert plan.rhythm_starting(5, 60) == plan.occurrences[0]
    assert plan.rhythm_starting(10, 15) is None
    assert plan.between("vf", 15, 45) == (plan.occurrences[0], plan.occurrences[2])
    assert plan.between("vf", 20, 40) == ()
