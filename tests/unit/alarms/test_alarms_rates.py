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


def test_a_p_wave_that_is_taken_for_a_beat_does_not_double_the_rate():
    feed = Feed(engine()).beats(STEADY)
    feed.beats([0.6, 0.2] * 120)
    assert said(feed) == {}
    heart = HeartRate()
    for i, rr in enumerate([0.8, *[0.6, 0.2] * 20]):
        heart.add(rr, i * S)
    assert heart.at(40 * S) == pytest.approx(75)


@pytest.mark.parametrize("rr_s", [0.2, 0.23, 0.25, 0.3])
def test_a_rate_as_fast_as_the_detector_goes_still_counts_every_beat(rr_s):
    feed = Feed(engine()).beats(STEADY)
    feed.beats([rr_s] * 60)
    assert feed.phases("extreme_tachycardia")[:1] == ["raised"]
    rates = HeartRate()
    for i, rr in enumerate([0.8, *[rr_s] * 20]):
        rates.add(rr, i * S)
    assert rates.at(20 * S) == pytest.approx(60 / rr_s)


def test_bigeminy_of_short_coupling_counts_twice():
    heart = HeartRate()
    for i, rr in enumerate([0.3, 0.5] * 12):
        heart.add(rr, i * S)
    assert heart.at(23 * S) == pytest.approx(150)


def bigeminy(feed, *, swing_uv, pairs=40):
    """A ventricular beat after each of the patient's own; its peak is no higher than the T wave it begins on."""
    for _ in range(pairs):
        feed.beats([1.4], uv=800, swing_uv=1000.0)
        feed.beats([0.58], uv=-30, swing_uv=swing_uv, corr=0.1, width_ms=150, wide=True)


def test_ventricular_beats_that_begin_on_a_t_wave_are_counted_by_their_swing():
    feed = Feed(engine()).beats([1.0] * 40, uv=800, swing_uv=1000.0)
    bigeminy(feed, swing_uv=900.0)
    assert said(feed) == {}


def test_what_is_no_qrs_does_not_cut_the_interval_around_it():
    feed = Feed(engine()).beats([1.0] * 40, uv=800, swing_uv=1000.0)
    bigeminy(feed, swing_uv=120.0)
    assert said(feed)["extreme_bradycardia"][:1] == ["raised"]
    raised = next(c for c in feed.changes if c.kind == "extreme_bradycardia")
    assert raised.value == pytest.approx(60 / 1.98, abs=3)


def test_swing_alone_never_ends_the_wait_for_a_qrs():
    feed = Feed(engine()).beats([1.0] * 40, uv=800, swing_uv=1000.0)
    feed.beats([0.8] * 10, uv=40, swing_uv=900.0)
    assert feed.phases("asystole") == ["raised"]
