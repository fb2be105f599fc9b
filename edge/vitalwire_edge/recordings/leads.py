"""Which channel of a file is an ECG, and what its numbers are in microvolts."""

import re
from collections.abc import Sequence
from typing import Final

from vitalwire_edge.recordings.recording import RecordingError

_ECG: Final = re.compile(
    r"(?:ecg|ekg)?[ _-]*(?:lead)?[ _-]*(?:ml?ii|mcl\d|mv\d|i{1,3}|av[rlf]|v\d?|cm\d|d\d|ecg\d*|ekg\d*)(?:[ _-].*)?",
    re.IGNORECASE,
)
_UV: Final = {"uv": 1.0, "µv": 1.0, "μv": 1.0, "mv": 1e3, "v": 1e6, "nv": 1e-3}


def choose(names: Sequence[str], channel: str | None, *, source: str) -> int:
    """Index of `channel` in `names`, or of the first that looks like an ECG lead. Raises `RecordingError`."""
    if channel is not None:
        for index, name in enumerate(names):
            if name.strip().casefold() == channel.casefold():
                return index
        raise RecordingError(f"{source} has no channel {channel!r}: use one of {', '.join(names)}")
    first = next((i for i, name in enumerate(names) if _ECG.fullmatch(name.strip())), None)
    if first is None:
        raise RecordingError(
            f"{source}: none of {', '.join(names)} looks like an ECG; name one with --channel"
        )
    return first


def microvolts_per(unit: str, *, source: str, channel: str) -> float:
    """Factor from `unit` to uV. Raises `RecordingError` for what is not a voltage."""
    factor = _UV.get(unit.strip().casefold())
    if factor is None:
        raise RecordingError(
            f"{source}: channel {channel} is in {unit or 'no unit'!r}, not in uV, mV or V; choose an ECG with --channel"
        )
    return factor
