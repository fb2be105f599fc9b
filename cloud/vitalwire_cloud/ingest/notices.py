"""What the live pages hear of stored data and of births, deaths and status."""

from vitalwire_cloud.ingest.decoding import Accepted, Notice
from vitalwire_cloud.live import BeatsEvent, LinkEvent, LiveEvent, ScoresEvent, VitalsEvent, WaveEvent
from vitalwire_cloud.store.interface import Item, StoredBeat, StoredScore, VitalPoint
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    BeatsMessage,
    DeviceBirth,
    DeviceDeath,
    GatewayBirth,
    GatewayDeath,
    GatewayStatus,
    ScoresMessage,
    Skip,
    VitalsMessage,
    WaveBlock,
)


def live_events(stored: list[Item], accepted: list[Accepted]) -> list[LiveEvent]:
    """Events of the items that were new; alarms are told by the desk, in the state they have there."""
    samples = {id(each.item): each.samples for each in accepted}
    events: list[LiveEvent] = []
    for item in stored:
        match item.message:
            case WaveBlock() as block:
                steps = samples.get(id(item))
                if steps is not None:
                    rate_hz = block.rate_mhz / 1000
                    events.append(
                        WaveEvent(
                            item.device, block.code, block.start_ns, rate_hz, block.scale, steps, block.flags
                        )
                    )
            case VitalsMessage() as vitals:
                points = (VitalPoint(vitals.time_ns, v.code, v.value, v.status) for v in vitals.values)
                events.append(VitalsEvent(item.device, tuple(points)))
            case BeatsMessage() as message:
                beats = (
                    StoredBeat(b.r_ns, b.rr_ms, b.amplitude_uv, b.width_ms, b.quality, b.wide)
                    for b in message.beats
                )
                events.append(BeatsEvent(item.device, tuple(beats)))
            case ScoresMessage() as message:
                by = (message.threshold, message.model, message.version)
                scores = (
                    StoredScore(s.r_ns, s.score, s.shape, s.timing, s.amplitude, *by) for s in message.scores
                )
                events.append(ScoresEvent(item.device, tuple(scores)))
            case AlarmMessage() | Skip():
                continue
    return events


def link_events(notice: Notice, now_ns: int) -> list[LiveEvent]:
    """State of the links that a birth, death or status tells."""
    gateway, device = notice.topic.gateway, notice.topic.device
    match notice.message:
        case GatewayBirth():
            return [LinkEvent(gateway, None, "online", now_ns)]
        case GatewayDeath():
            return [LinkEvent(gateway, None, "offline", now_ns)]
        case DeviceBirth():
            return [LinkEvent(gateway, device, "online", now_ns)]
        case DeviceDeath():
            return [LinkEvent(gateway, device, "offline", now_ns)]
        case GatewayStatus() as status:
            return [
                LinkEvent(gateway, None, "online", now_ns, backlog_rows=status.spool_rows),
                *(
                    LinkEvent(
                        gateway,
                        each.device,
                        "online" if each.connected else "offline",
                        now_ns,
                        battery_percent=each.battery_percent,
                        quality=each.quality,
                    )
                    for each in status.devices
                ),
            ]
