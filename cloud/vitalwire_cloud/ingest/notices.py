"""What the live pages hear of stored data and of births, deaths and status."""

from collections.abc import Iterator

import msgspec

from vitalwire_cloud.ingest.decoding import Accepted, Notice
from vitalwire_cloud.live import (
    BeatsEvent,
    LinkEvent,
    LiveEvent,
    News2Event,
    ScoresEvent,
    VitalsEvent,
    WaveEvent,
)
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
            gone: list[LiveEvent] = [LinkEvent(gateway, device, "offline", now_ns)]
            return gone if device is None else [*gone, News2Event(gateway, device, None, now_ns)]
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
                *_scores(gateway, status, now_ns),
            ]


def _scores(gateway: str, status: GatewayStatus, now_ns: int) -> Iterator[News2Event]:
    for each in status.devices:
        score = each.news2
        if score is msgspec.UNSET:
            continue
        if score is None or not each.connected:
            yield News2Event(gateway, each.device, None, now_ns)
            continue
        # Its age by the gateway's own clock, which may be wrong altogether; a right one also knows what the way took.
        at_ns = now_ns - max(0, status.at_ns - score.at_ns)
        if status.clock.synchronised:
            at_ns = min(at_ns, score.at_ns)
        yield News2Event(gateway, each.device, score, at_ns)
