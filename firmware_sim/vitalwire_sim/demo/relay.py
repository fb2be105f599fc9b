"""A TCP relay that stands for the network between one gateway and the broker, and can be cut."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Final

_CHUNK_BYTES: Final = 64 * 1024
_CALL_TIMEOUT_S: Final = 10.0


class Relay:
    """Forwards every connection to `127.0.0.1:target_port`; `cut` breaks them all and refuses new ones.

    Runs on a thread of its own until `close`.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._open = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        self._server: asyncio.Server = self._call(self._serve())
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break the link."""
        self._call(self._set(open_=False))

    def restore(self) -> None:
        """Mend the link."""
        self._call(self._set(open_=True))

    def close(self) -> None:
        """End all connections and the thread."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_TIMEOUT_S)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_TIMEOUT_S)

    async def _serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _set(self, *, open_: bool) -> None:
        self._open = open_
        if not open_:
            for writer in self._writers:
                writer.transport.abort()

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if not self._open:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        try:
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        finally:
            self._writers -= {writer, up_writer}
            writer.transport.abort()
            up_writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(_CHUNK_BYTES):
                sink.write(data)
                await sink.drain()
        sink.close()
