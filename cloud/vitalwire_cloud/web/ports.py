"""What the web asks of the rest of the cloud, besides the store and the live hub."""

from collections.abc import Sequence
from typing import Protocol

from vitalwire_cloud.alerts.alarm import Alarm, Verdict
from vitalwire_cloud.metadata.entries import Bedside
from vitalwire_cloud.orders import Order, Place
from vitalwire_cloud.registry.ledger import Gateway, Model, Reported


class Info(Protocol):
    """Who this service is and whether it works."""

    @property
    def site(self) -> str:
        """Name of the site, as in the topics."""

    @property
    def version(self) -> str:
        """Version of the software."""

    def ready(self) -> str | None:
        """None when the service can do its work now, else why not."""

    def live(self) -> str | None:
        """None while the process is worth keeping, else why it should be restarted."""


class Desk(Protocol):
    """Where alarms are kept and taken. Thread-safe."""

    def list(self, open_only: bool) -> list[Alarm]:
        """Alarms; only those that are not cleared when `open_only`."""

    def get(self, alarm_id: str) -> Alarm | None:
        """One alarm, or None when the desk does not know it."""

    def acknowledge(self, alarm_id: str, *, by: str, for_s: float) -> Alarm:
        """Take an alarm for a while; returns it in its new state."""

    def label(self, alarm_id: str, *, verdict: Verdict, by: str) -> Alarm:
        """Keep what somebody says of a model alert; returns it. Raises `ValueError` for an alarm of a rule."""

    def labelled(self, kind: str) -> Sequence[Alarm]:
        """Alarms of a kind that staff labelled, newest first."""


class Orders(Protocol):
    """What gateways were told to do. Thread-safe."""

    def new_patient(self, site: str, gateway: str, device: str, *, now_ns: int) -> int:
        """Order that a wearable's patient be forgotten; returns the order's number."""

    def orders(self) -> list[Order]:
        """Every order."""

    def delivered(self, place: Place, bedside: Bedside | None) -> tuple[int, bool]:
        """Since when entries of a wearable's wearer count, and whether its gateway knows all that is known of it."""


class Models(Protocol):
    """What is known of models and of the gateways that run them. Thread-safe."""

    def models(self) -> list[Model]:
        """Every model, newest first."""

    def gateways(self) -> list[Gateway]:
        """Every gateway that reported."""

    def reports(self) -> list[Reported]:
        """What gateways said of models, in order."""
