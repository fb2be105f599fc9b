import numpy as np
import pytest
from alarm_feed import T0, Feed, S, engine, restarted

from vitalwire_edge.alarms.rates import HeartRate
from vitalwire_edge.wire.codes import Code, ValueStatus

STEADY = [0.8] * 60
RATE_KINDS = ("extreme_tachycardia", "extreme_bradycardia", "tachycardia", "bradycardia")


def said(feed):
    return {kind: feed.phases(kind) for kind in RATE_KINDS if feed.phases(kind)}


def test_the_rate_is_the_mean_of_eight_intervals_and_of_four_when_slow():
    heart = HeartRate()
    for i, rr in enumerate([0.5] * 8):
        heart.add(rr, i * S // 2)
    assert heart.at(7 * S // 2) == pytest.approx(120)
    for i in range(4):
        heart.add(2.0, (5 + 2 * i) * S)
    assert heart.at(11 * S) == pytest.approx(30)


def test_a_heart_that_slows_is_seen_before_its_next_beat():
    heart = HeartRate()
    for i in range(9):
        heart.add(1.0, i * S)
    assert heart.at(8 * S) == pytest.approx(60)
    assert heart.at(12 * S) == pytest.approx(60 * 4 / 7)


def test_no_rate_without_beats():
    heart = HeartRate()
    assert heart.at(T0) is None
    heart.add(float("nan"), T0)
    assert heart.at(T0) is None


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (160, "extreme_tachycardia"),
        (130, "tachycardia"),
        (45, "bradycardia"),
        (33, "extreme_bradycardia"),
    ],
)
def test_each_limit_raises_and_clears(rate, expected):
    feed = Feed(engine()).beats(STEADY)
    start_s = feed.now_s
    feed.beats([60 / rate] * 40)
    assert feed.phases(expected)[0] == "raised"
    delay_s = feed.said(expected)[0][1] - start_s
    assert delay_s <= (10 if expected.startswith("extreme") else 20)
    raised = next(c for c in feed.changes if c.kind == expected)
    assert raised.priority == ("high" if expected.startswith("extreme") else "medium")
    assert raised.value == pytest.approx(rate, rel=0.25)
    assert "/min" in raised.text
    feed.beats(STEADY)
    assert feed.phases(expected) == ["raised", "cleared"]


@pytest.mark.parametrize("rate", [52, 72, 118])
def test_rates_within_the_limits_are_silent(rate):
    assert said(Feed(engine()).beats(STEADY).beats([60 / rate] * 100)) == {}


def test_a_short_run_is_no_tachycardia():
    assert said(Feed(engine()).beats(STEADY).beats([60 / 130] * 12).beats(STEADY)) == {}


def test_a_rate_that_hovers_at_the_limit_does_not_flap():
    rng = np.random.default_rng(1)
    rates = 120 + 3 * np.sin(np.arange(600) / 40) + rng.normal(0, 1, 600)
    feed = Feed(engine()).beats(STEADY).beats(60 / rates)
    assert feed.phases("tachycardia") in ([], ["raised"])


def test_poor_quality_delays_an_extreme_rate_and_never_suppresses_it():
    good = Feed(engine()).beats(STEADY)
    start_s = good.now_s
    good.beats([0.35] * 60)
    poor = Feed(engine()).beats(STEADY).beats([0.35] * 60, good=False)
    assert good.said("extreme_tachycardia")[0][1] - start_s <= 10
    assert poor.phases("extreme_tachycardia") == ["raised"]
    assert 4 <= poor.said("extreme_tachycardia")[0][1] - good.said("extreme_tachycardia")[0][1] <= 6


def test_the_extreme_covers_the_ordinary():
    feed = Feed(engine()).beats(STEADY).beats([0.35] * 200)
    assert said(feed) == {"extreme_tachycardia": ["raised"]}


def test_a_pause_does_not_leave_a_bradycardia_behind():
    feed = Feed(engine()).beats(STEADY).beats([8.0]).beats(STEADY)
    assert said(feed) == {}
    assert feed.phases("asystole") == ["raised", "cleared"]


def test_a_lost_lead_ends_nothing():
    feed = Feed(engine()).beats(STEADY).beats([60 / 130] * 60).seconds(30, lead_off=True)
    assert "tachycardia" in feed.open()


def test_a_rate_alarm_survives_a_restart():
    feed = Feed(engine()).beats(STEADY).beats([60 / 130] * 60)
    again = restarted(feed).beats([60 / 130] * 60)
    assert said(again) == {}
    again.beats(STEADY)
    assert said(again) == {"tachycardia": ["cleared"]}


def test_a_device_without_ecg_is_watched_by_its_own_number():
    feed = Feed(engine()).vitals(Code.HEART_RATE, [75.0] * 20 + [165.0] * 20)
    assert said(feed) == {"extreme_tachycardia": ["raised"]}


def test_the_pleth_pulse_takes_over_when_the_lead_is_off():
    feed = Feed(engine()).beats(STEADY).seconds(10, lead_off=True)
    for _ in range(30):
        feed.seconds(1, lead_off=True)
        feed.take(
            feed.engine.on_vitals(T0 + round(feed.now_s * S), [(Code.PULSE_RATE, 35.0, ValueStatus.OK)])
        )
    assert said(feed)["extreme_bradycardia"] == ["raised"]
