"""Configuration of models in the cloud."""

from typing import Annotated

import msgspec


class RolloutConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`first` gateways must confirm a model before all others are offered it; `first_names` ("site/gateway") say which.

    With all, a rollout stops when more than `tolerated` of those that tried a model refuse it, and at least two.
    """

    first: Annotated[int, msgspec.Meta(ge=1)] = 1
    first_names: tuple[str, ...] = ()
    tolerated: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    offer_every_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    offer_again_s: Annotated[float, msgspec.Meta(gt=0)] = 3600.0
    """After a refusal that lay in the moment: a full disk, a wrong clock."""


class ModelsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models reach gateways.

    With `signing_key_file` the service itself brings back gateways that are left on a model whose rollout was stopped;
    without it an operator does (`vitalwire model rollback`), and no key that signs lies on the server.
    """

    rollout: RolloutConfig = RolloutConfig()
    signing_key_file: str | None = None
