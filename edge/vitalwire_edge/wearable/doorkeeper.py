"""Who is on which channel: turns what sources deliver into frames of known wearables, and refuses the rest."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog

from vitalwire_edge.sources.inbox import Arrived, Channel, Closed, Event, Opened
from vitalwire_edge.wearable.device import Wearable
from vitalwire_edge.wearable.reorder import Timed
from vitalwire_edge.wire.frames import Frame, FrameCounters, FrameDecoder, Goodbye, Hello
from vitalwire_edge.wire.topics import TopicError, identifier

log = structlog.get_logger()

_MOST_DEVICES: Final = 256
_STALE_NS: Final = 5_000_000_000


@dataclass(slots=True)
class _Visit:
    channel: Channel
    decoder: FrameDecoder = field(default_factory=FrameDecoder)
    counted: FrameCounters = field(default_factory=FrameCounters)
    wearable: Wearable | None = None
    refused: bool = False


class Doorkeeper:
    """Keeps one wearable per name and one channel per wearable. `dropped` counts what belongs to no wearable.

    A failure while handling one channel's data closes that channel and no other.
    """

    def __init__(self, make: Callable[[str], Wearable]) -> None:
        self._make = make
        self._visits: dict[Channel, _Visit] = {}
        self.wearables: dict[str, Wearable] = {}
        self.dropped: Counter[str] = Counter()

    def handle(self, event: Event) -> None:
        """Take one event of a source."""
        if isinstance(event, Arrived):
            visit = self._visits.get(event.channel)
            if visit is not None and not visit.refused:
                self._arrived(visit, event.arrival_ns, event.data)
            return
        match event:
            case Opened(channel):
                self._visits[channel] = _Visit(channel)
            case Closed(channel, reason):
                visit = self._visits.pop(channel, None)
                if visit is not None and visit.wearable is not None:
                    log.info("wearable_disconnected", device=visit.wearable.name, reason=reason)
                    self._guarded(visit.wearable, lambda wearable: wearable.leave("closed"))

    def tick(self, now_ns: int) -> None:
        """Let every wearable notice that time passes."""
        for wearable in self.wearables.values():
            self._guarded(wearable, lambda wearable: wearable.tick(now_ns))

    def flush(self) -> None:
        """Send on what every wearable still gathers."""
        for wearable in self.wearables.values():
            self._guarded(wearable, lambda wearable: wearable.flush())

    def _guarded(self, wearable: Wearable, do: Callable[[Wearable], None]) -> None:
        """One wearable's failure must not reach another."""
        try:
            do(wearable)
        except Exception:
            self.dropped["failures"] += 1
            log.exception("wearable_failed", device=wearable.name)

    def _arrived(self, visit: _Visit, arrival_ns: int, data: bytes | tuple[Frame, ...]) -> None:
        frames: Iterable[Frame] = visit.decoder.feed(data) if isinstance(data, bytes) else data
        try:
            for frame in frames:
                wearable = visit.wearable
                if wearable is not None and not isinstance(frame.payload, Hello):
                    wearable.take(Timed(arrival_ns, frame))
                    continue
                self._frame(visit, Timed(arrival_ns, frame))
                if visit.refused:
                    return
        except Exception:
            self.dropped["failures"] += 1
            log.exception("wearable_failed", channel=visit.channel.label)
            self._refuse(visit, "failed")
        finally:
            self._count(visit)

    def _frame(self, visit: _Visit, timed: Timed) -> None:
        if isinstance(timed.frame.payload, Hello):
            self._hello(visit, timed, timed.frame.payload)
        elif not isinstance(timed.frame.payload, Goodbye):
            self.dropped["no_hello"] += 1

    def _hello(self, visit: _Visit, timed: Timed, hello: Hello) -> None:
        if visit.wearable is not None and visit.wearable.name == hello.device:
            visit.wearable.greet(timed)
            return
        try:
            name = identifier(hello.device, "device")
        except TopicError as error:
            log.warning("wearable_refused", channel=visit.channel.label, reason=str(error))
            self._refuse(visit, "bad_name")
            return
        if visit.wearable is not None:
            log.warning("wearable_refused", device=name, reason="it changed its name")
            self._refuse(visit, "name_changed")
            return
        holder = next(
            (v for v in self._visits.values() if v.wearable is not None and v.wearable.name == name), None
        )
        if holder is not None:
            assert holder.wearable is not None
            if time.monotonic_ns() - holder.wearable.heard_ns < _STALE_NS:
                log.warning("wearable_refused", device=name, reason="another connection has this name")
                self._refuse(visit, "name_taken")
                return
            # The old connection is dead and its end has not reached us.
            holder.wearable = None
            self._refuse(holder, "replaced")
        wearable = self.wearables.get(name)
        if wearable is None:
            if len(self.wearables) >= _MOST_DEVICES:
                self._refuse(visit, "too_many_devices")
                return
            wearable = self.wearables[name] = self._make(name)
        visit.wearable = wearable
        log.info("wearable_connected", device=name, channel=visit.channel.label, boot=hello.boot)
        wearable.greet(timed)

    def _refuse(self, visit: _Visit, reason: str) -> None:
        visit.refused = True
        self.dropped[reason] += 1
        visit.channel.close()

    def _count(self, visit: _Visit) -> None:
        """Move what the decoder threw away since last time to whom it belongs."""
        now, before = visit.decoder.counters, visit.counted
        if now.thrown_away == before.thrown_away:
            return
        target = self.dropped if visit.wearable is None else visit.wearable.dropped
        for reason in ("garbage_bytes", "bad_crc", "bad_version", "bad_payload"):
            grown = getattr(now, reason) - getattr(before, reason)
            if grown:
                target[reason] += grown
                setattr(before, reason, getattr(now, reason))
