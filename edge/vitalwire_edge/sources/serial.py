"""Wearables that speak the frame protocol on a serial line: one thread for each, reopened when it was unplugged.

A serial line has no moment of connecting that a device could see, so it says its hello again every few seconds.
"""

import threading
import time
from collections import Counter
from typing import Final

import serial
import structlog

from vitalwire_edge.sources.backoff import Backoff
from vitalwire_edge.sources.config import SerialConfig
from vitalwire_edge.sources.inbox import Arrived, Closed, Inbox, Opened, SourceState

log = structlog.get_logger()

_READ_BYTES: Final = 4096
_TICK_S: Final = 0.25
_FULL_WAIT_S: Final = 0.02
_STOP_S: Final = 5.0


class SerialChannel:
    """One time that a line was open."""

    def __init__(self, port: str) -> None:
        self.label = f"serial {port}"
        self.closing = threading.Event()

    def close(self) -> None:
        """Ask the line's thread to end it."""
        self.closing.set()


class SerialSource:
    """The line `port`; it need not be there yet."""

    def __init__(self, port: str, config: SerialConfig, inbox: Inbox) -> None:
        self._port = port
        self._baud = config.baud
        self._inbox = inbox
        self._backoff = Backoff(first_s=config.retry_first_s, most_s=config.retry_max_s)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"serial-{port}", daemon=True)
        self._problem: str | None = f"serial line {port} is not open yet"
        self._open = False
        self.counters: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Close the line."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def problem(self) -> str | None:
        """None while the line is open."""
        return self._problem

    def state(self) -> SourceState:
        """How it stands."""
        where = f"{self._port} at {self._baud} baud"
        return SourceState("serial", where, int(self._open), self._problem, dict(self.counters))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._once()
            except (OSError, serial.SerialException) as error:
                self._failed(str(error))
            except Exception as error:
                log.exception("serial_source_failed", port=self._port)
                self._failed(f"{type(error).__name__}: {error}")
            self._stop.wait(self._backoff.failed())

    def _failed(self, reason: str) -> None:
        problem = f"serial line {self._port}: {reason}; is it plugged in, and may this user read it (group dialout)?"
        if problem != self._problem:
            log.warning("serial_line_failed", port=self._port, reason=reason)
        self._problem = problem
        self.counters["failures"] += 1

    def _once(self) -> None:
        """Read the line until it fails, or until somebody wants it to end."""
        with serial.Serial(self._port, self._baud, timeout=_TICK_S, exclusive=True) as line:
            channel = SerialChannel(self._port)
            self._problem = None
            self._open = True
            self.counters["opened"] += 1
            self._inbox.put(Opened(channel))
            reason = "line lost"
            try:
                self._read(line, channel)
                reason = "refused by the gateway" if channel.closing.is_set() else "gateway stopping"
            finally:
                self._open = False
                self._inbox.put(Closed(channel, reason))

    def _read(self, line: serial.Serial, channel: SerialChannel) -> None:
        while not self._stop.is_set() and not channel.closing.is_set():
            if not self._inbox.has_room:
                self._stop.wait(_FULL_WAIT_S)
                continue
            data = line.read(1)
            arrival_ns = time.monotonic_ns()
            if data:
                self._backoff.worked()
                data += line.read(min(line.in_waiting, _READ_BYTES))
                self._inbox.put(Arrived(channel, arrival_ns, data))
