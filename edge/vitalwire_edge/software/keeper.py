"""Keeps the gateway's software current: takes a release into the slot that does not run, watches it, or says no.

The steps of an update, each on disk before the next: the slot is emptied, the wheel unpacked and flushed, the slot
marked as whole, proved beside what runs (`preflight`), the record names it as candidate, the process ends to be started
anew. From there on the launcher
counts its starts; the release confirms itself once `healthy` says so, or gives up after `confirm_s`.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import structlog

from vitalwire_edge.clock.gateway_clock import Stamp
from vitalwire_edge.inference.keys import Trust
from vitalwire_edge.inference.refusal import ArtifactRefusedError, Refusal
from vitalwire_edge.ota.config import OtaConfig
from vitalwire_edge.ota.state import OtaState, RefusedModel, StateFile
from vitalwire_edge.process.durable import sync_folder
from vitalwire_edge.software import preflight, slots
from vitalwire_edge.software.release import Release, open_release
from vitalwire_edge.software.slots import SLOTS, Boot, Failed, SlotError, SlotRelease
from vitalwire_edge.software.wheel import NAME, Wheel, check_environment
from vitalwire_edge.wire.models import MAX_DETAIL, ModelOffer, ModelReport, ModelState

log = structlog.get_logger()

_SAID_S: Final = 2.0
"""How long a gateway that restarts for a release has to say so."""
_BACKSTOP_S: Final = 60
"""How long after `confirm_s` the kernel ends a release that was ready once and gives up nothing by itself."""
_PASSING: Final = frozenset({Refusal.NO_ROOM, Refusal.EXPIRED, Refusal.OLDER_VERSION, Refusal.UNSATISFIED})
"""Reasons that lie in the moment or the gateway: such a file may be offered again."""


class SoftwareKeeper:
    """Releases of one gateway in `config.folder`, as `ota.updater` works with models.

    `slot` is the one that runs, None for the installed software. `ready` is None once the gateway takes data, `healthy`
    None once it also has a link and heard what is committed; else they say what is missing. `restart` is called, once,
    when the process shall end to be started anew. Raises `OSError` where the folder cannot be used.
    """

    def __init__(
        self,
        config: OtaConfig,
        *,
        trust: Trust,
        slot: str | None,
        now: Callable[[], Stamp],
        ready: Callable[[], str | None],
        healthy: Callable[[], str | None],
        restart: Callable[[], None],
        confirm_s: float,
        check: Callable[[Wheel], None] = check_environment,
        prove: Callable[[Path], None] = preflight.prove,
    ) -> None:
        self._config = config
        self._folder = Path(config.folder)
        self._trust = trust
        self._slot = slot
        self._now = now
        self._ready = ready
        self._healthy = healthy
        self._restart = restart
        self._confirm_s = confirm_s
        self._check = check
        self._prove = prove
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = StateFile(self._folder / "state.json")
        self._running: SlotRelease | None = None
        self._installed: SlotRelease | None = None
        self._boot = Boot()
        self._since_s = time.monotonic()
        self._was_ready = False
        self._restart_s = float("inf")

    @property
    def state(self) -> OtaState:
        """What is on disk beside the record of the slots."""
        return self._file.state

    @property
    def running(self) -> SlotRelease | None:
        """The release that runs, None for the installed software."""
        return self._running

    @property
    def on_probation(self) -> bool:
        """Whether the release that runs has still to confirm itself."""
        return self._slot is not None and self._boot.candidate == self._slot

    def start(self) -> None:
        """Learn what runs, and what became of the release before it."""
        self._since_s = time.monotonic()
        self._boot = slots.read_boot(self._folder)
        if self._slot is not None:
            try:
                self._running = slots.release_in(self._folder, self._slot)
            except SlotError as error:
                log.error("software_slot_damaged", reason=str(error))  # noqa: TRY400 - the text says it
        state = self.state
        versions = [self._running.version if self._running is not None else 0, state.highest_version]
        failed = self._boot.failed
        if failed is not None:
            release = failed.release
            state = state.with_refused(_refused(release, Refusal.CRASHED, failed.why))
            versions.append(release.version)
            log.error(
                "software_fell_back", version=release.version, software=release.software, why=failed.why
            )
        if state.offer is not None and state.offer.version <= max(versions):
            state = msgspec.structs.replace(state, offer=None)
        self._file.put(msgspec.structs.replace(state, highest_version=max(versions)))
        if failed is not None:
            # Remembered above; a power cut between the two only makes it be remembered again.
            self._put(replace(self._boot, failed=None))
        if self.on_probation:
            log.warning("software_on_probation", slot=self._slot, starts=self._boot.starts)

    def answer(self, offer: ModelOffer) -> ModelReport | None:
        """What can be said to an offer without fetching it; None when it is worth fetching."""
        if self._running is not None and self._running.sha256 == offer.sha256:
            return self.report()
        if self._installed is not None and self._installed.sha256 == offer.sha256:
            return self._report("candidate", self._installed)
        refused = self.state.refusal(offer.sha256)
        if refused is not None:
            return self._about(refused)
        if self._boot.candidate is not None:
            return self.refuse(offer, Refusal.NO_ROOM, "another release is on probation")
        if offer.version <= self.state.highest_version:
            return self.refuse(
                offer, Refusal.OLDER_VERSION, f"release {offer.version} after {self.state.highest_version}"
            )
        if offer.size > self._config.max_bytes:
            return self.refuse(
                offer, Refusal.TOO_LARGE, f"{offer.size} bytes: at most {self._config.max_bytes}"
            )
        return None

    def remember_offer(self, offer: ModelOffer | None) -> None:
        """What is being fetched, so that a restart goes on with it."""
        self._file.put(msgspec.structs.replace(self.state, offer=offer))

    def install(self, data: bytes, offer: ModelOffer) -> ModelReport:
        """Check a release, unpack it beside what runs, name it as candidate and ask for a restart."""
        try:
            release = self._opened(data, offer)
            slot = self._free_slot()
            there = self._unpack(release, slot)
            self._prove(self._folder / slot)
        except ArtifactRefusedError as error:
            return self.refuse(offer, error.reason, error.detail)
        except (OSError, SlotError) as error:
            return self.refuse(offer, Refusal.NO_ROOM, f"it cannot be unpacked: {error}")
        # What was in that slot before is gone, and must not be what is fallen back to.
        previous = self._boot.previous if self._boot.previous != slot else None
        self._put(replace(self._boot, previous=previous, candidate=slot, starts=0, failed=None))
        self._file.put(msgspec.structs.replace(self.state, offer=None))
        self._installed = there
        self._restart_s = time.monotonic() + _SAID_S
        log.warning("software_installed", version=there.version, software=there.software, slot=slot)
        return self._report("candidate", there)

    def watch(self) -> tuple[ModelReport, ...]:
        """Look at a release on probation, and end the process where it shall be started anew."""
        if time.monotonic() >= self._restart_s:
            self._restart_s = float("inf")
            self._restart()
            return ()
        if not self.on_probation or self._running is None:
            return ()
        if not self._was_ready and self._ready() is None:
            self._was_ready = True
            signal.alarm(round(self._confirm_s) + _BACKSTOP_S)
            log.info("software_ready", version=self._running.version)
        problem = self._healthy()
        if problem is None:
            return (self._confirm(self._running),)
        if time.monotonic() - self._since_s > self._confirm_s:
            why = f"{problem} after {self._confirm_s:.0f} s"
            self._put(replace(self._boot, candidate=None, starts=0, failed=Failed(self._running, why)))
            log.error("software_gives_up", version=self._running.version, why=why)
            self._restart_s = time.monotonic()
        return ()

    def refuse(
        self, offer: ModelOffer, reason: Refusal, detail: str, *, remember: bool = True
    ) -> ModelReport:
        """Refuse what was offered, and remember it where the file itself is at fault."""
        refused = RefusedModel(
            name=offer.name,
            version=offer.version,
            manifest_sha256=offer.manifest_sha256,
            sha256=offer.sha256,
            reason=reason.value,
            detail=detail[:MAX_DETAIL],
        )
        log.warning("software_refused", version=offer.version, reason=reason.value, detail=refused.detail)
        state = msgspec.structs.replace(self.state, offer=None)
        self._file.put(state.with_refused(refused) if remember and reason not in _PASSING else state)
        return self._about(refused)

    def report(self) -> ModelReport | None:
        """The release that runs; None for the installed software."""
        if self._running is None:
            return None
        return self._report("candidate" if self.on_probation else "running", self._running)

    def refusals(self) -> tuple[ModelReport, ...]:
        """Reports of all refusals that are remembered."""
        return tuple(self._about(refused) for refused in self.state.refused)

    def _opened(self, data: bytes, offer: ModelOffer) -> Release:
        now = self._now()
        release = open_release(
            data,
            self._trust,
            now_ns=now.utc_ns if now.synchronised else None,
            running_version=self.state.highest_version,
            max_bytes=self._config.max_bytes,
        )
        manifest = release.manifest
        if (manifest.version, release.manifest_sha256) != (offer.version, offer.manifest_sha256):
            raise ArtifactRefusedError(
                Refusal.HASH_MISMATCH, f"it is release {manifest.version}, not what was offered"
            )
        self._check(release.wheel)
        return release

    def _free_slot(self) -> str:
        """Never the slot that runs; beside the installed software, not the one that was confirmed either."""
        kept = self._slot or self._boot.confirmed
        return next(slot for slot in SLOTS if slot != kept)

    def _unpack(self, release: Release, slot: str) -> SlotRelease:
        place = self._folder / slot
        # The marker first: a slot that is half emptied or half filled is never taken for a whole one.
        (place / slots.MARKER).unlink(missing_ok=True)
        if place.exists():
            sync_folder(place)
            shutil.rmtree(place)
        place.mkdir()
        folders = {place}
        for name, content in release.wheel.files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.update(parent for parent in path.parents if parent.is_relative_to(place))
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for folder in sorted(folders, reverse=True):
            sync_folder(folder)
        sync_folder(self._folder)
        there = SlotRelease(
            version=release.manifest.version,
            software=release.wheel.software,
            manifest_sha256=release.manifest_sha256,
            sha256=release.sha256,
        )
        slots.write_marker(self._folder, slot, there, release.wheel.record)
        if slots.release_in(self._folder, slot) != there:
            raise SlotError(f"slot {slot} does not hold what was unpacked")
        return there

    def _confirm(self, running: SlotRelease) -> ModelReport:
        before = self._boot.confirmed
        self._put(Boot(confirmed=self._slot, previous=before if before != self._slot else None))
        signal.alarm(0)
        log.warning("software_confirmed", version=running.version, software=running.software)
        return self._report("running", running)

    def _put(self, boot: Boot) -> None:
        slots.write_boot(self._folder, boot)
        self._boot = boot

    def _about(self, refused: RefusedModel) -> ModelReport:
        return self._report("refused", refused, reason=refused.reason, detail=refused.detail)

    def _report(
        self,
        state: ModelState,
        about: SlotRelease | RefusedModel,
        *,
        reason: str | None = None,
        detail: str = "",
    ) -> ModelReport:
        running = self._running
        text = f"{NAME} {about.software}" if isinstance(about, SlotRelease) else detail
        return ModelReport(
            at_ns=max(0, self._now().utc_ns),
            state=state,
            name=NAME,
            version=about.version,
            manifest_sha256=about.manifest_sha256,
            sha256=about.sha256,
            running_version=0 if running is None else running.version,
            running_sha256="" if running is None else running.manifest_sha256,
            reason=reason,
            detail=text,
        )


def _refused(release: SlotRelease, reason: Refusal, why: str) -> RefusedModel:
    return RefusedModel(
        name=NAME,
        version=release.version,
        manifest_sha256=release.manifest_sha256,
        sha256=release.sha256,
        reason=reason.value,
        detail=why[:MAX_DETAIL],
    )
