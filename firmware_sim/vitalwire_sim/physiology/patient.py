"""Who is simulated: the parameters of one patient and the shape of that patient's heart beat."""

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BOUNDS: Final = {
    "age_years": (16, 110),
    "hr_bpm": (40, 120),
    "hrv_ms": (0, 150),
    "lf_hf": (0.05, 10),
    "respiration_per_min": (6, 30),
    "spo2_percent": (85, 100),
    "temperature_c": (35, 39),
    "systolic_mmhg": (80, 200),
    "diastolic_mmhg": (40, 120),
    "pvc_per_min": (0, 20),
    "amplitude": (0.2, 3),
    "noise_uv": (0, 100),
}


class Patient(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Resting state of one adult. `hrv_ms` is the SD of the normal intervals; by default it falls with age.

    `lf_hf` is the power ratio of the two bands of the interval spectrum (McSharry et al. use 0.5).
    """

    age_years: float = 55
    hr_bpm: float = 72
    hrv_ms: float | None = None
    lf_hf: float = 0.5
    respiration_per_min: float = 15
    spo2_percent: float = 97
    temperature_c: float = 36.7
    systolic_mmhg: float = 122
    diastolic_mmhg: float = 76
    pvc_per_min: float = 0
    amplitude: float = 1.0
    noise_uv: float = 8

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} = {value}: use {low} to {high}")
        if self.diastolic_mmhg > self.systolic_mmhg - 10:
            raise ValueError(
                f"diastolic_mmhg = {self.diastolic_mmhg}: at least 10 below systolic {self.systolic_mmhg}"
            )

    @property
    def sdnn_ms(self) -> float:
        """SD of normal intervals; the default follows the fall with age in Umetani et al., JACC 31(3), 1998."""
        return self.hrv_ms if self.hrv_ms is not None else max(58 - 0.45 * self.age_years, 14)


@dataclass(frozen=True, slots=True)
class BeatShape:
    """Gaussian waves of one beat class at an interval of 1 s: offset from R (s), width (s) and height (uV).

    `stretch` is the power of the interval with which offset and width of each wave grow: 0 for the QRS, whose
    duration does not depend on the rate, 0.5 for repolarisation (Bazett), 0.25 for the P wave.
    """

    offset_s: Floats
    width_s: Floats
    height_uv: Floats
    stretch: Floats

    def at(self, rr_s: float) -> tuple[Floats, Floats, Floats]:
        """Offsets, widths and heights after an interval of `rr_s`."""
        factor = np.clip(rr_s, 0.3, 1.5) ** self.stretch
        return self.offset_s * factor, self.width_s * factor, self.height_uv


@dataclass(frozen=True, slots=True)
class Heart:
    """The beat shapes of one patient: conducted from the atria (`normal`, without P in `fibrillating`) or `ectopic`."""

    normal: BeatShape
    fibrillating: BeatShape
    ectopic: BeatShape


def heart_of(patient: Patient, rng: np.random.Generator) -> Heart:
    """Shapes drawn around those of ECGSYN (McSharry et al., IEEE TBME 50(3), 2003, table I), varied by person and age.

    Deviations from table I: Q and S lie closer to R and are narrower, so that the QRS lasts 80 to 110 ms (ECGSYN's is
    about 150 ms), and T is two Gaussians, so that it rises slower than it falls. With age PR and QRS lengthen and
    R and T flatten.
    """
    old = float(np.clip((patient.age_years - 50) / 40, -0.8, 1.2))
    vary = rng.normal(1.0, 0.06, size=6)
    gain = 1000 * patient.amplitude
    qrs = 1 + 0.06 * old
    offset = np.array([-0.165 - 0.012 * old, -0.027 * qrs, 0.0, 0.029 * qrs, 0.235, 0.285])
    width = np.array([0.022, 0.009 * qrs, 0.0115 * qrs, 0.011 * qrs, 0.050, 0.033]) * vary
    height = np.array([0.13, -0.09, 1.05 - 0.12 * old, -0.20, 0.16 - 0.03 * old, 0.20 - 0.04 * old])
    height = height * rng.normal(1.0, 0.10, size=6) * gain
    stretch = np.array([0.25, 0, 0, 0, 0.5, 0.5])
    normal = BeatShape(offset, width, height, stretch)
    sign = 1.0 if rng.random() < 0.6 else -1.0
    wide = rng.normal(1.0, 0.06)
    # Slurred up, notched on the way down, 140 to 180 ms, repolarised the other way.
    ectopic = BeatShape(
        np.array([-0.036, 0.0, 0.034, 0.066, 0.280]) * np.array([wide, 1, wide, wide, 1]),
        np.array([0.015, 0.019, 0.016, 0.013, 0.055]) * wide,
        np.array([0.45, 1.35, 0.45, -0.22, -0.42]) * sign * gain * rng.normal(1.0, 0.08),
        np.array([0, 0, 0, 0, 0.5]),
    )
    return Heart(normal, BeatShape(offset[1:], width[1:], height[1:], stretch[1:]), ectopic)
