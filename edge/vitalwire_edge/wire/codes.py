"""Names of what is measured: ISO/IEEE 11073-10101 (MDC) numbers, LOINC codes and UCUM units."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Code(IntEnum):
    """MDC reference identifiers as numbers (partition * 65536 + term)."""

    ECG_UNSPECIFIED = 131328
    ECG_I = 131329
    ECG_II = 131330
    ECG_V1 = 131331
    ECG_V2 = 131332
    ECG_V3 = 131333
    ECG_V4 = 131334
    ECG_V5 = 131335
    ECG_V6 = 131336
    ECG_III = 131389
    PR_INTERVAL = 146944
    QRS_DURATION = 147228
    QT_INTERVAL = 147232
    QTC_INTERVAL = 147236
    HEART_RATE = 147842
    VENTRICULAR_RATE = 148066
    PULSE_RATE = 149530
    SYSTOLIC = 150021
    DIASTOLIC = 150022
    MEAN_PRESSURE = 150023
    TEMPERATURE = 150364
    PLETH = 150452
    SPO2 = 150456
    RESPIRATION_RATE = 151562
    # 2:F000 and up is what the standard leaves to each maker: it has no terms for these.
    SDNN = 192512
    RMSSD = 192513
    LF_HF = 192514
    VENTRICULAR_PER_H = 192515
    PREMATURE_PER_H = 192516
    VENTRICULAR_BURDEN = 192517
    COUPLETS_PER_H = 192518
    RUNS_PER_H = 192519
    BIGEMINY = 192520
    SDANN = 192521
    SDNN_INDEX = 192522
    DAY_PARTS = 192523


@dataclass(frozen=True, slots=True)
class Quantity:
    """A measured quantity: what people call it, its LOINC code (if any), its UCUM unit and what is physically possible.

    `low` and `high` bound what a sensor can mean, not what is healthy: a value outside is an invalid reading.
    """

    name: str
    loinc: str | None
    unit: str
    low: float
    high: float


VITALS: Final[dict[Code, Quantity]] = {
    Code.HEART_RATE: Quantity("HR", "8867-4", "/min", 0, 350),
    Code.PULSE_RATE: Quantity("Pulse", "8889-8", "/min", 0, 350),
    Code.SPO2: Quantity("SpO2", "59408-5", "%", 0, 100),
    Code.RESPIRATION_RATE: Quantity("Resp", "9279-1", "/min", 0, 120),
    Code.TEMPERATURE: Quantity("Temp", "8310-5", "Cel", 20, 46),
    Code.SYSTOLIC: Quantity("Sys", "8480-6", "mm[Hg]", 20, 320),
    Code.DIASTOLIC: Quantity("Dia", "8462-4", "mm[Hg]", 5, 250),
    Code.MEAN_PRESSURE: Quantity("Mean", "8478-0", "mm[Hg]", 10, 280),
    Code.PR_INTERVAL: Quantity("PR", "8625-6", "ms", 0, 600),
    Code.QRS_DURATION: Quantity("QRS", "8633-0", "ms", 0, 400),
    Code.QT_INTERVAL: Quantity("QT", "8634-8", "ms", 0, 1200),
    Code.QTC_INTERVAL: Quantity("QTc", "8636-3", "ms", 0, 1200),
    Code.SDNN: Quantity("SDNN", "80404-7", "ms", 0, 2000),
    Code.RMSSD: Quantity("RMSSD", None, "ms", 0, 2000),
    Code.LF_HF: Quantity("LF/HF", None, "1", 0, 10_000),
    Code.VENTRICULAR_RATE: Quantity("PVC", None, "/min", 0, 350),
    Code.VENTRICULAR_PER_H: Quantity("V per hour", None, "/h", 0, 21_000),
    Code.PREMATURE_PER_H: Quantity("S per hour", None, "/h", 0, 21_000),
    Code.VENTRICULAR_BURDEN: Quantity("V burden", None, "%", 0, 100),
    Code.COUPLETS_PER_H: Quantity("V couplets", None, "/h", 0, 21_000),
    Code.RUNS_PER_H: Quantity("V runs", None, "/h", 0, 21_000),
    Code.BIGEMINY: Quantity("Bigeminy", None, "%", 0, 100),
    Code.SDANN: Quantity("SDANN", None, "ms", 0, 2000),
    Code.SDNN_INDEX: Quantity("SDNN index", None, "ms", 0, 2000),
    Code.DAY_PARTS: Quantity("HRV parts", None, "1", 0, 288),
}

TRENDS: Final = (
    *(Code.PR_INTERVAL, Code.QRS_DURATION, Code.QT_INTERVAL, Code.QTC_INTERVAL),
    *(Code.SDNN, Code.RMSSD, Code.LF_HF, Code.VENTRICULAR_RATE, Code.VENTRICULAR_PER_H),
    *(Code.PREMATURE_PER_H, Code.VENTRICULAR_BURDEN, Code.COUPLETS_PER_H, Code.RUNS_PER_H, Code.BIGEMINY),
    *(Code.SDANN, Code.SDNN_INDEX, Code.DAY_PARTS),
)
"""What a gateway derives from the ECG once a minute."""

LEADS: Final[dict[Code, str]] = {
    Code.ECG_UNSPECIFIED: "ECG",
    Code.ECG_I: "I",
    Code.ECG_II: "II",
    Code.ECG_III: "III",
    Code.ECG_V1: "V1",
    Code.ECG_V2: "V2",
    Code.ECG_V3: "V3",
    Code.ECG_V4: "V4",
    Code.ECG_V5: "V5",
    Code.ECG_V6: "V6",
}
"""ECG leads by code. A chest patch is unspecified, not lead I."""

WAVE_UNITS: Final[dict[Code, str]] = {**dict.fromkeys(LEADS, "uV"), Code.PLETH: "1"}
"""UCUM unit of each waveform channel."""


class ValueStatus(IntEnum):
    """What a reading is worth. Only `OK` and `QUESTIONABLE` carry a value."""

    OK = 0
    QUESTIONABLE = 1
    SENSOR_OFF = 2
    INVALID = 3


MIN_SCALE: Final = 1e-9
MAX_SCALE: Final = 1e6
"""What one step of a waveform may be worth in its unit: any converter's step, and never beyond single precision."""
