import numpy as np
import pytest
import wfdb
from alarm_feed import T0, Feed, S, a_beat, engine, fibrillation, play, restarted, sinus

from vitalwire_edge.signal.ventricular import VentricularDetector, ventricular_features
from vitalwire_edge.wire.codes import Code

STEADY = [0.8] * 60
LETHAL = {"asystole", "ventricular_fibrillation", "ventricular_tachycardia"}


def test_no_qrs_for_four_seconds_is_asystole_within_ten():
    feed = Feed(engine()).beats(STEADY)
    stop_s = feed.now_s
    feed.seconds(12)
    ((phase, at_s),) = feed.said("asystole")
    assert phase == "raised"
    assert 4 <= at_s - stop_s <= 5.1
    raised = feed.last("asystole")
    assert (raised.priority, raised.category, raised.limit) == ("high", "physiological", 4.0)
    assert raised.onset_ns == pytest.approx(T0 + stop_s * S, abs=1000)
    assert "no QRS for 4" in raised.text


def test_a_pause_under_four_seconds_is_no_asystole():
    feed = Feed(engine()).beats(STEADY).beats([3.7]).beats(STEADY)
    assert feed.phases("asystole") == []


@pytest.mark.parametrize("what", [{"good": False}, {"flat": True}])
def test_poor_or_flat_signal_does_not_suppress_asystole(what):
    feed = Feed(engine()).beats(STEADY).seconds(6, **what)
    assert feed.phases("asystole") == ["raised"]


def test_p_waves_and_noise_do_not_pass_for_heart_beats():
    feed = Feed(engine()).beats(STEADY).beats([0.8] * 8, uv=90, corr=0.2)
    assert feed.phases("asystole") == ["raised"]


def test_a_low_voltage_ecg_is_no_asystole():
    feed = Feed(engine()).beats([0.8] * 100, uv=120)
    assert feed.phases("asystole") == []


def test_lead_off_is_not_asystole():
    feed = Feed(engine()).beats(STEADY).seconds(20, lead_off=True)
    assert feed.open() == {"lead_off"}


def test_a_gap_in_the_samples_is_not_asystole():
    feed = Feed(engine()).beats(STEADY).seconds(9, valid=False)
    assert feed.phases("asystole") == []


def test_single_lost_seconds_do_not_hide_asystole():
    feed = Feed(engine()).beats(STEADY)
    for _ in range(5):
        feed.seconds(1, valid=False).seconds(1)
    assert feed.phases("asystole") == ["raised"]


def test_asystole_ends_with_qrs_complexes_and_not_with_a_lost_signal():
    feed = Feed(engine()).beats(STEADY).seconds(6).seconds(10, lead_off=True)
    assert "asystole" in feed.open()
    feed.beats([0.8])
    assert "asystole" in feed.open()
    feed.beats([0.8] * 8)
    assert feed.phases("asystole") == ["raised", "cleared"]


def test_asystole_survives_a_restart():
    feed = Feed(engine()).beats(STEADY).seconds(6)
    again = restarted(feed).seconds(10)
    assert again.phases("asystole") == []
    again.beats(STEADY)
    assert again.phases("asystole") == ["cleared"]
    assert again.last("asystole").alarm_id == feed.last("asystole").alarm_id


def test_a_pulse_is_noted_and_never_suppresses():
    feed = Feed(engine()).beats(STEADY)
    feed.vitals(Code.PULSE_RATE, [72.0], every_s=0.1).seconds(6)
    assert feed.phases("asystole") == ["raised"]
    assert feed.last("asystole").notes == ("pulse present",)


def test_a_pulse_that_comes_later_updates_the_alarm_once():
    feed = Feed(engine()).beats(STEADY).seconds(6)
    assert feed.last("asystole").notes == ()
    feed.vitals(Code.PULSE_RATE, [72.0] * 3, every_s=0.1).seconds(5)
    assert feed.phases("asystole") == ["raised", "updated"]
    assert feed.last("asystole").notes == ("pulse present",)


@pytest.mark.parametrize("end", ["flat", "low noise"])
def test_asystole_through_the_signal_chain(end):
    rng = np.random.default_rng(3)
    tail = np.zeros(250 * 15) if end == "flat" else rng.normal(0, 12, 250 * 15)
    feed = play(np.concatenate((sinus(40), tail)), 250)
    ((_, at_s),) = feed.said("asystole")
    assert 43 <= at_s <= 50


WIDE = {"corr": -0.3, "width_ms": 150, "wide": True}


def test_five_wide_beats_at_150_are_ventricular_tachycardia():
    feed = Feed(engine()).beats(STEADY)
    start_s = feed.now_s
    feed.beats([0.4] * 5, **WIDE)
    ((phase, at_s),) = feed.said("ventricular_tachycardia")
    assert phase == "raised"
    assert at_s - start_s <= 2.1
    raised = feed.last("ventricular_tachycardia")
    assert raised.priority == "high"
    assert raised.value == pytest.approx(150)
    assert "150/min" in raised.text


@pytest.mark.parametrize(
    ("rr_s", "shape"),
    [
        ([0.4] * 4, WIDE),
        ([0.7] * 30, WIDE),
        ([0.4] * 30, {}),
        ([0.4] * 30, {"wide": True, "corr": 0.95, "width_ms": 88}),
        ([0.4, 0.4, 1.0] * 6, WIDE),
    ],
    ids=["four beats", "slower than 100", "narrow and own", "bundle branch block", "irregular"],
)
def test_neighbours_of_ventricular_tachycardia(rr_s, shape):
    feed = Feed(engine()).beats(STEADY).beats(rr_s, **shape)
    feed.beats(STEADY)
    assert feed.phases("ventricular_tachycardia") == []


