"""Marks and intervals on waves that are known: found where they are, and not found where there are none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vitalwire_cloud.evaluation.known_waves import FAMILIES, Family, KnownEcg, known_ecg
from vitalwire_edge.signal.chain import EcgChain
from vitalwire_edge.signal.delineation import MARKS, P_ON, T_OFF, WINDOW, delineate, rows
from vitalwire_edge.signal.intervals import Unmeasured, measure, qtc_ms
from vitalwire_edge.signal.resample import ANALYSIS_HZ

TOLERANCE_MS = {"p_on": 10.2, "p_off": 12.7, "qrs_on": 6.5, "qrs_off": 11.6, "t_off": 30.6}


def filtered(ecg: KnownEcg) -> NDArray[np.float32]:
    """What the chain makes of it, at 250 Hz."""
    silence = np.zeros(round(2 * ecg.fs_hz), dtype=np.float32)
    out = EcgChain(fs_hz=ecg.fs_hz).push(0, np.concatenate((ecg.ecg_uv, silence)))
    return np.concatenate([second.ecg_uv for second in out.seconds])


def cut(ecg: KnownEcg) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Rows of all beats but the first ones, before which the filter settles, and the true marks in ms from R."""
    index = np.rint(ecg.r_s * ANALYSIS_HZ).astype(np.int64)
    true_ms = (ecg.marks_s - index[:, None] / ANALYSIS_HZ) * 1000
    return rows(filtered(ecg), index)[3:], true_ms[3:], np.diff(ecg.r_s)[2:]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fs_hz", [100.0, 360.0, 1000.0])
def test_marks_of_clean_beats_lie_within_the_referees_tolerance(family: Family, fs_hz: float) -> None:
    errors = []
    for seed in range(4):
        ecg = known_ecg(family, np.random.default_rng(100 + seed), fs_hz=fs_hz, seconds=14, noise_uv=2)
        beats, true_ms, rr_s = cut(ecg)
        found = delineate(beats, rr_s, np.append(rr_s[1:], np.nan))
        errors.append(found.ms - true_ms)
    error = np.concatenate(errors)
    assert np.isfinite(error).mean() > 0.98
    for name, limit_ms in TOLERANCE_MS.items():
        off = error[:, MARKS.index(name)]
        # Nobody can mark more finely than the device samples.
        assert np.nanstd(off) < max(limit_ms, 1000 / fs_hz), name
        assert abs(np.nanmean(off)) < 8.0, name


def test_the_median_beat_measures_intervals_through_noise_that_single_beats_do_not_bear() -> None:
    ecg = known_ecg("gaussian", np.random.default_rng(5), seconds=60, noise_uv=60)
    beats, true_ms, rr_s = cut(ecg)
    found = measure(beats, rr_s, np.append(rr_s[1:], np.nan))
    pr_ms, qrs_ms, qt_ms = (
        true_ms[0, MARKS.index(end)] - true_ms[0, MARKS.index(start)]
        for start, end in (("p_on", "qrs_on"), ("qrs_on", "qrs_off"), ("qrs_on", "t_off"))
    )
    assert found.why == {}
    assert found.pr_ms == pytest.approx(pr_ms, abs=15)
    assert found.qrs_ms == pytest.approx(qrs_ms, abs=15)
    assert found.qt_ms == pytest.approx(qt_ms, abs=25)
    assert found.qtc_ms == pytest.approx(found.qt_ms / found.rr_s ** (1 / 3))
    single = delineate(beats, rr_s, np.append(rr_s[1:], np.nan))
    assert np.nanstd(single.pr_ms) > 15


def test_where_no_p_wave_is_none_is_found_and_said_so() -> None:
    ecg = known_ecg("cosine", np.random.default_rng(3), seconds=40, noise_uv=10)
    beats, true_ms, rr_s = cut(ecg)
    quiet = beats.copy()
    before_qrs = round(90 + (true_ms[0, MARKS.index("qrs_on")] / 1000 - 0.005) * ANALYSIS_HZ)
    quiet[:, :before_qrs] = np.random.default_rng(1).normal(0, 4, (len(beats), before_qrs))
    quiet[:, :before_qrs] += beats[:, before_qrs : before_qrs + 1]
    found = measure(quiet, rr_s, np.append(rr_s[1:], np.nan))
    assert found.why["pr"] is Unmeasured.NO_P
    assert np.isnan(found.pr_ms)
    assert np.isfinite(found.qt_ms)


