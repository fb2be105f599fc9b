"""A release before it gets its first start: imported and warmed in a process of its own, beside what runs.

What cannot even be imported is refused without an interruption, and what compiles at its first start has compiled
before the restart, so that the gateway is away for seconds.
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from vitalwire_edge.inference.refusal import ArtifactRefusedError, Refusal

_TIMEOUT_S: Final = 1200.0
_OWN: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What the service manager says to the process that it started, and to no other."""
_TAIL: Final = 300


def prove(place: Path, *, timeout_s: float = _TIMEOUT_S) -> None:
    """Run `edge prepare` of the software in `place`. Raises `ArtifactRefusedError` with its last words."""
    environment = {name: value for name, value in os.environ.items() if name not in _OWN}
    environment |= {"PYTHONPATH": str(place.resolve()), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-m", "vitalwire_edge", "edge", "prepare"]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ArtifactRefusedError(
            Refusal.CRASHED, f"it did not get ready beside the running software within {timeout_s:.0f} s"
        ) from error
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split())[-_TAIL:]
        raise ArtifactRefusedError(
            Refusal.CRASHED, f"it ended with {done.returncode} beside the running software: {words}"
        )


def step_back() -> None:
    """Make this process the one that gives way: to the agent's work, and where memory ends."""
    os.nice(19)
    with suppress(OSError):
        # Where it may not, the memory ceiling treats both alike.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
