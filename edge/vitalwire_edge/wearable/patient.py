"""A patient's baseline over a restart of the gateway: reference beat and calibration, one small file per device.

Written by a thread of its own, so that no disk ever holds up the stream: after each alert, every ten minutes and at the
end. A device has at most one file waiting, the newest; 32 KiB, so 64 patients write some 20 MB an hour.
"""

import threading
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from vitalwire_edge.clock.gateway_clock import GatewayClock
from vitalwire_edge.inference.calibration import CalibrationState
from vitalwire_edge.process.durable import sync_folder, write_durably
from vitalwire_edge.signal.beats import REFERENCE_BEATS, WINDOW, RunningReference

log = structlog.get_logger()

FORMAT: Final = 1
_STEP_UV: Final = 0.5
_RAIL: Final = 32767
_TURN_S: Final = 1.0


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the patient of `device` on lead `code`, at `mono_ns` of `boot`.

    `utc_ns` is None where the clock was not synchronised. `windows` are the reference's beats, int16 little-endian in
    steps of 0.5 uV. `model` is the manifest hash of the model that `calibration` (whose times are monotonic) belongs
    to, and what that model remembers of the patient (see `inference.score.Memory`): `history`, and the scores that
    the patient's own levels of surprise (`level`) and of the score (`weighed_level`, empty in older files) rest on.
    """

    format: int = FORMAT
    device: str
    code: int
    boot: str
    mono_ns: int
    utc_ns: int | None
    windows: bytes
    model: str = ""
    calibration: CalibrationState | None = None
    level: tuple[float, ...] = ()
    weighed_level: tuple[float, ...] = ()
    history: bytes = b""

    def reference(self) -> RunningReference:
        """The reference beat."""
        reference = RunningReference()
        steps = np.frombuffer(self.windows, "<i2").reshape(-1, WINDOW)[-REFERENCE_BEATS:]
        reference.restore((steps * np.float32(_STEP_UV)).astype(np.float32))
        return reference

    def calibration_now(self, clock: GatewayClock) -> CalibrationState | None:
        """The calibration on the present boot's monotonic clock; where nothing tells how long ago, as if just now."""
        if self.calibration is None or self.boot == clock.boot:
            return self.calibration
        now = clock.now()
        known = self.utc_ns is not None and now.synchronised
        away_ns = max(0, now.utc_ns - self.utc_ns) if known and self.utc_ns is not None else 0
        return self.calibration.later((now.mono_ns - away_ns - self.mono_ns) / 1e9)


def packed(windows_uv: NDArray[np.float32]) -> bytes:
    """A reference's snapshot (n, WINDOW) as a `Baseline` holds it."""
    steps: NDArray[np.int16] = np.rint(windows_uv / _STEP_UV).clip(-_RAIL, _RAIL).astype("<i2")
    return steps.tobytes()


class Baselines:
    """The files of all patients in `folder`. `keep` and `load` never raise: without a file a patient starts anew."""

    def __init__(self, folder: Path) -> None:
        self.counters: Counter[str] = Counter()
        self._folder = folder
        self._waiting: dict[str, Baseline] = {}
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="baselines", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Write what waits and end."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def keep(self, baseline: Baseline) -> None:
        """Have it written soon, in place of what waits of the same device."""
        with self._changed:
            self._waiting[baseline.device] = baseline
            self._changed.notify()

    def forget(self, device: str) -> None:
        """Let nothing be kept of the patient of `device`; that is so on disk when this returns. Raises `OSError`."""
        with self._writing:
            with self._changed:
                self._waiting.pop(device, None)
            self._path(device).unlink(missing_ok=True)
            if self._folder.exists():
                sync_folder(self._folder)

    def load(self, device: str) -> Baseline | None:
        """What is kept of `device`."""
        path = self._path(device)
        try:
            baseline = msgspec.msgpack.decode(path.read_bytes(), type=Baseline)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            log.warning("baseline_unreadable", device=device, reason=str(error), effect="learned anew")
            return None
        whole = len(baseline.windows) % (2 * WINDOW) == 0
        if baseline.format != FORMAT or baseline.device != device or not whole:
            log.warning("baseline_not_ours", device=device, format=baseline.format, effect="learned anew")
            return None
        return baseline

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._ending:
                    self._changed.wait(_TURN_S)
                ending = self._ending
            with self._writing:
                with self._changed:
                    due, self._waiting = self._waiting, {}
                for baseline in due.values():
                    self._write(baseline)
            if ending:
                return

    def _write(self, baseline: Baseline) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_durably(self._path(baseline.device), msgspec.msgpack.encode(baseline))
        except OSError as error:
            self.counters["baselines_not_written"] += 1
            if self.counters["baselines_not_written"] == 1:
                log.warning("baseline_not_written", folder=str(self._folder), reason=str(error))
        else:
            self.counters["baselines_written"] += 1

    def _path(self, device: str) -> Path:
        return self._folder / f"{device}.msgpack"
