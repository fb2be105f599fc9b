"""Wearables of a storm: their counter alone determines their samples."""

import contextlib
import threading
import time

from gateway_parts import FS_HZ, WearableSocket, ecg

from vitalwire_edge.wire.codes import Code
from vitalwire_edge.wire.frames import Frame, Goodbye, Hello, Payload, Status, Wave, WaveChannel

WAVE_S = 0.2
WAVE_SAMPLES = 50
_STATUS_EVERY = 5
_BATTERY_PERCENT = 3


class Heart(threading.Thread):
    """A wearable: its samples are kept while nobody listens, then sent at once. It may end by itself after `life_s`.

    `handed` counts the samples that a socket of the gateway's machine took.
    """

    def __init__(self, name: str, port: int, *, life_s: float | None = None) -> None:
        super().__init__(name=name, daemon=True)
        self._port = port
        self._hello = Hello(name, 1, (WaveChannel(Code.ECG_UNSPECIFIED, FS_HZ * 1000, 2.5),))
        self._sample = 0
        self._sequence = 0
        self._kept: list[tuple[int, Payload]] = []
        self._swapped: tuple[Frame, int] | None = None
        self._socket: WearableSocket | None = None
        self._ending = threading.Event()
        self._life_s = life_s
        self._mute_until = 0.0
        self.swapping = False
        self.handed = 0

    def mute(self, seconds: float) -> None:
        """Send nothing for a while, then everything at once."""
        self._mute_until = time.monotonic() + seconds

    def end(self) -> None:
        """Send the rest and a goodbye."""
        self._ending.set()
        self.join(30)

    def run(self) -> None:
        """Beat."""
        beat_s = time.monotonic()
        blocks = 0
        while not self._ending.is_set():
            self._keep(Wave(0, self._sample, ecg(self._sample, WAVE_SAMPLES)))
            self._sample += WAVE_SAMPLES
            if blocks % _STATUS_EVERY == 0:
                self._keep(Status(_BATTERY_PERCENT, -60, 0))
            blocks += 1
            self._send()
            beat_s += WAVE_S
            if self._life_s is not None and blocks * WAVE_S >= self._life_s:
                break
            self._ending.wait(max(0.0, beat_s - time.monotonic()))
        self._mute_until = 0.0
        self.swapping = False
        self._keep(Goodbye())
        end = time.monotonic() + 20
        while not self._send() and time.monotonic() < end:
            time.sleep(0.05)
        if self._socket is not None:
            self._socket.close()

    def _keep(self, payload: Payload) -> None:
        self._kept.append((self._sample * 1_000_000 // FS_HZ, payload))

    def _frame(self, clock_us: int, payload: Payload) -> Frame:
        """Frames are numbered as they are made for a connection, as firmware does."""
        frame = Frame(self._sequence, clock_us, payload)
        self._sequence += 1
        return frame

    def _send(self) -> bool:
        if time.monotonic() < self._mute_until:
            return False
        try:
            if self._socket is None:
                self._socket = WearableSocket(("127.0.0.1", self._port))
                self._socket.send(self._frame(self._sample * 1_000_000 // FS_HZ, self._hello))
            while self._kept:
                self._one()
            if self._swapped is not None and not self.swapping:
                self._late()
        except OSError:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.close()
            self._socket = None
            # What waited to be sent behind its successor is lost with the connection, as on air: it was never handed.
            self._swapped = None
            return False
        return True

    def _one(self) -> None:
        assert self._socket is not None
        clock_us, payload = self._kept[0]
        frame = self._frame(clock_us, payload)
        if self.swapping and self._swapped is None and isinstance(payload, Wave):
            self._swapped = frame, payload.samples.size
        else:
            self._socket.send(frame)
            if isinstance(payload, Wave):
                self.handed += payload.samples.size
            if self._swapped is not None:
                self._late()
        self._kept.pop(0)

    def _late(self) -> None:
        """Send the frame that let its successor go first."""
        assert self._socket is not None
        assert self._swapped is not None
        frame, samples = self._swapped
        self._socket.send(frame)
        self.handed += samples
        self._swapped = None
