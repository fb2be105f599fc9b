"""The seam between sources and the agent: what arrived, when, on which channel; bounded.

A source is anything that puts these events: TCP today; Bluetooth, a serial line or a recorded file look the same.
"""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import msgspec

from vitalwire_edge.wire.frames import Frame


class Channel(Protocol):
    """One wearable's way in. Compared by identity."""

    @property
    def label(self) -> str:
        """What to call it in logs: the source and a peer, never a person."""

    def close(self) -> None:
        """Ask the source to end it. Any thread; `Closed` follows."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A wearable connected."""

    channel: Channel


class Arrived(msgspec.Struct, frozen=True):
    """Bytes of the frame protocol, cut anywhere, or frames from a source that has its own framing.

    `arrival_ns` is the gateway's monotonic clock when the operating system handed them over.
    """

    channel: Channel
    arrival_ns: int
    data: bytes | tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """A wearable is gone. Always the last event of its channel."""

    channel: Channel
    reason: str


Event = Opened | Arrived | Closed


class Inbox:
    """A queue from all sources to the agent. `has_room` is how the agent's slowness reaches the sources."""

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._filled = threading.Condition()

    @property
    def has_room(self) -> bool:
        """Whether a source may put more data. Openings and closings always may."""
        return len(self._events) < self._capacity

    def put(self, event: Event) -> None:
        """Hand an event over; never blocks. Sources ask `has_room` before they read data."""
        with self._filled:
            self._events.append(event)
            self._filled.notify()

    def take(self, timeout_s: float) -> list[Event]:
        """Everything that waits, or nothing after `timeout_s`."""
        with self._filled:
            if not self._events:
                self._filled.wait(timeout_s)
            events = list(self._events)
            self._events.clear()
        return events


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source stands: where it listens or looks, how many wearables are on it, what it counted."""

    kind: str
    where: str
    connected: int
    problem: str | None
    counters: dict[str, int]


class Source(Protocol):
    """Something that wearables come in by."""

    def start(self) -> None:
        """Begin to fill the inbox. Raises `SourceError` when it cannot."""

    def stop(self) -> None:
        """End every channel and let go; nothing is put afterwards."""

    def problem(self) -> str | None:
        """None while it works, else why not."""

    def state(self) -> SourceState:
        """How it stands; any thread."""


class SourceError(Exception):
    """A source cannot start; the message names it and the fix."""
