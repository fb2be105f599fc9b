import numpy as np
import pytest
from alarm_feed import Feed, engine, restarted

from vitalwire_edge.alarms import AlarmConfig
from vitalwire_edge.alarms.config import AtrialFibrillationConfig
from vitalwire_edge.alarms.fibrillation import entropy_coefficient, is_fibrillation, unpredicted

STEADY = 0.85


def irregular(count, *, mean_s=0.7, cv=0.2, seed=1):
    rng = np.random.default_rng(seed)
    return np.clip(rng.gamma(1 / cv**2, mean_s * cv**2, count), 0.32, 1.8)


def regular(count, *, sd_s=0.02, seed=1):
    return STEADY + np.random.default_rng(seed).normal(0, sd_s, count)


def breathing(count, *, depth_s, hz=0.25, seed=1):
    rng = np.random.default_rng(seed)
    t, out = 0.0, []
    for _ in range(count):
        rr = 0.95 + depth_s * np.sin(2 * np.pi * hz * t) + rng.normal(0, 0.015)
        out.append(rr)
        t += rr
    return np.array(out)


def test_entropy_tells_regular_from_irregular():
    assert entropy_coefficient(regular(30)) < -1.4
    assert entropy_coefficient(irregular(30)) > -1.0


def test_breathing_is_predictable_and_fibrillation_is_not():
    assert unpredicted(breathing(30, depth_s=0.15)) < 0.5
    assert unpredicted(irregular(30)) > 0.6


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("mean_s", [0.5, 0.7, 0.95])
def test_fibrillation_is_raised_within_45_beats(mean_s, seed):
    feed = Feed(engine()).beats(regular(60, seed=seed))
    start_s = feed.now_s
    feed.beats(irregular(90, mean_s=mean_s, seed=seed))
    phases = feed.phases("atrial_fibrillation")
    assert phases[:1] == ["raised"]
    assert feed.said("atrial_fibrillation")[0][1] - start_s <= 75 * mean_s
    raised = next(c for c in feed.changes if c.kind == "atrial_fibrillation")
    assert raised.priority == "medium"
    assert "/min" in raised.text


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("depth_s", "hz"), [(0.08, 0.25), (0.15, 0.25), (0.2, 0.2), (0.1, 0.3)])
def test_respiratory_arrhythmia_is_not_fibrillation(depth_s, hz, seed):
    feed = Feed(engine()).beats(breathing(300, depth_s=depth_s, hz=hz, seed=seed))
    assert feed.phases("atrial_fibrillation") == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.05, 0.15, 0.3])
def test_ventricular_ectopy_is_not_fibrillation(share, seed):
    rng = np.random.default_rng(seed)
    feed = Feed(engine())
    for _ in range(200):
        if rng.random() < share:
            early = rng.uniform(0.5, 0.75)
            feed.beats([STEADY * early], corr=-0.2, width_ms=140, wide=True)
            feed.beats([STEADY * (2 - early) + rng.normal(0, 0.02)])
        else:
            feed.beats([STEADY + rng.normal(0, 0.02)])
    assert feed.phases("atrial_fibrillation") == []


@pytest.mark.parametrize("seed", range(5))
def test_occasional_atrial_ectopy_is_not_fibrillation(seed):
    rng = np.random.default_rng(seed)
    rr = []
    while len(rr) < 300:
        rr += (
            [STEADY * rng.uniform(0.6, 0.75), STEADY * 1.15]
            if rng.random() < 0.08
            else [STEADY + rng.normal(0, 0.02)]
        )
    assert Feed(engine()).beats(rr).phases("atrial_fibrillation") == []


@pytest.mark.parametrize("pattern", [[0.5, 1.1], [0.6, 0.6, 1.1]], ids=["bigeminy", "trigeminy"])
def test_patterns_are_not_fibrillation(pattern):
    rng = np.random.default_rng(1)
    rr = np.tile(pattern, 60) + rng.normal(0, 0.015, 60 * len(pattern))
    assert not is_fibrillation(rr[:30])
    assert Feed(engine()).beats(rr).phases("atrial_fibrillation") == []


def test_poor_beats_are_abstained_from():
    assert Feed(engine()).beats(irregular(120), quality=0.1).phases("atrial_fibrillation") == []


def test_fibrillation_clears_and_survives_a_restart():
    feed = Feed(engine()).beats(regular(40)).beats(irregular(120))
    assert feed.phases("atrial_fibrillation")[-1] == "raised"
    again = restarted(feed).beats(irregular(120, seed=2))
    assert again.phases("atrial_fibrillation") == []
    again.beats(regular(120))
    assert again.phases("atrial_fibrillation") == ["cleared"]
    assert again.last("atrial_fibrillation").alarm_id == feed.last("atrial_fibrillation").alarm_id


@pytest.mark.parametrize("seed", range(5))
def test_fibrillation_is_said_once_it_has_lasted_thirty_seconds(seed):
    feed = Feed(engine()).beats(regular(60, seed=seed))
    feed.beats(irregular(150, mean_s=0.45, seed=seed))
    raised = next(c for c in feed.changes if c.kind == "atrial_fibrillation")
    assert raised.at_ns - raised.onset_ns >= 30e9
    assert raised.at_ns - raised.onset_ns <= 45e9


@pytest.mark.parametrize("seed", range(5))
def test_a_short_run_of_premature_beats_at_a_fast_rate_is_no_fibrillation(seed):
    fast = np.random.default_rng(seed).normal(0.45, 0.008, 90)
    run = irregular(28, mean_s=0.45, cv=0.22, seed=seed)

    def said(config):
        return Feed(engine(config=config)).beats(fast).beats(run).beats(fast).phases("atrial_fibrillation")

    assert said(AlarmConfig()) == []
    at_once = AtrialFibrillationConfig(confirm_s=0)
    assert said(AlarmConfig(atrial_fibrillation=at_once)) == ["raised", "cleared"]
