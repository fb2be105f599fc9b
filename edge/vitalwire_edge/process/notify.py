"""What a process tells systemd: that it is ready, that it still turns, that it is stopping (`sd_notify(3)`)."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

log = structlog.get_logger()

_US_PER_S: Final = 1e6


def notify(state: str) -> bool:
    """Send a state such as `READY=1`, `WATCHDOG=1`, `STOPPING=1` or `STATUS=text`. False where nobody listens.

    A service manager that is gone costs nothing but the message.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
            # A manager that does not listen must not stop the work.
            wire.setblocking(False)
            wire.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def watchdog_every_s() -> float | None:
    """How often the service manager wants to hear `WATCHDOG=1`: half of its patience; None where it does not."""
    text = os.environ.get("WATCHDOG_USEC", "")
    if not text.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(text) / _US_PER_S / 2


@contextmanager
def supervised(live: Callable[[], str | None]) -> Iterator[None]:
    """Tell the service manager that this process works, for as long as it does; then that it stops.

    Its watchdog hears nothing while `live` names a problem, and so starts a process anew that runs and does no work.
    """
    notify("READY=1")
    every_s = watchdog_every_s()
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(live, every_s or 0.0, stop), name="watchdog", daemon=True)
    if every_s is not None:
        thread.start()
    try:
        yield
    finally:
        notify("STOPPING=1")
        if every_s is not None:
            stop.set()
            thread.join()


def _watch(live: Callable[[], str | None], every_s: float, stop: threading.Event) -> None:
    while True:
        problem = live()
        if problem is None:
            notify("WATCHDOG=1")
        else:
            notify(f"STATUS={problem}")
            log.error("watchdog_withheld", reason=problem)
        if stop.wait(every_s):
            return
