"""The file around parts: a zip without compression that has exactly one form for given parts.

Written and read here rather than with `zipfile`, because the bytes must not depend on a library's version: the same
parts give the same file everywhere, and a reader can compare a file with what `write` makes of its parts. Any zip tool
opens it (PKWARE APPNOTE 6.3.3: local headers, central directory, end record; method 0, no extra fields, no comment).
"""

import re
import struct
import zlib
from collections.abc import Mapping
from typing import Final

MAX_PARTS: Final = 24

_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_CENTRAL_MAGIC: Final = b"PK\x01\x02"
_END_MAGIC: Final = b"PK\x05\x06"
_VERSION: Final = 20
_UNIX: Final = 3 << 8
_DAY_ONE: Final = (0, 0x21)
"""1980-01-01 00:00, the first moment a zip can name."""
_MODE: Final = 0o100644 << 16
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class ContainerError(ValueError):
    """Bytes are not a container. `truncated`: they begin as one and the end is missing."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.truncated = truncated


def write(parts: Mapping[str, bytes]) -> bytes:
    """The one file of `parts`, in their order. Raises `ContainerError` for a name or number of parts out of bounds."""
    if not 0 < len(parts) <= MAX_PARTS:
        raise ContainerError(f"{len(parts)} parts: use 1 to {MAX_PARTS}")
    body, directory = bytearray(), bytearray()
    for name, data in parts.items():
        if not _NAME.fullmatch(name):
            raise ContainerError(f"part name {name[:80]!r}: use 1 to 64 of a-z, 0-9, dot, hyphen, underscore")
        common = (_VERSION, 0, 0, *_DAY_ONE, zlib.crc32(data), len(data), len(data), len(name), 0)
        directory += _CENTRAL.pack(_CENTRAL_MAGIC, _UNIX | _VERSION, *common, 0, 0, 0, _MODE, len(body))
        directory += name.encode()
        body += _LOCAL.pack(_LOCAL_MAGIC, *common) + name.encode() + data
    count = len(parts)
    return bytes(body + directory + _END.pack(_END_MAGIC, 0, 0, count, count, len(directory), len(body), 0))


def read(data: bytes) -> dict[str, bytes]:
    """Parts of `data` by name, in order, without judging their content. Raises `ContainerError`."""
    begins = _LOCAL_MAGIC.startswith(data[: len(_LOCAL_MAGIC)])
    if len(data) < _END.size:
        raise ContainerError(f"{len(data)} bytes are no container", truncated=begins)
    magic, _, _, count, _, directory_size, directory_at, _ = _END.unpack(data[-_END.size :])
    if magic != _END_MAGIC:
        raise ContainerError("the end record is not at the end", truncated=begins)
    if not 0 < count <= MAX_PARTS or directory_at + directory_size + _END.size != len(data):
        raise ContainerError("the end record does not describe the file")
    parts: dict[str, bytes] = {}
    at = directory_at
    for _ in range(count):
        if at + _CENTRAL.size > len(data):
            raise ContainerError("the directory is longer than the file")
        entry = _CENTRAL.unpack_from(data, at)
        size, name_size, local_at = entry[8], entry[10], entry[16]
        name = data[at + _CENTRAL.size : at + _CENTRAL.size + name_size].decode("ascii", "replace")
        if entry[0] != _CENTRAL_MAGIC or not _NAME.fullmatch(name) or name in parts:
            raise ContainerError(f"the directory entry at {at} is not ours")
        start = local_at + _LOCAL.size + name_size
        if start + size > directory_at:
            raise ContainerError(f"part {name!r} lies outside the file")
        parts[name] = data[start : start + size]
        at += _CENTRAL.size + name_size
    return parts
