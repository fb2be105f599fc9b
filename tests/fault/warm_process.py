"""Processes of a site: killed, hung, starved of disk, started again. Ours fork off a server that has the imports done.

Each is a process of its own that runs the `vitalwire` command as its console script does; only loading and compiling
are not repeated, which would be most of what a storm costs.
"""

import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import wall_clock

_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOAD = ["__main__", "warm_imports"]
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_ROOM_BYTES = 65_536
_TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """A server that is no part of vitalwire.

    `peak_kib` is the most memory that any of its lives resided in, `cpu_s` the processor time of those that ended.
    """

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name = name
        self.peak_kib = 0
        self.cpu_s = 0.0
        self._command = command
        self._log = folder / f"{name}.log"
        self._native: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        with self._log.open("ab") as log:
            self._native = subprocess.Popen(self._command, stdout=log, stderr=log)

    def revive(self) -> None:
        """Start it if it is not there."""
        if not self.running:
            self.start()

    @property
    def pid(self) -> int | None:
        """Its number while it is there."""
        return self._native.pid if self._native is not None and self._native.poll() is None else None

    def _wait(self, timeout_s: float | None) -> int:
        assert self._native is not None
        return self._native.wait(timeout_s)

    @property
    def running(self) -> bool:
        """Whether it is there."""
        return self.pid is not None

    def measure(self) -> int:
        """The most memory it resided in so far, in KiB."""
        try:
            found = _PEAK.search(Path(f"/proc/{self.pid}/status").read_text())
        except OSError:
            found = None
        peak = int(found.group(1)) if found else 0
        self.peak_kib = max(self.peak_kib, peak)
        return peak

    def _last_look(self) -> None:
        self.measure()
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return
        self.cpu_s += (int(fields[11]) + int(fields[12])) / _TICKS

    def signal(self, number: signal.Signals) -> None:
        """Signal it if it is there."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, number)

    def fill_disk(self) -> None:
        """No file of its own can grow beyond a few pages any more."""
        pid = self.pid
        if pid is not None:
            _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (_ROOM_BYTES, most))

    def free_disk(self) -> None:
        """There is room again."""
        pid = self.pid
        if pid is not None:
            _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))

    def kill(self) -> None:
        """As a power cut."""
        if self.pid is not None:
            self._last_look()
            self.signal(signal.SIGKILL)
            self._wait(None)

    def stop(self, timeout_s: float = 30.0) -> int:
        """End it in good order; its exit code."""
        self._last_look()
        self.signal(signal.SIGTERM)
        return self._wait(timeout_s)

    def said(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


class WarmProcess(Process):
    """A `vitalwire` command. Its wall clock is the machine's and what `step_clock` adds."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        super().__init__(name, command, folder)
        self._clock = folder / f"{name}.clock"
        wall_clock.set_offset(self._clock, 0)
        self._forked: multiprocessing.process.BaseProcess | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        _start_server()
        self._forked = _CONTEXT.Process(target=_become, args=(self._command, self._log, self._clock))
        self._forked.start()

    @property
    def pid(self) -> int | None:
        """Its number while it is there."""
        return self._forked.pid if self._forked is not None and self._forked.is_alive() else None

    def step_clock(self, offset_s: float) -> None:
        """Set its wall clock so far ahead of the machine's, or behind."""
        wall_clock.set_offset(self._clock, offset_s)

    def _wait(self, timeout_s: float | None) -> int:
        assert self._forked is not None
        self._forked.join(timeout_s)
        if self._forked.exitcode is None:
            raise AssertionError(f"{self.name} did not end within {timeout_s} s:\n{self.said()}")
        return self._forked.exitcode


def _start_server() -> None:
    """The server of this process; it finds modules where this process does."""
    _CONTEXT.set_forkserver_preload(_PRELOAD)
    with mock.patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}):
        forkserver.ensure_running()


def _become(command: list[str], log: Path, clock: Path) -> None:
    """Be the `vitalwire` command with these arguments."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if "warm_imports" not in sys.modules:
        raise RuntimeError("the server that forks could not load warm_imports: import it to see why")
    wall_clock.follow(clock)
    sys.argv = ["vitalwire", *command]
    from vitalwire_edge import cli

    cli.main()
