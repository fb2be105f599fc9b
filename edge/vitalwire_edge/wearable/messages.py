"""Messages of one wearable, before the spool gives them their session and sequence."""

from vitalwire_edge.alarms import AlarmChange
from vitalwire_edge.wearable.channel import PackedBlock
from vitalwire_edge.wire.frames import WaveChannel
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    Anchor,
    BeatEvidence,
    BeatMark,
    BeatsMessage,
    Flag,
    ScoreMark,
    ScoresMessage,
    VitalsMessage,
    VitalValue,
    WaveBlock,
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
