"""Configuration of models on a gateway."""

from typing import Annotated

import msgspec

from vitalwire_edge.wire.models import MAX_ARTIFACT_BYTES, MAX_REQUESTED

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class ProbationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a new model is confirmed, and how much worse than the one before it may do.

    The margins are shares of all beats, on top of what chance explains (see `ota.probation`). They are choices of
    operation: a model that fails or is late on one beat in a hundred more leaves gaps that staff would notice, while
    abstention also follows the patient and the electrodes and so gets more room.
    """

    beats: Count = 300
    seconds: Seconds = 120.0
    early_beats: Count = 60
    failed_more: Share = 0.01
    slow_more: Share = 0.01
    abstained_more: Share = 0.10
    starts: Count = 3
    """Starts of the process that a model on probation may see: one that makes it crash is not tried for ever."""


class OtaConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where models lie and what is taken. `trust_files` pin root keys beside those that the software ships with.

    An empty `folder` is one beside the spool file, named after it.
    """

    folder: str = ""
    trust_files: tuple[str, ...] = ()
    max_bytes: Annotated[int, msgspec.Meta(ge=1024, le=MAX_ARTIFACT_BYTES)] = MAX_ARTIFACT_BYTES
    max_p99_us: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """What one inference may take here at the 99th percentile, if less than the manifest allows."""
    beat_us: Annotated[float, msgspec.Meta(gt=0)] = 20_000.0
    """What scoring one beat may take before it counts as slow: 16 wearables at 180 beats a minute leave 20 ms each."""
    window_chunks: Annotated[int, msgspec.Meta(ge=1, le=MAX_REQUESTED)] = 8
    """Chunks under way at once: the most that an update adds to a broker's queue."""
    retry_first_s: Seconds = 3.0
    retry_max_s: Seconds = 60.0
    probation: ProbationConfig = ProbationConfig()
