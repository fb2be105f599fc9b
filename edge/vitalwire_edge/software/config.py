"""Configuration of software updates on a gateway."""

from typing import Annotated

import msgspec


class SoftwareConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Updates of the software. `confirm_s` is how long a release has to get a link and to hear what is committed."""

    enabled: bool = True
    confirm_s: Annotated[float, msgspec.Meta(gt=0)] = 600.0
