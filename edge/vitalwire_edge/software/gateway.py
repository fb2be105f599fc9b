"""The software of a running gateway: what it is, and what keeps it current; or nothing, and why."""

import importlib.metadata
import os
import threading
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from vitalwire_edge.clock.gateway_clock import Stamp
from vitalwire_edge.inference.keys import KeyFileError, Trust
from vitalwire_edge.inference.refusal import Refusal
from vitalwire_edge.inference.shipped import TRUST_FILE
from vitalwire_edge.inference.shipped import folder as shipped_folder
from vitalwire_edge.ota.config import OtaConfig
from vitalwire_edge.ota.updater import Updater
from vitalwire_edge.software.config import SoftwareConfig
from vitalwire_edge.software.keeper import SoftwareKeeper
from vitalwire_edge.software.launcher import FOLDER_VARIABLE, SLOT_VARIABLE
from vitalwire_edge.software.wheel import NAME
from vitalwire_edge.wire.messages import MessageError
from vitalwire_edge.wire.models import ModelOffer, ModelReport, decode_to_gateway, encode_model

log = structlog.get_logger()

RESTART_EXIT: Final = 75
"""Exit code of a gateway that ended to be started anew (`EX_TEMPFAIL` of sysexits.h)."""

_MOST_WAITING: Final = 8


class SoftwareState(msgspec.Struct, frozen=True, kw_only=True):
    """The software at work: `release` is 0 for what was installed; `problem` is why it cannot be updated."""

    software: str
    release: int
    on_probation: bool
    problem: str | None


class GatewaySoftware:
    """Keeper and updater of one gateway's software, as the link's `ModelTraffic` on the topics of software.

    Works for a process that `vitalwire-launch` started; any other refuses what is offered, with the reason. `restart`
    is set when the process shall end with `RESTART_EXIT`.
    """

    def __init__(
        self,
        config: SoftwareConfig,
        ota: OtaConfig,
        *,
        now: Callable[[], Stamp],
        wake: Callable[[], None],
        ready: Callable[[], str | None],
        healthy: Callable[[], str | None],
    ) -> None:
        self.restart = threading.Event()
        self.counters: Counter[str] = Counter()
        self._now = now
        self._wake = wake
        self._said: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._problem: str | None = None
        self._keeper: SoftwareKeeper | None = None
        self._updater: Updater | None = None
        self._running = False
        folder = os.environ.get(FOLDER_VARIABLE)
        if not config.enabled:
            self._problem = "software.enabled is false"
            return
        if not folder:
            self._problem = "it was not started by vitalwire-launch, which alone can change its software"
            return
        settings = msgspec.structs.replace(ota, folder=folder)
        try:
            trust = Trust.read(shipped_folder() / TRUST_FILE, *map(Path, ota.trust_files))
            self._keeper = SoftwareKeeper(
                settings,
                trust=trust,
                slot=os.environ.get(SLOT_VARIABLE) or None,
                now=now,
                ready=ready,
                healthy=healthy,
                restart=self.restart.set,
                confirm_s=config.confirm_s,
            )
            self._updater = Updater(settings, self._keeper, wake=wake, kind="software")
            self.counters = self._updater.counters
        except (OSError, KeyFileError) as error:
            self._give_up(str(error))

    def start(self) -> None:
        """Keep the software current from now on."""
        if self._updater is None:
            return
        try:
            self._updater.start()
        except OSError as error:
            self._give_up(f"the software folder cannot be used: {error}")
        else:
            self._running = True

    def stop(self) -> None:
        """End the thread."""
        if self._running and self._updater is not None:
            self._updater.stop()

    def alive(self) -> bool:
        """Whether what was started runs."""
        return not self._running or (self._updater is not None and self._updater.alive())

    @property
    def state(self) -> SoftwareState:
        """What is at work."""
        running = None if self._keeper is None else self._keeper.running
        return SoftwareState(
            software=importlib.metadata.version(NAME),
            release=0 if running is None else running.version,
            on_probation=self._keeper is not None and self._keeper.on_probation,
            problem=self._problem,
        )

    def connected(self) -> None:
        """The link is up."""
        if self._running and self._updater is not None:
            self._updater.connected()

    def receive(self, payload: bytes) -> None:
        """An unsealed payload for the updater; where none runs an offer is refused."""
        if self._running and self._updater is not None:
            self._updater.receive(payload)
            return
        try:
            message = decode_to_gateway(payload)
        except MessageError:
            self.counters["software_messages_rejected"] += 1
            return
        if isinstance(message, ModelOffer):
            self._said.append(encode_model(self._unable(message)))
            self._wake()

    def take(self) -> list[bytes]:
        """What is to be said."""
        said = [self._said.popleft() for _ in range(len(self._said))]
        return said + (self._updater.take() if self._running and self._updater is not None else [])

    def _unable(self, offer: ModelOffer) -> ModelReport:
        return ModelReport(
            at_ns=max(0, self._now().utc_ns),
            state="refused",
            name=offer.name,
            version=offer.version,
            manifest_sha256=offer.manifest_sha256,
            sha256=offer.sha256,
            running_version=0,
            running_sha256="",
            reason=Refusal.UNSATISFIED.value,
            detail=self._problem or "it is starting",
        )

    def _give_up(self, why: str) -> None:
        self._problem = why
        log.error("no_software_updates", reason=why)
