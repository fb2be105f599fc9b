"""A clean end: SIGINT and SIGTERM set an event that the main thread waits for."""

import signal
import threading
from types import FrameType


def stop_on_signals() -> threading.Event:
    """Event that the first SIGINT or SIGTERM sets; a second one ends the process at once.

    Only the main thread may call this.
    """
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise SystemExit(128 + number)
        stop.set()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    return stop
