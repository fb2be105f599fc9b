"""What gateways said last of links and scores, so that a page that connects now knows what was said before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from vitalwire_cloud.live import LinkEvent, LiveHub, News2Event, Subscription

_MAX_LINKS: Final = 4096
NEWS2_CURRENT_NS: Final = 60_000_000_000
"""A gateway computes a score every 2 s and tells it every few; an older one is not the patient's score any more."""
NEWS2_KEPT_NS: Final = 900_000_000_000
"""For how long an old score is shown as the last one known."""


class LinkBoard:
    """Remembers the newest `LinkEvent` of each gateway and device, and each device's score, while its `watch` runs."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str | None], LinkEvent] = {}
        self._scores: dict[str, News2Event] = {}

    def all(self) -> list[LinkEvent]:
        """Newest state of each link."""
        return list(self._last.values())

    def of(self, gateway: str, device: str | None) -> LinkEvent | None:
        """Newest state of one link."""
        return self._last.get((gateway, device))

    def note(self, event: LinkEvent) -> None:
        """Remember `event`; fields it does not tell stay as they were."""
        key = (event.gateway, event.device)
        before = self._last.pop(key, None)
        if before is not None:
            event = LinkEvent(
                event.gateway,
                event.device,
                event.state,
                event.at_ns,
                event.battery_percent if event.battery_percent is not None else before.battery_percent,
                event.quality if event.quality is not None else before.quality,
                event.backlog_rows if event.backlog_rows is not None else before.backlog_rows,
            )
        while len(self._last) >= _MAX_LINKS:
            self._last.pop(next(iter(self._last)))
        self._last[key] = event

    def news2(self, device: str, now_ns: int) -> News2Event | None:
        """The newest score of a device's wearer, which may be too old to be current; None where there is none."""
        told = self._scores.get(device)
        return None if told is None or now_ns - told.at_ns > NEWS2_KEPT_NS else told

    def note_news2(self, event: News2Event) -> None:
        """Remember a score, or that there is none; a gateway that a wearable left has no say about the next one."""
        before = self._scores.get(event.device)
        elsewhere = before is not None and before.gateway != event.gateway
        if before is not None and elsewhere and (event.score is None or event.at_ns < before.at_ns):
            return
        self._scores.pop(event.device, None)
        if event.score is None:
            return
        while len(self._scores) >= _MAX_LINKS:
            self._scores.pop(next(iter(self._scores)))
        self._scores[event.device] = event

    @asynccontextmanager
    async def watch(self, hub: LiveHub) -> AsyncIterator[None]:
        """Follow `hub` for as long as the `async with` block lasts."""
        with hub.subscribe(asyncio.get_running_loop()) as subscription:
            task = asyncio.create_task(self._follow(subscription), name="links")
            try:
                yield
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _follow(self, subscription: Subscription) -> None:
        while True:
            event = await subscription.get()
            if isinstance(event, LinkEvent):
                self.note(event)
            elif isinstance(event, News2Event):
                self.note_news2(event)
