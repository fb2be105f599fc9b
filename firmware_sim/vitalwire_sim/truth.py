"""The ground truth of one device's run: JSON lines in a side file that the gateway never sees.

One object a line, told apart by `type`, each flushed when written, so a killed run leaves all but its last line:

- `start`: `device`, `gateway`, `site`, `scenario`, `seed`, `boot`, `start_ns` (UTC of sample 0), `fs_hz`, `lead`,
  `recording` (null for a simulated patient).
- `beat`: `sample` (R peak, on the device's counter), `r_ns` (UTC), `symbol` (MIT-BIH). For recordings only where the
  recording is annotated.
- `episode_start`: `kind`, `at_ns`, `end_ns` (planned), `strength`, `expects` (any one of these alarms is a detection;
  empty: nothing may be raised), `allows` (further alarms that are true consequences until `end_ns` + `settle_s`).
- `episode_end`: `kind`, `start_ns`, `at_ns`, `cut` (the run ended before the episode did).
- `end`: `at_ns`, `reason` ("done", "stopped" by a signal, "failed"), `ecg` and `vitals` with the counters of `Counts`,
  `reconnects`.

Times are of the true signal: UTC nanoseconds at which the patient's body did it, the device's clock error taken out.
"""

from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec


class TruthError(ValueError):
    """A ground-truth file cannot be written or read; the message names it and the line."""


class Start(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="start"):
    """Who runs, since when."""

    device: str
    gateway: str
    site: str
    scenario: str
    seed: int
    boot: int
    start_ns: int
    fs_hz: float
    lead: str
    recording: str | None


class BeatTruth(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="beat"):
    """One true beat."""

    sample: int
    r_ns: int
    symbol: str


class EpisodeStart(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="episode_start"):
    """An episode begins in the signal."""

    kind: str
    at_ns: int
    end_ns: int
    strength: float
    expects: tuple[str, ...]
    allows: tuple[str, ...]
    settle_s: float


class EpisodeEnd(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="episode_end"):
    """An episode is over, or the run was."""

    kind: str
    start_ns: int
    at_ns: int
    cut: bool


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one stream. A sample of `vitals` is one instant with its readings.

    `samples` (what the device measured) = `sent` (handed to the network whole and in good order) +
    `dropped_by_script` (lost or corrupted on purpose) + `not_delivered` (no gateway, buffer full, connection broken
    while sending). `repeated` were sent a second time on purpose and `missing` are not in the recording at all (its
    NaN); neither is part of the sum.
    """

    frames: int = 0
    samples: int = 0
    sent: int = 0
    dropped_by_script: int = 0
    not_delivered: int = 0
    repeated: int = 0
    missing: int = 0


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="end"):
    """The final counters."""

    at_ns: int
    reason: Literal["done", "stopped", "failed"]
    ecg: Counts
    vitals: Counts
    reconnects: int


Record = Start | BeatTruth | EpisodeStart | EpisodeEnd | End

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class TruthFile:
    """Appends records to a new file; a context manager. Without a path it only forgets. Raises `TruthError`."""

    def __init__(self, path: Path | None) -> None:
        try:
            self._file = None if path is None else path.open("wb", buffering=0)
        except OSError as error:
            raise TruthError(
                f"truth file {path}: {error.strerror}; name a file in a folder that exists"
            ) from error

    def write(self, record: Record) -> None:
        """Append `record` and hand it to the operating system."""
        if self._file is not None:
            self._file.write(_encoder.encode(record) + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def read(path: Path) -> list[Record]:
    """All whole records in `path`, which may still be written to. Raises `TruthError` for a line that is not one."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TruthError(f"truth file {path}: {error.strerror}") from error
    records: list[Record] = []
    # What follows the last newline is empty, or a line that is still being written.
    for number, line in enumerate(lines[:-1], start=1):
        try:
            records.append(_decoder.decode(line))
        except msgspec.MsgspecError as error:
            raise TruthError(f"truth file {path}, line {number}: {error}") from error
    return records
