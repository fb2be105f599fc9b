"""Limits and durations of every alarm rule, each with where its default comes from.

EC13: ANSI/AAMI EC13, cardiac monitors, heart rate meters, and alarms. IEC 60601-2-27: electrocardiographic monitoring
equipment. IEC 60601-1-8: alarm systems. A site sets its own limits; the defaults are for adults.
"""

from typing import Annotated, Literal

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class AsystoleConfig(_Section, frozen=True, kw_only=True):
    """No QRS complex.

    `pause_s`: 4 s, the asystole of the 2015 PhysioNet challenge (Clifford et al., CinC 42:273, 2015) and the usual
    monitor default; EC13 and IEC 60601-2-27 allow 10 s from cardiac standstill to the alarm. `min_qrs_uv`: complexes
    up to 0.15 mV are to be ignored (IEC 60601-2-27, QRS amplitude range), unless the patient's own are that small.
    `recovered_beats` QRS complexes within `recovered_s` end it.
    """

    pause_s: Positive = 4.0
    min_qrs_uv: Positive = 150.0
    recovered_beats: Annotated[int, msgspec.Meta(ge=2, le=60)] = 4
    recovered_s: Positive = 6.0


class VentricularFibrillationConfig(_Section, frozen=True, kw_only=True):
    """Ventricular fibrillation or flutter, from `signal.ventricular`.

    `confirm_s` of the last `of_s` windows (one a second) have to say so; `recovered_s` consecutive windows without end
    it. With windows of 5 s the alarm comes 8 or 9 s after onset, under the 10 s of EC13 and IEC 60601-2-27.
    """

    confirm_s: Annotated[int, msgspec.Meta(ge=1)] = 4
    of_s: Annotated[int, msgspec.Meta(ge=1, le=30)] = 5
    recovered_s: Annotated[int, msgspec.Meta(ge=1)] = 6

    def __post_init__(self) -> None:
        if self.confirm_s > self.of_s:
            raise ValueError(f"confirm_s {self.confirm_s} of of_s {self.of_s}: confirm_s may be at most of_s")


class VentricularTachycardiaConfig(_Section, frozen=True, kw_only=True):
    """A run of wide beats.

    `run_beats` and `rate`: ventricular tachycardia is 3 or more beats above 100/min (AHA/ACC/HRS 2017 guideline for
    ventricular arrhythmias); the challenge of 2015 asks for 5 or more above 100/min, which is also the usual default
    of a high priority alarm. `odd_beats`: the longer run asked for where the beats differ less from the patient's own.
    """

    run_beats: Annotated[int, msgspec.Meta(ge=3, le=60)] = 5
    rate: Positive = 100.0
    odd_beats: Annotated[int, msgspec.Meta(ge=5, le=60)] = 10
    recovered_beats: Annotated[int, msgspec.Meta(ge=3, le=60)] = 8


class RateConfig(_Section, frozen=True, kw_only=True):
    """Heart rate limits, in beats a minute.

    `low` and `high`: 50 and 120, the usual adult defaults, within the adjustable range that EC13 asks for (30-100 and
    100-200). `extreme_low` and `extreme_high`: where NEWS2 gives its 3 points is <= 40 and >= 131; 40, and 20 above the
    high limit, the usual offset. Delays: `extreme_delay_s` with the averaging stays within the 10 s of IEC 60601-2-27;
    the medium limits wait longer against short runs (IEC 60601-1-8 wants such delays disclosed). On a signal of poor
    quality `extreme_delay_s` becomes `poor_quality_delay_s`: later, never suppressed. An alarm ends `hysteresis` inside
    its limit, kept for `recovered_s`.
    """

    low: Positive = 50.0
    high: Positive = 120.0
    extreme_low: Positive = 40.0
    extreme_high: Positive = 140.0
    extreme_delay_s: NotNegative = 3.0
    poor_quality_delay_s: NotNegative = 8.0
    delay_s: NotNegative = 10.0
    hysteresis: NotNegative = 5.0
    recovered_s: NotNegative = 10.0

    def __post_init__(self) -> None:
        if not self.extreme_low <= self.low < self.high <= self.extreme_high:
            raise ValueError(
                f"rate limits {self.extreme_low:g}, {self.low:g}, {self.high:g}, {self.extreme_high:g}: "
                "they have to rise from extreme_low over low and high to extreme_high"
            )


class AtrialFibrillationConfig(_Section, frozen=True, kw_only=True):
    """Atrial fibrillation from RR irregularity.

    `beats`: 30 RR intervals, as in a minimal 30 s strip. `confirm_beats` further beats must agree, and the irregular
    intervals must have lasted `confirm_s`: an episode of at least 30 s is fibrillation (the same guideline), a shorter
    one may be a run of premature beats, and at 120/min 30 intervals are only 15 s. `recovered_beats` beats without end
    it.
    """

    beats: Annotated[int, msgspec.Meta(ge=12, le=120)] = 30
    confirm_beats: Annotated[int, msgspec.Meta(ge=0)] = 6
    confirm_s: NotNegative = 30.0
    recovered_beats: Annotated[int, msgspec.Meta(ge=10)] = 40


