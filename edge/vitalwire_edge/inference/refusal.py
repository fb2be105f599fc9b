"""Why a model is not taken."""

from enum import StrEnum


class Refusal(StrEnum):
    """Reasons to refuse an artifact, in the order in which they are looked for."""

    TOO_LARGE = "too_large"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    WRONG_SIGNATURE = "wrong_signature"
    EXPIRED = "expired"
    UNKNOWN_FORMAT = "unknown_format"
    HASH_MISMATCH = "hash_mismatch"
    OLDER_VERSION = "older_version"
    WRONG_HARDWARE = "wrong_hardware"
    UNSATISFIED = "unsatisfied"
    """Software that needs what is not installed here, or a gateway that cannot change its software."""
    SELF_TEST_OFF = "self_test_off"
    TOO_SLOW = "too_slow"
    NO_ROOM = "no_room"
    CRASHED = "crashed"
    WORSE = "worse"
    """Was at work on probation and did worse than the model before it."""


class ArtifactRefusedError(Exception):
    """An artifact is not taken: `reason` for programs, the message for people, figures where a test made them."""

    def __init__(
        self,
        reason: Refusal,
        detail: str,
        *,
        p99_us: float | None = None,
        worst_error: float | None = None,
    ) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        self.p99_us = p99_us
        self.worst_error = worst_error
