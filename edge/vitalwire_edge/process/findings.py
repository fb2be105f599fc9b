"""What a check of this machine found. Each part brings its own checks, `vitalwire doctor` collects them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, how it is, and what to do about it."""

    check: str
    verdict: Verdict
    detail: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What the doctor was asked to look at; None where it was not."""

    broker: tuple[str, int] | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    spool: Path | None = None
    data_dir: Path | None = None
    edge_config: Path | None = None
    cloud_config: Path | None = None


Check = Callable[[Subject], Iterable[Finding]]
"""Entry point of the group `vitalwire.checks`."""