def test_bigeminy_is_no_tachycardia():
    feed = Feed(engine()).beats(STEADY)
    for _ in range(20):
        feed.beats([0.45], **WIDE).beats([0.65])
    assert feed.phases("ventricular_tachycardia") == []


def test_a_long_run_of_slightly_odd_wider_beats_counts_too():
    feed = Feed(engine()).beats(STEADY).beats([0.5] * 12, corr=0.93, width_ms=110)
    assert feed.phases("ventricular_tachycardia") == ["raised"]


def test_the_reference_may_learn_the_tachycardia_without_ending_the_alarm():
    feed = Feed(engine()).beats(STEADY).beats([0.4] * 10, **WIDE).beats([0.4] * 100)
    assert feed.phases("ventricular_tachycardia") == ["raised"]
    feed.beats(STEADY)
    assert feed.phases("ventricular_tachycardia") == ["raised", "cleared"]


def test_ventricular_tachycardia_survives_a_restart():
    feed = Feed(engine()).beats(STEADY).beats([0.4] * 10, **WIDE)
    again = restarted(feed).beats([0.4] * 20, **WIDE)
    assert again.phases("ventricular_tachycardia") == []
    again.beats(STEADY)
    assert again.phases("ventricular_tachycardia") == ["cleared"]


def test_poor_quality_does_not_suppress_ventricular_tachycardia():
    feed = Feed(engine()).beats(STEADY).beats([0.4] * 6, good=False, quality=0.0, **WIDE)
    assert feed.phases("ventricular_tachycardia") == ["raised"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("uv", "hz", "width"), [(400, 4.5, 1.0), (120, 6.0, 1.2), (500, 4.5, 0.15)])
def test_fibrillation_and_flutter_within_ten_seconds_and_cleared(seed, uv, hz, width):
    ecg = np.concatenate(
        (sinus(30, seed=seed), fibrillation(25, uv=uv, hz=hz, width=width, seed=seed), sinus(25, seed=seed))
    )
    feed = play(ecg, 250)
    said = feed.said("ventricular_fibrillation")
    assert [phase for phase, _ in said] == ["raised", "cleared"]
    assert 35 <= said[0][1] <= 40
    assert said[1][1] >= 55
    raised = next(c for c in feed.changes if c.kind == "ventricular_fibrillation")
    assert raised.priority == "high"
    assert abs((raised.onset_ns - T0) / S - 30) <= 2


@pytest.mark.parametrize("fs_hz", [100, 500])
def test_fibrillation_at_other_sample_rates(fs_hz):
    feed = play(np.concatenate((sinus(30, fs_hz=fs_hz), fibrillation(15, fs_hz=fs_hz))), fs_hz)
    assert feed.phases("ventricular_fibrillation") == ["raised"]


@pytest.mark.parametrize("noise", ["em", "ma"])
def test_recorded_noise_does_not_hide_fibrillation(recordings, noise):
    record = wfdb.rdrecord(str(recordings / "nstdb" / noise), sampto=360 * 60)
    disturbance = record.p_signal[:, 0] * 1000
    clean = fibrillation(30, fs_hz=360, uv=300)
    part = disturbance[360 * 20 : 360 * 50] - disturbance[360 * 20 : 360 * 50].mean()
    noisy = clean + part * np.sqrt(clean.var() / part.var() / 10 ** (6 / 10))
    feed = play(np.concatenate((sinus(30, fs_hz=360), noisy)), 360)
    said = feed.said("ventricular_fibrillation")
    assert said[0][0] == "raised"
    assert said[0][1] <= 40


def test_sinus_rhythm_at_any_rate_is_not_fibrillation():
    for rate in (45, 72, 110, 150, 190):
        assert play(sinus(40, rate=rate), 250).phases("ventricular_fibrillation") == []


def test_fibrillation_survives_a_restart():
    feed = play(np.concatenate((sinus(30), fibrillation(15))), 250)
    (raised,) = (c for c in feed.engine.open_alarms() if c.kind == "ventricular_fibrillation")
    again = play(fibrillation(15, seed=2), 250, engine(feed.engine.open_alarms()))
    assert again.phases("ventricular_fibrillation") == []
    healed = play(sinus(30), 250, engine(again.engine.open_alarms()))
    assert healed.phases("ventricular_fibrillation") == ["cleared"]
    assert healed.last("ventricular_fibrillation").alarm_id == raised.alarm_id


def test_a_missing_sample_starts_the_window_anew():
    detector = VentricularDetector()
    good = np.ones(250, dtype=np.float32)
    hole = good.copy()
    hole[7] = np.nan
    assert [detector.push(good) is None for _ in range(5)] == [True] * 4 + [False]
    assert detector.push(hole) is None
    assert detector.push(good) is None


def test_features_separate_sine_noise_and_spikes():
    t = np.arange(1250) / 250
    sine = 400 * np.sin(2 * np.pi * 4 * t)
    spikes = sinus(5)
    a, b = (ventricular_features(x.astype(np.float32)) for x in (sine, spikes))
    assert a.leakage < 0.2
    assert b.leakage > 0.6
    assert a.slope_kurtosis < 3
    assert b.slope_kurtosis > 10
    assert a.crossing > 0.6
    assert b.crossing < 0.3
    assert a.dominant_hz == pytest.approx(4, abs=0.13)
    assert a.periodicity > 0.97
    assert (a.fibrillating, b.fibrillating) == (True, False)


def test_a_beat_before_its_second_never_goes_back_in_time():
    e = engine()
    assert e.on_beat(a_beat(float("nan")), T0) == []
    assert e.open_alarms() == ()
