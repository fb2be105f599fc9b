"""Turns a recording into another format, optionally at another rate."""

from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
from scipy.signal import resample_poly

from vitalwire_edge.recordings.locate import open_recording
from vitalwire_edge.recordings.recording import Recording, RecordingError, RhythmMark, TrueBeat
from vitalwire_edge.recordings.writing import write
from vitalwire_sim.data.info import describe
from vitalwire_sim.physiology.patient import Floats

Method = Literal["polyphase", "causal"]
_VOLTS: Final = frozenset({"uv", "mv", "v", "µv", "nv"})


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """What was written, and the channels left out because they are no voltage."""

    files: tuple[str, ...]
    leads: tuple[str, ...]
    left_out: tuple[str, ...]
    fs_hz: float


def convert(
    source: Path,
    target: Path,
    form: str,
    *,
    channels: tuple[str, ...] = (),
    fs_hz: float | None = None,
    method: Method = "polyphase",
) -> Converted:
    """Write every voltage channel (or only `channels`) of `source` as `form` below the name `target`.

    Beats come along. Raises `RecordingError`.
    """
    offered = {channel.name: channel.unit for channel in describe(source).records[0].channels}
    chosen = channels or tuple(name for name, unit in offered.items() if unit.casefold() in _VOLTS)
    if not chosen:
        raise RecordingError(
            f"{source}: holds no voltage ({', '.join(offered) or 'no channels'}); nothing to convert"
        )
    leads = [open_recording(str(source), channel=name) for name in chosen]
    if fs_hz is not None:
        leads = [resampled(lead, fs_hz, method) for lead in leads]
    files = write(target, form, leads, note=f"converted from {source.name}")
    return Converted(
        files=tuple(str(file) for file in files),
        leads=chosen,
        left_out=tuple(name for name in offered if name not in chosen),
        fs_hz=leads[0].fs_hz,
    )


def resampled(recording: Recording, fs_hz: float, method: Method) -> Recording:
    """`recording` at `fs_hz`: by a zero-phase polyphase filter, or by the gateway's own causal one (250 Hz only).

    A gap stays a gap and grows by the reach of the filter; nothing is interpolated over it. Raises `RecordingError`.
    """
    if fs_hz == recording.fs_hz:
        return recording
    if method == "causal":
        uv = _causal(recording, fs_hz)
    else:
        ratio = Fraction(fs_hz / recording.fs_hz).limit_denominator(2000)
        if abs(float(ratio) * recording.fs_hz / fs_hz - 1) > 1e-6:
            raise RecordingError(f"{recording.name}: no simple ratio from {recording.fs_hz} to {fs_hz} Hz")
        hole = np.isnan(recording.uv)
        filled = np.where(hole, 0.0, recording.uv)
        uv = resample_poly(filled, ratio.numerator, ratio.denominator)
        reach = resample_poly(hole.astype(np.float64), ratio.numerator, ratio.denominator)
        uv[np.abs(reach) > 1e-9] = np.nan
    factor = fs_hz / recording.fs_hz
    beats = (TrueBeat(round(beat.sample * factor), beat.symbol) for beat in recording.beats)
    return Recording(
        name=recording.name,
        lead=recording.lead,
        fs_hz=fs_hz,
        uv=uv,
        beats=tuple(beat for beat in beats if beat.sample < uv.size),
        rhythms=tuple(
            RhythmMark(round(mark.sample * factor), mark.name)
            for mark in recording.rhythms
            if round(mark.sample * factor) < uv.size
        ),
        licence=recording.licence,
        citation=recording.citation,
    )


def _causal(recording: Recording, fs_hz: float) -> Floats:
    # The gateway's filter needs its compiler, which who only fetches and converts may not have installed.
    try:
        from vitalwire_edge.signal.resample import ANALYSIS_HZ, ResamplerBank, SampleRateError  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RecordingError(
            f"--resample causal needs {error.name}: install vitalwire[edge], or use polyphase"
        ) from error
    if fs_hz != ANALYSIS_HZ:
        raise RecordingError(
            f"--resample causal makes {ANALYSIS_HZ} Hz, as the gateway does; use polyphase for {fs_hz:g}"
        )
    try:
        bank = ResamplerBank(1, fs_hz=recording.fs_hz)
    except SampleRateError as error:
        raise RecordingError(f"{recording.name}: {error}") from error
    uv: Floats = bank.push(recording.uv[None, :].astype(np.float32))[0].astype(np.float64)
    return uv
