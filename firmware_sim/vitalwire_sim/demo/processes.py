"""The children of a demo: started from the real commands, their output kept, their CPU time summed over restarts."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import psutil

_POLL_S: Final = 0.1
_STOP_S: Final = 30.0


class ProcessError(RuntimeError):
    """A process did not start, ended before its time, or did not stop; the message quotes its last words."""


class Child:
    """One `vitalwire` process. It may be killed and started again under the same name.

    `nice` lowers its priority, `environment` is added to this process's own.
    """

    def __init__(
        self,
        name: str,
        arguments: list[str],
        folder: Path,
        *,
        nice: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._nice = nice
        self._environment = {**os.environ, **(environment or {})}
        self._arguments = arguments
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._probe: psutil.Process | None = None
        self._cpu_s_before = 0.0
        self._cpu_s_now = 0.0

    def start(self) -> None:
        """Start it; its output is appended to its log file."""
        self._cpu_s_before += self._cpu_s_now
        self._cpu_s_now = 0.0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vitalwire_edge", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._environment,
            )
        self._probe = psutil.Process(self._process.pid)
        if self._nice:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._probe.nice(self._nice)

    def measure(self) -> None:
        """Take note of the CPU time used so far, its own children's included."""
        if self._probe is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            family = [self._probe, *self._probe.children(recursive=True)]
            used = 0.0
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = member.cpu_times()
                    used += times.user + times.system
            self._cpu_s_now = max(self._cpu_s_now, used)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all its lives, as last measured."""
        return self._cpu_s_before + self._cpu_s_now

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self.measure()
            self._signal_family(signal.SIGKILL)
            self._process.wait()

    def stop(self, timeout_s: float = _STOP_S) -> None:
        """Ask it to end. Raises `ProcessError` if it does not, after killing it."""
        if self._process is None or self._process.poll() is not None:
            return
        self.measure()
        self._process.send_signal(signal.SIGTERM)
        self.wait(timeout_s)

    def wait(self, timeout_s: float) -> None:
        """Wait for its end. Raises `ProcessError` when it takes longer or exits other than 0."""
        if self._process is None:
            return
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            self.measure()
            if time.monotonic() > deadline:
                self.kill()
                raise ProcessError(f"{self.name} did not stop within {timeout_s:.0f} s:\n{self.last_words()}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLL_S)
        if self._process.returncode != 0:
            raise ProcessError(f"{self.name} exited {self._process.returncode}:\n{self.last_words()}")

    def outcome(self, stop: threading.Event, timeout_s: float) -> int | None:
        """Exit code; killed, and None, when `stop` is set first. Raises `ProcessError` when it takes longer."""
        deadline = time.monotonic() + timeout_s
        while self.exit_code is None:
            self.measure()
            if stop.wait(_POLL_S):
                self.kill()
                return None
            if time.monotonic() > deadline:
                self.kill()
                raise ProcessError(f"{self.name} took over {timeout_s:.0f} s:\n{self.last_words()}")
        return self.exit_code

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait until `condition` holds. Raises `ProcessError` when it ends first or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.exit_code is not None:
                raise ProcessError(
                    f"{self.name} ended while starting ({self.exit_code}):\n{self.last_words()}"
                )
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name}: {what} took over {timeout_s:.0f} s:\n{self.last_words()}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self._process is not None:
                    self._process.wait(_POLL_S)

    def last_words(self, lines: int = 12) -> str:
        """The end of what it printed."""
        return "\n".join(self.output().splitlines()[-lines:])

    def output(self) -> str:
        """Everything it printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _signal_family(self, number: signal.Signals) -> None:
        if self._process is None or self._probe is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [*self._probe.children(recursive=True), self._probe]
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.send_signal(number)


def run_command(arguments: list[str], timeout_s: float = 120.0) -> str:
    """Standard output of a `vitalwire` command. Raises `ProcessError` when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "vitalwire_edge", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode != 0:
        raise ProcessError(f"vitalwire {' '.join(arguments[:2])} exited {done.returncode}:\n{done.stderr}")
    return done.stdout


def answers(url: str) -> bool:
    """Whether `url` answers with 200 now."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own http address
            return bool(answer.status == 200)
    except OSError:
        return False


def fetch_json(url: str) -> Any:
    """JSON at `url`, or None when it does not answer now."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own http address
            return json.loads(answer.read())
    except (OSError, ValueError):
        return None
