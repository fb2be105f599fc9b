"""One batch into the tables, inside the transaction of whoever calls."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from vitalwire_cloud.store.interface import Item, Quarantined, Replayed, SeriesKey, WriteResult
from vitalwire_cloud.store.ranges import RangeSet, commit_of
from vitalwire_cloud.store.reading import MAX_BLOCK_NS
from vitalwire_cloud.store.segments import duration_ns
from vitalwire_edge.wire.messages import (
    AlarmMessage,
    Anchor,
    BeatsMessage,
    ScoresMessage,
    Skip,
    StreamCommit,
    VitalsMessage,
    WaveBlock,
    encode_json,
)

_MINUTE_NS: Final = 60_000_000_000
_RECENT_BLOCKS: Final = 64
_BEATS_CODE: Final = 0
_SCORES_CODE: Final = -1
"""Channel codes of beats and of scores in the table of conflicts."""


@dataclass(slots=True)
class _Series:
    id: int
    held: RangeSet
    written: list[tuple[int, int]]
    """The ranges as they stand in the file."""


@dataclass(slots=True)
class _Channel:
    id: int
    newest_end_ns: int


@dataclass(slots=True)
class BatchWriter:
    """Writes batches over one connection and remembers what it would otherwise look up each time.

    After a rollback `forget()` must be called: what it remembers then tells of rows that do not exist.
    """

    connection: sqlite3.Connection
    quarantine_rows: int
    _series: dict[SeriesKey, _Series] = field(default_factory=dict)
    _channels: dict[tuple[str, int], _Channel] = field(default_factory=dict)
    _touched: dict[SeriesKey, _Series] = field(default_factory=dict)

    def forget(self) -> None:
        """Look everything up again."""
        self._series.clear()
        self._channels.clear()
        self._touched.clear()

    def write(self, items: list[Item], quarantined: list[Quarantined], stored_ns: int) -> WriteResult:
        """Insert what is new and bring the ledger up to date."""
        result = WriteResult()
        for item in items:
            self._store(item, stored_ns, result)
        for message in quarantined:
            self._set_aside(message)
        self._trim_quarantine(len(quarantined))
        self._tally("duplicates", result.duplicates)
        self._write_ledger()
        return result

    def held(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, StreamCommit]:
        """What is stored of those series that were written to since this writer began."""
        known = ((key, self._series.get(key)) for key in keys)
        return {key: commit_of(key, series.held) for key, series in known if series is not None}

    def replay(self, number: int, item: Item, stored_ns: int) -> Replayed:
        """Store what was set aside as `number` and take it out of there."""
        row = self.connection.execute(
            "SELECT gateway, device, stream, session, seq FROM quarantine WHERE id = ?", (number,)
        ).fetchone()
        if row is None:
            return "gone"
        result = WriteResult()
        # What was set aside with its place known holds that place itself.
        own = row == (item.gateway, item.device, item.stream, item.session, item.seq)
        self._store(item, stored_ns, result, own=own)
        self.discard(number, "replayed")
        self._write_ledger()
        return "stored" if result.stored else "known"

    def discard(self, number: int, how: str) -> bool:
        """Take a message out of what was set aside; False when it was not there."""
        gone = self.connection.execute("DELETE FROM quarantine WHERE id = ?", (number,)).rowcount
        self._tally(f"quarantine_{how}", gone)
        return gone == 1

    def _store(self, item: Item, stored_ns: int, result: WriteResult, *, own: bool = False) -> None:
        """Insert an item unless its place is taken by anything but itself (`own`)."""
        key = item.series
        series = self._series_of(key)
        if isinstance(item.message, Skip):
            new = self._skip(series, item.message, stored_ns)
        elif new := own or item.seq not in series.held:
            result.conflicts += self._insert(series, item, stored_ns)
            series.held.add(item.seq, item.seq)
        if new:
            self._touched[key] = series
            result.stored.append(item)
        else:
            result.duplicates += 1

    def _series_of(self, key: SeriesKey) -> _Series:
        known = self._series.get(key)
        if known is not None:
            return known
        values = (key.gateway, key.device, key.stream, key.session)
        self.connection.execute(
            "INSERT OR IGNORE INTO series (gateway, device, stream, session) VALUES (?, ?, ?, ?)", values
        )
        (row_id,) = self.connection.execute(
            "SELECT id FROM series WHERE gateway = ? AND device = ? AND stream = ? AND session = ?", values
        ).fetchone()
        ranges = self.connection.execute(
            "SELECT first, last FROM ledger WHERE series = ? ORDER BY first", (row_id,)
        ).fetchall()
        series = _Series(row_id, RangeSet(ranges), ranges)
        self._series[key] = series
        return series

    def _channel_of(self, device: str, code: int) -> _Channel:
        known = self._channels.get((device, code))
        if known is not None:
            return known
        self.connection.execute("INSERT OR IGNORE INTO channel (device, code) VALUES (?, ?)", (device, code))
        (row_id,) = self.connection.execute(
            "SELECT id FROM channel WHERE device = ? AND code = ?", (device, code)
        ).fetchone()
        (newest,) = self.connection.execute(
            "SELECT max(end_ns) FROM (SELECT end_ns FROM wave WHERE channel = ? ORDER BY start_ns DESC LIMIT ?)",
            (row_id, _RECENT_BLOCKS),
        ).fetchone()
        channel = _Channel(row_id, newest or 0)
        self._channels[device, code] = channel
        return channel

    def _insert(self, series: _Series, item: Item, stored_ns: int) -> int:
        """Insert a new message; returns how many conflicts that made."""
        match item.message:
            case WaveBlock() as block:
                return self._wave(series, item, block, stored_ns)
            case VitalsMessage() as vitals:
                self._message(series, item, vitals.time_ns, vitals.anchor, stored_ns)
                return self._vitals(series, item, vitals)
            case BeatsMessage() as beats:
                newest_ns = max(beat.r_ns for beat in beats.beats)
                self._message(series, item, newest_ns, beats.anchor, stored_ns)
                return self._beats(series, item, beats)
            case ScoresMessage() as scores:
                newest_ns = max(score.r_ns for score in scores.scores)
                self._message(series, item, newest_ns, scores.anchor, stored_ns)
                return self._scores(series, item, scores)
            case AlarmMessage() as alarm:
                self._message(series, item, alarm.at_ns, alarm.anchor, stored_ns)
                self.connection.execute(
                    "INSERT INTO alarm (series, seq, alarm_id, at_ns, body, stored_ns) VALUES (?, ?, ?, ?, ?, ?)",
                    (series.id, item.seq, alarm.alarm_id, alarm.at_ns, encode_json(alarm), stored_ns),
                )
                return 0
            case Skip():
                raise TypeError("a skip is entered in the ledger, not stored as a message")

    def _wave(self, series: _Series, item: Item, block: WaveBlock, stored_ns: int) -> int:
        channel = self._channel_of(item.device, block.code)
        end_ns = block.start_ns + duration_ns(block.count, block.rate_mhz)
        conflicts = 0
        if block.start_ns < channel.newest_end_ns:
            conflicts = self._wave_conflict(channel, series, item.seq, block, end_ns)
        channel.newest_end_ns = max(channel.newest_end_ns, end_ns)
        self.connection.execute(
            "INSERT INTO wave VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                channel.id,
                block.start_ns,
                series.id,
                item.seq,
                end_ns,
                block.device_boot,
                block.first_sample,
                block.count,
                block.rate_mhz,
                block.scale,
                block.flags,
                block.codec,
                block.data,
                stored_ns,
                *_anchor(block.anchor),
            ),
        )
        return conflicts

    def _wave_conflict(
        self, channel: _Channel, series: _Series, seq: int, block: WaveBlock, end_ns: int
    ) -> int:
        """Enter a conflict when another message already holds samples at this time.

        Neighbours of one boot may overlap by the jitter of the clock model, so there the sample counters decide.
        """
        sample_ns = duration_ns(1, block.rate_mhz)
        for row in self.connection.execute(
            "SELECT series, seq, start_ns, end_ns, device_boot, first_sample, count FROM wave"
            " WHERE channel = ? AND start_ns > ? AND start_ns < ? AND end_ns > ?",
            (channel.id, block.start_ns - MAX_BLOCK_NS, end_ns, block.start_ns),
        ):
            other_series, other_seq, other_start, other_end, boot, first, count = row
            if boot == block.device_boot:
                overlap = min(first + count, block.first_sample + block.count) - max(
                    first, block.first_sample
                )
                clash = overlap > 0 or other_start == block.start_ns
            else:
                clash = min(other_end, end_ns) - max(other_start, block.start_ns) > sample_ns
            if clash:
                self._conflict(channel.id, block.start_ns, series.id, seq, other_series, other_seq)
                return 1
        return 0

    def _conflict(self, *row: int) -> None:
        self.connection.execute("INSERT OR IGNORE INTO conflict VALUES (?, ?, ?, ?, ?, ?)", row)

    def _message(
        self, series: _Series, item: Item, time_ns: int, anchor: Anchor | None, stored_ns: int
    ) -> None:
        flags = 0 if isinstance(item.message, Skip) else item.message.flags
        self.connection.execute(
            "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?)",
            (series.id, item.seq, time_ns, flags, stored_ns, *_anchor(anchor)),
        )

    def _vitals(self, series: _Series, item: Item, message: VitalsMessage) -> int:
        conflicts = 0
        for number in message.values:
            at = (item.device, message.time_ns, number.code)
            other = self.connection.execute(
                "SELECT series, seq FROM vital WHERE device = ? AND time_ns = ? AND code = ? LIMIT 1", at
            ).fetchone()
            if other is not None:
                channel = self._channel_of(item.device, number.code)
                self._conflict(channel.id, message.time_ns, series.id, item.seq, *other)
                conflicts += 1
            self.connection.execute(
                "INSERT INTO vital VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*at, series.id, item.seq, number.value, number.status),
            )
            self.connection.execute(
                "INSERT INTO latest_vital VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " time_ns = excluded.time_ns, value = excluded.value, status = excluded.status"
                " WHERE excluded.time_ns >= time_ns",
                (item.device, number.code, message.time_ns, number.value, number.status),
            )
            if number.value is not None:
                minute_ns = message.time_ns - message.time_ns % _MINUTE_NS
                self.connection.execute(
                    "INSERT INTO rollup VALUES (?, ?, ?, 1, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + 1,"
                    " total = total + excluded.total, low = min(low, excluded.low), high = max(high, excluded.high)",
                    (item.device, minute_ns, number.code, number.value, number.value, number.value),
                )
        return conflicts

    def _beats(self, series: _Series, item: Item, message: BeatsMessage) -> int:
        conflicts = 0
        for place, beat in enumerate(message.beats):
            other = self.connection.execute(
                "SELECT series, seq FROM beat WHERE device = ? AND r_ns = ? LIMIT 1", (item.device, beat.r_ns)
            ).fetchone()
            if other is not None:
                channel = self._channel_of(item.device, _BEATS_CODE)
                self._conflict(channel.id, beat.r_ns, series.id, item.seq, *other)
                conflicts += 1
            self.connection.execute(
                "INSERT INTO beat VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    item.device,
                    beat.r_ns,
                    series.id,
                    item.seq,
                    place,
                    beat.rr_ms,
                    beat.amplitude_uv,
                    beat.width_ms,
                    beat.quality,
                    beat.wide,
                ),
            )
        return conflicts

    def _scores(self, series: _Series, item: Item, message: ScoresMessage) -> int:
        conflicts = 0
        self.connection.execute(
            "INSERT OR IGNORE INTO scorer (model, version) VALUES (?, ?)", (message.model, message.version)
        )
        (scorer,) = self.connection.execute(
            "SELECT id FROM scorer WHERE model = ? AND version = ?", (message.model, message.version)
        ).fetchone()
        for place, mark in enumerate(message.scores):
            other = self.connection.execute(
                "SELECT series, seq FROM score WHERE device = ? AND r_ns = ? LIMIT 1",
                (item.device, mark.r_ns),
            ).fetchone()
            if other is not None:
                channel = self._channel_of(item.device, _SCORES_CODE)
                self._conflict(channel.id, mark.r_ns, series.id, item.seq, *other)
                conflicts += 1
            parts = (mark.score, mark.shape, mark.timing, mark.amplitude, message.threshold, scorer)
            self.connection.execute(
                "INSERT INTO score VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (item.device, mark.r_ns, series.id, item.seq, place, *parts),
            )
        return conflicts

    def _skip(self, series: _Series, skip: Skip, stored_ns: int) -> bool:
        inserted = self.connection.execute(
            "INSERT OR IGNORE INTO skip VALUES (?, ?, ?, ?, ?, ?)",
            (series.id, skip.first, skip.last, skip.samples, skip.reason, stored_ns),
        ).rowcount
        series.held.add(skip.first, skip.last)
        return inserted == 1

    def _set_aside(self, message: Quarantined) -> None:
        key = message.series
        place: tuple[str | None, ...] = (None,) * 4
        if key is not None:
            place = (key.gateway, key.device, key.stream, key.session)
            if message.seq is not None:
                series = self._series_of(key)
                if message.seq in series.held:
                    return
                series.held.add(message.seq, message.seq)
                self._touched[key] = series
        self.connection.execute(
            "INSERT INTO quarantine (topic, payload, reason, received_ns, gateway, device, stream, session, seq)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (message.topic, message.payload, message.reason, message.received_ns, *place, message.seq),
        )

    def _trim_quarantine(self, added: int) -> None:
        if not added:
            return
        dropped = self.connection.execute(
            "DELETE FROM quarantine WHERE id <= (SELECT id FROM quarantine ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (self.quarantine_rows,),
        ).rowcount
        self._tally("quarantine_dropped", dropped)

    def _tally(self, name: str, by: int) -> None:
        if by:
            self.connection.execute(
                "INSERT INTO tally VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
                (name, by),
            )

    def _write_ledger(self) -> None:
        for series in self._touched.values():
            now = series.held.ranges()
            gone = set(series.written).difference(now)
            fresh = set(now).difference(series.written)
            self.connection.executemany(
                "DELETE FROM ledger WHERE series = ? AND first = ?", _keyed(series.id, gone)
            )
            self.connection.executemany(
                "INSERT INTO ledger VALUES (?, ?, ?)", ((series.id, *each) for each in fresh)
            )
            series.written = now
        self._touched.clear()


def _keyed(series_id: int, ranges: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    return ((series_id, first) for first, _ in ranges)


def _anchor(anchor: Anchor | None) -> tuple[str | None, int | None]:
    return (None, None) if anchor is None else (anchor.boot, anchor.mono_ns)
