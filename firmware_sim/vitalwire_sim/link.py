"""The wearable's connection to its gateway: TCP, with a small buffer like a real device's, that reconnects."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import structlog

from vitalwire_edge.wire.frames import Frame, Hello, Payload, Status, Vitals, Wave
from vitalwire_sim.faults.radio import Radio, Sent
from vitalwire_sim.truth import Counts
from vitalwire_sim.wearable import Said

BUFFER_FRAMES: Final = 64
"""About 10 s, what a wearable's memory holds."""

_BACKOFF_FIRST_S: Final = 0.1
_BACKOFF_MAX_S: Final = 3.0
_CONNECT_S: Final = 3.0
_GOODBYE_S: Final = 2.0

log = structlog.get_logger()


@dataclass(slots=True)
class Tally:
    """Counts what became of every sample, per stream."""

    streams: dict[str, Counts] = field(default_factory=lambda: {"ecg": Counts(), "vitals": Counts()})

    def add(self, payload: Payload, **fates: int) -> None:
        """Count a frame (`frames=1`) or the samples of `payload` under each named fate."""
        stream, samples = _weight(payload)
        if stream is None:
            return
        counts = self.streams[stream]
        grown = {
            name: getattr(counts, name) + (times if name == "frames" else times * samples)
            for name, times in fates.items()
        }
        self.streams[stream] = msgspec.structs.replace(counts, **grown)

    def missing(self, samples: int) -> None:
        """Count ECG samples that the recording does not have."""
        counts = self.streams["ecg"]
        self.streams["ecg"] = msgspec.structs.replace(counts, missing=counts.missing + samples)


class GatewayLink:
    """Sends what is put into it, in order, over a connection it keeps alive.

    A frame gets its sequence when it is sent, so a gap in the sequence is a loss on the way and a gap in the sample
    counter without one is a drop in the device's own buffer. Every connection begins with a hello.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        hello: Hello,
        clock_s: Callable[[], float],
        radio: Radio,
        tally: Tally,
        seed: int,
    ) -> None:
        self._host = host
        self._port = port
        self._hello = hello
        self._clock_s = clock_s
        self._radio = radio
        self._tally = tally
        self._jitter = np.random.default_rng(np.random.SeedSequence([seed, 0xBAC0FF]))
        self._buffer: deque[Said] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._sequence = 0
        self.dropped = 0
        self.connections = 0

    def put(self, said: Said) -> None:
        """Queue a payload; when the buffer is full the oldest one is dropped and counted."""
        self._tally.add(said.payload, frames=1, samples=1)
        if len(self._buffer) >= BUFFER_FRAMES:
            lost = self._buffer.popleft()
            self.dropped += 1
            self._tally.add(lost.payload, not_delivered=1)
        self._buffer.append(said)
        self._wake.set()

    def close(self) -> None:
        """Send what is queued, then end; at most 2 s, what is left then counts as not delivered."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Keep sending until closed."""
        task = asyncio.create_task(self._serve())
        try:
            await self._closed()
            await asyncio.wait({task}, timeout=_GOODBYE_S)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for sent in self._radio.flush():
                self._tally.add(sent.frame.payload, not_delivered=1)
            while self._buffer:
                self._tally.add(self._buffer.popleft().payload, not_delivered=1)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _closed(self) -> None:
        while not self._closing:
            self._wake.clear()
            await self._wake.wait()

    async def _serve(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while True:
            try:
                connect = asyncio.open_connection(self._host, self._port)
                reader, writer = await asyncio.wait_for(connect, _CONNECT_S)
            except (OSError, TimeoutError) as error:
                log.debug("gateway unreachable", gateway=f"{self._host}:{self._port}", error=str(error))
                # Devices that lost one gateway together must not come back together.
                await asyncio.sleep(backoff_s * float(self._jitter.uniform(0.5, 1.0)))
                backoff_s = min(backoff_s * 2, _BACKOFF_MAX_S)
                continue
            self.connections += 1
            backoff_s = _BACKOFF_FIRST_S
            log.info("connected", gateway=f"{self._host}:{self._port}", connection=self.connections)
            try:
                if await self._converse(reader, writer):
                    return
            except OSError as error:
                log.warning("connection lost", error=str(error))
            finally:
                writer.close()
                await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send until closed (True), or raise `OSError` when the connection ends."""
        writer.transport.set_write_buffer_limits(high=0)
        await self._send(writer, self._frame(Said(self._clock_s(), self._hello)))
        gone = asyncio.create_task(_end_of(reader))
        try:
            while True:
                while self._buffer:
                    if gone.done():
                        raise ConnectionResetError("the gateway closed the connection")
                    await self._send(writer, self._frame(self._buffer.popleft()))
                if self._closing:
                    return True
                self._wake.clear()
                woken = asyncio.create_task(self._wake.wait())
                await asyncio.wait({woken, gone}, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
                if gone.done():
                    raise ConnectionResetError("the gateway closed the connection")
        finally:
            gone.cancel()

    def _frame(self, said: Said) -> Frame:
        payload = said.payload
        if isinstance(payload, Status):
            payload = Status(payload.battery_percent, payload.rssi_dbm, self.dropped % 65536)
        frame = Frame(self._sequence, round(said.device_s * 1e6), payload)
        self._sequence = (self._sequence + 1) % 2**32
        return frame

    async def _send(self, writer: asyncio.StreamWriter, frame: Frame) -> None:
        pending = deque(self._radio.send(frame))
        try:
            while pending:
                writer.write(pending[0].data)
                await writer.drain()
                self._count(pending.popleft())
        except BaseException:
            for sent in pending:
                fate = "dropped_by_script" if sent.dropped else "not_delivered"
                if not sent.repeated:
                    self._tally.add(sent.frame.payload, **{fate: 1})
            raise

    def _count(self, sent: Sent) -> None:
        fate = "dropped_by_script" if sent.dropped else "repeated" if sent.repeated else "sent"
        self._tally.add(sent.frame.payload, **{fate: 1})


async def _end_of(reader: asyncio.StreamReader) -> None:
    """Return when the gateway closes; it says nothing, and what it says is not listened to."""
    while await reader.read(1024):
        pass


def _weight(payload: Payload) -> tuple[str | None, int]:
    match payload:
        case Wave(samples=samples):
            return "ecg", samples.size
        case Vitals():
            return "vitals", 1
    return None, 0
