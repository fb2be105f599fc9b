"""What goes over the link next: skips and alarms first, then live data, then the backlog at its pace.

Keeps account of what is under way: published and not yet committed by the cloud. That account is the flow control;
what stays in it too long is sent again. Nothing here touches the network.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.spool.reader import SpoolReader
from vitalwire_edge.spool.rows import Message, Row, SkipRow
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    Anchor,
    BeatsMessage,
    Flag,
    ScoresMessage,
    Skip,
    StreamCommit,
    VitalsMessage,
    WaveBlock,
    decode_data,
    decode_json,
    encode_data,
    encode_json,
)
from vitalwire_edge.wire.topics import Stream

HISTORY_AFTER_NS: Final = 10_000_000_000
"""What is older than this when it is sent is not live any more."""

_BATCH: Final = 64
_SKIPS: Final = 16
_MOST_DOUBLINGS: Final = 3
"""While a store is away for long, a metered link does not carry the whole account again and again; alarms go on."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message ready to publish: `row_id` is None for a skip."""

    device: str
    stream: Stream
    payload: bytes
    row_id: int | None


@dataclass(slots=True)
class _UnderWay:
    device: str
    stream: Stream
    seq: int
    due_ns: int
    sent: int


class Outbox:
    """The order of sending over one spool. All methods belong to the link's thread, but `under_way`."""

    def __init__(
        self,
        reader: SpoolReader,
        session: str,
        clock: GatewayClock,
        *,
        unconfirmed_max: int,
        resend_after_s: float,
        backlog_rows_s: float,
    ) -> None:
        self._reader = reader
        self._session = session
        self._clock = clock
        self._unconfirmed_max = unconfirmed_max
        self._resend_ns = round(resend_after_s * 1e9)
        self._backlog_rows_s = backlog_rows_s
        self._under_way: dict[int, _UnderWay] = {}
        self._skips_due: dict[tuple[str, str, int], int] = {}
        self._allowance = 0.0
        self._refilled_ns = 0
        self.resent = 0
        self.restart()

    def restart(self) -> None:
        """A new connection: everything in the spool is backlog, what comes from now on is live."""
        self._under_way.clear()
        self._skips_due.clear()
        self._alarm_at = 0
        self._backlog_at = 0
        self._live_at = self._backlog_to = self._reader.last_id()

    @property
    def under_way(self) -> frozenset[int]:
        """Row ids that are published and not committed. Any thread."""
        while True:
            try:
                return frozenset(self._under_way)
            except RuntimeError:
                # The link changed it just now; it is small, so looking again is cheap.
                continue

    @property
    def unconfirmed(self) -> int:
        """How many messages the cloud owes us a commit for."""
        return len(self._under_way)

    def confirmed(self, commits: tuple[StreamCommit, ...]) -> None:
        """Take what the cloud has out of the account."""
        known = {(c.device, c.stream): c for c in commits if c.session == self._session}
        done = [
            row_id
            for row_id, item in self._under_way.items()
            if (commit := known.get((item.device, item.stream))) is not None and _holds(commit, item.seq)
        ]
        for row_id in done:
            del self._under_way[row_id]

    def lost(self, row_id: int, retry_ns: int) -> None:
        """The broker refused a message: try it again at `retry_ns`."""
        item = self._under_way.get(row_id)
        if item is not None:
            item.due_ns = retry_ns

    def hurry(self, now_ns: int, within_s: float) -> None:
        """The cloud has restarted: do not wait long for what it may have lost."""
        due = now_ns + round(within_s * 1e9)
        for item in self._under_way.values():
            item.due_ns = min(item.due_ns, due)

    def next(self, now_ns: int, room: int, *, backlog: bool, hold: bool = False) -> Iterator[Outgoing]:
        """At most `room` messages to publish now. `backlog` says whether history may be sent yet.

        With `hold` nothing new but alarms: the clock is about to become right, and what waits will get its right time.
        """
        if room <= 0:
            return
        for source in (
            self._skips(now_ns),
            self._alarms(now_ns),
            self._late(now_ns),
            self._live(now_ns) if not hold else iter(()),
            self._backlog(now_ns) if backlog and not hold else iter(()),
        ):
            for outgoing in source:
                yield outgoing
                room -= 1
                if room <= 0:
                    return

    def _skips(self, now_ns: int) -> Iterator[Outgoing]:
        for skip in self._reader.skips(_SKIPS):
            key = skip.device, skip.stream, skip.first
            if self._skips_due.get(key, 0) <= now_ns:
                if len(self._skips_due) >= 4 * _SKIPS:
                    self._skips_due.clear()
                self._skips_due[key] = now_ns + self._resend_ns
                yield _skip(self._session, skip)

    def _alarms(self, now_ns: int) -> Iterator[Outgoing]:
        for row in self._reader.alarms(self._alarm_at, _BATCH):
            self._alarm_at = row.id
            yield self._send(row, now_ns)

    def _late(self, now_ns: int) -> Iterator[Outgoing]:
        """What the cloud has not committed in time."""
        for row_id, item in [(i, item) for i, item in self._under_way.items() if item.due_ns <= now_ns]:
            row = self._reader.by_id(row_id)
            del self._under_way[row_id]
            if row is not None:
                self.resent += 1
                yield self._send(row, now_ns, sent=item.sent)

    def _live(self, now_ns: int) -> Iterator[Outgoing]:
        while self.unconfirmed < self._unconfirmed_max:
            rows = self._reader.others(self._live_at, 2**62, _BATCH)
            if rows and now_ns - rows[0].mono_ns > HISTORY_AFTER_NS and rows[0].boot == self._clock.boot:
                # The link did not keep up: this is history now, and newer data goes first.
                self._backlog_to = self._live_at = self._reader.last_id()
                return
            for row in rows:
                if self.unconfirmed >= self._unconfirmed_max:
                    return
                self._live_at = row.id
                yield self._send(row, now_ns)
            if len(rows) < _BATCH:
                return

    def _backlog(self, now_ns: int) -> Iterator[Outgoing]:
        """Rows up to where live began, paced, and never in the last quarter of the account."""
        elapsed = min(now_ns - self._refilled_ns, 1_000_000_000)
        self._refilled_ns = now_ns
        self._allowance = min(self._allowance + elapsed * 1e-9 * self._backlog_rows_s, self._backlog_rows_s)
        while self._backlog_at < self._backlog_to and self._allowance >= 1:
            rows = self._reader.others(self._backlog_at, self._backlog_to, _BATCH)
            if not rows:
                self._backlog_at = self._backlog_to
            for row in rows:
                if self._allowance < 1 or self.unconfirmed >= self._unconfirmed_max * 3 // 4:
                    return
                self._backlog_at = row.id
                if row.id not in self._under_way:
                    self._allowance -= 1
                    yield self._send(row, now_ns, backlog=True)

    def _send(self, row: Row, now_ns: int, *, backlog: bool = False, sent: int = 0) -> Outgoing:
        doublings = 0 if row.stream == "alarm" else min(sent, _MOST_DOUBLINGS)
        due_ns = now_ns + self._resend_ns * 2**doublings
        self._under_way[row.id] = _UnderWay(row.device, row.stream, row.seq, due_ns, sent + 1)
        return Outgoing(row.device, row.stream, payload_of(row, self._clock, now_ns, backlog=backlog), row.id)


