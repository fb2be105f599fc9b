"""Messages of one wearable, before the spool gives them their session and sequence."""

from collections.abc import Iterable
from math import isfinite

from vitalwire_edge.alarms import AlarmChange
from vitalwire_edge.signal.chain import Beat
from vitalwire_edge.wearable.channel import PackedBlock
from vitalwire_edge.wire.codes import LEADS, VITALS, WAVE_UNITS, Code
from vitalwire_edge.wire.frames import WaveChannel
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    Anchor,
    BeatEvidence,
    BeatMark,
    BeatsMessage,
    ChannelInfo,
    Flag,
    ScoreMark,
    ScoresMessage,
    VitalsMessage,
    VitalValue,
    WaveBlock,
)


def channel_infos(waves: Iterable[WaveChannel], vitals: Iterable[Code]) -> tuple[ChannelInfo, ...]:
    """What a device offers, as its birth says it: waveforms, then numbers."""
    shown = [
        ChannelInfo(
            code=int(wave.code),
            name=LEADS.get(wave.code, wave.code.name),
            unit=WAVE_UNITS.get(wave.code, "1"),
            rate_mhz=wave.rate_mhz,
            scale=wave.scale,
        )
        for wave in waves
    ]
    numbers = [
        ChannelInfo(code=int(code), name=VITALS[code].name, unit=VITALS[code].unit, loinc=VITALS[code].loinc)
        for code in vitals
    ]
    return (*shown, *numbers)


def beat_mark(beat: Beat, r_ns: int) -> BeatMark:
    """A beat whose R peak was at `r_ns` UTC."""
    return BeatMark(
        r_ns=r_ns,
        rr_ms=_known(beat.rr_s * 1000, 1),
        amplitude_uv=_known(beat.amplitude_uv, 1),
        width_ms=_known(beat.width_ms, 1),
        quality=_known(beat.quality, 3) or 0.0,
        wide=beat.wide,
    )


def wave_block(
    info: WaveChannel, boot: int, block: PackedBlock, start_ns: int, *, flags: int, anchor: Anchor | None
) -> WaveBlock:
    """A block of one channel whose first sample was taken at `start_ns` UTC."""
    return WaveBlock(
        session="",
        seq=0,
        flags=flags | (int(Flag.LEAD_OFF) if block.lead_off else 0),
        code=int(info.code),
        device_boot=boot,
        first_sample=block.first_sample,
        start_ns=start_ns,
        rate_mhz=info.rate_mhz,
        scale=info.scale,
        count=block.count,
        codec=block.codec,
        data=block.data,
        anchor=anchor,
    )


def vitals_message(
    time_ns: int, values: tuple[VitalValue, ...], *, flags: int, anchor: Anchor | None
) -> VitalsMessage:
    """Numbers of one instant."""
    return VitalsMessage(session="", seq=0, flags=flags, time_ns=time_ns, values=values, anchor=anchor)


def beats_message(beats: tuple[BeatMark, ...], *, flags: int, anchor: Anchor | None) -> BeatsMessage:
    """Beats in order."""
    return BeatsMessage(session="", seq=0, flags=flags, beats=beats, anchor=anchor)


def scores_message(
    model: str,
    version: int,
    threshold: float,
    scores: tuple[ScoreMark, ...],
    *,
    flags: int,
    anchor: Anchor | None,
) -> ScoresMessage:
    """Scores in order, by one model."""
    return ScoresMessage(
        session="",
        seq=0,
        flags=flags,
        model=model,
        version=version,
        threshold=threshold,
        scores=scores,
        anchor=anchor,
    )


def alarm_message(
    change: AlarmChange, evidence: BeatEvidence | None = None, *, flags: int, anchor: Anchor | None
) -> AlarmMessage:
    """A change of one alarm; `evidence` is what a model alert is about."""
    return AlarmMessage(
        session="",
        seq=0,
        flags=flags,
        alarm_id=change.alarm_id,
        kind=change.kind,
        priority=change.priority,
        category=change.category,
        phase=change.phase,
        onset_ns=change.onset_ns,
        at_ns=change.at_ns,
        text=change.text,
        rule=change.rule,
        value=change.value,
        limit=change.limit,
        notes=change.notes,
        anchor=anchor,
        evidence=evidence,
    )


def _known(value: float, digits: int) -> float | None:
    """`value` rounded; None where the signal did not let it be measured."""
    return round(value, digits) if isfinite(value) else None
