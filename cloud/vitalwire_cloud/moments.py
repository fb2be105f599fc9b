"""Moments as people write them on a command line."""

from datetime import datetime

from vitalwire_edge.process.config import ConfigError


def moment_ns(option: str, text: str) -> int:
    """Nanoseconds UTC of a moment with its zone. Raises `ConfigError` naming the option."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text!r}: write it as 2026-11-22T08:00:00Z") from error
    if moment.tzinfo is None:
        raise ConfigError(f"{option} {text!r} names no zone: write Z, or e.g. +01:00, behind it")
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
