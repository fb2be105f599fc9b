"""The beat model of a gateway: the slot that scores, and what keeps it in models; or nothing, and why.

Whatever is wrong with models, folder or runtime, the gateway goes on without scores: its stream and its rules need
none of them.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from vitalwire_edge.clock.gateway_clock import Stamp
from vitalwire_edge.inference import features, runtime
from vitalwire_edge.inference.artifact import Artifact, Host
from vitalwire_edge.inference.beat_model import BeatScorer
from vitalwire_edge.inference.keys import KeyFileError, Trust
from vitalwire_edge.inference.shipped import TRUST_FILE
from vitalwire_edge.inference.shipped import folder as shipped_folder
from vitalwire_edge.ota.config import OtaConfig
from vitalwire_edge.ota.keeper import ModelKeeper
from vitalwire_edge.ota.slot import Conduct, ModelSlot
from vitalwire_edge.ota.updater import Updater

log = structlog.get_logger()


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """The model at work: version 0 for none, and then `problem` says why. `conduct` is since it was swapped in."""

    version: int
    manifest_sha256: str
    on_probation: bool
    conduct: Conduct
    problem: str | None


class GatewayModels:
    """Slot, keeper and updater of one gateway, as the link's `ModelTraffic`. `wake` makes the link look.

    Never raises for models: `state` says what is wrong. `build` makes a scorer of a verified artifact.
    """

    def __init__(
        self,
        config: OtaConfig,
        *,
        now: Callable[[], Stamp],
        wake: Callable[[], None],
        shipped: Path | None = None,
        build: Callable[[Artifact], Any] = BeatScorer.of,
    ) -> None:
        self.slot: ModelSlot[BeatScorer] = ModelSlot()
        self.counters: Counter[str] = Counter()
        self._problem: str | None = None
        self._keeper: ModelKeeper[BeatScorer] | None = None
        self._updater: Updater | None = None
        self._running = False
        shipped = shipped or shipped_folder()
        host = Host.here()
        if not host.runtimes:
            self._give_up("no runtime for models is installed: install vitalwire[edge]")
            return
        try:
            trust = Trust.read(shipped / TRUST_FILE, *map(Path, config.trust_files))
            Path(config.folder).mkdir(parents=True, exist_ok=True)
            self._keeper = ModelKeeper(
                config,
                trust=trust,
                slot=self.slot,
                load=runtime.load,
                build=build,
                now=now,
                shipped=tuple(path.read_bytes() for path in sorted(shipped.glob("beat-*.vwm"))),
                host=host,
            )
            self._updater = Updater(config, self._keeper, wake=wake)
            self.counters = self._updater.counters
        except (OSError, KeyFileError) as error:
            self._give_up(str(error))

    def start(self) -> None:
        """Put a model to work and keep it current from now on."""
        if self._updater is None:
            return
        features.warm()
        try:
            self._updater.start()
        except OSError as error:
            self._give_up(f"the model folder cannot be used: {error}")
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
    def state(self) -> ModelState:
        """What is at work."""
        loaded = self.slot.loaded
        problem = self._problem
        if problem is None and loaded is None and self._running:
            problem = "no model here can be opened"
        candidate = None if self._keeper is None else self._keeper.state.candidate
        return ModelState(
            version=0 if loaded is None else loaded.version,
            manifest_sha256="" if loaded is None else loaded.manifest_sha256,
            on_probation=loaded is not None and candidate is not None,
            conduct=self.slot.conduct,
            problem=problem,
        )

    def connected(self) -> None:
        """The link is up."""
        if self._running and self._updater is not None:
            self._updater.connected()

    def receive(self, payload: bytes) -> None:
        """An unsealed payload for the updater; without one it is dropped and counted."""
        if self._running and self._updater is not None:
            self._updater.receive(payload)
        else:
            self.counters["model_messages_dropped"] += 1

    def take(self) -> list[bytes]:
        """What is to be said."""
        return self._updater.take() if self._running and self._updater is not None else []

    def _give_up(self, why: str) -> None:
        self._problem = why
        log.error("no_models", reason=why, effect="beats are not scored; stream, rules and alarms go on")
