"""The desks of a service behind one door: what gateways say goes to the one that it is for."""

from collections.abc import Mapping
from typing import Protocol

from vitalwire_edge.wire.topics import TopicError, parse


class Desk(Protocol):
    """Somebody who keeps gateways in something. Nothing here may block or raise."""

    def gateway_seen(self, site: str, gateway: str) -> None:
        """A gateway said something."""

    def heard(self, topic: str, payload: bytes) -> None:
        """A gateway said something to this desk."""


class Desks:
    """Hands every message to the desk of its topic's verb, and tells all of them which gateways are there."""

    def __init__(self, by_verb: Mapping[str, Desk]) -> None:
        self._by_verb = by_verb

    def gateway_seen(self, site: str, gateway: str) -> None:
        """A gateway said something."""
        for desk in self._by_verb.values():
            desk.gateway_seen(site, gateway)

    def heard(self, topic: str, payload: bytes) -> None:
        """A message for a desk; one on no topic of ours is for nobody."""
        try:
            desk = self._by_verb.get(parse(topic).verb)
        except TopicError:
            return
        if desk is not None:
            desk.heard(topic, payload)
