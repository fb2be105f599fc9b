import msgspec
import pytest
from alarm_feed import T0, Feed, S, engine, restarted

from vitalwire_edge.alarms.config import AlarmConfig
from vitalwire_edge.wire.codes import Code

STEADY = [0.8] * 40


def test_lead_off_is_technical_and_raised_after_three_seconds():
    feed = Feed(engine()).beats(STEADY)
    start_s = feed._ended_s
    feed.seconds(10, lead_off=True)
    ((phase, at_s),) = feed.said("lead_off")
    assert phase == "raised"
    assert at_s - start_s == 3
    raised = feed.last("lead_off")
    assert (raised.category, raised.priority, raised.onset_ns) == ("technical", "medium", T0 + start_s * S)
    feed.beats(STEADY)
    assert feed.phases("lead_off") == ["raised", "cleared"]


def test_a_bad_contact_of_two_seconds_is_silent():
    feed = Feed(engine())
    for _ in range(10):
        feed.beats([0.8] * 6).seconds(2, lead_off=True)
    assert feed.phases("lead_off") == []


def test_lead_off_persists_while_the_device_stops_sending_ecg():
    feed = Feed(engine()).beats(STEADY).seconds(1, lead_off=True).clock(4)
    assert feed.phases("lead_off") == ["raised"]


def test_lead_off_survives_a_restart():
    feed = Feed(engine()).beats(STEADY).seconds(10, lead_off=True)
    again = restarted(feed).seconds(10, lead_off=True)
    assert again.phases("lead_off") == []
    again.beats(STEADY)
    assert again.phases("lead_off") == ["cleared"]


def test_ten_seconds_that_cannot_be_analysed():
    feed = Feed(engine()).beats(STEADY)
    start_s = feed._ended_s
    feed.beats([0.5] * 30, good=False, quality=0.1)
    said = feed.said("ecg_unanalysable")
    assert [phase for phase, _ in said] == ["raised"]
    assert said[0][1] - start_s <= 11
    assert feed.last("ecg_unanalysable").category == "technical"
    feed.beats([0.8] * 30)
    assert feed.phases("ecg_unanalysable") == ["raised", "cleared"]


def test_nine_bad_seconds_are_silent():
    feed = Feed(engine())
    for _ in range(10):
        feed.beats([0.5] * 17, good=False, quality=0.1).beats([0.8] * 15)
    assert feed.phases("ecg_unanalysable") == []


def test_a_clear_steady_rhythm_can_be_read_whatever_the_quality_index_says():
    assert Feed(engine()).beats(STEADY * 3, good=False).phases("ecg_unanalysable") == []


def test_missing_samples_cannot_be_analysed():
    feed = Feed(engine()).beats(STEADY).seconds(11, valid=False)
    assert feed.phases("ecg_unanalysable") == ["raised"]
    assert "missing" in feed.last("ecg_unanalysable").text


def test_numbers_without_the_ecg_that_was_there_are_noticed():
    feed = Feed(engine()).beats(STEADY)
    for _ in range(20):
        feed.vitals(Code.SPO2, [97.0]).clock(0)
        feed.take(feed.engine.on_clock(T0 + round(feed.now_s * S)))
    assert feed.phases("ecg_unanalysable") == ["raised"]
    assert feed.phases("device_silent") == []


def test_lead_off_and_asystole_are_not_called_unanalysable():
    assert Feed(engine()).beats(STEADY).seconds(40, lead_off=True).phases("ecg_unanalysable") == []
    feed = Feed(engine()).beats(STEADY).seconds(40, good=False)
    assert feed.open() == {"asystole"}


def test_a_silent_device_is_an_alarm_until_it_speaks():
    feed = Feed(engine()).beats(STEADY)
    start_s = feed.now_s
    feed.clock(30)
    ((phase, at_s),) = feed.said("device_silent")
    assert phase == "raised"
    assert 9.9 <= at_s - start_s <= 11.1
    again = restarted(feed).clock(30)
    assert again.phases("device_silent") == []
    again.vitals(Code.SPO2, [97.0])
    assert again.phases("device_silent") == ["cleared"]


def test_a_device_that_never_comes_back_after_a_restart_is_noticed():
    assert Feed(engine()).clock(15).phases("device_silent") == ["raised"]


def test_a_talking_device_is_not_silent():
    feed = Feed(engine())
    for _ in range(60):
        feed.vitals(Code.SPO2, [97.0]).clock(1)
    assert feed.phases("device_silent") == []


def test_battery_low_critical_and_charged():
    feed = Feed(engine())
    for percent in (80, 16, 15, 14, 9, 5, 4, 18, 20, 60):
        feed.now_s += 60
        feed.take(feed.engine.on_status(T0 + round(feed.now_s * S), percent))
    changes = [(c.phase, c.priority, c.value) for c in feed.changes]
    assert changes == [("raised", "low", 15.0), ("updated", "medium", 5.0), ("cleared", "medium", 5.0)]


def test_an_unknown_battery_is_no_alarm():
    assert engine().on_status(T0, None) == []


@pytest.mark.parametrize(
    "toml",
    [
        "[rate]\nlow = 130.0\n",
        "[rate]\nspeed = 3\n",
        "[technical]\nbattery_ok_percent = 10\n",
        "[ventricular_fibrillation]\nconfirm_s = 9\n",
        "[asystole]\npause_s = -1.0\n",
    ],
)
def test_a_senseless_configuration_is_refused(toml):
    with pytest.raises(msgspec.ValidationError):
        msgspec.toml.decode(toml, type=AlarmConfig)


def test_defaults_survive_a_round_trip():
    assert msgspec.json.decode(msgspec.json.encode(AlarmConfig()), type=AlarmConfig) == AlarmConfig()
