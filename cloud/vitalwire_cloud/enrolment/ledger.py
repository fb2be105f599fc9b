"""What an authority has promised and given: one file, read and replaced as a whole under a lock."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from vitalwire_edge.enrolment.formats import EnrolmentError
from vitalwire_edge.process.durable import write_durably

_FILE: Final = "ledger.json"
_FORGET_NS: Final = 30 * 86_400 * 10**9
"""How long an invitation that nobody used is remembered, so that its bearer is told why it is refused."""


class _Row(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pass


class Invited(_Row, kw_only=True):
    """An invitation; `used_by` is the digest of the request that was accepted for it."""

    name: str
    token: str
    expires_ns: int
    used_by: str | None = None


class Issued(_Row, kw_only=True):
    """A certificate. `name` is its common name, `serial` hexadecimal, `why` the reason of its revocation."""

    name: str
    serial: str
    issued_ns: int
    expires_ns: int
    revoked_ns: int | None = None
    why: Literal["revoked", "superseded"] | None = None


class Ledger(_Row, kw_only=True):
    """`gateways` says of every gateway that ever was one whether it still may be; `revocations` counts the lists."""

    format: Literal[1] = 1
    invitations: dict[str, Invited] = {}
    gateways: dict[str, Literal["enrolled", "revoked"]] = {}
    certificates: list[Issued] = []
    revocations: int = 0

    def current(self, name: str) -> Issued | None:
        """The latest certificate of `name`."""
        return next((c for c in reversed(self.certificates) if c.name == name), None)

    def end(self, name: str, why: Literal["revoked", "superseded"], now_ns: int) -> bool:
        """Revoke every certificate of `name` that still counts; whether there was any."""
        ended = [
            c for c in self.certificates if c.name == name and c.revoked_ns is None and c.expires_ns > now_ns
        ]
        for certificate in ended:
            certificate.revoked_ns, certificate.why = now_ns, why
        return bool(ended)

    def superseded(self, name: str) -> bool:
        """Whether certificates of `name` were revoked because it enrolled again."""
        return any(c.name == name and c.why == "superseded" for c in self.certificates)

    def tidy(self, now_ns: int) -> None:
        """Forget invitations long past."""
        self.invitations = {
            number: invited
            for number, invited in self.invitations.items()
            if invited.expires_ns + _FORGET_NS > now_ns
        }


def create(folder: Path) -> None:
    """An empty ledger in `folder`. Raises `OSError`."""
    _write(folder, Ledger())


def read(folder: Path) -> Ledger:
    """The ledger in `folder`. Raises `EnrolmentError`."""
    path = folder / _FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Ledger)
    except OSError as error:
        raise EnrolmentError(
            f"{path}: {error.strerror}; name the authority with --authority, or make one with "
            "`vitalwire authority init`"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise EnrolmentError(f"{path} is damaged or of another version: restore it from a backup") from None


@contextmanager
def changed(folder: Path) -> Iterator[Ledger]:
    """The ledger, for one change at a time: kept when the block ends without an error. Raises `EnrolmentError`."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EnrolmentError(
            f"authority {folder}: {error.strerror}; make one with `vitalwire authority init`"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        ledger = read(folder)
        yield ledger
        try:
            _write(folder, ledger)
        except OSError as error:
            raise EnrolmentError(f"{folder / _FILE} cannot be written: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _write(folder: Path, ledger: Ledger) -> None:
    content = msgspec.json.format(msgspec.json.encode(ledger), indent=1) + b"\n"
    write_durably(folder / _FILE, content, secret=True)
