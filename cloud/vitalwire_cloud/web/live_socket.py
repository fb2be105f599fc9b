"""The live WebSocket: what the hub publishes, sent about ten times a second to any number of pages.

The page confirms each binary message by sending its frame number back as text. When `WINDOW_FRAMES` are unconfirmed
the server waits, the reader's bounded queue drops the oldest events, and the page is told how many (`lost`), so a slow
or sleeping page costs a fixed amount of memory and nobody else anything.
"""

import asyncio
import time
from typing import Any, Final

import msgspec
import structlog
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.handlers import WebsocketRouteHandler
from litestar.types import Guard
from prometheus_client import Counter, Gauge

from vitalwire_cloud.live import (
    AlarmEvent,
    BeatsEvent,
    LinkEvent,
    LiveHub,
    News2Event,
    ScoresEvent,
    Subscription,
    VitalsEvent,
    WaveEvent,
)
from vitalwire_cloud.store.interface import DeviceRecord, Store, StoreError
from vitalwire_cloud.web.access import PROTOCOL
from vitalwire_cloud.web.links import LinkBoard
from vitalwire_cloud.web.live_messages import (
    Clock,
    Hello,
    LiveMessage,
    Lost,
    NewAlarm,
    NewBeats,
    NewDevice,
    NewLink,
    NewNews2,
    NewScores,
    NewVitals,
)
from vitalwire_cloud.web.packing import pack_waves, segments_as_waves
from vitalwire_cloud.web.ports import Desk, Info
from vitalwire_cloud.web.views import beat_view, device_view, link_view, news2_view, score_view, vital_view

FRAME_S: Final = 0.1
CLOCK_S: Final = 1.0
WINDOW_FRAMES: Final = 20
PATIENCE_S: Final = 30.0
HISTORY_NS: Final = 20_000_000_000
_AHEAD_NS: Final = 60_000_000_000
"""How far a gateway's clock may run ahead and its newest samples still count as the last ones."""
_TRY_AGAIN_LATER: Final = 1013

_READERS = Gauge("vitalwire_web_live_readers", "Live pages that are connected.")
_LOST = Counter("vitalwire_web_live_lost_events_total", "Events dropped because a page read too slowly.")
_FRAMES = Counter("vitalwire_web_live_frames_total", "Binary messages sent to pages.")

_log = structlog.get_logger()
_encode: Final = msgspec.json.Encoder().encode
Socket = WebSocket[Any, Any, Any]


class _SilentPageError(Exception):
    """A page confirmed nothing for too long."""


