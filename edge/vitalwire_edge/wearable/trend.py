"""Intervals, heart rate variability and ectopy of one wearable, once a minute, as numbers beside the vital signs."""

import zlib
from collections import Counter
from collections.abc import Callable
from math import isfinite
from typing import Final

import structlog

from vitalwire_edge.inference.ectopy import VENTRICULAR
from vitalwire_edge.inference.trend import MINUTE_S, EcgTrend, TrendMinute
from vitalwire_edge.signal.chain import ChainOutput
from vitalwire_edge.signal.hrv import DayRecord, DayVariability
from vitalwire_edge.signal.intervals import Formula
from vitalwire_edge.wire.codes import VITALS, Code, ValueStatus
from vitalwire_edge.wire.messages import VitalValue

log = structlog.get_logger()

_DIGITS: Final = 2


class DeviceTrend:
    """The trend of one device's ECG while one patient wears it; what is of the day outlives a restart of the device.

    `counts` tells minutes, failures, and why an interval was not measured (`trend_qtc_noisy` and the like). What fails
    costs its minute, never the stream.
    """

    def __init__(self, device: str, formula: Formula) -> None:
        self.counts: Counter[str] = Counter()
        self._device = device
        self._formula: Formula = formula
        self._trend: EcgTrend | None = None
        self._day = DayRecord()

    def begin(self, fs_hz: float) -> None:
        """The ECG begins anew, at this rate."""
        phase_s = zlib.crc32(self._device.encode()) % 60
        self._trend = EcgTrend(fs_hz=fs_hz, formula=self._formula, phase_s=phase_s)

    def take(
        self, output: ChainOutput, mono_ns: Callable[[int], int]
    ) -> list[tuple[int, tuple[VitalValue, ...]]]:
        """Take what the signal chain made final; return (time, numbers) of each minute that is over.

        `mono_ns` says when a device sample was, on the gateway's monotonic clock.
        """
        if self._trend is None:
            return []
        try:
            minutes = self._trend.push(output)
        except Exception as error:  # whatever it is, the wearable's data must go on
            self.counts["trend_failures"] += 1
            if self.counts["trend_failures"] == 1:
                log.exception("trend_failed", device=self._device, reason=str(error))
            return []
        found = []
        for minute in minutes:
            at_ns = mono_ns(minute.end_sample)
            self._day.add(at_ns / 1e9 - MINUTE_S / 2, minute.nn_ms)
            found.append((at_ns, trend_values(minute, self._day.variability())))
            self.counts["trend_minutes"] += 1
            self.counts.update(
                f"trend_{name}_{why.value.replace(' ', '_')}" for name, why in minute.intervals.why.items()
            )
        return found


def trend_values(minute: TrendMinute, day: DayVariability) -> tuple[VitalValue, ...]:
    """The numbers of a minute and of the day before it; what could not be measured is INVALID without a value."""
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
        Code.SDANN: day.sdann_ms,
        Code.SDNN_INDEX: day.sdnn_index_ms,
        Code.DAY_PARTS: float(day.parts),
    }
    return tuple(_value(code, value) for code, value in found.items())


def _value(code: Code, value: float | None) -> VitalValue:
    if value is None or not isfinite(value) or not VITALS[code].low <= value <= VITALS[code].high:
        return VitalValue(int(code), None, int(ValueStatus.INVALID))
    return VitalValue(int(code), round(value, _DIGITS))
