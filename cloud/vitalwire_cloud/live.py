"""From ingest to the live pages: what was just stored, fanned out to any number of readers that may be slow."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vitalwire_cloud.alerts.alarm import Alarm
from vitalwire_cloud.store.interface import StoredBeat, StoredScore, VitalPoint
from vitalwire_edge.wire.messages import News2Status


@dataclass(frozen=True, slots=True)
class WaveEvent:
    """Samples that were just stored."""

    device: str
    code: int
    start_ns: int
    rate_hz: float
    scale: float
    samples: NDArray[np.int16]
    flags: int


@dataclass(frozen=True, slots=True)
class VitalsEvent:
    """Numbers that were just stored."""

    device: str
    points: tuple[VitalPoint, ...]


@dataclass(frozen=True, slots=True)
class BeatsEvent:
    """Beats that were just stored."""

    device: str
    beats: tuple[StoredBeat, ...]


@dataclass(frozen=True, slots=True)
class ScoresEvent:
    """Beat scores that were just stored."""

    device: str
    scores: tuple[StoredScore, ...]


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """An alarm in its new state."""

    alarm: Alarm


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """State of a gateway or, where `device` is set, of a wearable behind it."""

    gateway: str
    device: str | None
    state: Literal["online", "offline"]
    at_ns: int
    battery_percent: int | None = None
    quality: float | None = None
    backlog_rows: int | None = None


@dataclass(frozen=True, slots=True)
class News2Event:
    """The NEWS2 that a gateway tells of a wearable's wearer; None where there is none.

    `at_ns` is when it was computed, or when it was said that there is none, by this service's clock.
    """

    gateway: str
    device: str
    score: News2Status | None
    at_ns: int


LiveEvent = WaveEvent | VitalsEvent | BeatsEvent | ScoresEvent | AlarmEvent | LinkEvent | News2Event

QUEUE_EVENTS: Final = 2048
"""Events a reader may lag behind before it loses the oldest; it is told how many it lost."""


class Subscription:
    """One reader's bounded queue, living on the reader's event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[LiveEvent] = asyncio.Queue(QUEUE_EVENTS)
        self.lost = 0

    async def get(self) -> LiveEvent:
        """Next event."""
        return await self._queue.get()

    def get_nowait(self) -> LiveEvent | None:
        """Next event if there is one."""
        return None if self._queue.empty() else self._queue.get_nowait()

    def offer(self, events: list[LiveEvent]) -> None:
        """Hand events over from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._put, events)
        except RuntimeError:
            # The reader's loop closed between two events; its subscription is about to end.
            self.lost += len(events)

    def _put(self, events: list[LiveEvent]) -> None:
        for event in events:
            if self._queue.full():
                self._queue.get_nowait()
                self.lost += 1
            self._queue.put_nowait(event)


class LiveHub:
    """Fans events out to subscriptions. Publishing never blocks and never waits for a reader."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: tuple[Subscription, ...] = ()

    @contextmanager
    def subscribe(self, loop: asyncio.AbstractEventLoop) -> Iterator[Subscription]:
        """A subscription that ends with the `with` block."""
        subscription = Subscription(loop)
        with self._lock:
            self._subscriptions = (*self._subscriptions, subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)

    @property
    def watched(self) -> bool:
        """Whether anybody reads."""
        return bool(self._subscriptions)

    def publish(self, events: list[LiveEvent]) -> None:
        """Hand `events` to every reader."""
        for subscription in self._subscriptions:
            subscription.offer(events)
