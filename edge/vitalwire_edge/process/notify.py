"""What a process tells systemd: that it is ready, that it still turns, that it is stopping (`sd_notify(3)`)."""

import os
import socket
from typing import Final

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