class VitalLimit(_Section, frozen=True, kw_only=True):
    """One limit of one vital: crossed for `delay_s` it alarms, `hysteresis` inside for `recovered_s` it ends."""

    limit: float
    delay_s: NotNegative = 10.0
    hysteresis: NotNegative = 0.0
    recovered_s: NotNegative = 10.0
    enabled: bool = True


class LimitsConfig(_Section, frozen=True, kw_only=True):
    """Limits of the numeric vitals.

    `spo2_low`: 90 %; ISO 80601-2-61 asks for a default of at least 85 % and at least medium priority; 10 s against
    short drops (Rheineck-Leyssius & Kalkman, Eur. J. Anaesthesiol. 15:27, 1998). `spo2_severe`: from 80 %, the usual
    desaturation limit, the same alarm becomes high priority. `respiration_*`: 8 and 30, usual adult defaults, around
    NEWS2's 3 points (<= 8, >= 25). `temperature_high`: 38.3 Cel, fever (O'Grady et al., Crit. Care Med. 36:1330, 2008);
    `temperature_low`: 35.0, hypothermia and NEWS2's 3 points. `pressure_*`: systolic 180 mm[Hg], hypertensive emergency
    (ESC/ESH 2018), and 90, NEWS2's 3 points; a cuff reading counts at once.
    """

    spo2_low: VitalLimit = VitalLimit(limit=90.0, delay_s=10.0, hysteresis=1.0)
    spo2_severe: VitalLimit = VitalLimit(limit=80.0, delay_s=10.0, hysteresis=2.0)
    respiration_low: VitalLimit = VitalLimit(limit=8.0, delay_s=15.0, hysteresis=1.0)
    respiration_high: VitalLimit = VitalLimit(limit=30.0, delay_s=15.0, hysteresis=2.0)
    temperature_low: VitalLimit = VitalLimit(limit=35.0, delay_s=20.0, hysteresis=0.2)
    temperature_high: VitalLimit = VitalLimit(limit=38.3, delay_s=20.0, hysteresis=0.2)
    pressure_low: VitalLimit = VitalLimit(limit=90.0, delay_s=0.0, hysteresis=5.0, recovered_s=0.0)
    pressure_high: VitalLimit = VitalLimit(limit=180.0, delay_s=0.0, hysteresis=5.0, recovered_s=0.0)


class News2Config(_Section, frozen=True, kw_only=True):
    """NEWS2 (Royal College of Physicians, 2017) as an alarm.

    `min_data_s`: a continuous vital counts from this much data on. `rise_s` and `fall_s`: how long a response band has
    to hold before the alarm follows it upwards and downwards.
    """

    enabled: bool = True
    min_data_s: NotNegative = 30.0
    rise_s: NotNegative = 10.0
    fall_s: NotNegative = 60.0


class TechnicalConfig(_Section, frozen=True, kw_only=True):
    """Technical alarm conditions (IEC 60601-1-8: told apart from physiological ones).

    `lead_off_s`: within the 10 s that IEC 60601-2-27 allows, long enough to ignore a bad contact of a second.
    `unanalysable_s`: 10 s (design of this project; IEC 60601-2-27 wants an indication when the ECG cannot be
    processed). `silent_s`: no data at all.
    """

    lead_off_s: Positive = 3.0
    lead_on_s: Positive = 3.0
    unanalysable_s: Positive = 10.0
    silent_s: Positive = 10.0
    battery_low_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 15
    battery_ok_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 20

    def __post_init__(self) -> None:
        if self.battery_ok_percent <= self.battery_low_percent:
            raise ValueError(
                f"battery_ok_percent {self.battery_ok_percent} has to be above battery_low_percent "
                f"{self.battery_low_percent}"
            )


class AlarmConfig(_Section, frozen=True, kw_only=True):
    """Configuration of every alarm rule of a device."""

    asystole: AsystoleConfig = AsystoleConfig()
    ventricular_fibrillation: VentricularFibrillationConfig = VentricularFibrillationConfig()
    ventricular_tachycardia: VentricularTachycardiaConfig = VentricularTachycardiaConfig()
    rate: RateConfig = RateConfig()
    atrial_fibrillation: AtrialFibrillationConfig = AtrialFibrillationConfig()
    limits: LimitsConfig = LimitsConfig()
    news2: News2Config = News2Config()
    technical: TechnicalConfig = TechnicalConfig()
    pulse_present_s: Positive = 10.0
    """A pulse reading this recent is noted beside asystole and ventricular alarms."""


Paced = Literal["yes", "no", "unknown"]
