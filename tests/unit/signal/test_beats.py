import numpy as np
import pytest

from vitalwire_edge.signal.beats import (
    AFTER,
    BEFORE,
    GUARD_BEATS,
    REFERENCE_BEATS,
    REFERENCE_MIN_BEATS,
    UNUSUAL_BEATS,
    WINDOW,
    RunningReference,
    beat_window,
    in_own_scale,
    qrs_correlation,
    qrs_swing_uv,
    qrs_width_ms,
    r_amplitude_uv,
)


def bump(width: float, height: float = 1000.0) -> np.ndarray:
    i = np.arange(WINDOW) - BEFORE
    return (height * np.exp(-0.5 * (i / width) ** 2)).astype(np.float32)


def test_a_window_has_its_isoelectric_level_removed_and_r_in_place() -> None:
    ecg = np.full(600, 250.0, dtype=np.float32)
    ecg[200:400] += bump(3)
    window = beat_window(ecg, 200 + BEFORE)
    assert window is not None
    assert window.shape == (WINDOW,)
    assert int(window.argmax()) == BEFORE
    assert abs(float(window[0])) < 1
    assert window[BEFORE] == pytest.approx(1000, abs=1)


def test_a_window_that_leaves_the_signal_or_touches_a_gap_is_none() -> None:
    ecg = np.zeros(600, dtype=np.float32)
    assert beat_window(ecg, BEFORE - 1) is None
    assert beat_window(ecg, 600 - AFTER + 1) is None
    ecg[300] = np.nan
    assert beat_window(ecg, 290) is None


def test_the_reference_ignores_ectopic_beats_while_they_are_the_minority() -> None:
    rng = np.random.default_rng(0)
    reference = RunningReference()
    for k in range(200):
        shape = bump(12, -1800) if k % 3 == 0 else bump(3)
        reference.add(shape + rng.normal(0, 10, WINDOW).astype(np.float32))
    current = reference.current
    assert current is not None
    assert np.abs(current.beat_uv - bump(3)).max() < 10
    assert current.spread_uv.max() < 20
    assert current.scale_uv == pytest.approx(1000, rel=0.05)


