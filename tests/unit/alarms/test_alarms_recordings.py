"""The rules on real recordings, through the real signal chain."""

from pathlib import Path

import numpy as np
import pytest
import wfdb
from alarm_feed import T0, S, play

FS_HZ = 360


def record(recordings: Path, name: str, from_s: int, to_s: int):
    part = wfdb.rdrecord(str(recordings / "mitdb" / name), sampfrom=from_s * FS_HZ, sampto=to_s * FS_HZ)
    return part.p_signal[:, 0] * 1000


@pytest.mark.parametrize("name", ["101", "106", "112", "119", "122", "215", "230"])
def test_ten_minutes_without_lethal_rhythm_are_silent(recordings, name):
    assert play(record(recordings, name, 0, 600), FS_HZ).changes == []


def test_recorded_flutter_is_raised_within_ten_seconds(recordings):
    from_s, flutter_s = 1480, 1541.2
    feed = play(record(recordings, "207", from_s, 1600), FS_HZ)
    raised = [at_s for phase, at_s in feed.said("ventricular_fibrillation") if phase == "raised"]
    assert flutter_s - from_s <= raised[0] <= flutter_s - from_s + 10


def test_recorded_slow_ventricular_tachycardia_is_raised(recordings):
    feed = play(record(recordings, "223", 500, 640), FS_HZ)
    said = feed.said("ventricular_tachycardia")
    assert said[0][0] == "raised"
    assert 78 <= said[0][1] <= 92


def test_recorded_atrial_fibrillation_is_raised(recordings):
    feed = play(record(recordings, "201", 0, 120), FS_HZ)
    assert feed.said("atrial_fibrillation")[0][0] == "raised"
    assert feed.said("atrial_fibrillation")[0][1] <= 35


@pytest.mark.parametrize("noise", ["em", "ma"])
def test_sinus_rhythm_under_heavy_noise_is_no_ventricular_alarm(recordings, noise):
    clean = record(recordings, "101", 0, 180)
    disturbance = wfdb.rdrecord(str(recordings / "nstdb" / noise), sampto=clean.size).p_signal[:, 0] * 1000
    disturbance -= disturbance.mean()
    noisy = clean + disturbance * np.sqrt(clean.var() / disturbance.var())
    feed = play(noisy, FS_HZ)
    assert feed.phases("ventricular_fibrillation") == []
    assert feed.phases("asystole") == []


def test_changes_are_the_same_for_every_run(recordings):
    ecg = record(recordings, "207", 30, 90)

    def story(feed):
        return [(c.kind, c.phase, c.onset_ns, c.at_ns, c.text, c.value) for c in feed.changes]

    assert story(play(ecg, FS_HZ)) == story(play(ecg, FS_HZ)) != []


def test_every_change_names_its_rule_and_its_times(recordings):
    for change in play(record(recordings, "207", 0, 300), FS_HZ).changes:
        assert "/" in change.rule
        assert change.text
        assert T0 <= change.onset_ns <= change.at_ns <= T0 + 300 * S
