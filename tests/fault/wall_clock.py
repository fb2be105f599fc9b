"""A wall clock that a test steps while a process runs; monotonic clocks stay as they are, as on a real machine."""

import mmap
import struct
import time
from pathlib import Path

_REAL_NS = time.time_ns
_OFFSET = struct.Struct("<q")


class _Followed:
    page: mmap.mmap | None = None


def install() -> None:
    """Let `time.time` and `time.time_ns` of this process follow the file that `follow` names."""
    time.time_ns = _now_ns
    time.time = lambda: _now_ns() * 1e-9


def follow(path: Path) -> None:
    """Take the offset from the file at `path`, from now on."""
    with path.open("r+b") as file:
        _Followed.page = mmap.mmap(file.fileno(), _OFFSET.size)


def set_offset(path: Path, offset_s: float) -> None:
    """Step the clock of the processes that follow `path`."""
    data = _OFFSET.pack(round(offset_s * 1e9))
    if not path.exists():
        path.write_bytes(data)
        return
    with path.open("r+b") as file:
        file.write(data)


def _now_ns() -> int:
    page = _Followed.page
    return _REAL_NS() + (0 if page is None else _OFFSET.unpack_from(page)[0])
