"""What a wearable says, without a socket."""

import numpy as np
import pytest

from vitalwire_edge.recordings.recording import Recording, Replay
from vitalwire_edge.wire.codes import Code, ValueStatus
from vitalwire_edge.wire.frames import Status, Vitals, Wave
from vitalwire_sim import truth
from vitalwire_sim.link import Tally
from vitalwire_sim.physiology.body import Body
from vitalwire_sim.scenario import Device
from vitalwire_sim.script import Occurrence, Script
from vitalwire_sim.truth import BeatTruth, TruthError, TruthFile
from vitalwire_sim.wearable import Wearable

DEVICE = Device(name="d", gateway="g")


def wearable(plan: Script = Script(), device: Device = DEVICE) -> Wearable:  # noqa: B008
    body = Body(device.patient, plan, fs_hz=device.fs_hz, seed=1)
    return Wearable(device, plan, body, body, fs_hz=device.fs_hz, seed=1)


def said(source: Wearable, seconds: float, kind: type):
    return [
        (s.device_s, s.payload)
        for m in source.moments(seconds)
        for s in m.said
        if isinstance(s.payload, kind)
    ]


@pytest.mark.parametrize("fs_hz", [100, 250, 333, 360, 1000])
def test_blocks_follow_each_other_without_a_hole_and_end_on_time(fs_hz):
    waves = said(wearable(device=Device(name="d", gateway="g", fs_hz=fs_hz)), 7.3, Wave)
    at = 0
    for device_s, wave in waves:
        assert wave.first_sample == at
        at += wave.samples.size
        assert device_s == pytest.approx(at / fs_hz)
    assert at == round(7.3 * fs_hz)


def test_vitals_come_each_second_pressure_now_and_then_status_every_three():
    source = wearable(device=Device(name="d", gateway="g", nibp_every_s=20))
    vitals = said(source, 60, Vitals)
    assert [round(t, 6) for t, _ in vitals] == list(range(1, 61))
    cuffs = [t for t, v in vitals if any(r.code is Code.SYSTOLIC for r in v.readings)]
    assert cuffs == [10, 30, 50]
    assert [t for t, _ in said(wearable(), 10, Status)] == [3, 6, 9]


def test_samples_are_the_signal_in_steps_of_the_scale():
    waves = said(wearable(), 5, Wave)
    uv = Body(DEVICE.patient, Script(), fs_hz=250, seed=1).read(1250).uv
    steps = np.concatenate([w.samples for _, w in waves])
    assert np.abs(steps * 2.5 - uv).max() <= 1.25


def test_lead_off_is_flagged_and_silences_what_the_electrodes_measure():
    plan = Script([Occurrence("lead_off", 3, 6)])
    flags = [w.lead_off for _, w in said(wearable(plan), 9, Wave)]
    assert flags == [False] * 15 + [True] * 15 + [False] * 15
    by_second = {round(t): {r.code: r for r in v.readings} for t, v in said(wearable(plan), 9, Vitals)}
    for code in (Code.HEART_RATE, Code.RESPIRATION_RATE):
        assert by_second[4][code].status is ValueStatus.SENSOR_OFF
        assert np.isnan(by_second[4][code].value)
        assert by_second[8][code].status is ValueStatus.OK
    assert by_second[4][Code.SPO2].status is ValueStatus.OK


def test_a_standstill_makes_the_oximeter_doubt_and_the_cuff_fail():
    plan = Script([Occurrence("asystole", 5, 60)])
    by_second = {round(t): {r.code: r for r in v.readings} for t, v in said(wearable(plan), 45, Vitals)}
    assert by_second[12][Code.SPO2].status is ValueStatus.QUESTIONABLE
    assert by_second[40][Code.SYSTOLIC].status is ValueStatus.INVALID
    assert by_second[20][Code.HEART_RATE].value == 0


def test_a_low_battery_is_told():
    plan = Script([Occurrence("low_battery", 5, 20)])
    levels = {t: s.battery_percent for t, s in said(wearable(plan), 24, Status)}
    assert levels[3] > 90
    assert levels[6] == levels[18] == 4
    assert levels[21] > 90


def test_a_hole_in_a_recording_is_a_hole_in_the_counter():
    uv = np.arange(2000, dtype=float)
    uv[330:470] = np.nan
    replay = Replay(Recording(name="r", lead="II", fs_hz=200, uv=uv), loop=False)
    body = Body(DEVICE.patient, Script(), fs_hz=250, seed=1)
    source = Wearable(DEVICE, Script(), replay, body, fs_hz=200, seed=1)
    moments = list(source.moments(None))
    waves = [s.payload for m in moments for s in m.said if isinstance(s.payload, Wave)]
    covered = np.concatenate([w.first_sample + np.arange(w.samples.size) for w in waves])
    assert covered.tolist() == [*range(330), *range(470, 2000)]
    assert sum(m.missing for m in moments) == 140
    assert moments[-1].end_s == pytest.approx(10)
    codes = {
        r.code for m in moments for s in m.said if isinstance(s.payload, Vitals) for r in s.payload.readings
    }
    assert Code.HEART_RATE not in codes
    assert Code.SPO2 in codes


def test_the_tally_counts_samples_and_frames_by_stream():
    tally = Tally()
    wave = Wave(0, 0, np.zeros(50, dtype=np.int16))
    tally.add(wave, frames=1, samples=1)
    tally.add(wave, sent=1)
    tally.add(Vitals(()), frames=1, samples=1, not_delivered=1)
    tally.add(Status(1, 1, 1), frames=1, samples=1)
    tally.missing(7)
    assert tally.streams["ecg"] == truth.Counts(frames=1, samples=50, sent=50, missing=7)
    assert tally.streams["vitals"] == truth.Counts(frames=1, samples=1, not_delivered=1)


def test_truth_is_readable_while_it_is_written_and_bad_lines_are_named(tmp_path):
    path = tmp_path / "t.jsonl"
    mark = BeatTruth(sample=1, r_ns=2, symbol="N")
    with TruthFile(path) as file:
        file.write(mark)
        file.write(mark)
        assert truth.read(path) == [mark, mark]
    with path.open("ab") as raw:
        raw.write(b'{"type":"beat","sam')
    assert truth.read(path) == [mark, mark]
    with path.open("ab") as raw:
        raw.write(b"\n")
    with pytest.raises(TruthError, match="line 3"):
        truth.read(path)
    with pytest.raises(TruthError, match="a folder that exists"):
        TruthFile(tmp_path / "no" / "t.jsonl")
