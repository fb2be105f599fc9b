"""What can happen to a simulated wearable, and which alarm is an honest detection of it."""

from dataclasses import dataclass
from typing import Final, Literal

Layer = Literal["rhythm", "rate", "vitals", "electrodes", "frames", "clock", "battery"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of episode.

    `expects` lists the alarm kinds of which any one is an acceptable detection; empty for what must not alarm.
    `allows` lists alarms that are a true consequence and so no false alerts, while it lasts and for `settle_s` after.
    `onset_s` is the default time constant of the change, where there is one.
    """

    name: str
    layer: Layer
    expects: tuple[str, ...] = ()
    allows: tuple[str, ...] = ()
    settle_s: float = 5.0
    onset_s: float = 0.0

    @property
    def cardiac(self) -> bool:
        """Whether the heart beats differently, which a replayed recording cannot do."""
        return self.layer in {"rhythm", "rate"}


_COLLAPSE: Final = ("spo2_low", "pressure_low", "respiration_low", "respiration_high", "news2")
_UNUSUAL: Final = ("beat_anomaly",)
"""What the beat model may say of beats that are premature, wide, or late after a pause."""
_NO_PUMP: Final = ("extreme_bradycardia", "bradycardia", *_COLLAPSE)

KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("pvc_run", "rhythm", allows=("tachycardia", *_UNUSUAL)),
        Kind(
            "vt",
            "rhythm",
            expects=("ventricular_tachycardia",),
            allows=("tachycardia", "extreme_tachycardia", "ventricular_fibrillation", *_COLLAPSE, *_UNUSUAL),
            settle_s=30,
        ),
        Kind(
            "af",
            "rhythm",
            expects=("atrial_fibrillation",),
            allows=("tachycardia", "extreme_tachycardia", "pressure_low", "news2", *_UNUSUAL),
            settle_s=40,
        ),
        Kind(
            "tachycardia",
            "rate",
            expects=("tachycardia", "extreme_tachycardia"),
            allows=("pressure_low", "news2", "respiration_high", *_UNUSUAL),
            settle_s=20,
            onset_s=2,
        ),
        Kind(
            "bradycardia",
            "rate",
            expects=("bradycardia", "extreme_bradycardia"),
            allows=("pressure_low", "news2", *_UNUSUAL),
            settle_s=20,
            onset_s=2,
        ),
        Kind("asystole", "rhythm", expects=("asystole",), allows=(*_NO_PUMP, *_UNUSUAL), settle_s=40),
        Kind(
            "vf",
            "rhythm",
            expects=("ventricular_fibrillation",),
            allows=(
                "asystole",
                "ventricular_tachycardia",
                "extreme_tachycardia",
                "tachycardia",
                "ecg_unanalysable",
                *_NO_PUMP,
                *_UNUSUAL,
            ),
            settle_s=40,
        ),
        Kind(
            "desaturation",
            "vitals",
            expects=("spo2_low",),
            allows=("news2", "tachycardia", "respiration_high"),
            settle_s=40,
            onset_s=20,
        ),
        Kind(
            "fever",
            "vitals",
            expects=("temperature_high", "news2"),
            allows=("temperature_high", "news2", "tachycardia", "respiration_high"),
            settle_s=60,
            onset_s=900,
        ),
        Kind("lead_off", "electrodes", expects=("lead_off",), allows=("ecg_unanalysable",)),
        Kind("motion", "electrodes", allows=("ecg_unanalysable",)),
        Kind("frame_drop", "frames", allows=("ecg_unanalysable",)),
        Kind("frame_reorder", "frames"),
        Kind("clock_drift", "clock"),
        Kind("low_battery", "battery", expects=("battery_low",)),
    )
}
"""Every kind by name."""

RHYTHMS: Final = ("vf", "asystole", "vt", "af", "pvc_run")
"""Kinds that decide which beats there are; no two of them at one time."""

SILENT: Final = ("vf", "asystole")
"""Rhythms without any beat."""
