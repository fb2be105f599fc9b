"""A recording as a source: its samples come in at the rate they were taken, through the path of every wearable.

Only at that rate: a gateway stamps what arrives, and hours squeezed into minutes would get times that never were, and
alarms by a clock that runs at another speed. What is replayed is no patient: `telemetry.simulated` must say so.
"""

import secrets
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from vitalwire_edge.recordings.locate import data_folder, open_recording
from vitalwire_edge.recordings.recording import Floats, Recording, RecordingError, Replay
from vitalwire_edge.sources.config import FileConfig
from vitalwire_edge.sources.inbox import Arrived, Closed, Inbox, Opened, SourceError, SourceState
from vitalwire_edge.wire.codes import LEADS, Code
from vitalwire_edge.wire.frames import Frame, Goodbye, Hello, Payload, Wave, WaveChannel

log = structlog.get_logger()

_BLOCK_S: Final = 0.2
_SCALE_UV: Final = 1.0
_RAIL: Final = 32767
_STOP_S: Final = 5.0
_CODES: Final = {name.casefold(): code for code, name in LEADS.items()} | {"mlii": Code.ECG_II}


class FileChannel:
    """The one way in of a replay."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.closing = threading.Event()

    def close(self) -> None:
        """Ask the replay to end."""
        self.closing.set()


class FileSource:
    """Replays the recording that `config` names."""

    def __init__(self, config: FileConfig, inbox: Inbox) -> None:
        self._config = config
        self._inbox = inbox
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="file-source", daemon=True)
        self._recording: Recording | None = None
        self._problem: str | None = None
        self._sequence = 0
        self._served = 0
        self._ended = False

    def start(self) -> None:
        """Open the recording and begin. Raises `SourceError` when it cannot be read."""
        assert self._config.record is not None
        try:
            self._recording = open_recording(
                self._config.record, data=data_folder(None), channel=self._config.channel
            )
        except RecordingError as error:
            raise SourceError(f"sources.file: {error}") from error
        self._thread.start()

    def stop(self) -> None:
        """End the replay."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def problem(self) -> str | None:
        """None while it plays, and after its end."""
        return self._problem

    def state(self) -> SourceState:
        """How it stands."""
        name = "" if self._config.record is None else Path(self._config.record).name
        playing = self._thread.is_alive() and not self._ended
        return SourceState("file", name, int(playing), self._problem, {"samples": self._served})

    def _run(self) -> None:
        assert self._recording is not None
        channel = FileChannel(f"file {self._recording.name}")
        self._inbox.put(Opened(channel))
        try:
            reason = self._play(self._recording, channel)
        except Exception as error:
            log.exception("file_source_failed")
            self._problem = f"the replay of {self._recording.name} failed: {type(error).__name__}"
            reason = "failed"
        self._ended = True
        self._inbox.put(Closed(channel, reason))
        log.info("replay_ended", recording=self._recording.name, reason=reason, samples=self._served)

    def _play(self, recording: Recording, channel: FileChannel) -> str:
        replay = Replay(recording, loop=self._config.loop)
        began_ns = time.monotonic_ns()
        code = _CODES.get(recording.lead.strip().casefold(), Code.ECG_UNSPECIFIED)
        announced = WaveChannel(code, round(recording.fs_hz * 1000), _SCALE_UV)
        self._say(channel, 0.0, Hello(self._config.device, secrets.randbelow(256), (announced,)))
        block = 0
        while not self._stop.is_set() and not channel.closing.is_set():
            block += 1
            end = round(block * _BLOCK_S * recording.fs_hz)
            strip = replay.read(end - self._served)
            if strip.uv.size == 0:
                self._say(channel, self._served / recording.fs_hz, Goodbye())
                return "end of the recording"
            at_s = (strip.first_sample + strip.uv.size) / recording.fs_hz
            self._stop.wait(max(0.0, at_s - (time.monotonic_ns() - began_ns) * 1e-9))
            for first, uv in _stretches(strip.uv):
                counts = np.clip(np.rint(uv / _SCALE_UV), -_RAIL, _RAIL).astype(np.int16)
                ends_s = (strip.first_sample + first + uv.size) / recording.fs_hz
                self._say(channel, ends_s, Wave(0, strip.first_sample + first, counts))
            self._served += strip.uv.size
        return "gateway stopping" if self._stop.is_set() else "refused by the gateway"

    def _say(self, channel: FileChannel, device_s: float, payload: Payload) -> None:
        while not self._inbox.has_room and not self._stop.wait(_BLOCK_S / 10):
            continue
        frame = Frame(self._sequence, round(device_s * 1e6), payload)
        self._sequence += 1
        self._inbox.put(Arrived(channel, time.monotonic_ns(), (frame,)))


def _stretches(uv: Floats) -> list[tuple[int, Floats]]:
    """First index and samples of each stretch that was recorded: a gap stays a gap in the counter."""
    held = np.concatenate(([False], np.isfinite(uv), [False]))
    starts, ends = np.flatnonzero(held[1:] & ~held[:-1]), np.flatnonzero(held[:-1] & ~held[1:])
    return [(int(start), uv[start:end]) for start, end in zip(starts, ends, strict=True)]
