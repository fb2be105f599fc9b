"""What the web asks of the rest of the cloud, besides the store and the live hub."""

from typing import Protocol

from vitalwire_cloud.alerts.alarm import Alarm


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
