"""Where what is known of a wearable leaves for the spool: each message with its time and how sure that time is."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec
import structlog

from vitalwire_edge.alarms import AlarmChange
from vitalwire_edge.signal.chain import Beat
from vitalwire_edge.spool.rows import Entry, Message
from vitalwire_edge.wearable.channel import PackedBlock
from vitalwire_edge.wearable.messages import (
    alarm_message,
    beat_mark,
    beats_message,
    scores_message,
    vitals_message,
    wave_block,
)
from vitalwire_edge.wearable.policy import Held, WavePolicy
from vitalwire_edge.wearable.scoring import ScoreBatch
from vitalwire_edge.wearable.surroundings import Surroundings
from vitalwire_edge.wire.frames import WaveChannel
from vitalwire_edge.wire.messages import Anchor, BeatEvidence, BeatMark, Flag, VitalValue
from vitalwire_edge.wire.topics import Stream

log = structlog.get_logger()


class Outlet:
    """What one device sends on. Times are of the gateway's monotonic clock.

    `policy` decides which waveform goes; an alarm or somebody who looks opens it.
    """

    def __init__(self, device: str, around: Surroundings) -> None:
        self.policy = WavePolicy(around.telemetry)
        self._device = device
        self._around = around
        self._clock = around.clock
        self._beats: list[BeatMark] = []
        self._beats_at_ns = 0

    def vitals(self, mono_ns: int, values: Sequence[VitalValue]) -> None:
        """Numbers of one instant."""
        self._put("vitals", mono_ns, partial(vitals_message, self._clock.utc_ns(mono_ns), tuple(values)))

    def beat(self, mono_ns: int, beat: Beat) -> None:
        """A beat, which waits for `beats`."""
        self._beats.append(beat_mark(beat, self._clock.utc_ns(mono_ns)))
        self._beats_at_ns = mono_ns

    def beats(self) -> None:
        """Send the beats that wait, in one message."""
        if self._beats:
            beats, self._beats = tuple(self._beats), []
            self._put("beat", self._beats_at_ns, partial(beats_message, beats))

    def scores(self, batch: ScoreBatch) -> None:
        """What a model said of some beats."""
        marks = batch.marks(self._clock)
        build = partial(scores_message, batch.model, batch.version, batch.threshold, marks)
        self._put("score", batch.mono_ns, build)

    def demand(self, seconds: float) -> None:
        """Somebody wants to see the waveform of the next `seconds`."""
        self._send(self.policy.demand(seconds, self._clock.now().mono_ns))

    def wave(self, channel: WaveChannel, boot: int, block: PackedBlock) -> None:
        """A block of waveform, as far as the policy lets it go; `boot` is the device's."""
        self._send(self.policy.offer(Held(channel, boot, block)))

    def alarm(self, change: AlarmChange, evidence: BeatEvidence | None = None) -> None:
        """A change of an alarm, and the waveform that belongs to it."""
        kept = None if change.phase == "cleared" else msgspec.msgpack.encode(change)
        now_ns = self._clock.now().mono_ns
        # Before the spool has it, which may be confirmed before another line runs here.
        self._around.on_alarm(self._device, change)
        self._put("alarm", now_ns, partial(alarm_message, change, evidence), open_alarm=(change.kind, kept))
        self._send(self.policy.alarm(change.kind, change.phase, change.priority, now_ns))
        log.info("alarm", device=self._device, kind=change.kind, priority=change.priority, phase=change.phase)

    def _send(self, waves: Iterable[Held]) -> None:
        for held in waves:
            mono_ns = held.block.mono_ns
            build = partial(wave_block, held.channel, held.boot, held.block, self._clock.utc_ns(mono_ns))
            self._put("ecg", mono_ns, build, code=int(held.channel.code), samples=held.block.count)

    def _put(
        self,
        stream: Stream,
        mono_ns: int,
        build: Callable[..., Message],
        *,
        code: int = 0,
        samples: int = 1,
        open_alarm: tuple[str, bytes | None] | None = None,
    ) -> None:
        clock = self._clock
        anchor = None if clock.synchronised else Anchor(clock.boot, mono_ns)
        flags = 0 if clock.synchronised else int(Flag.UNSYNCHRONISED)
        message = build(flags=flags, anchor=anchor)
        self._around.put(
            Entry(
                device=self._device,
                stream=stream,
                message=message,
                mono_ns=mono_ns,
                offset_ns=clock.offset_ns,
                synchronised=clock.synchronised,
                code=code,
                samples=samples,
                open_alarm=open_alarm,
            )
        )
