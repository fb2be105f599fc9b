"""MQTT topics: `v1/{site}/{gateway}/{verb}` and `v1/{site}/{gateway}/{device}/{stream}`.

No patient data ever stands in a topic; the access rule of a gateway is its own prefix.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from vitalwire_edge.wire import WIRE_VERSION

GatewayVerb = Literal[
    "birth", "death", "status", "cmd", "cmd-done", "committed",
    "model", "model-state", "software", "software-state",
]  # fmt: skip
"""`model` goes to the gateway, `model-state` comes from it: one topic for both would echo what a gateway says."""

DeviceVerb = Literal["birth", "death"]
Stream = Literal["ecg", "vitals", "beat", "score", "alarm"]
"""Streams of a device that are sequenced, spooled and committed."""

STREAMS: Final[tuple[Stream, ...]] = get_args(Stream)
_GATEWAY_VERBS: Final = frozenset(get_args(GatewayVerb))
_DEVICE_VERBS: Final = frozenset((*get_args(DeviceVerb), *STREAMS))
_PREFIX: Final = f"v{WIRE_VERSION}"
_IDENTIFIER: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


class TopicError(ValueError):
    """A topic or one of its names is not one of ours."""


def identifier(text: str, what: str = "identifier") -> str:
    """`text` if it may name a site, gateway or device (1 to 32 of `a-z 0-9 -`), else raise `TopicError`."""
    if not _IDENTIFIER.fullmatch(text):
        raise TopicError(f"{what} {text!r}: use 1 to 32 characters of a-z, 0-9 and inner hyphens")
    return text


@dataclass(frozen=True, slots=True)
class Topic:
    """A parsed topic; `device` is None for a gateway's own."""

    site: str
    gateway: str
    device: str | None
    verb: str

    def __str__(self) -> str:
        middle = f"/{self.device}" if self.device is not None else ""
        return f"{_PREFIX}/{self.site}/{self.gateway}{middle}/{self.verb}"

    @property
    def stream(self) -> Stream | None:
        """The sequenced stream this topic carries, or None for births, deaths and gateway verbs."""
        return self.verb if self.device is not None and self.verb in STREAMS else None


def gateway_topic(site: str, gateway: str, verb: GatewayVerb) -> str:
    """Topic of a gateway's own `verb`."""
    return str(Topic(identifier(site, "site"), identifier(gateway, "gateway"), None, verb))


def device_topic(site: str, gateway: str, device: str, verb: DeviceVerb | Stream) -> str:
    """Topic of a `verb` of a device behind a gateway."""
    return str(
        Topic(identifier(site, "site"), identifier(gateway, "gateway"), identifier(device, "device"), verb)
    )


def parse(topic: str) -> Topic:
    """Parts of `topic`. Raises `TopicError` for anything that is not of this wire version."""
    parts = topic.split("/")
    match parts:
        case [version, site, gateway, verb] if version == _PREFIX and verb in _GATEWAY_VERBS:
            return Topic(identifier(site, "site"), identifier(gateway, "gateway"), None, verb)
        case [version, site, gateway, device, verb] if version == _PREFIX and verb in _DEVICE_VERBS:
            return Topic(
                identifier(site, "site"), identifier(gateway, "gateway"), identifier(device, "device"), verb
            )
    raise TopicError(f"topic {topic!r} is not of wire version {WIRE_VERSION}")
