"""The simulated patient looks, and changes, like a patient."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks, lombscargle, welch

from vitalwire_sim.kinds import KINDS
from vitalwire_sim.physiology.body import Body, Numbers
from vitalwire_sim.physiology.patient import Patient
from vitalwire_sim.script import Occurrence, Script

FS = 250


def script(*episodes: tuple[str, float, float]) -> Script:
    return Script(Occurrence(k, s, e, 1.0, KINDS[k].onset_s and 2.0) for k, s, e in episodes)


def run(patient: Patient, plan: Script, seconds: int, seed: int = 3):
    """Samples (n,), beats, and the numbers of each second."""
    body = Body(patient, plan, fs_hz=FS, seed=seed)
    uv, beats, numbers = [], [], []
    for second in range(seconds):
        strip = body.read(FS)
        uv.append(strip.uv)
        beats += strip.beats
        numbers.append(body.numbers(second + 1))
    return np.concatenate(uv), beats, numbers


def rr_s(beats):
    return np.diff([beat.sample for beat in beats]) / FS


@pytest.mark.parametrize(("age", "hr"), [(25, 58), (55, 72), (85, 88)])
def test_mean_rate_and_variability_are_the_patients(age, hr):
    patient = Patient(age_years=age, hr_bpm=hr)
    _, beats, numbers = run(patient, Script(), 240)
    intervals = rr_s(beats)
    assert 60 / intervals.mean() == pytest.approx(hr, rel=0.04)
    assert 1000 * intervals.std() == pytest.approx(patient.sdnn_ms, rel=0.35)
    assert np.nanmean([n.hr_bpm for n in numbers[10:]]) == pytest.approx(hr, rel=0.05)


def test_interval_spectrum_has_a_low_frequency_peak_and_one_at_the_breathing_rate():
    """McSharry et al. 2003: a bimodal spectrum, around 0.1 Hz and at the respiration rate."""
    _, beats, _ = run(Patient(age_years=25, respiration_per_min=17, lf_hf=1.0), Script(), 400)
    time_s = np.array([beat.sample for beat in beats[1:]]) / FS
    intervals = rr_s(beats)
    frequency_hz = np.arange(0.05, 0.45, 0.002)
    power = lombscargle(time_s, intervals - intervals.mean(), 2 * np.pi * frequency_hz)
    low, breath = (frequency_hz < 0.15), (frequency_hz > 0.2)
    assert frequency_hz[low][power[low].argmax()] == pytest.approx(0.1, abs=0.035)
    assert frequency_hz[breath][power[breath].argmax()] == pytest.approx(17 / 60, abs=0.03)
    between = power[(frequency_hz > 0.16) & (frequency_hz < 0.22)].mean()
    assert power[low].max() > 5 * between
    assert power[breath].max() > 5 * between


def test_breathing_moves_the_baseline_at_its_own_rate():
    uv, _, _ = run(Patient(respiration_per_min=18, noise_uv=0), script(("asystole", 0, 400)), 20)
    # Before breathing fades, a standstill shows nothing but the baseline.
    frequency_hz, power = welch(uv[: 10 * FS], FS, nperseg=10 * FS)
    band = (frequency_hz > 0.2) & (frequency_hz < 0.5)
    assert frequency_hz[band][power[band].argmax()] == pytest.approx(0.3, abs=0.11)


def test_qrs_is_narrow_and_ectopics_are_wide_and_early_with_a_full_pause():
    patient = Patient(pvc_per_min=12, noise_uv=0, hrv_ms=0, hr_bpm=66)
    uv, beats, _ = run(patient, Script(), 120)
    kinds = [beat.symbol for beat in beats]
    ectopic = [i for i in range(2, len(beats) - 1) if kinds[i] == "V" and kinds[i - 1] == kinds[i + 1] == "N"]
    assert len(ectopic) > 8
    for i in ectopic:
        before, after = beats[i].sample - beats[i - 1].sample, beats[i + 1].sample - beats[i].sample
        assert before < 0.75 * 60 / 66 * FS
        assert (before + after) / FS == pytest.approx(2 * 60 / 66, rel=0.02)
    normal = np.mean([qrs_ms(uv, beat.sample) for beat in beats[1:-1] if beat.symbol == "N"])
    wide = np.mean([qrs_ms(uv, beats[i].sample) for i in ectopic])
    assert 60 < normal < 110
    assert 120 < wide < 200


def qrs_ms(uv, sample):
    """Time around `sample` in which the signal moves faster than a fifteenth of its fastest."""
    piece = np.abs(np.diff(uv[sample - 30 : sample + 32]))
    fast = np.flatnonzero(piece > piece.max() / 15)
    return 1000 * (fast[-1] - fast[0] + 1) / FS


def test_true_beats_sit_on_the_r_peaks():
    uv, beats, _ = run(Patient(noise_uv=2), Script(), 60)
    peaks, _ = find_peaks(uv, height=500, distance=FS // 4)
    assert len(peaks) == len(beats)
    assert np.abs(peaks - [beat.sample for beat in beats]).max() <= 2


def test_asystole_is_flat_and_stops_pulse_pressure_and_breathing():
    uv, beats, numbers = run(Patient(), script(("asystole", 10, 40)), 70)
    assert not [b for b in beats if 10 * FS <= b.sample < 40 * FS]
    flat = uv[12 * FS : 40 * FS]
    assert max(np.ptp(flat[i : i + FS]) for i in range(0, flat.size, FS)) < 150
    assert numbers[19].hr_bpm == 0
    assert np.isnan(numbers[24].systolic_mmhg)
    assert numbers[35].respiration_per_min < 8
    assert numbers[69].hr_bpm > 50
    assert numbers[69].systolic_mmhg > 100


def test_saturation_follows_a_standstill_late():
    _, _, numbers = run(Patient(spo2_percent=97), script(("asystole", 10, 40)), 90)
    assert numbers[14].spo2_percent >= 96
    assert numbers[14].weak
    assert min(n.spo2_percent for n in numbers[40:60] if not np.isnan(n.spo2_percent)) < 95
    assert numbers[89].spo2_percent >= 95


def test_fibrillation_of_the_ventricles_is_coarse_between_4_and_7_hz_without_a_rate():
    uv, beats, numbers = run(Patient(), script(("vf", 10, 40)), 45)
    assert not [b for b in beats if 10 * FS <= b.sample < 40 * FS]
    part = uv[12 * FS : 39 * FS]
    frequency_hz, power = welch(part, FS, nperseg=4 * FS)
    band = frequency_hz > 1
    assert 4 <= frequency_hz[band][power[band].argmax()] <= 7
    assert power[(frequency_hz >= 4) & (frequency_hz <= 7)].sum() > 0.6 * power[band].sum()
    seconds = part.reshape(-1, FS)
    assert np.median(np.ptp(seconds, axis=1)) > 400
    assert np.ptp(seconds, axis=1).std() > 50
    assert np.isnan(numbers[25].hr_bpm)
    assert np.isnan(numbers[30].systolic_mmhg)


def test_ventricular_tachycardia_is_regular_wide_and_lowers_pressure():
    _, beats, numbers = run(Patient(), script(("vt", 10, 25)), 40)
    inside = [b for b in beats if 10 * FS <= b.sample < 25 * FS]
    assert {b.symbol for b in inside} == {"V"}
    assert 60 / rr_s(inside).mean() == pytest.approx(180, rel=0.03)
    assert rr_s(inside).std() / rr_s(inside).mean() < 0.05
    assert numbers[23].systolic_mmhg < 0.85 * numbers[8].systolic_mmhg
    assert {b.symbol for b in beats if b.sample > 26 * FS} == {"N"}


def test_atrial_fibrillation_is_irregular_without_memory_and_without_p():
    uv, beats, _ = run(Patient(noise_uv=1, hrv_ms=20), script(("af", 30, 150)), 150)
    calm = rr_s([b for b in beats if b.sample < 30 * FS])
    inside = [b for b in beats if b.sample >= 32 * FS]
    intervals = rr_s(inside)
    assert intervals.std() / intervals.mean() > 0.15 > 3 * calm.std() / calm.mean()
    assert abs(np.corrcoef(intervals[1:], intervals[:-1])[0, 1]) < 0.25
    # The P wave is what all sinus beats have in common before the QRS; averaging removes f-waves.
    p_sinus = averaged(uv, [b for b in beats[1:] if b.sample < 30 * FS])
    p_fibrillating = averaged(uv, inside[:-1])
    assert np.ptp(p_sinus) > 60
    assert np.ptp(p_fibrillating) < 0.5 * np.ptp(p_sinus)


def averaged(uv, beats):
    return np.mean([uv[b.sample - 60 : b.sample - 20] for b in beats], axis=0)


def test_a_run_of_three_ectopics_is_shorter_than_what_alarms():
    _, beats, _ = run(Patient(), script(("pvc_run", 10, 14)), 30)
    symbols = "".join(b.symbol for b in beats)
    assert "NVVVN" in symbols
    assert symbols.count("V") == 3


@pytest.mark.parametrize(("kind", "low", "high"), [("tachycardia", 150, 180), ("bradycardia", 26, 36)])
def test_rate_episodes_reach_their_rate_and_end(kind, low, high):
    _, beats, numbers = run(Patient(), script((kind, 10, 40)), 70)
    late = [b for b in beats if 25 * FS < b.sample < 40 * FS]
    assert low < 60 / rr_s(late).mean() < high
    assert 60 < numbers[69].hr_bpm < 85


def test_desaturation_raises_rate_and_breathing():
    _, _, numbers = run(Patient(spo2_percent=97, hr_bpm=70), script(("desaturation", 20, 70)), 70)
    assert numbers[65].spo2_percent < 86
    assert mean(numbers[50:70], "hr_bpm") > mean(numbers[5:20], "hr_bpm") + 8
    assert mean(numbers[50:70], "respiration_per_min") > mean(numbers[5:20], "respiration_per_min") + 3


def test_fever_raises_the_rate_ten_beats_a_degree():
    """Liebermeister's rule."""
    _, _, numbers = run(Patient(hr_bpm=70, hrv_ms=10), script(("fever", 40, 160)), 160)
    degrees = numbers[150].temperature_c - numbers[30].temperature_c
    assert degrees == pytest.approx(2.8, abs=0.2)
    risen = mean(numbers[100:160], "hr_bpm") - mean(numbers[10:40], "hr_bpm")
    assert risen / degrees == pytest.approx(10, abs=2)


