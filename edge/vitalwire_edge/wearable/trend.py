"""Intervals, heart rate variability and ectopy of one wearable, once a minute, as numbers beside the vital signs."""

import zlib
from collections import Counter
from math import isfinite
from typing import Final

import structlog

from vitalwire_edge.inference.ectopy import VENTRICULAR
from vitalwire_edge.inference.trend import EcgTrend, TrendMinute
from vitalwire_edge.signal.chain import ChainOutput
from vitalwire_edge.signal.intervals import Formula
from vitalwire_edge.wire.codes import VITALS, Code, ValueStatus
from vitalwire_edge.wire.messages import VitalValue

log = structlog.get_logger()

_DIGITS: Final = 2


class DeviceTrend:
    """The trend of one device's ECG.

    `counts` tells minutes, failures, and why an interval was not measured (`trend_qtc_noisy` and the like). What fails
    costs its minute, never the stream.
    """

    def __init__(self, device: str, formula: Formula) -> None:
        self.counts: Counter[str] = Counter()
        self._device = device
        self._formula: Formula = formula
        self._trend: EcgTrend | None = None

    def begin(self, fs_hz: float) -> None:
        """The ECG begins anew, at this rate."""
        phase_s = zlib.crc32(self._device.encode()) % 60
        self._trend = EcgTrend(fs_hz=fs_hz, formula=self._formula, phase_s=phase_s)

    def take(self, output: ChainOutput) -> list[tuple[int, tuple[VitalValue, ...]]]:
        """Take what the signal chain made final; return (device sample, numbers) of each minute that is over."""
        if self._trend is None:
            return []
        try:
            minutes = self._trend.push(output)
        except Exception as error:  # whatever it is, the wearable's data must go on
            self.counts["trend_failures"] += 1
            if self.counts["trend_failures"] == 1:
                log.exception("trend_failed", device=self._device, reason=str(error))
            return []
        for minute in minutes:
            self.counts["trend_minutes"] += 1
            self.counts.update(
                f"trend_{name}_{why.value.replace(' ', '_')}" for name, why in minute.intervals.why.items()
            )
        return [(minute.end_sample, trend_values(minute)) for minute in minutes]


def trend_values(minute: TrendMinute) -> tuple[VitalValue, ...]:
    """The numbers of a minute; what could not be measured is INVALID without a value."""
    heart, burden = minute.intervals, minute.burden
    known = (minute.classes >= 0).any()
    found: dict[Code, float | None] = {
        Code.PR_INTERVAL: heart.pr_ms,
        Code.QRS_DURATION: heart.qrs_ms,
        Code.QT_INTERVAL: heart.qt_ms,
        Code.QTC_INTERVAL: heart.qtc_ms,
        Code.SDNN: minute.variability.sdnn_ms,
        Code.RMSSD: minute.variability.rmssd_ms,
        Code.LF_HF: minute.spectrum.lf_hf,
        Code.VENTRICULAR_RATE: float((minute.classes == VENTRICULAR).sum()) if known else None,
        Code.VENTRICULAR_PER_H: None if burden is None else burden.ventricular_per_h,
        Code.PREMATURE_PER_H: None if burden is None else burden.premature_per_h,
        Code.VENTRICULAR_BURDEN: None if burden is None else burden.ventricular_percent,
        Code.COUPLETS_PER_H: None if burden is None else burden.couplets_per_h,
        Code.RUNS_PER_H: None if burden is None else burden.runs_per_h,
        Code.BIGEMINY: None if burden is None else burden.bigeminy_percent,
    }
    return tuple(_value(code, value) for code, value in found.items())


def _value(code: Code, value: float | None) -> VitalValue:
    if value is None or not isfinite(value) or not VITALS[code].low <= value <= VITALS[code].high:
        return VitalValue(int(code), None, int(ValueStatus.INVALID))
    return VitalValue(int(code), round(value, _DIGITS))