def payload_of(row: Row, clock: GatewayClock, now_ns: int, *, backlog: bool = False) -> bytes:
    """The row's bytes as they go out now: mapped again if the clock has become right, flagged if old or backlog."""
    same_boot = row.boot == clock.boot
    history = backlog or not same_boot or now_ns - row.mono_ns > HISTORY_AFTER_NS
    remap = not row.synchronised and same_boot and clock.synchronised
    if row.synchronised and not history:
        return row.payload
    message: Message
    if row.stream == "alarm":
        message = decode_json(row.payload, AlarmMessage)
    else:
        decoded = decode_data(row.payload)
        assert isinstance(decoded, WaveBlock | VitalsMessage | BeatsMessage | ScoresMessage)
        message = decoded
    flags = message.flags | (Flag.HISTORY if history else 0)
    anchor = Anchor(row.boot, row.mono_ns) if not row.synchronised else None
    if remap:
        message = _shifted(message, clock.offset_ns - row.offset_ns)
        flags &= ~Flag.UNSYNCHRONISED
        anchor = None
    message = msgspec.structs.replace(message, flags=int(flags), anchor=anchor)
    return encode_json(message) if isinstance(message, AlarmMessage) else encode_data(message)


def _shifted(message: Message, by_ns: int) -> Message:
    match message:
        case WaveBlock():
            return msgspec.structs.replace(message, start_ns=message.start_ns + by_ns)
        case VitalsMessage():
            return msgspec.structs.replace(message, time_ns=message.time_ns + by_ns)
        case BeatsMessage():
            beats = tuple(msgspec.structs.replace(beat, r_ns=beat.r_ns + by_ns) for beat in message.beats)
            return msgspec.structs.replace(message, beats=beats)
        case ScoresMessage():
            scores = tuple(
                msgspec.structs.replace(score, r_ns=score.r_ns + by_ns) for score in message.scores
            )
            return msgspec.structs.replace(message, scores=scores)
        case AlarmMessage(evidence=evidence):
            if evidence is not None:
                evidence = msgspec.structs.replace(evidence, r_ns=evidence.r_ns + by_ns)
            return msgspec.structs.replace(
                message, onset_ns=message.onset_ns + by_ns, at_ns=message.at_ns + by_ns, evidence=evidence
            )


def _holds(commit: StreamCommit, seq: int) -> bool:
    return seq < commit.low_water or any(first <= seq <= last for first, last in commit.ranges)


def _skip(session: str, skip: SkipRow) -> Outgoing:
    message = Skip(
        session=session, first=skip.first, last=skip.last, samples=skip.samples, reason=skip.reason
    )
    return Outgoing(skip.device, skip.stream, encode_data(message), None)
