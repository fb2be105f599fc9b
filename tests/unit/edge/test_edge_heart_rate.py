"""The derived heart rate follows the beats and goes away with the electrodes."""

from vitalwire_edge.signal.chain import Beat
from vitalwire_edge.wearable.heart_rate import HeartRate
from vitalwire_edge.wire.codes import ValueStatus

SECOND = 1_000_000_000


def beat(rr_s: float, quality: float = 1.0) -> Beat:
    return Beat(
        sample=0,
        rr_s=rr_s,
        amplitude_uv=1000.0,
        width_ms=90.0,
        quality=quality,
        reference_corr=1.0,
        wide=False,
        decision_ms=200.0,
    )


def fed(rr_s: float, seconds: int, quality: float = 1.0) -> HeartRate:
    rate = HeartRate()
    for index in range(int(seconds / rr_s)):
        rate.add(int((index + 1) * rr_s * SECOND), beat(rr_s, quality))
    return rate


def test_it_is_60_over_the_median_interval():
    assert fed(0.75, 10).at(10 * SECOND, lead_off=False) == (80.0, ValueStatus.OK)


def test_doubtful_beats_make_a_doubtful_rate():
    assert fed(0.75, 10, quality=0.2).at(10 * SECOND, lead_off=False) == (80.0, ValueStatus.QUESTIONABLE)


def test_too_few_beats_tell_nothing():
    assert fed(1.0, 2).at(3 * SECOND, lead_off=False) is None
    assert fed(1.0, 8).at(30 * SECOND, lead_off=False) is None


def test_with_the_electrodes_off_there_is_no_rate_and_no_memory_of_one():
    rate = fed(0.75, 10)
    assert rate.at(10 * SECOND, lead_off=True) == (None, ValueStatus.SENSOR_OFF)
    assert rate.at(13 * SECOND, lead_off=False) is None
