"""Wearables that connect over TCP: one listening socket, one thread, one selector, bounded in every direction."""

import errno
import selectors
import socket
import threading
import time
from typing import Final

import structlog

from vitalwire_edge.sources.inbox import Arrived, Closed, Inbox, Opened, SourceError, SourceState

log = structlog.get_logger()

_READ_BYTES: Final = 16 * 1024
_TICK_S: Final = 0.25
_FULL_WAIT_S: Final = 0.02
_BACKLOG: Final = 16
_STARVED_S: Final = 1.0
_STARVED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""No file descriptor or memory for one more connection: it stays in the backlog, and the listener readable."""


class TcpChannel:
    """One connection."""

    __slots__ = ("_closing", "_source", "heard_s", "label", "socket")

    def __init__(self, connection: socket.socket, peer: tuple[object, ...], source: "TcpSource") -> None:
        self.socket = connection
        self.label = f"tcp {peer[0]}:{peer[1]}"
        self.heard_s = time.monotonic()
        self._source = source
        self._closing = False

    @property
    def closing(self) -> bool:
        """Whether somebody asked to end it."""
        return self._closing

    def close(self) -> None:
        """Ask the source's thread to end this connection."""
        self._closing = True
        self._source.wake()


class TcpSource:
    """Listens on `host`:`port` (0 takes a free one, see `address`)."""

    def __init__(
        self, host: str, port: int, inbox: Inbox, *, max_connections: int = 64, idle_close_s: float = 30.0
    ) -> None:
        self._host = host
        self._port = port
        self._inbox = inbox
        self._max = max_connections
        self._idle_close_s = idle_close_s
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._channels: set[TcpChannel] = set()
        self._stop = threading.Event()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="tcp-source", daemon=True)
        self._failure: str | None = None
        self._listens_at_s: float | None = None
        self.refused = 0
        self.starved = 0
        self.address: tuple[str, int] = (host, port)

    def start(self) -> None:
        """Listen. Raises `SourceError` when the address cannot be had."""
        try:
            family, _, _, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0]
            self._listener = listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            self._release()
            raise SourceError(
                f"cannot listen for wearables on {self._host}:{self._port} ({error.strerror}): "
                f"stop what holds the port or choose another with --listen host:port"
            ) from error
        listener.setblocking(False)
        host, port = listener.getsockname()[:2]
        self.address = str(host), int(port)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and the listener."""
        self._stop.set()
        if self._thread.ident is None:
            self._release()
            return
        self.wake()
        self._thread.join(5.0)

    def problem(self) -> str | None:
        """None while it listens."""
        if self._failure is None and not self._stop.is_set() and not self._thread.is_alive():
            return "the TCP source ended"
        return self._failure

    def state(self) -> SourceState:
        """How it stands."""
        host, port = self.address
        counted = {"refused": self.refused, "starved": self.starved}
        counters = {name: count for name, count in counted.items() if count}
        return SourceState("tcp", f"{host}:{port}", len(self._channels), self.problem(), counters)

    def wake(self) -> None:
        """Make the thread look around."""
        try:
            self._wake_out.send(b"\0")
        except OSError:
            # Full means that it wakes anyway; closed means that it has ended.
            return

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._turn()
        except Exception as error:
            log.exception("tcp_source_failed")
            self._failure = f"the TCP source failed: {error}"
        finally:
            for channel in list(self._channels):
                self._end(channel, "gateway stopping")
            self._release()

    def _release(self) -> None:
        for part in (self._listener, self._selector, self._wake_in, self._wake_out):
            if part is not None:
                part.close()

    def _turn(self) -> None:
        if not self._inbox.has_room:
            # The agent is behind: leave the bytes with the operating system, TCP slows the wearables down.
            self._stop.wait(_FULL_WAIT_S)
            return
        ready = self._selector.select(_TICK_S)
        arrival_ns = time.monotonic_ns()
        for key, _ in ready:
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._wake_in:
                self._wake_in.recv(4096)
            else:
                self._read(key.data, arrival_ns)
        now = arrival_ns * 1e-9
        if self._listens_at_s is not None and now >= self._listens_at_s:
            assert self._listener is not None
            self._listens_at_s = None
            self._selector.register(self._listener, selectors.EVENT_READ)
        for channel in list(self._channels):
            if channel.closing:
                self._end(channel, "refused by the gateway")
            elif now - channel.heard_s > self._idle_close_s:
                self._end(channel, "silent")

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, peer = self._listener.accept()
        except OSError as error:
            if error.errno in _STARVED:
                self._rest(error)
            return
        if len(self._channels) >= self._max:
            self.refused += 1
            log.warning("tcp_refused", reason=f"{self._max} wearables are connected already")
            connection.close()
            return
        connection.setblocking(False)
        channel = TcpChannel(connection, peer, self)
        self._channels.add(channel)
        self._selector.register(connection, selectors.EVENT_READ, channel)
        self._inbox.put(Opened(channel))

    def _rest(self, error: OSError) -> None:
        """Leave the listener alone for a second: asked again at once, it would keep a core busy for nothing."""
        assert self._listener is not None
        self._selector.unregister(self._listener)
        self._listens_at_s = time.monotonic() + _STARVED_S
        self.starved += 1
        if self.starved == 1:
            log.warning("tcp_accept_failed", reason=error.strerror, fix="raise the limit of open files")

    def _read(self, channel: TcpChannel, arrival_ns: int) -> None:
        try:
            data = channel.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(channel, error.strerror or "connection lost")
            return
        if not data:
            self._end(channel, "closed by the wearable")
            return
        channel.heard_s = arrival_ns * 1e-9
        self._inbox.put(Arrived(channel, arrival_ns, data))

    def _end(self, channel: TcpChannel, reason: str) -> None:
        if channel in self._channels:
            self._channels.remove(channel)
            self._selector.unregister(channel.socket)
            channel.socket.close()
            self._inbox.put(Closed(channel, reason))
