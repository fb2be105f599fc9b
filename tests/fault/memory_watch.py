"""How much the processes of a site hold: queue lengths while it runs, memory at its peak."""

import re
import threading
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import Final

from warm_process import Process

EVERY_S: Final = 0.5
MOST_GROWN_KIB: Final = 48 * 1024
"""What a process may take beyond what it had when the site was ready: its queues, all full."""

QUEUES: Final = {
    "gateway": {"vitalwire_edge_unconfirmed": 1024 + 64},
    "cloud": {"vitalwire_ingest_queue_messages": 2000},
}
"""Metrics of queues and their bounds: what waits for a commit (alarms go beyond it), what waits for the store."""


class MemoryWatch:
    """Looks at the metrics page of each `ports` twice a second, from `begin` to `end`."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._ports = ports
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._processes: Sequence[Process] = ()
        self._base_kib: dict[str, int] = {}
        self.longest: dict[str, float] = {}
        self.looks = 0

    def begin(self, processes: Sequence[Process]) -> None:
        """What they take now is what they need; look from now on."""
        self._processes = processes
        self._base_kib = {process.name: process.measure() for process in processes}
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join(5)

    @property
    def grown_kib(self) -> dict[str, int]:
        """How far each grew at its most."""
        return {p.name: max(0, p.peak_kib - self._base_kib[p.name]) for p in self._processes}

    def problems(self) -> list[str]:
        """What was not bounded."""
        found = [
            f"{name} grew by {grown} KiB, more than {MOST_GROWN_KIB}"
            for name, grown in self.grown_kib.items()
            if grown > MOST_GROWN_KIB
        ]
        for bounds in QUEUES.values():
            for metric, most in bounds.items():
                if self.longest.get(metric, 0) > most:
                    found.append(f"{metric} was {self.longest[metric]:.0f}, more than {most}")
        return found if self.looks else [*found, "no queue was ever seen"]

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            for name, port in self._ports.items():
                self._look(name, port)

    def _look(self, name: str, port: int) -> None:
        for metric in QUEUES[name]:
            found = gauge(port, metric)
            if found is not None:
                self.looks += 1
                self.longest[metric] = max(self.longest.get(metric, 0.0), found)


def gauge(port: int, metric: str) -> float | None:
    """A gauge of the metrics page there; None where nobody answers, who was killed or hangs."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as answer:
            page = answer.read().decode()
    except (OSError, HTTPException):
        return None
    found = re.search(rf"^{metric} ([0-9.e+]+)$", page, re.MULTILINE)
    return float(found.group(1)) if found else None
