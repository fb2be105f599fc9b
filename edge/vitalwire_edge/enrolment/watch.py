"""The certificate that the link shows: until when it is valid, and whether it has been replaced."""

import datetime as dt
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509

from vitalwire_edge.clock.gateway_clock import Stamp

log = structlog.get_logger()

SOON: Final = dt.timedelta(days=30)
"""A third of the life that certificates have by default: time enough to carry two files."""

_Stamp = tuple[int, int, int]


class CertificateWatch:
    """Looks after the file at `path` (None: no certificate). Nothing here raises, and no clock is asked."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp = self._look()
        self._unreadable: _Stamp | None = None
        self.expires: dt.datetime | None = self._read()

    def replaced(self) -> bool:
        """Whether another certificate that can be read is in the file since the last call."""
        stamp = self._look()
        if stamp is None or stamp in {self._stamp, self._unreadable}:
            return False
        expires = self._read()
        if expires is None:
            # Half written, or not a certificate: the one at work stays at work until the file changes again.
            self._unreadable = stamp
            return False
        self._stamp, self.expires = stamp, expires
        return True

    def days_left(self, utc_ns: int) -> float | None:
        """Days from `utc_ns` to the end, negative after it; None without a certificate."""
        return None if self.expires is None else (self.expires.timestamp() - utc_ns * 1e-9) / 86_400

    def gauges(self, now: Stamp) -> dict[str, float]:
        """For the metrics page: until when, and the days left while the clock can be trusted to count them."""
        if self.expires is None:
            return {}
        gauges = {"certificate_expires_seconds": self.expires.timestamp()}
        left = self.days_left(now.utc_ns)
        return gauges | {"certificate_days_left": left} if left is not None and now.synchronised else gauges

    def problem(self, now: Stamp) -> str | None:
        """What people should know. A clock that may be wrong says nothing about a certificate."""
        left = self.days_left(now.utc_ns)
        if left is None or not now.synchronised or left * 86_400 > SOON.total_seconds():
            return None
        assert self.expires is not None
        how = f"ends in {left:.0f} days" if left > 0 else f"ended {-left:.0f} days ago"
        return f"the certificate {how} ({self.expires:%Y-%m-%d}): vitalwire gateway renew"

    def _look(self) -> _Stamp | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> dt.datetime | None:
        if self._path is None:
            return None
        try:
            return x509.load_pem_x509_certificate(self._path.read_bytes()).not_valid_after_utc
        except (OSError, ValueError) as error:
            log.warning("certificate_unreadable", file=str(self._path), reason=type(error).__name__)
            return None