def test_the_reference_is_the_mean_of_the_half_nearest_the_median() -> None:
    rng = np.random.default_rng(1)
    beats = bump(3) + rng.normal(0, 30, (150, WINDOW)).astype(np.float32)
    reference = RunningReference()
    for beat in beats:
        reference.add(beat)
    kept = beats[-REFERENCE_BEATS:]
    distance = ((kept.astype(np.float64) - np.median(kept, axis=0)) ** 2).sum(axis=1)
    nearest = kept[np.argsort(distance)[: REFERENCE_BEATS // 2]]
    assert reference.current is not None
    np.testing.assert_allclose(reference.current.beat_uv, nearest.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(reference.current.spread_uv, nearest.std(axis=0), atol=1e-2)


def own_and_foreign(foreign: int) -> tuple[RunningReference, np.ndarray]:
    rng = np.random.default_rng(3)
    reference = RunningReference()
    for _ in range(60):
        reference.add(bump(3) + rng.normal(0, 10, WINDOW).astype(np.float32))
    for _ in range(foreign):
        reference.add(bump(12, -1800) + rng.normal(0, 10, WINDOW).astype(np.float32))
    assert reference.current is not None
    return reference, reference.current.beat_uv


def test_a_long_run_of_wide_beats_does_not_become_the_reference() -> None:
    reference, beat_uv = own_and_foreign(GUARD_BEATS)
    assert np.abs(beat_uv - bump(3)).max() < 10
    reference.add(bump(4))
    assert reference.current is not None
    assert reference.current.count == 61


def test_wide_beats_that_stay_become_the_patients_own() -> None:
    _, beat_uv = own_and_foreign(GUARD_BEATS + REFERENCE_BEATS)
    assert np.abs(beat_uv - bump(12, -1800)).max() < 20


@pytest.mark.parametrize(
    ("beats", "believed"), [(UNUSUAL_BEATS, False), (UNUSUAL_BEATS + REFERENCE_BEATS, True)]
)
def test_other_beats_that_are_not_wide_become_the_patients_own_after_a_while(
    beats: int, believed: bool
) -> None:
    rng = np.random.default_rng(4)
    reference, _ = own_and_foreign(0)
    for _ in range(beats):
        reference.add(bump(3, -700) + rng.normal(0, 10, WINDOW).astype(np.float32))
    assert reference.current is not None
    own = bump(3, -700) if believed else bump(3)
    assert np.abs(reference.current.beat_uv - own).max() < 20


def test_beats_that_grow_little_by_little_are_the_patients_own() -> None:
    rng = np.random.default_rng(5)
    reference, _ = own_and_foreign(0)
    for height_uv in np.linspace(1000, 1600, 600):
        reference.add(bump(3, height_uv) + rng.normal(0, 10, WINDOW).astype(np.float32))
    assert reference.current is not None
    assert reference.current.count == 660
    assert reference.current.scale_uv > 1500


def test_there_is_no_reference_before_enough_beats() -> None:
    reference = RunningReference()
    for k in range(REFERENCE_MIN_BEATS):
        assert reference.current is None, k
        reference.add(bump(3))
    assert reference.current is not None


@pytest.mark.parametrize("beats", [5, 80, 133])
def test_a_reference_survives_a_restart(beats: int) -> None:
    rng = np.random.default_rng(2)
    first = RunningReference()
    for _ in range(beats):
        first.add(bump(3) + rng.normal(0, 50, WINDOW).astype(np.float32))
    second = RunningReference()
    second.restore(first.snapshot())
    extra = bump(4)
    first.add(extra)
    second.add(extra)
    if first.current is None or second.current is None:
        assert beats + 1 < REFERENCE_MIN_BEATS
        assert first.current is second.current
        return
    np.testing.assert_allclose(first.current.beat_uv, second.current.beat_uv, atol=1e-3)


def test_correlation_tells_the_own_beat_from_another_and_forgives_misalignment() -> None:
    reference = bump(3)
    ecg = np.zeros(600, dtype=np.float32)
    ecg[200:400] = bump(3, 400)
    at = 200 + BEFORE
    assert qrs_correlation(ecg, at + 2, reference) > 0.999
    ecg[200:400] = bump(14, -900)
    assert qrs_correlation(ecg, at, reference) < 0.3
    ecg[at] = np.nan
    assert np.isnan(qrs_correlation(ecg, at, reference))


def test_width_grows_with_the_qrs() -> None:
    widths = []
    for sigma in (2.0, 4.0, 8.0, 11.0):
        ecg = np.zeros(600, dtype=np.float32)
        ecg[200:400] = bump(sigma)
        widths.append(qrs_width_ms(ecg, 200 + BEFORE))
    assert widths == sorted(widths)
    assert widths[0] < 60
    assert widths[-1] >= 120


def test_scale_is_the_patients_own() -> None:
    np.testing.assert_allclose(in_own_scale(bump(3, 500), 500.0), bump(3, 1.0), atol=1e-5)


def test_a_beat_that_begins_on_a_t_wave_swings_although_its_peak_has_no_amplitude() -> None:
    i = np.arange(400)
    t_wave = 600 * np.exp(-0.5 * ((i - 178) / 12) ** 2)
    ecg = (t_wave + 600 * np.exp(-0.5 * ((i - 205) / 4) ** 2)).astype(np.float32)
    assert abs(r_amplitude_uv(ecg, 205)) < 200
    assert qrs_swing_uv(ecg, 205) > 400
    assert qrs_swing_uv(np.full(400, 70, dtype=np.float32), 205) == 0
    ecg[212] = np.nan
    assert np.isnan(qrs_swing_uv(ecg, 205))