@pytest.mark.parametrize(
    "reason", [Unmeasured.FEW_BEATS, Unmeasured.NOISY, Unmeasured.UNSTEADY, Unmeasured.RATE]
)
def test_qtc_abstains_and_says_why(reason: Unmeasured) -> None:
    ecg = known_ecg("cosine", np.random.default_rng(8), seconds=40, noise_uv=5)
    beats, _, rr_s = cut(ecg)
    rng = np.random.default_rng(2)
    match reason:
        case Unmeasured.FEW_BEATS:
            beats, rr_s = beats[:9], rr_s[:9]
        case Unmeasured.NOISY:
            beats = beats + rng.normal(0, 300, beats.shape).astype(np.float32)
        case Unmeasured.UNSTEADY:
            rr_s = rr_s * rng.uniform(0.6, 1.4, rr_s.size)
        case _:
            rr_s = np.full(rr_s.size, 1.6)
    found = measure(beats, rr_s, np.append(rr_s[1:], np.nan))
    assert found.why["qtc"] is reason
    assert np.isnan(found.qtc_ms)


def test_rows_with_missing_samples_have_no_marks() -> None:
    ecg = known_ecg("cosine", np.random.default_rng(4), seconds=10, noise_uv=2)
    beats, _, rr_s = cut(ecg)
    beats[1, 200] = np.nan
    found = delineate(beats, rr_s, np.append(rr_s[1:], np.nan))
    assert np.isnan(found.ms[1]).all()
    assert np.isfinite(found.ms[2]).all()
    assert np.isnan(rows(np.zeros(50, dtype=np.float32), np.array([10]))).any()


def test_a_flat_line_has_no_marks() -> None:
    assert np.isnan(delineate(np.zeros((2, WINDOW), dtype=np.float32), np.ones(2), np.ones(2)).ms).all()


def test_the_beat_after_ends_the_search_for_t() -> None:
    ecg = known_ecg("cosine", np.random.default_rng(4), seconds=10, noise_uv=2)
    beats, _, rr_s = cut(ecg)
    found = delineate(beats, rr_s, np.full(len(beats), 0.25))
    assert not (found.ms[:, T_OFF] > 250 - 96).any()
    assert np.isfinite(found.ms[:, P_ON]).all()


def test_corrections_agree_at_sixty_a_minute_and_part_as_published() -> None:
    for formula in ("fridericia", "bazett", "framingham", "hodges"):
        assert qtc_ms(400.0, 1.0, formula) == 400.0
    assert qtc_ms(360.0, 0.64, "bazett") == pytest.approx(450.0)
    assert qtc_ms(360.0, 0.512, "fridericia") == pytest.approx(450.0)
    assert qtc_ms(360.0, 0.6, "framingham") == pytest.approx(421.6)
    assert qtc_ms(360.0, 0.6, "hodges") == pytest.approx(430.0)


def test_a_wide_terminal_s_wave_belongs_to_the_qrs_and_the_t_wave_after_it_does_not() -> None:
    ms = (np.arange(WINDOW) - 90) * 4.0
    beat = 900 * np.exp(-0.5 * (ms / 9) ** 2) + 150 * np.exp(-0.5 * ((ms - 290) / 35) ** 2)
    beat -= 800 / (1 + np.exp(-(ms - 22) / 3)) / (1 + np.exp((ms - 76) / 4))
    found = delineate(beat.astype(np.float32)[None], np.array([0.8]), np.array([0.8]))
    assert found.ms[0, MARKS.index("qrs_off")] == pytest.approx(90, abs=14)
    assert found.ms[0, T_OFF] == pytest.approx(290 + 2.5 * 35, abs=20)