class LiveSession:
    """One connected page: device indices, frame numbers and what it has confirmed."""

    def __init__(
        self, *, store: Store, desk: Desk, info: Info, links: LinkBoard, subscription: Subscription
    ) -> None:
        self._store = store
        self._desk = desk
        self._info = info
        self._links = links
        self._subscription = subscription
        self._index: dict[str, int] = {}
        self._frame = 0
        self._confirmed = 0
        self._told_lost = 0
        self._said_s = 0.0
        self._news = asyncio.Event()

    async def run(self, socket: Socket) -> None:
        """Talk until the page goes away. Raises `StoreError` and what the connection raises."""
        reader = asyncio.create_task(self._read(socket), name="live-reader")
        sender = asyncio.create_task(self._send(socket), name="live-sender")
        tasks = (reader, sender)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _read(self, socket: Socket) -> None:
        while True:
            text = await socket.receive_text()
            if text.isdecimal() and len(text) <= 10:
                self._confirmed = max(self._confirmed, min(int(text), self._frame))
                self._news.set()

    async def _send(self, socket: Socket) -> None:
        await self._greet(socket)
        clock = asyncio.get_running_loop().time
        due_s = clock()
        while True:
            await self._window()
            due_s = max(due_s + FRAME_S, clock())
            await asyncio.sleep(due_s - clock())
            await self._tick(socket, clock())

    async def _window(self) -> None:
        """Wait until the page has confirmed enough. Raises `_SilentPageError` when it does not."""
        while self._frame - self._confirmed >= WINDOW_FRAMES:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), PATIENCE_S)
            except TimeoutError as error:
                raise _SilentPageError(f"no confirmation for {PATIENCE_S:.0f} s") from error

    async def _greet(self, socket: Socket) -> None:
        records = await asyncio.to_thread(self._store.devices)
        hello = await asyncio.to_thread(self._hello, records)
        await socket.send_text(_encode([hello]).decode())
        for record in records:
            waves = await asyncio.to_thread(self._history, record)
            await self._window()
            await self._send_waves(socket, waves)

    def _hello(self, records: list[DeviceRecord]) -> Hello:
        devices = []
        for record in records:
            self._index[record.device] = len(self._index)
            devices.append(device_view(record, self._store.latest_vitals(record.device), self._links))
        return Hello(
            site=self._info.site,
            version=self._info.version,
            now_ns=time.time_ns(),
            devices=devices,
            links=[link_view(link) for link in self._links.all()],
            alarms=self._desk.list(True),
        )

    def _history(self, record: DeviceRecord) -> list[WaveEvent]:
        now_ns = time.time_ns()
        waves: list[WaveEvent] = []
        for channel in record.birth.channels:
            if channel.rate_mhz is not None:
                segments = self._store.strip(
                    record.device, channel.code, now_ns - HISTORY_NS, now_ns + _AHEAD_NS
                )
                waves += segments_as_waves(record.device, channel.code, channel.scale, segments)
        return waves

    async def _tick(self, socket: Socket, now_s: float) -> None:
        waves: list[WaveEvent] = []
        messages: list[LiveMessage] = []
        while (event := self._subscription.get_nowait()) is not None:
            if isinstance(event, WaveEvent):
                waves.append(event)
            else:
                messages.append(_message(event))
        messages = [*await self._introductions(waves, messages), *messages]
        lost = self._subscription.lost
        if lost > self._told_lost:
            _LOST.inc(lost - self._told_lost)
            self._told_lost = lost
            messages.append(Lost(events=lost))
        if now_s - self._said_s >= CLOCK_S:
            self._said_s = now_s
            messages.append(Clock(now_ns=time.time_ns()))
        if messages:
            await socket.send_text(_encode(messages).decode())
        await self._send_waves(socket, waves)

    async def _introductions(self, waves: list[WaveEvent], messages: list[LiveMessage]) -> list[LiveMessage]:
        """Messages about devices that the page has not heard of."""
        named = {wave.device for wave in waves}
        named.update(
            message.device for message in messages if isinstance(message, NewVitals | NewBeats | NewScores)
        )
        named.update(
            message.link.device
            for message in messages
            if isinstance(message, NewLink) and message.link.device is not None
        )
        unknown = named - self._index.keys()
        if not unknown:
            return []
        introductions: list[LiveMessage] = []
        for record in await asyncio.to_thread(self._store.devices):
            if record.device in unknown:
                index = self._index.setdefault(record.device, len(self._index))
                introductions.append(NewDevice(index=index, device=device_view(record, [], self._links)))
        return introductions

    async def _send_waves(self, socket: Socket, waves: list[WaveEvent]) -> None:
        blocks = [(self._index[wave.device], wave) for wave in waves if wave.device in self._index]
        if blocks:
            self._frame += 1
            await socket.send_bytes(pack_waves(self._frame, time.time_ns(), blocks))
            _FRAMES.inc()


def _message(
    event: VitalsEvent | BeatsEvent | ScoresEvent | AlarmEvent | LinkEvent | News2Event,
) -> LiveMessage:
    match event:
        case VitalsEvent(device, points):
            return NewVitals(device=device, vitals=[vital_view(point) for point in points])
        case BeatsEvent(device, beats):
            return NewBeats(device=device, beats=[beat_view(beat) for beat in beats])
        case ScoresEvent(device, scores):
            return NewScores(device=device, scores=[score_view(score) for score in scores])
        case AlarmEvent(alarm):
            return NewAlarm(alarm=alarm)
        case LinkEvent():
            return NewLink(link=link_view(event))
        case News2Event(gateway, device):
            return NewNews2(gateway=gateway, device=device, news2=news2_view(event))


def live_route(
    *, store: Store, desk: Desk, hub: LiveHub, info: Info, links: LinkBoard, guards: list[Guard]
) -> WebsocketRouteHandler:
    """The route `/live`."""

    @websocket("/live", guards=guards)
    async def live(socket: Socket) -> None:
        offered = [name.strip() for name in socket.headers.get("sec-websocket-protocol", "").split(",")]
        await socket.accept(subprotocols=PROTOCOL if PROTOCOL in offered else None)
        with hub.subscribe(asyncio.get_running_loop()) as subscription, _READERS.track_inprogress():
            session = LiveSession(store=store, desk=desk, info=info, links=links, subscription=subscription)
            try:
                await session.run(socket)
            except WebSocketDisconnect:
                _log.info("live page left", lost=subscription.lost)
            except (StoreError, _SilentPageError) as error:
                _log.warning("live page dropped", reason=str(error), lost=subscription.lost)
                await socket.close(code=_TRY_AGAIN_LATER, reason=str(error)[:120])

    return live