def mean(numbers: list[Numbers], what: str) -> float:
    return float(np.mean([getattr(n, what) for n in numbers]))


EVERYTHING = script(
    ("pvc_run", 1, 4),
    ("vt", 5, 7),
    ("af", 8, 11),
    ("asystole", 12, 14),
    ("vf", 15, 17),
    ("desaturation", 2, 9),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 900), min_size=1, max_size=30), st.integers(0, 5))
def test_same_seed_same_samples_for_any_chunking(sizes, seed):
    whole = Body(Patient(pvc_per_min=10), EVERYTHING, fs_hz=FS, seed=seed).read(sum(sizes))
    body = Body(Patient(pvc_per_min=10), EVERYTHING, fs_hz=FS, seed=seed)
    strips = []
    for size in sizes:
        strips.append(body.read(size))
        body.numbers(sum(s.uv.size for s in strips) // FS)
    assert np.array_equal(np.concatenate([s.uv for s in strips]), whole.uv)
    assert sum((s.beats for s in strips), ()) == whole.beats
    assert [s.first_sample for s in strips] == list(np.cumsum([0, *sizes[:-1]]))


def test_other_seeds_are_other_people():
    first, second = (Body(Patient(), Script(), fs_hz=FS, seed=seed).read(10 * FS).uv for seed in (1, 2))
    assert np.corrcoef(first, second)[0, 1] < 0.9


def test_an_episode_changes_nothing_before_it_begins():
    calm = Body(Patient(), Script(), fs_hz=FS, seed=4).read(20 * FS).uv
    ill = Body(Patient(), script(("vf", 20, 30)), fs_hz=FS, seed=4).read(20 * FS).uv
    assert np.array_equal(calm[: 19 * FS], ill[: 19 * FS])


def test_age_flattens_t_and_lowers_variability():
    young, old = Patient(age_years=22), Patient(age_years=88)
    assert old.sdnn_ms < 0.5 * young.sdnn_ms
    heights = []
    for patient in (young, old):
        uv, beats, _ = run(patient, Script(), 60)
        heights.append(np.median([np.ptp(uv[b.sample + 40 : b.sample + 100]) for b in beats[1:-1]]))
    assert heights[1] < heights[0]


@pytest.mark.parametrize("fs_hz", [100, 360, 500, 1000])
def test_any_rate_gives_the_same_heart(fs_hz):
    beats = Body(Patient(), Script(), fs_hz=fs_hz, seed=9).read(30 * fs_hz).beats
    reference = Body(Patient(), Script(), fs_hz=FS, seed=9).read(30 * FS).beats
    assert np.allclose([b.sample / fs_hz for b in beats], [b.sample / FS for b in reference], atol=0.011)


def test_impossible_rates_and_patients_are_refused():
    with pytest.raises(ValueError, match="100 to 1000"):
        Body(Patient(), Script(), fs_hz=50, seed=1)
    with pytest.raises(ValueError, match="hr_bpm = 500"):
        Patient(hr_bpm=500)
    with pytest.raises(ValueError, match="diastolic"):
        Patient(systolic_mmhg=100, diastolic_mmhg=99)
