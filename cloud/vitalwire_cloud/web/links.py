"""Last known state of every link, so that a page that connects now knows what was said before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from vitalwire_cloud.live import LinkEvent, LiveHub, Subscription

_MAX_LINKS: Final = 4096


class LinkBoard:
    """Remembers the newest `LinkEvent` of each gateway and device while its `watch` runs."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str | None], LinkEvent] = {}

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
